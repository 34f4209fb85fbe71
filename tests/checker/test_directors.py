"""Checkers of several directors share the work: real processes, a real bus, real cables.

   lb1 .1      lb2 .2      lb3 .3
eth0| eth1  eth0| eth1  eth0| eth1
 ===+===========+===========+======== bus, 10.0.0.0/24
        |           |           |
   =====+===========+===========+==== servers, 192.0.2.0/24:  .11 to .22 on one host
"""

from __future__ import annotations

import contextlib
import signal
import socket
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from heartbus.config import load
from heartbus.events import CheckerState, Health, RealServerDown, RealServerUp, RealServerWeight
from heartbus_checker.peers import FRESH_S
from heartbus_ipvs_agent.verdicts import VerdictBook
from tests.lab.network import Host, Lab, Link, Process
from tests.lab.observe import Observer

pytestmark = [pytest.mark.netns, pytest.mark.timeout(180)]

NAMES = ("lb1", "lb2", "lb3")
SERVERS = tuple(f"192.0.2.{n}" for n in range(11, 23))
INTERVAL_S = 1.0
TIMEOUT_S = 0.5
SLACK_S = 3.0
"""For a machine that is busy with other tests."""


class Directors:
    """A nats-server and a checker on each; ``observer`` listens on the third.

    ``table`` decides as the ipvs-agent of the third does, from what it has heard so far.
    """

    def __init__(self, lab: Lab, stack: contextlib.ExitStack, *, checks: str) -> None:
        bus, lan = lab.switch("bus"), lab.switch("servers")
        self.servers: Host = lab.host("servers")
        lab.attach(self.servers, lan, "eth0", *(f"{address}/24" for address in SERVERS))
        self.listening: dict[str, socket.socket] = {}
        for address in SERVERS:
            self.serve(address)
            stack.callback(self.fail, address)
        self.hosts: dict[str, Host] = {}
        self.ways: dict[str, Link] = {}
        for number, name in enumerate(NAMES, 1):
            host = self.hosts[name] = lab.host(name)
            lab.attach(host, bus, "eth0", f"10.0.0.{number}/24")
            self.ways[name] = lab.attach(host, lan, "eth1", f"192.0.2.{number}/24")
            host.start(_nats_server(number))
        self.config = lab.directory / "heartbus.toml"
        self.config.write_text(_toml(checks))
        self.config.chmod(0o600)
        self.observer = stack.enter_context(Observer(self.hosts[NAMES[2]]))
        self.checkers: dict[str, Process] = {}
        for name in NAMES:
            self.start(name)

    def serve(self, address: str) -> None:
        """Let a real server listen; the kernel accepts, and nobody needs to answer."""
        self.listening[address] = self.servers.call(
            lambda: socket.create_server((address, 80), backlog=4096)
        )

    def fail(self, address: str) -> None:
        """Let a real server refuse connections."""
        self.listening[address].close()

    def start(self, name: str) -> None:
        host = self.hosts[name]
        directory = host.directory / "checker"
        directory.mkdir(exist_ok=True)
        self.checkers[name] = host.start(
            [
                *(sys.executable, "-m", "heartbus_checker"),
                f"--config={self.config}",
                f"--node={name}",
                f"--runtime-dir={directory}",
                f"--state-dir={directory}",
            ]
        )

    def state(self, name: str) -> CheckerState | None:
        return self.observer.view.state(name, CheckerState)

    def probers(self, *, of: tuple[str, ...]) -> dict[str, set[str]]:
        """Return by whom each real server is checked, and has been found."""
        found: dict[str, set[str]] = {address: set() for address in SERVERS}
        for name in of:
            state = self.state(name)
            for verdict in state.verdicts if state is not None else ():
                if not verdict.elsewhere and verdict.health is not Health.UNKNOWN:
                    found[verdict.real_server.partition(":")[0]].add(name)
        return found

    def down(self, name: str) -> set[str]:
        """Return what one director shows as down, whoever checks it."""
        state = self.state(name)
        assert state is not None
        return {
            verdict.real_server.partition(":")[0]
            for verdict in state.verdicts
            if verdict.health is not Health.UP
        }

    def wait_for_probers(self, count: int, *, of: tuple[str, ...], within_s: float) -> float:
        return self.observer.wait_for(
            lambda: all(len(found) == count for found in self.probers(of=of).values()),
            f"each real server is checked by {count} of {', '.join(of)}",
            timeout_s=within_s,
        )


class Table:
    """What the ipvs-agent of a director decides, told everything in the order it was heard."""

    def __init__(self, directors: Directors, node: str) -> None:
        cluster = load(str(directors.config)).cluster
        self._observer = directors.observer
        self._book = VerdictBook(
            cluster.virtual_services,
            node=node,
            now_s=time.monotonic(),
            decided_by=cluster.checks.decided_by,
        )
        self._read = 0
        self._states: dict[str, CheckerState] = {}

    def down(self) -> set[str]:
        now_s = time.monotonic()
        events = list(self._observer.events)[self._read :]
        self._read += len(events)
        for message in events:
            if isinstance(message.body, RealServerUp | RealServerDown | RealServerWeight):
                self._book.event_received(
                    message.body,
                    node=message.envelope.node,
                    event_id=message.envelope.id,
                    now_s=now_s,
                )
        # The newest snapshots are younger than all of these events.
        for name in NAMES:
            state = self._observer.view.state(name, CheckerState)
            age_s = self._observer.view.age_s(name, CheckerState, now_s=now_s)
            if state is not None and age_s is not None and age_s < FRESH_S:
                self._book.snapshot_received(state, node=name, now_s=now_s - age_s)
        return {
            server.partition(":")[0]
            for (_service, server), health in self._book.decided.items()
            if health is Health.DOWN
        }


def _nats_server(number: int) -> list[str | Path]:
    routes = ",".join(f"nats://10.0.0.{n}:6222" for n in range(1, len(NAMES) + 1) if n != number)
    return [
        Path(sys.executable).with_name("nats-server"),
        *("-a", "127.0.0.1", "-p", "4222"),
        *("--cluster", f"nats://10.0.0.{number}:6222", "--cluster_name", "lab"),
        *("--routes", routes),
    ]


def _toml(checks: str) -> str:
    directors = "".join(
        f'[[directors]]\nname = "{name}"\naddress = "10.0.0.{number}"\n'
        for number, name in enumerate(NAMES, 1)
    )
    servers = "".join(
        f'[[virtual_services.real_servers]]\naddress = "{address}:80"\n' for address in SERVERS
    )
    return (
        f"{directors}"
        '[[membership.links]]\nkind = "bcast"\ninterface = "eth0"\n'
        "[membership.authentication]\nsigning_key = 1\n"
        '[[membership.authentication.keys]]\nid = 1\nsecret = "a-secret-of-sixteen-or-more"\n'
        f"[checks]\n{checks}\n"
        '[[virtual_services]]\naddress = "192.0.2.100:80"\n'
        f'[virtual_services.check]\ntype = "connect"\ninterval = {INTERVAL_S}\n'
        f"connect_timeout = {TIMEOUT_S}\nfall = 1\n{servers}"
    )


@pytest.fixture(scope="module")
def directors() -> Iterator[Directors]:
    with Lab() as lab, contextlib.ExitStack() as stack:
        started = Directors(lab, stack, checks="probers = 1")
        started.wait_for_probers(1, of=NAMES, within_s=60.0)
        yield started


def test_what_one_director_finds_out_the_others_show(directors: Directors) -> None:
    heard = len(directors.observer.events)
    dead = SERVERS[4]
    (prober,) = directors.probers(of=NAMES)[dead]
    directors.fail(dead)
    directors.observer.wait_for(
        lambda: all(directors.down(name) == {dead} for name in NAMES),
        "all of them show it as down",
        timeout_s=2 * INTERVAL_S + SLACK_S,
    )
    told = [
        m for m in list(directors.observer.events)[heard:] if isinstance(m.body, RealServerDown)
    ]
    assert [m.envelope.node for m in told] == [prober]
    directors.serve(dead)
    directors.observer.wait_for(
        lambda: all(directors.down(name) == set() for name in NAMES),
        "all of them show it as up again",
        timeout_s=2 * INTERVAL_S + SLACK_S,
    )
    directors.wait_for_probers(1, of=NAMES, within_s=SLACK_S)


def test_the_others_check_what_a_killed_checker_checked(directors: Directors) -> None:
    killed, left = NAMES[0], NAMES[1:]
    heard = len(directors.observer.events)
    theirs = {a for a, found in directors.probers(of=NAMES).items() if found == {killed}}
    assert 0 < len(theirs) < len(SERVERS)
    directors.checkers[killed].signal(signal.SIGKILL)
    directors.wait_for_probers(1, of=left, within_s=FRESH_S + 2 * INTERVAL_S + SLACK_S)
    assert directors.observer.said(RealServerDown, since=heard) == []
    dead = min(theirs)
    directors.fail(dead)
    directors.observer.wait_for(
        lambda: all(directors.down(name) == {dead} for name in left),
        "what it checked is found by others",
        timeout_s=2 * INTERVAL_S + SLACK_S,
    )
    directors.serve(dead)
    directors.start(killed)
    directors.wait_for_probers(1, of=NAMES, within_s=60.0)
    directors.observer.wait_for(
        lambda: all(directors.down(name) == set() for name in NAMES),
        "the one that is back shows what the others found",
        timeout_s=SLACK_S,
    )


def test_a_checker_that_lost_its_way_is_suspect_and_the_others_look_at_its_servers(
    directors: Directors,
) -> None:
    lost, left = NAMES[1], (NAMES[0], NAMES[2])
    table = Table(directors, NAMES[2])
    assert table.down() == set()
    directors.ways[lost].cut()

    def suspect() -> bool:
        state = directors.state(lost)
        return state is not None and state.suspect is not None

    try:
        directors.observer.wait_for(
            suspect, f"{lost} is suspect", timeout_s=INTERVAL_S + TIMEOUT_S + SLACK_S
        )
        directors.wait_for_probers(1, of=left, within_s=2 * INTERVAL_S + SLACK_S)
        directors.observer.wait_for(
            lambda: all(directors.down(name) == set() for name in left),
            "they show what they found",
            timeout_s=SLACK_S,
        )
        directors.observer.wait_for(
            lambda: table.down() == set(),
            "the table has all of them again",
            timeout_s=SLACK_S,
        )
    finally:
        directors.ways[lost].heal()
    directors.observer.wait_for(lambda: not suspect(), f"{lost} is believed", timeout_s=30.0)
    directors.wait_for_probers(1, of=NAMES, within_s=60.0)
    directors.observer.wait_for(
        lambda: table.down() == set(), "the table has all of them", timeout_s=SLACK_S
    )
