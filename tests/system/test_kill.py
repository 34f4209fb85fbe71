"""Any process of the active director may be killed at any time: no client notices.

Real processes, real traffic through the kernel's IPVS, in the lab.
"""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from heartbus.events import GroupGranted, GroupRevoked, VipAcquired, VipReleased
from tests.lab.classic import VIP, ClassicCluster, ClassicDirector, full_name
from tests.lab.client import ContinuousClient, LongConnections, start_echo_server
from tests.lab.kernel import CHECKOUT
from tests.lab.network import Lab, wait_until
from tests.lab.observe import Observer
from tests.lab.running import ACTIVE, STANDBY, running

pytestmark = [pytest.mark.ipvs, pytest.mark.timeout(600)]

ECHO_PORT = 7
CONNECTIONS = 4
COMMANDS = {
    "nats-server": "nats-server",
    "membership": "heartbus-membership",
    "vip": "heartbus-vip",
    "checker": "heartbus-checker",
    "ipvs-agent": "heartbus-ipvs-agent",
}
TIMES = """keepalive = "300ms"
warntime = "900ms"
deadtime = 3
initdead = 30
lease = 15
restart_grace = 20"""
BACK_MAX_S = 20.0
PATIENCE_S = 10.0
"""How long a client waits for an answer: only what is refused, reset or lost fails, however busy
the machine is. That nothing moved is asserted by itself, not by a clock."""

WATCHED_S = 18.0
"""Longer than a lease and a kernel lifetime (15 s each): whatever was to expire has expired."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Serving:
    """Both directors up, clients at work."""

    cluster: ClassicCluster
    observers: dict[str, Observer]
    client: ContinuousClient
    connections: LongConnections

    @property
    def active(self) -> ClassicDirector:
        return self.cluster.directors[ACTIVE]


def echo_configuration(cluster: ClassicCluster) -> Path:
    """The classic cluster in the new form, and a service whose connections can stay open.

    The times are those of the lan profile and the defaults, stretched as far as the lab kernel
    stretches a restart: there it takes ten times as long, and more on a busy machine.
    """
    text = (CHECKOUT / "examples" / "heartbus.toml").read_text()
    second = text.index("[[virtual_services]]", text.index("[[virtual_services]]") + 1)
    text = text[:second]  # without the mail service: no mail server runs in the lab
    text = text.replace('timers = "classic"', TIMES).replace("lifetime = 3", "lifetime = 15")
    servers = "".join(
        f'[[virtual_services.real_servers]]\naddress = "192.168.7.{n}:{ECHO_PORT}"\n'
        for n in (11, 12, 13)
    )
    text += (
        f'\n[[virtual_services]]\naddress = "{VIP}:{ECHO_PORT}"\nscheduler = "rr"\n'
        f'[virtual_services.check]\ntype = "connect"\ninterval = 1\n{servers}'
    )
    config = cluster.lab.directory / "heartbus.toml"
    config.write_text(text)
    config.chmod(0o600)  # it has a secret
    return config


@pytest.fixture(scope="module")
def serving() -> Iterator[Serving]:
    with Lab() as lab:
        cluster = ClassicCluster(lab)
        cluster.start_real_servers()
        cluster.start_sorry_servers()
        for server in cluster.web.values():
            start_echo_server(server.host, ECHO_PORT)
        with (
            running(cluster, echo_configuration(cluster), timers=None) as observers,
            ContinuousClient(cluster.client, VIP, 80, timeout_s=PATIENCE_S) as client,
            LongConnections(cluster.client, VIP, ECHO_PORT, count=CONNECTIONS) as connections,
        ):
            yield Serving(
                cluster=cluster, observers=observers, client=client, connections=connections
            )


def pid_of(director: ClassicDirector, service: str) -> int | None:
    pids = director.pids(COMMANDS[service])
    assert len(pids) <= 1, f"{service} runs {len(pids)} times"
    return pids[0] if pids else None


def kill(serving: Serving, service: str) -> int:
    """Kill a service and wait for its successor; return the successor's pid."""
    killed = pid_of(serving.active, service)
    assert killed is not None
    os.kill(killed, signal.SIGKILL)
    wait_until(
        lambda: pid_of(serving.active, service) not in (None, killed),
        timeout_s=BACK_MAX_S,
        what=f"{service} is back",
    )
    successor = pid_of(serving.active, service)
    assert successor is not None
    return successor


def rules(director: ClassicDirector) -> list[str]:
    return sorted(director.host.run(["ipvsadm", "-Sn"]).stdout.splitlines())


def epoch(observer: Observer) -> int:
    state = observer.membership(full_name(ACTIVE))
    assert state is not None
    return state.groups[0].epoch


def assert_nothing_happened(serving: Serving, *, since_s: float, heard: dict[str, int]) -> None:
    """From outside and from inside: clients, table, owner, events."""
    assert serving.connections.broken == 0
    assert serving.client.attempts(since_s=since_s)
    assert [a for a in serving.client.attempts(since_s=since_s) if not a.ok] == []
    assert serving.cluster.vip_holders() == [ACTIVE]
    for name, observer in serving.observers.items():
        moved = [
            event
            for event_class in (GroupGranted, GroupRevoked, VipReleased)
            for event in observer.said(event_class, since=heard[name])
        ]
        taken = [
            event
            for event in observer.said(VipAcquired, since=heard[name])
            if event.director != full_name(ACTIVE)
        ]
        assert moved + taken == [], f"heard on {name}"


@pytest.mark.parametrize("service", COMMANDS)
def test_a_killed_process_comes_back_and_nothing_moves(serving: Serving, service: str) -> None:
    observer = serving.observers[STANDBY]
    before, epoch_before = rules(serving.active), epoch(observer)
    heard = {name: len(o.events) for name, o in serving.observers.items()}
    since_s = time.monotonic()
    exchanged = serving.connections.exchanged

    kill(serving, service)
    kill(serving, service)  # again in its first moments, when it knows least

    ends_s = time.monotonic() + WATCHED_S
    while time.monotonic() < ends_s:
        assert serving.cluster.vip_holders() == [ACTIVE]
        time.sleep(0.1)  # the sampling period, bounded by WATCHED_S
    wait_until(
        lambda: serving.observers[ACTIVE].vip_holders() == [full_name(ACTIVE)],
        timeout_s=BACK_MAX_S,
        what="the bus says again who holds the VIP",
    )
    assert_nothing_happened(serving, since_s=since_s, heard=heard)
    assert serving.connections.exchanged > exchanged + CONNECTIONS * WATCHED_S
    assert rules(serving.active) == before
    assert epoch(observer) == epoch_before
