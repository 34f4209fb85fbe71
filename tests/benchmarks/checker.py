"""What checks cost and how soon they tell, beside Debian's keepalived and ldirectord.

``make bench-checker``. Three parts:

- CPU per HTTP and TCP check and memory per target of the whole process, beside keepalived and
  ldirectord with the same targets in the same run, in turn (``checking/beside.py`` has how).
- 10,000 targets at 5 s on one core: checks per second against what is due.
- Time from the death of a server to its verdict on the bus, with 0 and with 2,000 other servers
  that accept and stay silent. The others have no figure here: their verdict is not on a bus.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import resource
import socket
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, Final

from heartbus import log, subjects
from heartbus.bus import Inbox, NatsBus
from heartbus.events import CheckerState, Health, RealServerDown
from tests.benchmarks.checking.beside import keepalived, ldirectord
from tests.benchmarks.checking.programs import (
    Cost,
    Program,
    Responder,
    addresses,
    checker_toml,
    cost,
    heartbus_checker,
)

REPORT: Final = Path("build/bench/checker.json")
FEW, MANY = 100, 600
WARM_S: Final = 3.0
TARGETS: Final = 10_000
INTERVAL_S: Final = 5.0
SILENT: Final = 2000
DEATHS: Final = 10


def row(
    name: str,
    unit: str,
    ours: Sequence[float],
    theirs: Sequence[float] = (),
    *,
    peer_name: str | None = None,
    reach: float | None = None,
    more_is_better: bool = False,
) -> dict[str, Any]:
    """Return one row of the report: medians, and the spread of ours."""
    value, peer = _middle(ours), _middle(theirs) if theirs else None
    better = None
    if peer is not None:
        better = value >= peer if more_is_better else value <= peer
    reached = None if reach is None else (value >= reach if more_is_better else value <= reach)
    return {
        "name": name,
        "unit": unit,
        "heartbus": round(value, 2),
        "peer": None if peer is None else round(peer, 2),
        "peer_name": peer_name,
        "ratio": round(value / peer, 3) if peer else None,
        "better": better,
        "n": len(ours),
        "spread": round(max(ours) - min(ours), 2),
        "reach": reach,
        "reached": reached,
    }


def _middle(values: Sequence[float]) -> float:
    return sorted(values)[len(values) // 2]


# --- beside keepalived and ldirectord -------------------------------------------------------------

Start = Callable[[list[str], bool], AbstractContextManager[Program]]


@contextlib.contextmanager
def _ours(targets: list[str], tcp: bool) -> Iterator[Program]:
    with heartbus_checker(checker_toml(targets, tcp=tcp, interval_s=1.0)) as (program, _url):
        yield program


OURS: Final = "heartbus"
PROGRAMS: Final[dict[str, Start]] = {
    OURS: _ours,
    "keepalived": lambda targets, tcp: keepalived(targets, tcp=tcp, interval_s=1.0),
    "ldirectord": lambda targets, tcp: ldirectord(targets, tcp=tcp, interval_s=1.0),
}


ONCE: Final = ("ldirectord",)
"""It takes half a minute until its first round: it runs ipvsadm three times for each server."""


def beside_others(runs: int, for_s: float) -> list[dict[str, Any]]:
    """Measure all of them with the same targets, in turn."""
    rows = []
    responder = Responder()
    try:
        for kind, tcp in (("HTTP", False), ("TCP", True)):
            many: dict[str, list[Cost]] = {name: [] for name in PROGRAMS}
            few: dict[str, Cost] = {}
            targets = [f"{address}:{responder.port}" for address in addresses(MANY)]
            for run in range(runs):
                for name, start in PROGRAMS.items():
                    if name in ONCE and run:
                        continue
                    with start(targets, tcp) as program:
                        many[name].append(_cost(program, responder, MANY, for_s))
            for name, start in PROGRAMS.items():
                with start(targets[:FEW], tcp) as program:
                    few[name] = _cost(program, responder, FEW, 0.1)
            for peer in list(PROGRAMS)[1:]:
                rows += _rows(kind, peer, many, few)
    finally:
        responder.close()
    return rows


def _cost(program: Program, responder: Responder, targets: int, for_s: float) -> Cost:
    return cost(program, responder, first=2 * targets, warm_s=WARM_S, for_s=for_s)


def _rows(
    kind: str, peer: str, many: dict[str, list[Cost]], few: dict[str, Cost]
) -> list[dict[str, Any]]:
    def sides(of: Callable[[str, Cost], float]) -> list[list[float]]:
        return [[of(name, found) for found in many[name]] for name in (OURS, peer)]

    def kib(name: str, found: Cost) -> float:
        # Of two sizes, so that what is there without any target does not count.
        return (found.resident_bytes - few[name].resident_bytes) / (MANY - FEW) / 1024

    us = sides(lambda _, found: found.cpu_us)
    per_s = sides(lambda _, found: found.checks_per_s)
    done = f"{kind} checks done, {MANY} targets at 1 s"
    return [
        row(f"CPU per {kind} check", "us", *us, peer_name=peer),
        row(f"memory per {kind} target", "KiB", *sides(kib), peer_name=peer),
        row(done, "1/s", *per_s, peer_name=peer, more_is_better=True),
    ]


# --- many targets --------------------------------------------------------------------------------


def many_targets(for_s: float) -> list[dict[str, Any]]:
    """Check 10,000 targets on one core."""
    rows = []
    responder = Responder()
    try:
        for kind, tcp in (("HTTP", False), ("TCP", True)):
            targets = [f"{address}:{responder.port}" for address in addresses(TARGETS)]
            config = checker_toml(targets, tcp=tcp, interval_s=INTERVAL_S)
            with heartbus_checker(config, one_core=True) as (program, _url):
                found = cost(program, responder, first=TARGETS, warm_s=2 * INTERVAL_S, for_s=for_s)
            due = TARGETS / INTERVAL_S
            share = [found.checks_per_s / due * 100]
            name = f"{TARGETS} {kind} targets at {INTERVAL_S:g} s on one core"
            rows.append(row(f"{name}: done", "% of due", share, reach=98.0, more_is_better=True))
            rows.append(row(f"{name}: core", "%", [found.core_share * 100], reach=100.0))
            megabytes = found.resident_bytes / 1024 / 1024
            rows.append(row(f"{name}: memory", "MiB", [megabytes]))
    finally:
        responder.close()
    return rows


# --- from death to verdict -----------------------------------------------------------------------


def deaths(count: int) -> list[dict[str, Any]]:
    """Let a server die again and again, beside others that are silent."""
    rows = []
    for silent in (0, SILENT):
        took_ms = asyncio.run(_deaths(silent, count))
        name = f"death to verdict, {silent} others silent, 1 s interval"
        rows.append(row(name, "ms", took_ms, reach=1200.0))
    return rows


async def _deaths(silent: int, count: int) -> list[float]:
    with socket.create_server(("0.0.0.0", 0), backlog=4096) as pit:  # never accepts
        mortal_port = _free_port()
        mortal = f"127.200.0.1:{mortal_port}"
        others = [f"{address}:{pit.getsockname()[1]}" for address in addresses(silent)]
        config = checker_toml(others, tcp=False, interval_s=1.0, timeout_s=1.0, mortal=mortal)
        server = await _serve(mortal_port)
        with heartbus_checker(config) as (_program, url):
            inbox = Inbox()
            bus = NatsBus(url=url, node="observer", service="observer", incarnation=time.time_ns())
            bus.subscribe([subjects.states_of_service("checker"), RealServerDown.kind], inbox)
            running = asyncio.create_task(bus.run())
            took_ms: list[float] = []
            try:
                await _up(inbox, mortal)
                await asyncio.sleep(4.0 if silent else 0.5)
                for number in range(count):
                    await asyncio.sleep(0.618 * number % 1)  # at any point of the interval
                    server.close()
                    died_s = time.monotonic()
                    await _down(inbox, mortal)
                    took_ms.append((time.monotonic() - died_s) * 1000)
                    server = await _serve(mortal_port)
                    await _up(inbox, mortal)
            finally:
                running.cancel()
                await asyncio.wait({running})
                server.close()
        return took_ms


async def _serve(port: int) -> asyncio.Server:
    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await reader.readuntil(b"\r\n\r\n")
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nTest Page")
            await writer.drain()
        except (OSError, asyncio.IncompleteReadError):
            pass  # the check has gone
        writer.close()

    return await asyncio.start_server(answer, "127.200.0.1", port)


async def _down(inbox: Inbox, real_server: str) -> None:
    async with asyncio.timeout(60):
        while True:
            body = (await inbox.get()).body
            if isinstance(body, RealServerDown) and body.real_server == real_server:
                return


async def _up(inbox: Inbox, real_server: str) -> None:
    """Wait for a snapshot: the event may have come before we listened."""
    async with asyncio.timeout(60):
        while True:
            body = (await inbox.get()).body
            if isinstance(body, CheckerState) and any(
                v.real_server == real_server and v.health is Health.UP for v in body.verdicts
            ):
                return


def _free_port() -> int:
    with socket.create_server(("127.200.0.1", 0)) as listener:
        port: int = listener.getsockname()[1]
        return port


def main(argv: Sequence[str] | None = None) -> int:
    """Measure, print a table, write the report."""
    parser = argparse.ArgumentParser(description="What checks cost and how soon they tell.")
    parser.add_argument("--runs", type=int, default=3, help="runs beside the others")
    parser.add_argument("--seconds", type=float, default=15.0, help="how long each is measured")
    parser.add_argument("--deaths", type=int, default=DEATHS)
    parser.add_argument("--only", choices=("peer", "many", "deaths"))
    options = parser.parse_args(argv)
    _soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, 16384), hard))
    log.configure(level="error")
    rows: list[dict[str, Any]] = []
    if options.only in (None, "many"):
        rows += many_targets(options.seconds)
    if options.only in (None, "deaths"):
        rows += deaths(options.deaths)
    if options.only in (None, "peer"):
        rows += beside_others(options.runs, options.seconds)
    for r in rows:
        peer = f"  {r['peer_name']} {r['peer']:g}  ratio {r['ratio']}" if r["peer_name"] else ""
        reach = (
            ""
            if r["reach"] is None
            else f"  reach {r['reach']:g}: {'yes' if r['reached'] else 'NO'}"
        )
        print(  # noqa: T201  # a command
            f"{r['name']:52} {r['heartbus']:>9g} {r['unit']:9} spread {r['spread']:g}{peer}{reach}"
        )
    REPORT.parent.mkdir(parents=True, exist_ok=True)
    found = json.loads(REPORT.read_text()) if options.only and REPORT.exists() else []
    merged = {(r["name"], r["peer_name"]): r for r in (*found, *rows)}
    REPORT.write_text(json.dumps(list(merged.values()), indent=2) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
