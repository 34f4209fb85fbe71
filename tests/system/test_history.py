"""What `heartbus why` tells of what really happened, and failover whatever becomes of the history.

Real processes in network namespaces, asked as an administrator would ask them. Every story is
asked on both directors: each has the events of both.
"""

from __future__ import annotations

import json
import re
import signal
import sqlite3
import sys
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from heartbus.events import RecorderState
from tests.lab.network import Host, Lab, Process, wait_until
from tests.lab.pairs import NAMES, VIP, HeartbusPair
from tests.system.fault import Fault, resume

pytestmark = [pytest.mark.netns, pytest.mark.timeout(180)]

HEARTBUS = Path(sys.prefix) / "bin" / "heartbus"
RECORDER = "heartbus-record"
"""As ps shows it."""

SERVER = "192.0.2.11"
SERVICE = f"""
[[virtual_services]]
address = "{VIP}:80"
[virtual_services.check]
type = "connect"
interval = 1
connect_timeout = 1
[[virtual_services.real_servers]]
address = "{SERVER}:80"
"""
DEADTIME_S = 0.3
KNOWN_S = 20.0
"""Until a recorder has written what happened, and a peer has what it missed."""

SMALL_BYTES = 12 * 1024 * 1024
"""The file, and the log of what was written to it last, which SQLite empties at 4 MB."""


class History:
    """A pair with a real server, and small disks for what both directors remember."""

    def __init__(self, lab: Lab, pair: HeartbusPair) -> None:
        self.pair = pair
        self.web = lab.host("h-web")
        lab.attach(self.web, pair.lan, "eth0", f"{SERVER}/24")
        self.server: Process | None = None
        self.serve()

    def serve(self) -> None:
        program = [sys.executable, "-m", "http.server", "80", "--bind", SERVER]
        self.server = self.web.start([*program, "--directory", str(self.web.directory)])

    def ask(self, on: str, *words: str) -> tuple[int, dict[str, Any]]:
        """Return the exit code and the answer of ``heartbus why`` on a director."""
        done = self.pair.hosts[on].run([HEARTBUS, "why", *words, "--json"], check=False)
        assert done.returncode in (0, 1), done.stderr
        return done.returncode, json.loads(done.stdout)

    def until(
        self, on: str, is_so: Callable[[dict[str, Any]], object], *words: str
    ) -> dict[str, Any]:
        """Ask until the newest news have arrived; return that answer."""
        answers: list[dict[str, Any]] = []

        def told() -> bool:
            answers.append(self.ask(on, *words)[1])
            return bool(is_so(answers[-1]))

        try:
            wait_until(told, timeout_s=KNOWN_S, what=f"{on} knows it: {words}")
        except TimeoutError as error:
            raise AssertionError(f"{error}: {answers[-1]}") from None
        return answers[-1]


@pytest.fixture(scope="module")
def history() -> Iterator[History]:
    with Lab() as lab:
        pair = HeartbusPair(lab, "h", echo_period_s=0.01, sections=SERVICE)
        for host in pair.hosts.values():
            small_disk(host)
        with pair:
            yield History(lab, pair)


@pytest.fixture(autouse=True)
def _whole(history: History) -> Iterator[None]:
    """Leave both directors running and heard, whatever a test did to one."""
    yield
    pair = history.pair
    for name in NAMES:
        pair.links[name].heal()
        if pair.processes[name].returncode is not None:
            pair.clear(name)
            pair.start(name)


def small_disk(host: Host) -> None:
    """Let the recorder write where there is little room; its file is a link to it."""
    state, small = host.directory / "state", host.directory / "small"
    state.mkdir()
    small.mkdir()
    host.run(["mount", "-t", "tmpfs", "-o", f"size={SMALL_BYTES}", "none", str(small)])
    (state / "history.db").symlink_to(small / "history.db")


def kinds(answer: dict[str, Any]) -> list[str]:
    return [step["kind"] for step in answer["steps"]]


# --- stories -------------------------------------------------------------------------------------


def test_a_standby_moved_it(history: History) -> None:
    pair = history.pair
    active = pair.settle()
    standby = pair.other(active)
    pair.hosts[standby].run([HEARTBUS, "standby", "--node", active])
    pair.settle()
    for asked in NAMES:
        answer = history.until(
            asked,
            lambda a: a["answer"].startswith(f"{standby} holds it") and a["known"],
            "vip",
            "vip",
        )
        assert kinds(answer) == [
            "vip.acquired",
            "group.granted",
            "group.revoked",
            "operator.commanded",
        ]
        granted, revoked, commanded = answer["steps"][1:]
        assert (granted["node"], revoked["node"], commanded["node"]) == (standby, active, active)
        assert "commanded: standby" in commanded["text"]
        assert any("operator.answered: standby: done" in x for x in commanded["evidence"])


def test_a_dead_director_lost_it_and_what_it_missed_it_learns(history: History) -> None:
    pair = history.pair
    active = pair.settle()
    standby = pair.other(active)
    pair.links[active].cut()
    pair.signal_all(active, signal.SIGKILL)
    answer = history.until(
        standby, lambda a: a["answer"].startswith(f"{standby} holds it"), "vip", "vip"
    )
    assert answer["known"]
    assert kinds(answer) == ["vip.acquired", "group.granted", "node.dead"]
    death = answer["steps"][-1]
    assert death["node"] == standby
    # 0.3 s, or more where this director doubted itself because its machine was busy.
    said = re.search(rf"{active}: silent on all links for ([\d.]+) s \(deadtime\)", death["text"])
    assert said is not None, death["text"]
    assert float(said[1]) >= 0.3
    assert any(f"node.late: {active} was silent" in line for line in death["evidence"])
    assert any(f"link.down: {active} was silent over" in line for line in death["evidence"])
    assert f"{active} was not heard since" in death["evidence"]
    code, of_node = history.ask(standby, "node", active)
    assert (code, kinds(of_node)) == (0, ["node.dead"])

    pair.clear(active)
    pair.start(active)
    pair.settle()
    for asked in NAMES:
        again = history.until(
            asked,
            lambda a: a["steps"] and any("had ended" in x for x in a["steps"][-1]["evidence"]),
            "vip",
            "vip",
        )
        assert kinds(again) == kinds(answer), asked
        assert [s["id"] for s in again["steps"]] == [s["id"] for s in answer["steps"]], asked
    back = history.until(active, lambda a: kinds(a)[:1] == ["node.alive"], "node", active)
    assert kinds(back) == ["node.alive", "node.dead"]


def test_a_director_that_stopped_gave_it_away(history: History) -> None:
    pair = history.pair
    active = pair.settle()
    standby = pair.other(active)
    pair.terminate(active)
    assert pair.processes[active].wait(timeout_s=30.0) == 0
    answer = history.until(
        standby, lambda a: a["answer"].startswith(f"{standby} holds it"), "vip", "vip"
    )
    assert answer["known"]
    told = " | ".join(step["text"] for step in answer["steps"])
    # Whose word comes first: its vip's, its membership's, or that it has left.
    assert any(x in told for x in ("vip is stopping", "director stops", "asked to stop")), told
    of_node = history.until(standby, lambda a: kinds(a)[:1] == ["node.left"], "node", active)
    assert kinds(of_node) == ["node.left", "service.stopped"]
    assert of_node["steps"][1]["text"].endswith("it stopped: asked to stop")


def test_a_real_server_is_down_by_its_own_words(history: History) -> None:
    assert history.server is not None
    name = f"{SERVER}:80"
    for asked in NAMES:
        history.until(asked, lambda a: kinds(a)[:1] == ["realserver.up"], "realserver", name)
    history.server.kill()
    for asked in NAMES:
        answer = history.until(
            asked, lambda a: kinds(a)[:1] == ["realserver.down"], "realserver", SERVER
        )
        assert answer["known"]
        (down,) = answer["steps"]
        assert "refused" in down["text"].lower()
        assert any(line.startswith("before: ") for line in down["evidence"])
        assert any("virtualservice.down" in line for line in down["evidence"])
    history.serve()
    history.until("one", lambda a: kinds(a)[:1] == ["realserver.up"], "realserver", name)


def test_where_the_history_has_a_gap_the_cause_is_unknown_and_it_says_why(
    history: History, tmp_path: Path
) -> None:
    """A copy of a real history, from which one event is taken; and one that ends too early."""
    host = history.pair.hosts["one"]
    holder = history.pair.settle()
    copy = tmp_path / "copy.db"
    backup(host, copy)
    whole = json.loads(host.run([HEARTBUS, "why", "vip", "vip", "--json", "--file", copy]).stdout)
    assert whole["known"]
    assert whole["answer"].startswith(f"{holder} holds it")
    for step in whole["steps"][1:]:
        with sqlite3.connect(copy) as db:
            payload = db.execute("SELECT * FROM events WHERE id = ?", (step["id"],)).fetchone()
            db.execute("DELETE FROM events WHERE id = ?", (step["id"],))
        db.close()
        done = host.run([HEARTBUS, "why", "vip", "vip", "--json", "--file", copy], check=False)
        answer = json.loads(done.stdout)
        if step["kind"] != "group.granted":
            assert done.returncode == 1, (step, answer)
            assert answer["unknown"].startswith("unknown, because the history has not got"), answer
        with sqlite3.connect(copy) as db:
            db.execute("INSERT INTO events VALUES (?, ?, ?, ?, ?, ?, ?)", payload)
        db.close()


def backup(host: Host, copy: Path) -> None:
    code = (
        "import sqlite3, sys; source = sqlite3.connect(sys.argv[1]);"
        " target = sqlite3.connect(sys.argv[2]); source.backup(target); target.close()"
    )
    host.run([sys.executable, "-c", code, host.directory / "small" / "history.db", copy])


# --- failover without a history ------------------------------------------------------------------


def stop(pair: HeartbusPair, name: str) -> Callable[[], None]:
    return partial(resume, pair.signal_all(name, signal.SIGSTOP, RECORDER))


def fill(pair: HeartbusPair, name: str) -> Callable[[], None]:
    filler = pair.hosts[name].directory / "small" / "filler"
    done = pair.hosts[name].run(
        ["dd", "if=/dev/zero", f"of={filler}", "bs=64k", "count=1000"], check=False
    )
    assert "No space left on device" in done.stderr

    def mend() -> None:
        pair.hosts[name].run(["rm", filler])

    return mend


def damage(pair: HeartbusPair, name: str) -> Callable[[], None]:
    file = pair.hosts[name].directory / "small" / "history.db"
    pair.hosts[name].run(
        ["dd", "if=/dev/urandom", f"of={file}", "bs=1k", "count=60", "conv=notrunc"]
    )
    return lambda: None


@pytest.mark.parametrize("trouble", [stop, fill, damage])
def test_no_vip_moves_or_waits_because_of_the_history(
    history: History, trouble: Callable[[HeartbusPair, str], Callable[[], None]]
) -> None:
    """On both directors at once; then the active one is cut off."""
    fault = Fault(history.pair)
    pair = fault.pair
    mends = [trouble(pair, name) for name in NAMES]
    fault.stays(for_s=2.0)
    cut_s = time.monotonic()
    pair.links[fault.active].cut()
    fault.wait_until_held_by(*NAMES, within_s=DEADTIME_S)
    pair.client.wait_for_answer(after_s=cut_s + 0.05, timeout_s=5.0)
    silence = pair.client.silence(from_s=cut_s - 0.1, until_s=time.monotonic())
    assert silence.longest_s - silence.own_late_s < DEADTIME_S + 0.5
    pair.links[fault.active].heal()
    fault.wait_until_held_by(fault.standby, within_s=2.0)
    for mend in mends:
        mend()
    for name in NAMES:
        assert alarm_or_none(history, name) or trouble is not fill
    wait_until(
        lambda: all(alarm_or_none(history, name) is None for name in NAMES),
        timeout_s=KNOWN_S,
        what="both histories are kept again",
    )
    for name in NAMES:
        answer = history.until(name, lambda a: "node.dead" in kinds(a), "vip", "vip")
        assert answer["known"], answer


def alarm_or_none(history: History, name: str) -> str | None:
    """Return why a director does not keep its history, as its snapshot says."""
    observer = history.pair.observers[name]
    state = observer.view.state(name, RecorderState)
    age_s = observer.view.age_s(name, RecorderState, now_s=time.monotonic())
    if state is None or age_s is None or age_s > 3.0:
        return "not heard"
    return state.problem
