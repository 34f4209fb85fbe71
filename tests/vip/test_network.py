"""When frames go out, with a kernel and a wire that only keep a list."""

from __future__ import annotations

import structlog

from heartbus.model import AddressResource, AnnounceSettings, ResourceGroup
from heartbus_vip.frames import ArpForm
from heartbus_vip.network import Network, Upheld
from tests.vip.test_service import FakeKernel

VIP = AddressResource(address="192.168.7.110", prefix_len=24)
VIP6 = AddressResource(address="2001:db8::110", prefix_len=64)
GROUP = ResourceGroup(
    name="www", preferred="a", resources=(VIP6,), announce=AnnounceSettings(burst=1, again_s=0.0)
)


class Stage:
    """A network whose clock the test moves; everything is on eth0."""

    def __init__(self) -> None:
        self.now_s = 100.0
        self.kernel = FakeKernel()
        self.network = Network(
            addresses=self.kernel,
            announcer=self.kernel,
            settings=AnnounceSettings(burst=3, spacing_s=0.1, again_s=0.0, refresh_s=0.0),
            groups=[GROUP],
            log=structlog.get_logger(),
            clock=lambda: self.now_s,
        )

    def until(self, ends_s: float) -> list[str]:
        """Let time pass; return whom the frames were of."""
        before = len(self.kernel.frames)
        while (due_s := self.network.next_deadline_s) is not None and due_s <= ends_s:
            self.now_s = max(self.now_s, due_s)
            self.network.announce_due()
        self.now_s = ends_s
        return [address for address, _ in self.kernel.frames[before:]]

    def held(self, *resources: AddressResource) -> None:
        for resource in resources:
            self.network.put(resource, lifetime_s=3, decided_s=self.now_s)
            self.network.announce(resource)


def test_a_group_may_be_announced_in_its_own_way() -> None:
    stage = Stage()
    stage.held(VIP, VIP6)
    stage.until(110.0)
    assert stage.kernel.frames.count((VIP6.address, ArpForm.REQUEST)) == 1
    assert len(stage.kernel.frames) == 1 + 3


def test_what_was_taken_away_is_put_back_and_announced() -> None:
    stage = Stage()
    stage.held(VIP)
    stage.until(110.0)
    stage.kernel.held.discard(VIP)
    upheld = stage.network.refresh([(VIP, 3)], decided_s=stage.now_s)
    assert upheld == Upheld(repaired=(VIP,))
    assert stage.until(120.0) == [VIP.address] * 3


def test_nothing_is_announced_on_a_silent_interface_not_even_what_is_repaired() -> None:
    stage = Stage()
    stage.held(VIP)
    stage.network.link_silent("eth0", [VIP])
    assert stage.until(101.0) == []
    stage.kernel.held.discard(VIP)
    stage.network.refresh([(VIP, 3)], decided_s=stage.now_s)
    stage.network.announce(VIP)
    assert stage.until(110.0) == []


def test_an_interface_that_is_back_is_announced_on_after_the_others_could_be_heard() -> None:
    stage = Stage()
    stage.held(VIP)
    stage.network.link_silent("eth0", [VIP])
    stage.until(110.0)
    stage.network.link_runs("eth0", [VIP], after_s=0.5)
    assert stage.until(110.4) == []
    assert stage.until(120.0) == [VIP.address] * 3


def test_who_was_told_meanwhile_that_it_lost_an_address_does_not_announce_it() -> None:
    stage = Stage()
    stage.held(VIP)
    stage.network.link_silent("eth0", [VIP])
    stage.network.link_runs("eth0", [VIP], after_s=0.5)
    stage.until(100.4)
    stage.network.remove(VIP)
    assert stage.until(120.0) == []


def test_another_interface_and_what_is_not_held_are_left_alone() -> None:
    stage = Stage()
    stage.held(VIP)
    stage.until(110.0)
    stage.network.link_runs("eth1", [VIP])
    stage.network.link_runs("eth0", [])
    assert stage.until(120.0) == []
