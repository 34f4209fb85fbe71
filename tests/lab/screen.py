"""What the demo shows while it runs: the cluster as its own directors describe it."""

from __future__ import annotations

import time
from collections import deque
from typing import Final

from rich.console import Group, RenderableType
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from heartbus.events import CheckerState, HoldStatus, IpvsState, MembershipState, Message, VipState
from tests.lab.acceptance import TITLES, Acceptance, Finding
from tests.lab.classic import REAL_SERVERS, VIP, full_name
from tests.lab.observe import Observer

EVENTS_SHOWN: Final = 8
STEPS_SHOWN: Final = 14
STALE_S: Final = 3.0


class Screen:
    """Keeps what was said and found, and draws it beside the live state."""

    def __init__(self, acceptance: Acceptance) -> None:
        self._acceptance = acceptance
        self._steps: deque[Text] = deque(maxlen=STEPS_SHOWN)

    def headline(self, text: str) -> None:
        """Begin a test."""
        self._steps.append(Text(text, style="bold"))

    def say(self, text: str) -> None:
        """Add a step."""
        self._steps.append(Text(f"  … {text}", style="cyan"))

    def found(self, finding: Finding) -> None:
        """Add a finding."""
        mark, style = ("✓", "green") if finding.held else ("✗", "bold red")
        self._steps.append(Text(f"  {mark} {finding.promise} ({finding.seen})", style=style))

    def __rich__(self) -> RenderableType:
        return Group(
            self._directors(),
            self._real_servers(),
            Panel(Group(*self._events()), title="last events", title_align="left"),
            Panel(Group(*self._steps), title="acceptance tests", title_align="left"),
        )

    def _directors(self) -> Table:
        table = Table("director", "cables", "heard by its peer as", f"VIP {VIP}", "epoch")
        table.expand = True
        for name, director in self._acceptance.cluster.directors.items():
            whole = all(link.whole for link in director.host.links)
            peer = next(n for n in self._acceptance.cluster.directors if n != name)
            vip = self._fresh_vip(name)
            group = vip.groups[0] if vip and vip.groups else None
            held = group is not None and group.status is HoldStatus.HELD and whole
            table.add_row(
                name,
                Text("whole", "green") if whole else Text("cut", "bold red"),
                self._opinion(of=name, by=peer),
                Text("holds it", "bold green") if held else "-",
                str(group.epoch) if group is not None and group.epoch else "-",
            )
        return table

    def _real_servers(self) -> Table:
        table = Table("real server", "web server", "verdict", "weights", "why")
        table.expand = True
        for name, address in REAL_SERVERS.items():
            endpoint = f"{address}:80"
            stopped = self._acceptance.cluster.web[name].stopped
            verdicts, weights = [], []
            reason = ""
            for director, observer in self._live_observers():
                health, why = _verdict(observer, full_name(director), endpoint)
                verdicts.append(health)
                reason = why or reason
                weight = observer.weights(full_name(director)).get(endpoint)
                weights.append("-" if weight is None else str(weight))
            table.add_row(
                f"{name} {endpoint}",
                Text("stopped", "bold red") if stopped else Text("running", "green"),
                " ".join(verdicts),
                " ".join(weights),
                reason,
            )
        return table

    def _events(self) -> list[Text]:
        heard: dict[str, Message] = {}
        for _name, observer in self._live_observers():
            for message in list(observer.events)[-3 * EVENTS_SHOWN :]:
                heard[message.envelope.id] = message
        newest = sorted(heard.values(), key=lambda m: m.envelope.time_s)[-EVENTS_SHOWN:]
        return [
            Text(Observer.line(message), no_wrap=True, overflow="ellipsis") for message in newest
        ]

    def _live_observers(self) -> list[tuple[str, Observer]]:
        directors = self._acceptance.cluster.directors
        return [
            (name, observer)
            for name, observer in self._acceptance.observers.items()
            if all(link.whole for link in directors[name].host.links)
        ]

    def _fresh_vip(self, name: str) -> VipState | None:
        observer = self._acceptance.observers.get(name)
        if observer is None:
            return None
        age_s = observer.view.age_s(full_name(name), VipState, now_s=time.monotonic())
        if age_s is None or age_s > STALE_S:
            return None
        return observer.view.state(full_name(name), VipState)

    def _opinion(self, *, of: str, by: str) -> Text:
        observer = self._acceptance.observers.get(by)
        state = observer.view.state(full_name(by), MembershipState) if observer else None
        for director in state.directors if state else ():
            if director.name == full_name(of):
                style = "green" if director.status == "alive" else "bold red"
                return Text(str(director.status), style)
        return Text("unknown", "yellow")


def title(test: int) -> str:
    """Return the headline of an acceptance test."""
    return f"{test}. {TITLES[test]}"


def _verdict(observer: Observer, node: str, endpoint: str) -> tuple[str, str]:
    state = observer.view.state(node, CheckerState)
    for verdict in state.verdicts if state else ():
        if verdict.real_server == endpoint:
            return str(verdict.health), verdict.reason if verdict.health == "down" else ""
    table = observer.view.state(node, IpvsState)
    weights = [e for s in (table.services if table else ()) for e in s.real_servers]
    known = any(entry.real_server == endpoint for entry in weights)
    return ("not checked", "static rule") if known else ("-", "")
