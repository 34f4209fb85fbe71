"""What checks cost and how soon they tell, beside Debian's keepalived in the same run.

``make bench-checker``. Three parts:

- CPU per HTTP and TCP check and memory per target of the whole process, beside keepalived with the
  same targets, one after the other. keepalived needs a kernel with IPVS: where this one has none,
  both run in the lab kernel, in which a system call costs more than elsewhere; the ratio is fair
  only as far as both make the same calls. The report says which kernel it was.
- 10,000 targets at 5 s on one core of this kernel: checks per second against what is due.
- Time from the death of a server to its verdict on the bus, with 0 and with 2,000 other servers
  that accept and stay silent. keepalived has no figure here: its verdict is not on a bus.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import resource
import socket
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

from heartbus import log, subjects
from heartbus.bus import Inbox, NatsBus
from heartbus.events import CheckerState, Health, RealServerDown
from tests.benchmarks.checking.programs import (
    Cost,
    Responder,
    addresses,
    checker_toml,
    cost,
    heartbus_checker,
    keepalived,
)

REPORT: Final = Path("build/bench/checker.json")
MARK: Final = "ROWS "
FEW, MANY = 100, 600
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
    reach: float | None = None,
    more_is_better: bool = False,
    kernel: str = "this",
) -> dict[str, Any]:
    """Return one row of the report: medians, and the spread of ours."""
    value, peer = _middle(ours), _middle(theirs) if theirs else None
    better = None if peer is None else value <= peer
    reached = None if reach is None else (value >= reach if more_is_better else value <= reach)
    return {
        "name": name,
        "unit": unit,
        "heartbus": round(value, 2),
        "peer": None if peer is None else round(peer, 2),
        "peer_name": None if peer is None else "keepalived",
        "ratio": round(value / peer, 3) if peer else None,
        "better": better,
        "n": len(ours),
        "spread": round(max(ours) - min(ours), 2),
        "reach": reach,
        "reached": reached,
        "kernel": kernel,
    }


def _middle(values: Sequence[float]) -> float:
    return sorted(values)[len(values) // 2]


# --- beside keepalived ---------------------------------------------------------------------------


def beside_keepalived(runs: int, for_s: float) -> list[dict[str, Any]]:
    """Measure both with the same targets, in turn."""
    rows = []
    kernel = os.uname().release
    responder = Responder()
    try:
        for kind, tcp in (("HTTP", False), ("TCP", True)):
            found: dict[str, list[Cost]] = {"ours": [], "theirs": [], "ours few": [], "few": []}
            for _ in range(runs):
                for count, ours, theirs in ((MANY, "ours", "theirs"), (FEW, "ours few", "few")):
                    targets = [f"{address}:{responder.port}" for address in addresses(count)]
                    config = checker_toml(targets, tcp=tcp, interval_s=1.0)
                    with heartbus_checker(config) as (program, _url):
                        found[ours].append(cost(program, responder, warm_s=8.0, for_s=for_s))
                    with keepalived(targets, tcp=tcp, interval_s=1.0) as program:
                        found[theirs].append(cost(program, responder, warm_s=8.0, for_s=for_s))
            us = [[c.cpu_us for c in found[side]] for side in ("ours", "theirs")]
            rows.append(row(f"CPU per {kind} check", "us", *us, kernel=kernel))
            # Of two sizes, so that what is there without any target does not count.
            per_target = [
                [
                    (many.resident_bytes - few.resident_bytes) / (MANY - FEW) / 1024
                    for many, few in zip(found[side], found[small], strict=True)
                ]
                for side, small in (("ours", "ours few"), ("theirs", "few"))
            ]
            rows.append(row(f"memory per {kind} target", "KiB", *per_target, kernel=kernel))
    finally:
        responder.close()
    return rows


def in_a_kernel_with_ipvs(runs: int, for_s: float) -> list[dict[str, Any]]:
    """Run the part above where IPVS is."""
    if Path("/proc/net/ip_vs").exists():
        return beside_keepalived(runs, for_s)
    words = [sys.executable, "-m", "tests.lab.run", "--", sys.executable, "-m", __spec__.name]
    words += ["--inside", "--runs", str(runs), "--seconds", str(for_s)]
    done = subprocess.run(words, stdout=subprocess.PIPE, text=True, check=False)
    for line in done.stdout.splitlines():
        if line.startswith(MARK):
            found: list[dict[str, Any]] = json.loads(line.removeprefix(MARK))
            return found
    raise SystemExit(f"the lab kernel gave no figures:\n{done.stdout[-3000:]}")


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
                found = cost(program, responder, warm_s=3 * INTERVAL_S, for_s=for_s)
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
    parser.add_argument("--runs", type=int, default=3, help="runs beside keepalived")
    parser.add_argument("--seconds", type=float, default=15.0, help="how long each is measured")
    parser.add_argument("--deaths", type=int, default=DEATHS)
    parser.add_argument("--only", choices=("peer", "many", "deaths"))
    parser.add_argument("--inside", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args(argv)
    _soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, 16384), hard))
    log.configure(level="error")
    if options.inside:
        print(MARK + json.dumps(beside_keepalived(options.runs, options.seconds)))  # noqa: T201
        return 0
    rows: list[dict[str, Any]] = []
    if options.only in (None, "many"):
        rows += many_targets(options.seconds)
    if options.only in (None, "deaths"):
        rows += deaths(options.deaths)
    if options.only in (None, "peer"):
        rows += in_a_kernel_with_ipvs(options.runs, options.seconds)
    for r in rows:
        peer = "" if r["peer"] is None else f"  keepalived {r['peer']:g}  ratio {r['ratio']}"
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
    merged = {old["name"]: old for old in found} | {r["name"]: r for r in rows}
    REPORT.write_text(json.dumps(list(merged.values()), indent=2) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
