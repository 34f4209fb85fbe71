"""``heartbus probe``: one check now, outside of the running checker, with the time of each step.

It changes no verdict and publishes nothing. Exit code: 0 every check passed, 1 one failed, 2 wrong
words or configuration, 3 this machine could not even ask.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import click
import uvloop

from heartbus.cli.options import config_option, json_option
from heartbus.config import ConfigError, load
from heartbus.config.show_checks import check_in_words
from heartbus.model import Check
from heartbus.runner import EXIT_CONFIG, EXIT_MACHINE, fail

from .probes import ProbeResult
from .probes.combined import AlternatingProbe
from .probes.deadline import Deadlines
from .probes.factory import ProbeError, ProbeMaker
from .probes.pattern import PatternError
from .probes.ping import Pings
from .probes.stream import Streams
from .probes.tls import TlsError
from .targets import CheckPlan, Target, TargetError, plan_checks

TARGETS_SHOWN_MAX = 20


@dataclass(slots=True)
class Run:
    """One check and its steps; times in seconds since it was begun."""

    target: Target
    services: tuple[str, ...]
    steps: list[tuple[float, str]] = field(default_factory=list)
    result: ProbeResult | None = None


@click.command(epilog="Example: heartbus probe 192.168.7.11:80 --config /etc/ha.d")
@click.argument("target")
@config_option
@click.option("--service", metavar="NAME", help="Only as this virtual service checks it.")
@json_option
def probe(target: str, config: str, service: str | None, *, as_json: bool) -> None:
    """Check the real server TARGET now, as the configuration says, and show each step.

    TARGET is ADDRESS:PORT as `heartbus status` shows it, or an address alone. Checks that several
    virtual services share are run once.

    Exit code: 0 every check passed, 1 one failed, 2 no such real server or a configuration that
    cannot be used, 3 this machine lacks something.
    """
    try:
        cluster = load(config).cluster
        plan = plan_checks(cluster.virtual_services)
    except (ConfigError, TargetError) as error:
        sys.exit(fail("heartbus probe", error, EXIT_CONFIG))
    runs = _chosen(plan, target, service)
    if not runs:
        _say_nothing_to_run(plan, target)
        sys.exit(EXIT_CONFIG)
    try:
        uvloop.run(_run_all(runs))
    except (ProbeError, PatternError, TlsError, ImportError) as error:
        sys.exit(fail("heartbus probe", error, EXIT_CONFIG))
    click.echo(_json(runs) if as_json else "\n".join(_lines(runs)))
    results = [run.result for run in runs if run.result is not None]
    if not all(result.conclusive for result in results):
        sys.exit(EXIT_MACHINE)
    sys.exit(0 if all(result.passed for result in results) else 1)


def _chosen(plan: CheckPlan, wanted: str, service: str | None) -> list[Run]:
    chosen = []
    for target in plan.targets:
        listeners = [
            listener
            for listener in plan.listeners[target]
            if service is None or listener.virtual_service == service
        ]
        names = {str(listener.real_server) for listener in listeners}
        names |= {name.rpartition(":")[0].strip("[]") for name in names}
        if wanted in names:
            services = tuple(str(listener.virtual_service) for listener in listeners)
            chosen.append(Run(target, services))
    return chosen


def _say_nothing_to_run(plan: CheckPlan, wanted: str) -> None:
    unchecked = [u for u in plan.unchecked if wanted in (u.real_server, str(u.real_server))]
    if unchecked:
        click.echo(f"heartbus probe: {wanted} is not probed: {unchecked[0].reason}", err=True)
        return
    names = sorted({str(li.real_server) for found in plan.listeners.values() for li in found})
    more = " …" if len(names) > TARGETS_SHOWN_MAX else ""
    allowed = ", ".join(names[:TARGETS_SHOWN_MAX]) or "none, no real server is probed"
    click.echo(
        f"heartbus probe: {wanted!r} is no real server that is checked; allowed is {allowed}{more}",
        err=True,
    )


async def _run_all(runs: Sequence[Run]) -> None:
    loop = asyncio.get_running_loop()
    streams, pings = Streams(loop), Pings()

    def drain() -> None:
        streams.drain()
        pings.drain()

    deadlines = Deadlines(loop, drain=drain)
    try:
        for run in runs:
            await _run(run, streams, pings, deadlines)
    finally:
        deadlines.close()
        streams.close()
        pings.close()


async def _run(run: Run, streams: Streams, pings: Pings, deadlines: Deadlines) -> None:
    done: asyncio.Future[ProbeResult] = asyncio.get_running_loop().create_future()
    begun_s = time.monotonic()

    def tell(step: str) -> None:
        run.steps.append((time.monotonic() - begun_s, step))

    maker = ProbeMaker(streams=streams, node=os.uname().nodename, pings=pings, tell=tell)
    made = maker.probe(run.target)
    timeout_s = made.timeout_s if isinstance(made, AlternatingProbe) else run.target.timeout_s
    begun_s = time.monotonic()
    deadlines.begin(
        made, timeout_s=timeout_s, finished=lambda result, _hung: done.set_result(result)
    )
    run.result = await done
    verdict = "passed" if run.result.passed else "failed"
    tell(f"{verdict if run.result.conclusive else 'inconclusive'}: {run.result.reason}")


def _lines(runs: Sequence[Run]) -> list[str]:
    lines = []
    for run in runs:
        lines.append(f"{run.target.endpoint} for {', '.join(run.services)}")
        lines.append(f"  {check_in_words(_with_times(run.target))}")
        lines += [f"  {at_s * 1000:9.1f} ms  {step}" for at_s, step in run.steps]
    return lines


def _with_times(target: Target) -> Check:
    return replace(
        target.check,
        negotiate_timeout_s=target.timeout_s,
        connect_timeout_s=target.connect_timeout_s or target.timeout_s,
        interval_s=target.interval_s,
    )


def _json(runs: Sequence[Run]) -> str:
    document = [
        {
            "endpoint": str(run.target.endpoint),
            "virtual_services": run.services,
            "check": check_in_words(_with_times(run.target)),
            "steps": [{"at_s": round(at_s, 6), "what": step} for at_s, step in run.steps],
            "passed": run.result.passed,
            "conclusive": run.result.conclusive,
            "reason": run.result.reason,
            "took_s": round(run.result.took_s, 6),
            "weight": run.result.weight,
        }
        for run in runs
        if run.result is not None
    ]
    return json.dumps(document, indent=2)
