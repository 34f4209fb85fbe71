"""``heartbus simulate``: what would happen, and when, played on the cores that would decide it."""

from __future__ import annotations

import asyncio
import json
import socket
import sys
import time
from pathlib import Path
from typing import Any, Final

import click

from heartbus import log
from heartbus.bus import BusUnreachableError
from heartbus.cli.options import config_option, json_option, nats_option, observer_name
from heartbus.cli.status import collect
from heartbus.config import ConfigError
from heartbus.config.digest import config_digest
from heartbus.events import (
    AskEvents,
    CheckerState,
    DirectorStatus,
    HeartbeatGaps,
    IpvsState,
    MembershipState,
    Message,
)
from heartbus.history.asking import NobodyError, opened
from heartbus.model import TIMER_PROFILES, Cluster
from heartbus.observer import ClusterView
from heartbus.recording import ANSWER_EVENTS_MAX
from heartbus.runner import EXIT_CONFIG, EXIT_MACHINE, fail, load_cluster
from heartbus_simulator import gaps, report, words
from heartbus_simulator.losing import Loss, Seen, lose
from heartbus_simulator.plan import Configured, left_out
from heartbus_simulator.play import Now, UnlikeError, play
from heartbus_simulator.words import SentenceError, Wanted

PLAYS: Final = 10
FRESH_S: Final = 3.0
DAY_S: Final = 86_400.0
HISTORY_FILE: Final = Path("/var/lib/heartbus/history.db")
EXIT_UNLIKE: Final = 1

_EPILOG: Final = """\
\b
Examples:
  heartbus simulate kill linuxha1
  heartbus simulate cut eth1 one-way
  heartbus simulate lose 192.168.7.13
  heartbus simulate set deadtime 300ms over last week
  heartbus simulate --offline --config new.toml kill linuxha1 for 20s
"""


@click.command(epilog=_EPILOG)
@click.argument("sentence", nargs=-1, required=True)
@config_option
@nats_option
@json_option
@click.option("--offline", is_flag=True, help="Ask no director: all are well, as configured.")
@click.option(
    "--timers",
    type=click.Choice(sorted(TIMER_PROFILES)),
    envvar="HEARTBUS_TIMERS",
    help="Play with this named set of detection times, as heartbus up --timers.",
)
@click.option(
    "--plays",
    type=click.IntRange(1, 200),
    default=PLAYS,
    show_default=True,
    help="Play it so often: when a fault falls between two heartbeats is chance.",
)
def simulate(
    sentence: tuple[str, ...],
    config: str,
    nats: str,
    *,
    as_json: bool,
    offline: bool,
    timers: str | None,
    plays: int,
) -> None:
    """Say what would happen, and when. Nothing is touched.

    SENTENCE is one of the following; it is played from the configuration and the state that the
    directors have now, by the same code that would decide it, on a virtual time.

    \b
    kill DIRECTOR                         its power is cut
    kill membership|vip on DIRECTOR       a process is killed, and back after 0.5 s
    pause DIRECTOR for TIME               the host does not run for a while
    stop DIRECTOR                         a clean stop
    cut LINK [one-way] [from DIRECTOR] [and bus]
    isolate DIRECTOR                      nothing reaches it or leaves it
    lose SERVER [and SERVER ...]          real servers do not answer any more
    lose bus [on DIRECTOR]                the nats-server is gone
    set deadtime TIME over last week      with the heartbeats that were recorded
    All but the last may end with: for TIME

    Exit code: 0 played, 1 the play does not come to the state that the directors are in,
    2 wrong words or a configuration that cannot be used, 3 the bus cannot be reached.
    """  # noqa: D301 (click wants \b)
    log.configure(level="error")
    program = "heartbus simulate"
    try:
        cluster = load_cluster(config, timers=timers)
    except ConfigError as error:
        sys.exit(fail(program, error, EXIT_CONFIG))
    try:
        view = None if offline else asyncio.run(collect(nats))
    except BusUnreachableError as error:
        click.echo(f"{program}: {error} --offline plays the configuration alone", err=True)
        sys.exit(EXIT_MACHINE)
    try:
        document = _document(sentence, cluster, view, plays=plays, nats=nats)
    except SentenceError as error:
        click.echo(f"{program}: {error}", err=True)
        sys.exit(EXIT_CONFIG)
    except NobodyError as error:
        click.echo(f"{program}: {error}", err=True)
        sys.exit(EXIT_MACHINE)
    except UnlikeError as error:
        click.echo(f"{program}: not played: {error}; see heartbus why", err=True)
        sys.exit(EXIT_UNLIKE)
    if as_json:
        click.echo(json.dumps(document, indent=2))
    else:
        for line in report.lines(document):
            click.echo(line)


def _document(
    sentence: tuple[str, ...], cluster: Cluster, view: ClusterView | None, *, plays: int, nats: str
) -> dict[str, Any]:
    now = _as_configured(cluster) if view is None else _now(view)
    wanted = words.parse(sentence, cluster, now, resolve=_address)
    remarks = [*wanted.remarks]
    if view is not None:
        remarks += _other_versions(cluster, view)
    if wanted.deadtime_s is not None:
        parts = _recorded(wanted, cluster, nats, remarks)
    elif wanted.servers:
        parts = _losses(wanted, cluster, _seen(cluster, view, now), plays)
    else:
        remarks += left_out(cluster)
        parts = _faults(wanted, cluster, now, plays)
    at = time.strftime("%Y-%m-%d %H:%M:%S")
    state = f"{Path(cluster.source)}, all well" if view is None else f"the directors at {at}"
    return {"sentence": wanted.sentence, "state": state, "parts": parts, "remarks": remarks}


def _recorded(
    wanted: Wanted, cluster: Cluster, nats: str, remarks: list[str]
) -> list[dict[str, Any]]:
    """Play what the directors recorded of heartbeats with another deadtime."""
    assert wanted.deadtime_s is not None
    timers = cluster.membership.timers
    if wanted.deadtime_s <= 2 * timers.keepalive_s:
        raise SentenceError(
            f"deadtime {wanted.deadtime_s:g} s is not above two keepalives of"
            f" {timers.keepalive_s:g} s: one lost heartbeat would be a death"
        )
    messages, source = asyncio.run(_ask_for_gaps(nats, wanted.over_s))
    remarks.append(f"from {source}; silence alone is played: the bus may delay a real death")
    if not messages:
        remarks.append("no heartbeats are recorded yet: each director tells them every 15 minutes")
    return gaps.over(messages, timers=timers, deadtime_s=wanted.deadtime_s)


async def _ask_for_gaps(nats: str, over_s: float) -> tuple[list[Message], str]:
    """Return what was recorded, a day at a time because answers are bounded."""
    now_s = time.time()
    found: list[Message] = []
    async with opened(
        nats=nats, observer=observer_name(), node=None, file=None, fallback=HISTORY_FILE
    ) as asked:
        begin_s = now_s - over_s
        while begin_s < now_s:
            query = AskEvents(
                since_s=begin_s,
                until_s=min(begin_s + DAY_S, now_s),
                kinds=(HeartbeatGaps.kind,),
                limit=ANSWER_EVENTS_MAX,
            )
            found += (await asked.history.find(query)).messages
            begin_s += DAY_S
        return found, asked.history.source


def _faults(wanted: Wanted, cluster: Cluster, now: Now, plays: int) -> list[dict[str, Any]]:
    plan = Configured(cluster)
    before = {group: holder for group, (holder, _epoch) in now.held.items()}
    return [
        {
            "title": title,
            **report.of_plays(
                [play(plan, now, faults, seed=seed) for seed in range(plays)], before
            ),
        }
        for title, faults in wanted.variants
    ]


def _losses(
    wanted: Wanted, cluster: Cluster, seen: dict[str, Seen], plays: int
) -> list[dict[str, Any]]:
    return [
        {
            "title": f"if it {loss}" if len(wanted.servers) == 1 else f"if each {loss}",
            **report.of_losses(
                [
                    lose(
                        cluster,
                        seen,
                        wanted.servers,
                        loss=loss,
                        seed=seed,
                        for_s=wanted.lost_for_s,
                    )
                    for seed in range(plays)
                ]
            ),
        }
        for loss in Loss
    ]


# --- what is so now ------------------------------------------------------------------------------


def _as_configured(cluster: Cluster) -> Now:
    return Now(held={group.name: (group.preferred, 1) for group in cluster.groups})


def _now(view: ClusterView) -> Now:
    """Return who holds what and who is gone, by the newest snapshots."""
    now_s = time.monotonic()
    held: dict[str, tuple[str, int]] = {}
    heard: set[str] = set()
    for node in view.nodes():
        state = view.state(node, MembershipState)
        age_s = view.age_s(node, MembershipState, now_s=now_s)
        if state is None or age_s is None or age_s > FRESH_S:
            continue
        heard.add(node)
        heard |= {d.name for d in state.directors if d.status is DirectorStatus.ALIVE}
        for group in state.groups:
            if group.holder is not None and group.epoch >= held.get(group.name, ("", 0))[1]:
                held[group.name] = (group.holder, group.epoch)
    down = frozenset(view.nodes()) - heard
    return Now(held={g: h for g, h in held.items() if h[0] not in down}, down=down)


def _seen(cluster: Cluster, view: ClusterView | None, now: Now) -> dict[str, Seen]:
    names = [d.name for d in cluster.directors if d.name not in now.down]
    if view is None:
        return {name: Seen() for name in names}
    return {
        name: Seen(checker=view.state(name, CheckerState), table=view.state(name, IpvsState))
        for name in names
    }


def _other_versions(cluster: Cluster, view: ClusterView) -> list[str]:
    ours = config_digest(cluster)
    others = [
        node
        for node in view.nodes()
        if (state := view.state(node, MembershipState)) is not None and state.config_digest != ours
    ]
    return [f"{node} runs with another configuration than {cluster.source}" for node in others]


def _address(name: str) -> str | None:
    """Return the address that the system knows for a host name, None if it knows none."""
    try:
        return str(socket.getaddrinfo(name, None)[0][4][0])
    except OSError:
        return None
