"""External, perl, ping, file and combined checks, each with the real thing."""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from heartbus.icmp import Address
from heartbus.model import Check, CheckService, CheckType, Endpoint
from heartbus_checker.probes import ProbeResult
from heartbus_checker.probes.combined import AlternatingProbe
from heartbus_checker.probes.ping import PingProbe, Pings
from tests.common.ports import free_port

from .asking import Asker
from .servers import RealServers

SERVER = Endpoint(address="192.0.2.11", port=8080)


def script(directory: Path, text: str, *, name: str = "check") -> str:
    path = directory / name
    path.write_text(text)
    path.chmod(0o755)
    return str(path)


def external(*command: str, timeout_s: float = 5.0, **fields: Any) -> Check:
    fields = {"type": CheckType.EXTERNAL, "addresses": True, **fields}
    return Check(command=command, connect_timeout_s=timeout_s, **fields)


async def test_a_command_gets_the_four_arguments_of_ldirectord(
    asker: Asker, tmp_path: Path
) -> None:
    command = script(tmp_path, '#!/bin/sh\necho "$@"\n')
    result = await asker.check(external(command, "-x"), SERVER)
    assert result.passed
    words = f"command {command}: exit status 0: '-x 192.0.2.110 80 192.0.2.11 8080' after "
    assert result.reason.startswith(words)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("#!/bin/sh\necho broken >&2\nexit 3\n", "exit status 3: 'broken' after "),
        ("#!/bin/sh\nkill -9 $$\n", "ended by SIGKILL after "),
    ],
)
async def test_a_command_that_fails_says_how(
    asker: Asker, tmp_path: Path, text: str, words: str
) -> None:
    result = await asker.check(external(script(tmp_path, text)), SERVER)
    assert not result.passed
    assert words in result.reason


async def test_a_command_that_is_not_there_says_nothing_of_the_server(asker: Asker) -> None:
    result = await asker.check(external("/no/such/program"), SERVER)
    assert (result.passed, result.conclusive) == (False, False)
    assert "cannot be started: No such file" in result.reason


@pytest.mark.parametrize(
    ("status", "passed", "weight"), [(0, True, None), (1, False, None), (2, True, 0), (9, True, 7)]
)
async def test_the_exit_status_may_be_a_weight(
    asker: Asker, tmp_path: Path, status: int, passed: bool, weight: int | None
) -> None:
    command = script(tmp_path, f"#!/bin/sh\nexit {status}\n")
    result = await asker.check(external(command, dynamic_weight=True), SERVER)
    assert (result.passed, result.weight) == (passed, weight)


@pytest.mark.parametrize(
    "text",
    [
        "#!/bin/sh\necho $$ >>{pids}\nsleep 60\n",
        "#!/bin/sh\nsleep 60 &\necho $! >>{pids}\necho $$ >>{pids}\nwait\n",
        "#!/bin/sh\necho $$ >>{pids}\nsetsid sh -c 'echo $$ >>{pids}; sleep 60' &\nsleep 60\n",
        "#!/bin/sh\ntrap '' TERM\necho $$ >>{pids}\nwhile :; do echo more; done\n",
    ],
    ids=["hangs", "forks", "leaves the group", "writes without end"],
)
async def test_a_command_out_of_hand_is_killed_with_its_children(
    asker: Asker, tmp_path: Path, text: str
) -> None:
    pids = tmp_path / "pids"
    command = script(tmp_path, text.format(pids=pids))
    before = len(os.listdir("/proc/self/fd"))
    result = await asker.check(external(command, timeout_s=0.3), SERVER)
    assert not result.passed
    assert "still running after 0.3 s, killed" in result.reason
    assert result.took_s < 30.0, "killed, and not waited for"
    left = [pid for pid in pids.read_text().split() if await _lives(pid)]
    assert left == []
    assert len(os.listdir("/proc/self/fd")) == before


async def _lives(pid: str) -> bool:
    """Whether it runs on; one that was killed may still wait for its new parent."""
    for _ in range(100):
        try:
            # A file in memory.
            stat = Path(f"/proc/{pid}/stat").read_text()  # noqa: ASYNC240
            state = stat.rpartition(")")[2].split()[0]
        except OSError:
            return False
        if state in "ZX":
            return False
        await asyncio.sleep(0.02)
    return True


async def test_perl_runs_as_a_child_with_its_arguments(asker: Asker, tmp_path: Path) -> None:
    command = script(tmp_path, 'print "@ARGV"; exit($ARGV[3] == 8080 ? 0 : 1);')
    perl = external(command, type=CheckType.EXTERNAL_PERL)
    result = await asker.check(perl, SERVER)
    assert result.passed, result.reason
    assert "'192.0.2.110 80 192.0.2.11 8080'" in result.reason
    hanging = external(script(tmp_path, "sleep 60;"), type=CheckType.EXTERNAL_PERL, timeout_s=0.3)
    assert "still running" in (await asker.check(hanging, SERVER)).reason


# --- ping ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("address", ["127.0.0.1", "::1"])
async def test_ping_over_both_families(asker: Asker, address: str) -> None:
    check = Check(type=CheckType.PING, connect_timeout_s=5.0)
    result = await asker.check(check, Endpoint(address=address, port=80))
    assert result.passed, result.reason
    assert result.reason.startswith(f"ping {address}: answered after ")


class Silence:
    """Sockets that nobody answers; counts the questions."""

    def __init__(self, *, problem: str | None = None) -> None:
        self.asked, self.problem = 0, problem

    def open(self, *, ipv4: bool, ipv6: bool, readable: Callable[[], None]) -> str | None:
        return self.problem

    def can_ask(self, address: Address) -> bool:
        return self.problem is None

    def ask(self, address: Address) -> str | None:
        self.asked += 1
        return None

    def drain(self) -> list[Address]:
        return []

    def forget(self, address: Address) -> None:
        pass

    def close(self) -> None:
        pass


async def test_ping_without_an_answer_has_asked_as_often_as_it_may(asker: Asker) -> None:
    silence = Silence()
    probe = PingProbe(Pings(silence), "192.0.2.1", attempts=3, within_s=0.1)
    result = await asker.run(probe, timeout_s=0.3)
    assert not result.passed
    assert result.reason == "ping 192.0.2.1: no answer to 3 questions within 0.3 s"
    assert silence.asked == 3


async def test_ping_without_privilege_says_nothing_of_the_server(asker: Asker) -> None:
    pings = Pings(Silence(problem="IPv4: needs CAP_NET_RAW"))
    result = await asker.run(PingProbe(pings, "192.0.2.1", attempts=1, within_s=1.0), timeout_s=1.0)
    assert (result.passed, result.conclusive) == (False, False)
    assert "needs CAP_NET_RAW" in result.reason


# --- files ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("content", "passed", "weight", "words"),
    [
        ("5\n", True, 5, ": 5"),
        ("0", True, 0, ": 0"),
        ("-1", False, None, ": -1"),
        ("much", False, None, "not one whole number: 'much'"),
        ("1" * 100, False, None, "not one whole number"),
        (None, False, None, "No such file or directory"),
    ],
)
async def test_a_file_says_whether_and_how_much(
    asker: Asker, tmp_path: Path, content: str | None, passed: bool, weight: int | None, words: str
) -> None:
    path = tmp_path / "health"
    if content is not None:
        path.write_text(content)
    check = Check(type=CheckType.FILE, file=str(path), dynamic_weight=True)
    result = await asker.check(check, SERVER)
    assert (result.passed, result.weight) == (passed, weight)
    assert words in result.reason


# --- combined ------------------------------------------------------------------------------------


async def test_combined_negotiates_then_connects_and_negotiates_after_a_failure(
    asker: Asker, real_servers: RealServers
) -> None:
    endpoint = real_servers.get("nginx").endpoint("http")
    check = Check(
        type=CheckType.COMBINED,
        service=CheckService.HTTP,
        connects=2,
        request="/.testpage",
        negotiate_timeout_s=7.0,
        connect_timeout_s=3.0,
    )
    _, probe = asker.probe(check, endpoint)
    assert isinstance(probe, AlternatingProbe)
    said: list[str] = []
    for _ in range(4):
        timeout_s = probe.timeout_s
        result = await asker.run(probe, timeout_s=timeout_s)
        assert result.passed, result.reason
        said.append(f"{result.reason.split()[0]} {timeout_s:g}")
    assert said == ["GET 7", "connect 3", "connect 3", "GET 7"]


async def test_combined_negotiates_after_a_failed_connect(asker: Asker) -> None:
    class Fake:
        def __init__(self, *, passes: bool) -> None:
            self.passes, self.begun = passes, 0

        def begin(self, finished: Any) -> Any:
            self.begun += 1
            outcome = ProbeResult(passed=self.passes, reason="", took_s=0.0)
            asyncio.get_running_loop().call_soon(finished, outcome)
            return self

        def expire(self, within_s: float) -> ProbeResult:
            raise AssertionError("not reached")

    negotiate, connect = Fake(passes=True), Fake(passes=False)
    probe = AlternatingProbe(
        negotiate, connect, connects=5, negotiate_timeout_s=2.0, connect_timeout_s=1.0
    )
    for _ in range(4):
        await asker.run(probe, timeout_s=1.0)
    assert (negotiate.begun, connect.begun) == (2, 2)


async def test_the_answer_by_udp_counts_only_from_the_server(asker: Asker) -> None:
    """A connected socket: what another port sends is not heard."""
    endpoint = Endpoint(address="127.0.0.1", port=free_port())
    with (
        socket.socket(type=socket.SOCK_DGRAM) as server,
        socket.socket(type=socket.SOCK_DGRAM) as other,
    ):
        server.bind((endpoint.address, endpoint.port))
        server.setblocking(False)
        asking = asyncio.ensure_future(
            asker.ask(CheckService.UDP, endpoint, udp=True, request="hello", receive="^right$")
        )
        loop = asyncio.get_running_loop()
        question, asker_address = await loop.sock_recvfrom(server, 100)
        other.sendto(b"wrong", asker_address)
        server.sendto(b"right", asker_address)
        result = await asking
    assert question == b"hello"
    assert result.passed, result.reason
