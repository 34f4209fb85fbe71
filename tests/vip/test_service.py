"""The shell on a bus in memory, with a fake network: whose news it believes, what it says."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator, Sequence
from pathlib import Path

import pytest

from heartbus import log
from heartbus.events import (
    GroupGranted,
    GroupRevoked,
    HoldStatus,
    Lease,
    MembershipState,
    VipAcquired,
    VipFailed,
    VipReleased,
    VipState,
)
from heartbus.model import (
    AddressResource,
    AnnounceSettings,
    Authentication,
    Cluster,
    Director,
    Membership,
    ResourceGroup,
    VipSettings,
)
from heartbus.testing import MemoryBus, MemoryHub
from heartbus_vip.address import AddressError, Refreshed
from heartbus_vip.frames import ArpForm
from heartbus_vip.leases import boot_id
from heartbus_vip.network import Network
from heartbus_vip.rtnetlink import KernelAddress
from heartbus_vip.service import VipService

NODE = "a"
VIP = AddressResource(address="192.168.7.110", prefix_len=24)
GROUP = ResourceGroup(name="www", preferred=NODE, resources=(VIP,))
CLUSTER = Cluster(
    directors=(Director(name="a"), Director(name="b")),
    membership=Membership(authentication=Authentication(signing_key=1, keys=())),
    vip=VipSettings(refresh_s=0.01, announce=AnnounceSettings(burst=1, again_s=0.0, refresh_s=0.0)),
    groups=(GROUP,),
)


class FakeKernel:
    """Addresses in a set; refuses all of them while ``refusal`` is set."""

    def __init__(self) -> None:
        self.held: set[AddressResource] = set()
        self.refusal: str | None = None
        self.frames: list[tuple[str, ArpForm]] = []

    def put(self, resource: AddressResource, *, lifetime_s: int, not_after_s: float) -> None:
        if self.refusal is not None:
            raise AddressError(self.refusal)
        self.held.add(resource)

    def remove_strays(self, resource: AddressResource) -> None:
        return None

    def refresh(
        self, wanted: Sequence[tuple[AddressResource, int]], *, not_after_s: float
    ) -> list[Refreshed]:
        if self.refusal is not None:
            raise AddressError(self.refusal)
        missing = [resource not in self.held for resource, _ in wanted]
        self.held.update(resource for resource, _ in wanted)
        return [
            Refreshed(resource=resource, missing=gone)
            for (resource, _), gone in zip(wanted, missing, strict=True)
        ]

    def remove(self, resource: AddressResource) -> bool:
        found = resource in self.held
        self.held.discard(resource)
        return found

    def matching(self, resource: AddressResource) -> list[KernelAddress]:
        if resource not in self.held:
            return []
        return [KernelAddress(address=resource.address, prefix_len=24, index=2, valid_s=3)]

    def interface_name(self, resource: AddressResource) -> str | None:
        return "eth0"

    def announce(self, *, address: str, interface: str, form: ArpForm) -> bool:
        self.frames.append((address, form))
        return True


class Stage:
    """One vip and, on the same hub, the membership of its own node and of another."""

    def __init__(self, runtime_dir: Path) -> None:
        self.hub = MemoryHub()
        self.bus = self._bus(NODE, "vip")
        self.membership = self._bus(NODE, "membership")
        self.stranger = self._bus("b", "membership")
        self.kernel = FakeKernel()
        self.stopping = asyncio.Event()
        self.ready = asyncio.Event()
        self.runtime_dir = runtime_dir
        line = log.logger()
        network = Network(
            addresses=self.kernel, announcer=self.kernel, settings=CLUSTER.vip.announce, log=line
        )
        self.service = VipService(
            node=NODE,
            cluster=CLUSTER,
            bus=self.bus,
            runtime_dir=runtime_dir,
            network=network,
            log=line,
        )

    def _bus(self, node: str, service: str) -> MemoryBus:
        return self.hub.bus(node=node, service=service, clock=time.monotonic)

    def say(self, *, epoch: int | None = 1, by: MemoryBus | None = None, boot: str = "") -> None:
        """Publish a snapshot of membership; ``epoch`` None: no lease."""
        deadline_s = time.monotonic() + 5.0
        lease = Lease(group="www", epoch=epoch or 0, deadline_monotonic_s=deadline_s, cause="g1")
        state = MembershipState(
            settled=True,
            directors=(),
            groups=(),
            leases=() if epoch is None else (lease,),
            links=(),
            boot_id=boot or boot_id(),
            config_digest="",
        )
        bus = by or self.membership
        bus.serve_state(lambda: state)
        bus.publish_state()

    def write(self, *, epoch: int = 1) -> None:
        """Write the lease file as membership does."""
        now_s = time.monotonic()
        lease = {"group": "www", "epoch": epoch, "deadline_monotonic_s": now_s + 5.0}
        document = {
            "schema": 1,
            "boot_id": boot_id(),
            "written_monotonic_s": now_s,
            "leases": [lease],
        }
        (self.runtime_dir / "leases.json").write_text(json.dumps(document))

    @property
    def status(self) -> HoldStatus:
        states = [m.body for m in self.hub.messages if isinstance(m.body, VipState)]
        return states[-1].groups[0].status

    async def turned(self) -> None:
        """Let the service take several turns."""
        await asyncio.sleep(0.05)


@pytest.fixture
async def stage(tmp_path: Path) -> AsyncIterator[Stage]:
    created = Stage(tmp_path)
    running = asyncio.create_task(
        created.service.run(stopping=created.stopping, ready=created.ready.set)
    )
    await created.ready.wait()
    yield created
    created.stopping.set()
    await running


async def test_a_snapshot_of_our_own_membership_is_believed(stage: Stage) -> None:
    stage.say()
    await stage.turned()
    assert stage.kernel.held == {VIP}
    assert stage.kernel.frames == [(VIP.address, ArpForm.REQUEST)]
    assert isinstance(stage.bus.published[-1], VipAcquired)
    assert stage.status is HoldStatus.HELD


async def test_the_grant_is_the_cause_on_the_bus(stage: Stage) -> None:
    stage.say()
    await stage.turned()
    (acquired,) = [m for m in stage.hub.messages if isinstance(m.body, VipAcquired)]
    assert acquired.envelope.cause == "g1"


async def test_the_leases_of_another_director_are_not_ours(stage: Stage) -> None:
    stage.say(by=stage.stranger)
    await stage.turned()
    assert stage.kernel.held == set()


async def test_the_leases_of_another_boot_are_not_believed(stage: Stage) -> None:
    stage.say(boot="another")
    await stage.turned()
    assert stage.kernel.held == set()


async def test_a_newer_snapshot_without_the_lease_beats_the_file_that_has_it(stage: Stage) -> None:
    stage.write()
    await stage.turned()
    assert stage.kernel.held == {VIP}
    stage.say(epoch=None)
    await stage.turned()
    assert stage.kernel.held == set()
    assert isinstance(stage.bus.published[-1], VipReleased)


async def test_a_newer_file_beats_an_older_snapshot(stage: Stage) -> None:
    stage.say(epoch=None)
    stage.write(epoch=4)
    await stage.turned()
    assert stage.kernel.held == {VIP}


async def test_the_file_is_enough_when_the_bus_is_gone(stage: Stage) -> None:
    stage.bus.disconnect()
    stage.write()
    await stage.turned()
    assert stage.kernel.held == {VIP}


async def test_a_revocation_of_our_own_membership_acts_at_once(stage: Stage) -> None:
    stage.say(epoch=3)
    await stage.turned()
    for bus in (stage.stranger, stage.membership):
        assert stage.kernel.held == {VIP}
        bus.publish(GroupRevoked(group="www", director=NODE, epoch=3, reason="test"))
        await stage.turned()
    assert stage.kernel.held == set()


async def test_the_grant_of_another_director_changes_nothing(stage: Stage) -> None:
    stage.stranger.publish(GroupGranted(group="www", director="b", epoch=3, reason="test"))
    await stage.turned()
    assert stage.kernel.held == set()


async def test_a_refused_address_is_told_with_the_reason(stage: Stage) -> None:
    stage.kernel.refusal = "no interface has a route to it"
    stage.say()
    await stage.turned()
    (failed,) = [e for e in stage.bus.published if isinstance(e, VipFailed)]
    assert failed.reason == "no interface has a route to it"
    assert stage.status is HoldStatus.FAILED


async def test_a_kernel_that_refuses_refreshes_for_a_while_ends_nothing(stage: Stage) -> None:
    stage.say()
    await stage.turned()
    stage.kernel.refusal = "interface is gone"
    await stage.turned()
    stage.kernel.held.clear()
    stage.kernel.refusal = None
    await stage.turned()
    assert stage.kernel.held == {VIP}
    assert stage.status is HoldStatus.HELD
    assert len(stage.kernel.frames) == 2  # and it was announced again


async def test_a_stop_says_so_before_and_releases(stage: Stage) -> None:
    stage.say()
    await stage.turned()
    stage.stopping.set()
    await stage.turned()
    states = [m.body for m in stage.hub.messages if isinstance(m.body, VipState)]
    assert states[-1].stopping
    assert states[-1].groups[0].status is HoldStatus.RELEASED
    assert stage.kernel.held == set()


async def test_what_is_in_the_kernel_is_adopted_before_it_says_ready(tmp_path: Path) -> None:
    stage = Stage(tmp_path)
    stage.write()
    stage.kernel.held.add(VIP)
    held_when_ready: list[bool] = []
    stage.stopping.set()
    await stage.service.run(
        stopping=stage.stopping,
        ready=lambda: held_when_ready.append(
            stage.service._holder.state().groups[0].status is HoldStatus.HELD
        ),
    )
    assert held_when_ready == [True]
