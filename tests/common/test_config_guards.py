"""What stands beside membership, in both forms: watchdog, fences, clients, real time."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import pytest

from heartbus.config import ConfigError, load
from heartbus.config.digest import config_digest
from heartbus.config.show import render
from heartbus.model import Cluster, Fence, FenceAction, FenceOption, SupervisedClient
from tests.common.config_samples import QUIET, QUIET_HA_CF, directory, loaded, remarks, said

TOML = """\
[[directors]]
name = "a"
[[directors]]
name = "b"
[membership]
links = [{ kind = "bcast", interface = "eth1" }]
[membership.authentication]
signing_key = 1
keys = [{ id = 1, secret = "x" }]
"""
FIRST = TOML.count("\n") + 1
FENCES = """\
[[membership.fences]]
director = "a"
command = "/bin/sh"
timeout = 5
options = { ip = "10.0.0.1", lanplus = true, ipport = 623, password_file = "ipmi.key" }
[[membership.fences]]
director = "b"
command = "/bin/sh"
action = "reboot"
options = { identity_file = "/root/.ssh/id", passwd = "hunter2", password_script = "/bin/pw" }
"""


def native(tmp_path: Path, text: str, **files: str) -> Cluster:
    place = directory(tmp_path, {"heartbus.toml": TOML + text, **files})
    return load(str(place / "heartbus.toml")).cluster


def native_remarks(tmp_path: Path, text: str, **files: str) -> list[str]:
    place = directory(tmp_path, {"heartbus.toml": TOML + text, **files})
    try:
        return said(load(str(place / "heartbus.toml")).diagnostics, place)
    except ConfigError as error:
        return said(error.diagnostics, place)


def classic_remarks(tmp_path: Path, lines: str, executables: tuple[str, ...] = ()) -> list[str]:
    root = tmp_path / "no-such-root"
    for path in executables:
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).touch(0o755)
    return remarks(tmp_path, {**QUIET, "ha.cf": QUIET_HA_CF + lines})


# --- fences --------------------------------------------------------------------------------------


def test_fences_become_lines_for_the_command(tmp_path: Path) -> None:
    (tmp_path / "ha.d").mkdir()
    cluster = native(tmp_path, FENCES, **{"ipmi.key": "s3cret\n"})
    assert cluster.membership.fences == (
        Fence(
            director="a",
            command="/bin/sh",
            timeout_s=5.0,
            options=(
                FenceOption(name="ip", value="10.0.0.1"),
                FenceOption(name="lanplus", value="1"),
                FenceOption(name="ipport", value="623"),
                FenceOption(name="password", value="s3cret"),
            ),
        ),
        Fence(
            director="b",
            command="/bin/sh",
            action=FenceAction.REBOOT,
            timeout_s=20.0,
            options=(
                FenceOption(name="identity_file", value="/root/.ssh/id"),
                FenceOption(name="passwd", value="hunter2"),
                FenceOption(name="password_script", value="/bin/pw"),
            ),
        ),
    )
    assert [o.secret for f in cluster.membership.fences for o in f.options] == [
        *(False, False, False, True),
        *(False, True, False),
    ]


@pytest.mark.parametrize("as_json", [False, True])
def test_passwords_of_fences_are_shown_nowhere(tmp_path: Path, as_json: bool) -> None:
    cluster = native(tmp_path, FENCES, **{"ipmi.key": "s3cret\n"})
    shown = render(cluster, as_json)
    for secret in ("hunter2", "s3cret"):
        assert secret not in shown
        assert secret not in repr(cluster.membership.fences)
    assert "10.0.0.1" in shown
    if as_json:
        options = json.loads(shown)["membership"]["fences"][0]["options"]
        assert options[3] == {"name": "password", "value": "(not shown)"}


def test_the_digest_depends_on_options_but_not_on_passwords(tmp_path: Path) -> None:
    cluster = native(tmp_path, FENCES, **{"ipmi.key": "s3cret\n"})
    other_password = native(tmp_path, FENCES, **{"ipmi.key": "another\n"})
    other_address = native(tmp_path, FENCES.replace("10.0.0.1", "10.0.0.9"), **{"ipmi.key": "x"})
    assert config_digest(cluster) == config_digest(other_password)
    assert config_digest(cluster) != config_digest(other_address)


def test_secret_files_that_others_may_read_are_refused(tmp_path: Path) -> None:
    place = directory(tmp_path, {"heartbus.toml": TOML + FENCES, "ipmi.key": "s3cret\n"})
    (place / "ipmi.key").chmod(0o640)
    with pytest.raises(ConfigError) as refused:
        load(str(place / "heartbus.toml"))
    assert "ipmi.key: mode 640: group or others may read the secret" in str(refused.value)
    (place / "ipmi.key").chmod(0o600)
    (place / "heartbus.toml").chmod(0o644)
    with pytest.raises(ConfigError) as refused:
        load(str(place / "heartbus.toml"))
    words = str(refused.value)
    assert "membership.fences[1].options.passwd: mode 644: group or others" in words
    assert "or passwd_file" in words


@pytest.mark.parametrize(
    ("lines", "line", "words"),
    [
        (["director = 'c'", "command = '/bin/sh'"], 1, "director: 'c' is no director; allowed is"),
        (["director = 'a'"], 0, "command: missing"),
        (["command = '/bin/sh'"], 0, "director: missing"),
        (["director = 'a'", "command = 'fence_x'"], 2, "command: 'fence_x' is not allowed"),
        (
            ["director = 'a'", "command = '/bin/sh'", "action = 'on'"],
            3,
            "action: 'on' is not allowed; allowed is off, reboot",
        ),
        (["director = 'a'", "command = '/bin/sh'", "timeout = 0"], 3, "timeout: 0 is not allowed"),
        (["director = 'a'", "command = '/bin/sh'", "timeout = 601"], 3, "timeout: 601.0 is not"),
        (
            ["director = 'a'", "command = '/bin/sh'", "options = { action = 'on' }"],
            3,
            "options.action: not allowed among the options",
        ),
        (
            ["director = 'a'", "command = '/bin/sh'", "options = { 'a b' = 'on' }"],
            3,
            "options.'a b': no name for an option",
        ),
        (
            ["director = 'a'", "command = '/bin/sh'", 'options = { ip = "a\\nb" }'],
            3,
            "options.ip: allowed is one line",
        ),
        (
            ["director = 'a'", "command = '/bin/sh'", "options = { ip = [1] }"],
            3,
            "options.ip: [1] is not allowed; allowed is text, a whole number, true or false",
        ),
        (
            ["director = 'a'", "command = '/bin/sh'", "options = { password = ['hunter2'] }"],
            3,
            "options.password: not text",
        ),
        (
            ["director = 'a'", "command = '/bin/sh'", "options = { password_file = 'absent' }"],
            3,
            "options.password_file: 'absent' cannot be read",
        ),
        (
            [
                "director = 'a'",
                "command = '/bin/sh'",
                "options = { password = 'x', password_file = 'y' }",
            ],
            3,
            "options.password_file: given beside password; allowed is one",
        ),
        (["director = 'a'", "command = '/etc/passwd'"], 2, "command: '/etc/passwd' cannot be run"),
        (["director = 'a'", "command = '/etc'"], 2, "command: '/etc' cannot be run; allowed is"),
    ],
)
def test_a_wrong_fence_is_refused_with_its_line(
    tmp_path: Path, lines: list[str], line: int, words: str
) -> None:
    text = "[[membership.fences]]\n" + "\n".join(lines) + "\n"
    found = native_remarks(tmp_path, text)
    start = f"error heartbus.toml:{FIRST + line}: membership.fences[0].{words}"
    assert [r for r in found if r.startswith(start)], found
    assert "hunter2" not in str(found)


def test_a_missing_fence_command_is_a_warning_as_one_file_serves_all(tmp_path: Path) -> None:
    text = FENCES.replace('"/bin/sh"', '"/usr/sbin/no-such-agent"')
    assert native_remarks(tmp_path, text, **{"ipmi.key": "s"})[:1] == [
        f"warning heartbus.toml:{FIRST + 2}: membership.fences[0].command: no program"
        " '/usr/sbin/no-such-agent' here; a director without it cannot fence this way"
    ]


def test_a_director_without_a_fence_beside_others_that_have_one_is_warned_of(
    tmp_path: Path,
) -> None:
    first, header, _ = FENCES.rpartition("[[membership.fences]]")
    assert header
    (words,) = native_remarks(tmp_path, first, **{"ipmi.key": "s"})
    assert "membership.fences: no fence for b: when one of these is dead it is taken over" in words


@pytest.mark.parametrize("line", ["stonith_host * ssh linuxha1", "stonith ssh /etc/ha.d/st.cf"])
def test_stonith_lines_say_what_to_write_instead(tmp_path: Path, line: str) -> None:
    (words,) = [r for r in classic_remarks(tmp_path, line) if "stonith" in r]
    assert words == (
        f"warning ha.cf:4: {line.split()[0]}: known to Heartbeat, not used by this version: plugins"
        " of cluster-glue are not used, so a dead director is NOT fenced; write"
        " [[membership.fences]] with a fence agent in heartbus.toml instead"
    )


# --- clients -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("respawn root /opt/x -v", "warning ha.cf:4: respawn: no program '/opt/x' here; a director"
            " without it goes on alone"),
        ("respawn no-such-user /opt/ok", "warning ha.cf:4: respawn: no user 'no-such-user' here;"
            " where there is none it is not started"),
        ("respawn hacluster /opt/ccm", "note ha.cf:4: respawn: ccm is built into heartbus; it is"
            " not started"),
        ("failfast root /opt/ok", "warning ha.cf:4: failfast: known to Heartbeat, not used by this"
            " version: a host is not rebooted because a program beside heartbus ended; respawn"
            " starts it again"),
    ],
)  # fmt: skip
def test_what_is_said_of_clients_of_the_old_form(tmp_path: Path, line: str, words: str) -> None:
    found = classic_remarks(tmp_path, f"{line}\nrealtime off", executables=("opt/ok",))
    assert found == [words]


def test_a_client_that_can_be_started_is_met_with_silence(tmp_path: Path) -> None:
    lines = "respawn root /opt/ok --flag\nrealtime off"
    assert classic_remarks(tmp_path, lines, executables=("opt/ok",)) == []


def test_more_clients_than_are_bearable_are_refused(tmp_path: Path) -> None:
    lines = "respawn root /opt/ok\n" * 65
    (words,) = classic_remarks(tmp_path, lines + "realtime off", executables=("opt/ok",))
    assert words == "error ha.cf:68: respawn: 65 are too many; allowed is 64"


def test_a_client_that_is_here_and_cannot_be_run_is_an_error(tmp_path: Path) -> None:
    text = '[[membership.clients]]\nuser = "root"\ncommand = "/etc/passwd -x"\n'
    assert native_remarks(tmp_path, text) == [
        f"error heartbus.toml:{FIRST + 2}: membership.clients[0].command: '/etc/passwd' cannot be"
        " run; allowed is an executable file"
    ]


def test_clients_of_the_toml_form(tmp_path: Path) -> None:
    text = '[[membership.clients]]\nuser = "root"\ncommand = "/bin/sh -c \'sleep 1\'"\n'
    (client,) = native(tmp_path, text).membership.clients
    assert client == SupervisedClient(user="root", command="/bin/sh -c 'sleep 1'")
    assert (client.program, client.built_in) == ("/bin/sh", False)
    assert native_remarks(tmp_path, text) == []
    bad_user = text.replace('"root"', '"ro ot"')
    assert "clients[0].user: 'ro ot' is not allowed" in str(native_remarks(tmp_path, bad_user))


# --- watchdog and real time ----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("lines", "realtime", "rtprio"),
    [
        ("", False, 1),
        ("realtime on", True, 1),
        ("realtime off", False, 1),
        ("realtime yes\nrtprio 42", True, 42),
    ],
)
def test_real_time_of_the_old_form(tmp_path: Path, lines: str, realtime: bool, rtprio: int) -> None:
    place = directory(tmp_path, {**QUIET, "ha.cf": QUIET_HA_CF + lines})
    membership = loaded(place).cluster.membership
    assert (membership.realtime, membership.rtprio) == (realtime, rtprio)


@pytest.mark.parametrize(
    ("lines", "words"),
    [
        ("realtime maybe", "error ha.cf:4: realtime: 'maybe' is not allowed; allowed is on or off"),
        ("rtprio 100", "error ha.cf:4: rtprio: '100' is not allowed; allowed is a whole number"
            " from 1 to 99"),
        ("rtprio 3", "note ha.cf:4: rtprio: without effect: realtime is off"),
        ("watchdog watchdog0", "error ha.cf:4: watchdog: 'watchdog0' is not allowed; allowed is a"
            " path that starts with /"),
    ],
)  # fmt: skip
def test_wrong_values_of_the_old_form(tmp_path: Path, lines: str, words: str) -> None:
    assert [r for r in classic_remarks(tmp_path, lines) if r.startswith(words)]


def test_real_time_and_watchdog_of_the_toml_form(tmp_path: Path) -> None:
    assert not native(tmp_path, "").membership.realtime
    text = TOML.replace(
        "[membership]\n", '[membership]\nrealtime = true\nrtprio = 7\nwatchdog = "/dev/watchdog0"\n'
    )
    place = directory(tmp_path, {"heartbus.toml": text})
    result = loaded(place)
    membership = result.cluster.membership
    assert (membership.realtime, membership.rtprio) == (True, 7)
    assert membership.watchdog == "/dev/watchdog0"
    assert said(result.diagnostics, place) == []
    cluster = dataclasses.replace(result.cluster)
    assert "  real time       SCHED_RR, priority 7, memory locked" in render(cluster, False)
    for wrong in ("rtprio = 0", "rtprio = true", 'realtime = "on"'):
        wrong_text = TOML.replace("[membership]\n", f"[membership]\n{wrong}\n")
        with pytest.raises(ConfigError, match=r"heartbus.toml:6: membership\.(rtprio|realtime)"):
            loaded(directory(tmp_path, {"heartbus.toml": wrong_text}))
