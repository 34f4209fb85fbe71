"""What a push would do to the kernel is said before, and is what it then does."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest

from tests.ipvs_agent.namespace import fresh_network_namespace

pytestmark = [pytest.mark.ipvs, pytest.mark.timeout(180)]

HEARTBUS: Final = Path(sys.prefix) / "bin" / "heartbus"
START_MAX_S: Final = 90.0
HEAD: Final = """\
[[directors]]
name = "one"
address = "127.0.0.1"
[[directors]]
name = "two"
address = "192.0.2.2"
[membership]
timers = "lan"
[[membership.links]]
kind = "bcast"
interface = "dummy0"
[membership.authentication]
signing_key = 1
[[membership.authentication.keys]]
id = 1
secret_file = "key"
"""


def service(port: int, *servers: int, weight: int = 1) -> str:
    reals = ", ".join(
        f'{{ address = "192.0.2.{server}:{port}", weight = {weight} }}' for server in servers
    )
    return (
        f'[[virtual_services]]\naddress = "192.0.2.100:{port}"\nscheduler = "rr"\n'
        f'check = {{ type = "on" }}\nreal_servers = [{reals}]\n'
    )


@pytest.fixture
def config(tmp_path: Path) -> Iterator[Path]:
    """A director that runs alone: the other one is dead."""
    path = tmp_path / "heartbus.toml"
    for file, text in ((tmp_path / "key", "a-secret-of-sixteen-or-more"), (path, HEAD)):
        file.write_text(text)
        file.chmod(0o600)
    path.write_text(HEAD + service(80, 11, 12))
    with fresh_network_namespace(), (tmp_path / "log").open("wb") as log:
        for words in (
            "link add dummy0 type dummy",
            "link set dummy0 up",
            "addr add 192.0.2.1/24 broadcast + dev dummy0",
        ):
            subprocess.run(["ip", *words.split()], check=True)
        options = [f"--config={path}", "--node=one", f"--runtime-dir={tmp_path / 'run'}"]
        with subprocess.Popen(
            [HEARTBUS, "up", *options, f"--state-dir={tmp_path / 'state'}"],
            stdout=log,
            stderr=log,
        ) as director:
            deadline_s = time.monotonic() + START_MAX_S
            while b"director.ready" not in (tmp_path / "log").read_bytes():
                assert director.poll() is None, (tmp_path / "log").read_text()
                assert time.monotonic() < deadline_s, (tmp_path / "log").read_text()
                time.sleep(0.1)  # asks for the log of another process; bounded above
            yield path
            director.terminate()
            assert director.wait(30) == 0


def table() -> set[str]:
    """Return the rules that ipvsadm would restore, without what has its default."""
    shown = subprocess.run(
        ["ipvsadm", "--save", "--numeric"], stdout=subprocess.PIPE, text=True, check=True
    )
    return set(shown.stdout.splitlines())


def push(config: Path, text: str, *options: str) -> list[str]:
    """Push a document; return what the agent said it would do, in words of ipvsadm."""
    file = config.with_name("new.toml")
    file.write_text(text)
    words = [
        *(str(HEARTBUS), "config", "push", str(file)),
        *(f"--config={config}", "--without=two", "--json"),
    ]
    done = subprocess.run([*words, *options], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    said: list[str] = json.loads(done.stdout)["directors"]["one"]["plans"]["ipvs-agent"]
    return said


def test_the_operations_that_are_shown_are_those_that_are_carried_out(config: Path) -> None:
    before = table()
    text = HEAD + service(80, 11, weight=7) + service(81, 13)
    said = push(config, text, "--dry-run")
    assert table() == before
    assert said == [
        "-e -t 192.0.2.100:80 -r 192.0.2.11:80 -g -w 7",
        "-d -t 192.0.2.100:80 -r 192.0.2.12:80",
        "-A -t 192.0.2.100:81 -s rr",
        "-a -t 192.0.2.100:81 -r 192.0.2.13:81 -g -w 1",
    ]
    assert push(config, text) == said
    assert {re.sub(" -x .*", "", rule) for rule in table()} == {
        "-A -t 192.0.2.100:80 -s rr",
        "-a -t 192.0.2.100:80 -r 192.0.2.11:80 -g -w 7",
        "-A -t 192.0.2.100:81 -s rr",
        "-a -t 192.0.2.100:81 -r 192.0.2.13:81 -g -w 1",
    }
    assert set(push(config, HEAD)) == {"-D -t 192.0.2.100:80", "-D -t 192.0.2.100:81"}
    assert table() == set()
