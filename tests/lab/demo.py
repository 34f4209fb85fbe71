"""``make demo``: the classic cluster, from its own files, through its three acceptance tests."""

from __future__ import annotations

import argparse
import dataclasses
import json
import os
import shutil
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final

from rich.console import Console
from rich.live import Live
from rich.table import Table

from heartbus import log
from heartbus.model import TIMER_PROFILES
from tests.lab.acceptance import TITLES, Acceptance, Finding
from tests.lab.classic import ClassicCluster
from tests.lab.kernel import CHECKOUT
from tests.lab.network import Lab
from tests.lab.screen import Screen, title

REPORT: Final = CHECKOUT / "build" / "demo" / "report.json"
LOGS: Final = CHECKOUT / "build" / "demo" / "logs"
REFRESHES_PER_S: Final = 2


def main(argv: Sequence[str] | None = None) -> int:
    """Run the demo; exit code 0 only if every promise held."""
    options = _options(argv)
    log.configure(level="error")
    console = Console()
    findings: list[Finding] = []
    began_s = time.monotonic()
    kernel = "the lab kernel" if "HEARTBUS_LAB_KERNEL" in os.environ else "this kernel"
    console.print(
        f"heartbus demo on {kernel} ({os.uname().release}): two directors, three real servers "
        f"and a client, made of network namespaces; logs in {LOGS.relative_to(CHECKOUT)}/"
    )
    shutil.rmtree(LOGS, ignore_errors=True)
    with Lab(directory=LOGS) as lab:
        cluster = ClassicCluster(lab)
        cluster.start_real_servers()
        cluster.start_sorry_servers()
        if console.is_terminal:
            _run_live(console, cluster, options, findings)
        else:
            _run_plain(console, cluster, options, findings)
    report = _report(findings, options, kernel=kernel, took_s=time.monotonic() - began_s)
    REPORT.parent.mkdir(parents=True, exist_ok=True)
    REPORT.write_text(json.dumps(report, indent=2) + "\n")
    _summary(console, findings, report)
    return 0 if report["held"] else 1


def _options(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="make demo",
        description="Run the classic cluster through its three acceptance tests.",
        epilog="example: make demo TIMERS=classic",
    )
    parser.add_argument(
        "--timers",
        choices=sorted(TIMER_PROFILES),
        default="lan",
        help="lan: a dead director is noticed in 0.3 s; classic: the files' own, 30 s",
    )
    parser.add_argument(
        "--only", type=int, choices=sorted(TITLES), action="append", help="run this test only"
    )
    return parser.parse_args(argv)


def _run_live(
    console: Console,
    cluster: ClassicCluster,
    options: argparse.Namespace,
    findings: list[Finding],
) -> None:
    def found(finding: Finding) -> None:
        findings.append(finding)
        screen.found(finding)

    acceptance = Acceptance(
        cluster, timers=options.timers, say=lambda text: screen.say(text), found=found
    )
    screen = Screen(acceptance)
    with Live(screen, console=console, refresh_per_second=REFRESHES_PER_S, transient=True):
        _run(acceptance, options, screen.headline)


def _run_plain(
    console: Console,
    cluster: ClassicCluster,
    options: argparse.Namespace,
    findings: list[Finding],
) -> None:
    began_s = time.monotonic()

    def say(text: str) -> None:
        console.print(f"{time.monotonic() - began_s:6.1f} s  {text}", soft_wrap=True)

    def found(finding: Finding) -> None:
        findings.append(finding)
        say(f"{'held  ' if finding.held else 'FAILED'} {finding.promise} ({finding.seen})")

    _run(Acceptance(cluster, timers=options.timers, say=say, found=found), options, say)


def _run(
    acceptance: Acceptance, options: argparse.Namespace, headline: Callable[[str], None]
) -> None:
    for test in options.only or sorted(TITLES):
        headline(title(test))
        acceptance.run(test)


def _report(
    findings: list[Finding], options: argparse.Namespace, *, kernel: str, took_s: float
) -> dict[str, Any]:
    tests = []
    for test in options.only or sorted(TITLES):
        own = [finding for finding in findings if finding.test == test]
        gaps = [finding.gap_s for finding in own if finding.gap_s is not None]
        tests.append(
            {
                "test": test,
                "title": TITLES[test],
                "held": bool(own) and all(finding.held for finding in own),
                "gap_s": round(max(gaps), 4) if gaps else None,
                "findings": [dataclasses.asdict(finding) for finding in own],
            }
        )
    return {
        "held": all(entry["held"] for entry in tests),
        "timers": options.timers,
        "kernel": f"{kernel} ({os.uname().release})",
        "took_s": round(took_s, 1),
        "tests": tests,
    }


def _summary(console: Console, findings: list[Finding], report: dict[str, Any]) -> None:
    table = Table("test", "promise", "held", "seen", title=f"Timers: {report['timers']}")
    for finding in findings:
        table.add_row(
            str(finding.test),
            finding.promise,
            "[green]yes[/]" if finding.held else "[bold red]NO[/]",
            finding.seen,
        )
    console.print(table)
    for entry in report["tests"]:
        if entry["gap_s"] is not None:
            console.print(
                f"Test {entry['test']}: crash of the active director: "
                f"no answer for {entry['gap_s'] * 1000:.0f} ms"
            )
    verdict = "All promises held." if report["held"] else "Not every promise held."
    console.print(f"{verdict} {report['took_s']:.0f} s; report: {REPORT.relative_to(Path.cwd())}")


if __name__ == "__main__":
    sys.exit(main())
