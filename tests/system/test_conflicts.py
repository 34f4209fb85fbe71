"""Who else answers for the VIP, as real directors see it: a foreign host, and one another.

Real processes in network namespaces, without IPVS.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator

import pytest

from heartbus.events import VipConflict, VipState
from tests.lab.classic import HEARTBUS
from tests.lab.network import Lab, Link, set_links, wait_until
from tests.lab.pairs import VIP, HeartbusPair
from tests.system.fault import Fault

pytestmark = [pytest.mark.netns, pytest.mark.timeout(120)]

SETTINGS = "[vip.conflicts]\ninterval = 1\n"
TOLD_MAX_S = 10.0
ENDED_MAX_S = 30.0


@pytest.fixture(scope="module")
def whole_lab() -> Iterator[Lab]:
    with Lab() as lab:
        yield lab


@pytest.fixture(scope="module")
def pair(whole_lab: Lab) -> Iterator[HeartbusPair]:
    with HeartbusPair(whole_lab, "k", sections=SETTINGS, own_cable=True) as started:
        yield started


@pytest.fixture
def fault(pair: HeartbusPair) -> Iterator[Fault]:
    made = Fault(pair)
    yield made
    made.mend()


@pytest.fixture(scope="module")
def stranger(whole_lab: Lab, pair: HeartbusPair) -> Link:
    host = whole_lab.host("k-stranger")
    return whole_lab.attach(host, pair.lan, "eth0", "192.0.2.77/24")


def conflicts(fault: Fault, name: str) -> list[VipConflict]:
    """What a director told of conflicts since the fault."""
    observer = fault.pair.observers[name]
    bodies = [message.body for message in list(observer.events)[fault.heard[name] :]]
    nodes = [message.envelope.node for message in list(observer.events)[fault.heard[name] :]]
    return [
        body
        for body, node in zip(bodies, nodes, strict=True)
        if isinstance(body, VipConflict) and node == name
    ]


def wait_for_conflict(fault: Fault, name: str, *, ended: bool = False) -> VipConflict:
    limit_s = ENDED_MAX_S if ended else TOLD_MAX_S

    def found() -> list[VipConflict]:
        return [c for c in conflicts(fault, name) if c.ended is ended]

    wait_until(lambda: bool(found()), timeout_s=limit_s, what=f"{name} tells of a conflict")
    return found()[0]


def test_after_a_split_the_winner_answers_alone_and_nobody_cries(fault: Fault) -> None:
    winner = fault.standby  # the higher epoch
    cut = [fault.pair.links[fault.active], *fault.pair.heartbeat_links]
    set_links(cut, whole=False)
    fault.wait_until_held_by(fault.active, winner, within_s=3.0)
    alone_before = _alone(fault, winner)
    set_links(cut, whole=True)
    fault.wait_until_held_by(winner, within_s=3.0)
    fault.wait_until_answered_by(winner)
    wait_until(lambda: _alone(fault, winner) > alone_before, timeout_s=8.0, what="it is verified")
    assert conflicts(fault, winner) == conflicts(fault, fault.active) == []


def test_directors_whose_heartbeats_are_lost_name_one_another_until_they_hear_again(
    fault: Fault,
) -> None:
    """The cable of the heartbeats is cut, and the network of the clients is whole."""
    both = (fault.active, fault.standby)
    set_links(fault.pair.heartbeat_links, whole=False)
    started_s = time.monotonic()
    try:
        fault.wait_until_held_by(*both, within_s=12.0)
        for name in both:
            conflict = wait_for_conflict(fault, name)
            assert conflict.director == fault.pair.other(name)
            assert conflict.mac == fault.pair.links[fault.pair.other(name)].mac
    finally:
        set_links(fault.pair.heartbeat_links, whole=True)
    fault.wait_until_held_by(fault.standby, within_s=5.0)
    for name in both:
        ended = wait_for_conflict(fault, name, ended=True)
        assert ended.director == fault.pair.other(name)
    for name in both:
        state = fault.pair.observers[name].view.state(name, VipState)
        assert state is not None
        assert state.conflicts == ()
    assert time.monotonic() - started_s < 60.0


def test_a_foreign_host_is_told_by_the_holder_and_by_the_standby(
    fault: Fault, stranger: Link
) -> None:
    stranger.host.ip(f"addr add {VIP}/32 dev eth0")
    for name in (fault.active, fault.standby):
        conflict = wait_for_conflict(fault, name)
        assert (conflict.mac, conflict.director) == (stranger.mac, "")
        assert conflict.held is (name == fault.active)
    shown = fault.pair.hosts[fault.standby].run([HEARTBUS, "status", "--json"], check=False)
    alarms = [a for a in json.loads(shown.stdout)["alarms"] if a["kind"] == "vip.conflict"]
    assert {a["seen_by"] for a in alarms} == {fault.active, fault.standby}
    assert all(stranger.mac in a["text"] for a in alarms)
    assert fault.moves() == []


def _alone(fault: Fault, name: str) -> int:
    """How often a director found that it answers alone."""
    return fault.pair.processes[name].output().count("address.alone")
