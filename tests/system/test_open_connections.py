"""1,000 open connections through drain, reload, restarts, handovers and the death of a director.

Whole directors, the kernel's own sync daemons on a network of their own, direct routing, echo
servers; in the lab kernel. The tests go on from one another: the set-up costs more than they do.
"""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from heartbus.events import IpvsState, OperatorCommanded, RealServerDrained, VipAcquired
from tests.ipvs_agent.echo import Clients
from tests.lab.classic import HEARTBUS, REAL_SERVERS, VIP, ClassicCluster, full_name
from tests.lab.client import LongConnections, start_echo_server
from tests.lab.network import Host, Lab, Link, wait_until
from tests.lab.observe import Observer
from tests.lab.running import ACTIVE, STANDBY, running
from tests.system.test_kill import ECHO_PORT, echo_configuration

pytestmark = [pytest.mark.ipvs, pytest.mark.timeout(300)]

IDLE, BUSY, LATE, UNKNOWN = 980, 20, 200, 20
KNOWN_MAX_S = 60.0
"""The daemon sends every 2 s at the latest; the lab kernel is slow."""

SILENT_MAX_S = 60.0
"""A client gives up a connection that is silent for so long; TCP sends again after 1, 2, 4 s."""

ROUNDS = 3
WATCHED_S = 3.0
"""A director that is warm is handed a group in a tenth of this, in the lab kernel too."""

DRAINED = next(iter(REAL_SERVERS.values()))
SYNC = """
[ipvs]
warm_wait = 600
[ipvs.sysctls]
sync_threshold = "1 2"  # told again with every other packet, where the default is every fiftieth
[ipvs.sync]
interface = "eth2"
"""


@dataclass(slots=True, kw_only=True)
class Serving:
    """Both directors up, and clients with open connections."""

    cluster: ClassicCluster
    config: Path
    observers: dict[str, Observer]
    sync_cable: Link
    busy: LongConnections
    idle: Clients
    late: list[Clients] = field(default_factory=list)

    def host(self, name: str) -> Host:
        return self.cluster.directors[name].host

    def connect(self, count: int) -> Clients:
        """Open connections from the client; each has had an answer."""
        clients = self.cluster.client.call(lambda: Clients((VIP, ECHO_PORT), count))
        assert clients.answered() == ["x"] * count
        return clients

    @property
    def count(self) -> int:
        return BUSY + sum(len(c.open) for c in (self.idle, *self.late))

    def assert_none_is_lost(self) -> None:
        """Ask over each connection once, and wait until the busy ones were answered as well."""
        before = self.busy.exchanged
        for clients in (self.idle, *self.late):
            assert clients.answered() == ["x"] * len(clients.open)
        wait_until(
            lambda: self.busy.exchanged - before >= ROUNDS * BUSY or self.busy.broken > 0,
            timeout_s=SILENT_MAX_S,
            what="the busy connections go on",
        )
        assert self.busy.broken == 0

    def table(self, name: str) -> IpvsState:
        state = self.observers[name].view.state(full_name(name), IpvsState)
        assert state is not None
        return state

    def weights(self, name: str) -> dict[str, int]:
        return self.observers[ACTIVE].weights(full_name(name))


def known(host: Host) -> int:
    """Return how many open connections to the echo service IPVS knows on a host."""
    lines = host.call(Path("/proc/thread-self/net/ip_vs_conn").read_text).splitlines()[1:]
    port = f"{ECHO_PORT:04X}"
    return sum(line.split()[4] == port and "ESTABLISHED" in line for line in lines)


@pytest.fixture(scope="module")
def serving() -> Iterator[Serving]:
    with Lab() as lab, ExitStack() as stack:
        cluster = ClassicCluster(lab)
        cluster.start_real_servers()
        cluster.start_sorry_servers()
        between = lab.switch("sync")
        cables = [
            lab.attach(cluster.directors[name].host, between, "eth2", f"10.0.1.{n}/24")
            for n, name in enumerate((ACTIVE, STANDBY), start=1)
        ]
        for web in cluster.web.values():
            start_echo_server(web.host, ECHO_PORT)
        config = echo_configuration(cluster)
        config.write_text(config.read_text() + SYNC)
        observers = stack.enter_context(running(cluster, config, timers=None))
        busy = LongConnections(cluster.client, VIP, ECHO_PORT, count=BUSY, timeout_s=SILENT_MAX_S)
        stack.enter_context(busy)
        idle = cluster.client.call(lambda: Clients((VIP, ECHO_PORT), IDLE))
        held = Serving(
            cluster=cluster,
            config=config,
            observers=observers,
            sync_cable=cables[1],
            busy=busy,
            idle=idle,
        )
        yield held
        for clients in (idle, *held.late):
            clients.close()


def test_all_of_them_are_known_to_the_other_director_which_is_told(serving: Serving) -> None:
    serving.assert_none_is_lost()
    assert serving.count == 1000
    wait_until(
        lambda: known(serving.host(STANDBY)) == known(serving.host(ACTIVE)) == serving.count,
        timeout_s=KNOWN_MAX_S,
        what="both directors know them",
    )
    peer = full_name(STANDBY)
    serving.observers[ACTIVE].wait_for(
        lambda: serving.table(ACTIVE).known.get(peer) == 100.0 and not serving.table(ACTIVE).cold,
        "the active director says that the other one knows all",
        timeout_s=KNOWN_MAX_S,
    )


def test_drain_reload_and_restart_of_the_agent_lose_none(serving: Serving) -> None:
    observer, director = serving.observers[ACTIVE], serving.cluster.directors[ACTIVE]
    drained = f"{DRAINED}:{ECHO_PORT}"

    director.heartbus("drain", DRAINED)
    observer.wait_for(
        lambda: all(serving.weights(name)[drained] == 0 for name in (ACTIVE, STANDBY)),
        "every director drains it",
    )
    on_it = connections(serving, DRAINED)
    assert on_it > serving.count / 4
    serving.late.append(serving.connect(LATE // 10))
    assert connections(serving, DRAINED) == on_it, "it is given no new ones"
    serving.assert_none_is_lost()

    text, echo = serving.config.read_text(), f'address = "{VIP}:{ECHO_PORT}"\nscheduler = '
    assert f'{echo}"rr"' in text
    serving.config.write_text(text.replace(f'{echo}"rr"', f'{echo}"wlc"'))
    observer.wait_for(
        lambda: [s.scheduler for s in serving.table(ACTIVE).services] == ["rr", "wlc"],
        "the changed file is taken up",
    )
    serving.assert_none_is_lost()

    (killed,) = director.pids("heartbus-ipvs-agent")
    os.kill(killed, signal.SIGKILL)
    wait_until(
        lambda: director.pids("heartbus-ipvs-agent") not in ([], [killed]),
        timeout_s=KNOWN_MAX_S,
        what="the agent is back",
    )
    serving.assert_none_is_lost()
    assert connections(serving, DRAINED) == on_it
    assert serving.weights(ACTIVE)[drained] == 0
    ended = [e for e in observer.said(RealServerDrained) if e.real_server == drained]
    assert ended == [], "the clients have not ended"


def connections(serving: Serving, address: str) -> int:
    """Return how many of the connections the active director has on a real server."""
    lines = serving.host(ACTIVE).run(["ipvsadm", "-Ln"]).stdout.splitlines()
    (line,) = [line for line in lines if f"-> {address}:{ECHO_PORT} " in line]
    return int(line.split()[4])


@pytest.mark.parametrize(
    ("command", "giver", "taker"),
    [("takeover", ACTIVE, STANDBY), ("failback", STANDBY, ACTIVE)],
    ids=["takeover", "failback"],
)
def test_a_move_waits_until_the_other_director_knows_them_and_loses_none(
    serving: Serving, command: str, giver: str, taker: str
) -> None:
    observer, peer = serving.observers[giver], full_name(taker)
    serving.sync_cable.cut()
    serving.late.append(serving.connect(LATE))
    observer.wait_for(
        lambda: peer in serving.table(giver).cold, "the other one is cold", timeout_s=KNOWN_MAX_S
    )
    assert 0 < serving.table(giver).known[peer] < 90.0
    since = len(observer.events)
    asked = serving.host(giver).start(
        [HEARTBUS, command, "--node", full_name(STANDBY), "--timeout", "200"]
    )
    observer.wait_for(
        lambda: any(e.command == command for e in observer.said(OperatorCommanded, since=since)),
        "the command has arrived",
    )
    ends_s = time.monotonic() + WATCHED_S
    while time.monotonic() < ends_s:
        assert serving.cluster.vip_holders() == [giver], "it waits"
        assert asked.returncode is None, asked.output()
        time.sleep(0.1)  # the sampling period, bounded by WATCHED_S

    serving.sync_cable.heal()
    serving.assert_none_is_lost()  # a connection is told with its next packets
    assert asked.wait(timeout_s=SILENT_MAX_S) == 0, asked.output()
    assert serving.cluster.vip_holders() == [taker]
    assert observer.said(VipAcquired, since=since)
    serving.assert_none_is_lost()
    assert known(serving.host(taker)) == serving.count


def test_the_death_of_a_director_costs_those_alone_that_the_other_does_not_know(
    serving: Serving,
) -> None:
    serving.sync_cable.cut()
    unknown = serving.connect(UNKNOWN)
    serving.host(ACTIVE).crash()
    serving.cluster.wait_for_vip(STANDBY)
    serving.assert_none_is_lost()
    assert unknown.answered() == [""] * UNKNOWN
    unknown.close()
    assert serving.observers[STANDBY].weights(full_name(STANDBY))[f"{DRAINED}:{ECHO_PORT}"] == 0
    serving.host(ACTIVE).bury()
