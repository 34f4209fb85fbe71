"""heartbus-checker, the web server that it asks, and what a program costs."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from tests.common.nats import NatsServer
from tests.common.ports import free_port

FIRST_S_MAX: Final = 180.0


class Responder:
    """The web server beside it, on every loopback address."""

    def __init__(self) -> None:
        self.port = free_port()
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.benchmarks.checking.responder", str(self.port)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self._line()

    def accepted(self) -> int:
        """Return how many connections there were."""
        assert self._process.stdin is not None
        self._process.stdin.write("?\n")
        self._process.stdin.flush()
        return int(self._line())

    def close(self) -> None:
        self._process.kill()
        self._process.wait()

    def _line(self) -> str:
        assert self._process.stdout is not None
        return self._process.stdout.readline()


@dataclass(slots=True)
class Program:
    """A running program and its children."""

    process: subprocess.Popen[bytes]

    def pids(self) -> list[int]:
        found, todo = [], [self.process.pid]
        while todo:
            pid = todo.pop()
            found.append(pid)
            with contextlib.suppress(OSError):
                children = Path(f"/proc/{pid}/task/{pid}/children").read_text()
                todo += map(int, children.split())
        return found

    def cpu_s(self) -> float:
        """Return the time that all threads of all of them have run so far, kernel included.

        By the scheduler, to the nanosecond (proc(5), schedstat): user and system time are counted
        by ticks in some kernels, which programs that sleep between ticks escape.
        """
        total_ns = 0
        for pid in self.pids():
            with contextlib.suppress(OSError):
                for thread in Path(f"/proc/{pid}/task").iterdir():
                    total_ns += int((thread / "schedstat").read_text().split()[0])
        return total_ns / 1e9

    def resident_bytes(self) -> int:
        """Return the memory of all of them, shared pages counted where they are used."""
        total = 0
        for pid in self.pids():
            with contextlib.suppress(OSError):
                fields = Path(f"/proc/{pid}/statm").read_text().split()
                total += int(fields[1]) * os.sysconf("SC_PAGE_SIZE")
        return total


def addresses(count: int) -> list[str]:
    """Return so many loopback addresses."""
    return [f"127.{1 + n // 62500}.{n % 62500 // 250}.{1 + n % 250}" for n in range(count)]


def checker_toml(
    targets: Sequence[str],
    *,
    tcp: bool,
    interval_s: float,
    timeout_s: float = 3.0,
    mortal: str | None = None,
) -> str:
    """Return the configuration: one service with all targets, and one with the mortal one."""
    what = (
        'type = "connect"'
        if tcp
        else 'service = "http", request = "/.testpage", receive = "Test Page"'
    )
    times = (
        f"interval = {interval_s}, connect_timeout = {timeout_s}, negotiate_timeout = {timeout_s}"
    )
    text = """
[[directors]]
name = "bench"

[membership.authentication]
signing_key = 1
keys = [{ id = 1, method = "sha256", secret = "bench" }]
"""
    services = [(80, targets)] if targets else []
    if mortal is not None:
        services.append((81, [mortal]))
    for port, servers in services:
        listed = "".join(f'  {{ address = "{server}", method = "masq" }},\n' for server in servers)
        text += f"""
[[virtual_services]]
address = "192.0.2.110:{port}"
check = {{ {what}, {times} }}
real_servers = [
{listed}]
"""
    return text


@contextlib.contextmanager
def heartbus_checker(config: str, *, one_core: bool = False) -> Iterator[tuple[Program, str]]:
    """Run the checker beside a nats-server; gives the program and the address of the bus."""
    with (
        tempfile.TemporaryDirectory(prefix="heartbus-bench-") as name,
        NatsServer(Path(name)) as nats,
    ):
        path = Path(name) / "heartbus.toml"
        path.write_text(config)
        path.chmod(0o600)
        pinned = ["taskset", "-c", "0"] if one_core else []
        environment = {
            **os.environ,
            "HEARTBUS_RUNTIME_DIR": name,
            "HEARTBUS_STATE_DIR": name,
        }
        with running(
            [
                *pinned,
                str(Path(sys.executable).with_name("heartbus-checker")),
                *("--config", str(path), "--node", "bench", "--nats", nats.url),
            ],
            environment,
            Path(name) / "log",
        ) as program:
            yield program, nats.url


@contextlib.contextmanager
def running(words: Sequence[str], environment: dict[str, str], log: Path) -> Iterator[Program]:
    """Run a program in a session of its own; all of it is killed at the end."""
    with log.open("wb") as output:
        process = subprocess.Popen(
            words, env=environment, stdout=output, stderr=output, start_new_session=True
        )
    try:
        yield Program(process)
        if process.poll() is not None:
            raise SystemExit(f"{words[0]} has ended:\n{log.read_text(errors='replace')[-3000:]}")
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


@dataclass(frozen=True, slots=True, kw_only=True)
class Cost:
    """What a program costs: CPU time of one check, memory, checks per second, share of a core."""

    cpu_us: float
    resident_bytes: int
    checks_per_s: float
    core_share: float


def cost(
    program: Program, responder: Responder, *, first: int, warm_s: float, for_s: float
) -> Cost:
    """Let it make its ``first`` checks, which cost more, and go on for a while; then measure."""
    begun, began_s = responder.accepted(), time.monotonic()
    while responder.accepted() < begun + first:
        if time.monotonic() > began_s + FIRST_S_MAX or program.process.poll() is not None:
            raise SystemExit(f"only {responder.accepted() - begun} of its first {first} checks")
        time.sleep(0.5)  # the period of looking, bounded by FIRST_S_MAX
    time.sleep(warm_s)  # later rounds cost less than the first
    before = (program.cpu_s(), responder.accepted(), time.monotonic())
    time.sleep(for_s)  # the span that is measured
    after = (program.cpu_s(), responder.accepted(), time.monotonic())
    used_s, checks, took_s = (b - a for a, b in zip(before, after, strict=True))
    return Cost(
        cpu_us=used_s / max(1, checks) * 1e6,
        resident_bytes=program.resident_bytes(),
        checks_per_s=checks / took_s,
        core_share=used_s / took_s,
    )
