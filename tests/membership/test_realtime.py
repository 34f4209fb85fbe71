"""Real-time scheduling and locked memory: what was granted is so, what was refused is said."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

PROGRAM = """
import json, os, subprocess, sys
from heartbus_membership.realtime import use_real_time
refused = use_real_time(int(sys.argv[1]))
status = dict(line.split(":", 1) for line in open("/proc/self/status"))
child = subprocess.run(["/bin/sh", "-c", "cat /proc/$$/stat; grep VmLck /proc/$$/status"],
                       capture_output=True, text=True).stdout.splitlines()
print(json.dumps({
    "refused": refused,
    "policy": os.sched_getscheduler(0),
    "priority": os.sched_getparam(0).sched_priority,
    "locked_kib": int(status["VmLck"].split()[0]),
    "child_policy": int(child[0].rpartition(")")[2].split()[38]),
    "child_locked_kib": int(child[1].split()[1]),
}))
"""
SCHED_OTHER, SCHED_RR, RESET_ON_FORK = 0, 2, 0x40000000


def use_real_time(*prefix: str) -> dict[str, object]:
    done = subprocess.run(
        [*prefix, sys.executable, "-c", PROGRAM, "3"], capture_output=True, text=True, check=True
    )
    found: dict[str, object] = json.loads(done.stdout)
    return found


@pytest.mark.netns
def test_what_was_not_refused_is_so_and_children_inherit_nothing() -> None:
    found = use_real_time()
    refused = found["refused"]
    assert isinstance(refused, list)
    scheduling = [words for words in refused if words.startswith("no real-time scheduling: ")]
    memory = [words for words in refused if words.startswith("memory is not locked: ")]
    assert [*scheduling, *memory] == refused
    if scheduling:  # the control group may have no real-time run time
        assert found["policy"] == SCHED_OTHER
        assert "CAP_SYS_NICE or LimitRTPRIO=3" in scheduling[0]
    else:
        assert (found["policy"], found["priority"]) == (SCHED_RR | RESET_ON_FORK, 3)
    if memory:
        assert found["locked_kib"] == 0
    else:
        assert found["locked_kib"] != 0
    assert (found["child_policy"], found["child_locked_kib"]) == (SCHED_OTHER, 0)


@pytest.mark.netns
def test_without_privilege_each_refusal_names_what_it_needs() -> None:
    found = use_real_time(
        *("prlimit", "--rtprio=0", "--memlock=65536:65536"),
        *("setpriv", "--bounding-set=-sys_nice,-ipc_lock,-sys_resource", "--"),
    )
    assert found["refused"] == [
        "no real-time scheduling: Operation not permitted; it needs CAP_SYS_NICE or LimitRTPRIO=3,"
        " RestrictRealtime=no, and real-time run time in the control group",
        "memory is not locked: at most 65536 bytes may be; it needs CAP_IPC_LOCK or"
        " LimitMEMLOCK=infinity",
    ]
    assert (found["policy"], found["locked_kib"]) == (SCHED_OTHER, 0)
