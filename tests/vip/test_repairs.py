from __future__ import annotations

from heartbus.events import HeldGroup, HoldStatus, VipRepaired, VipState
from heartbus.model import AddressResource, ResourceGroup
from heartbus_vip.repairs import Repairs

VIP = AddressResource(address="192.168.7.110", prefix_len=24)
VIP6 = AddressResource(address="2001:db8::110", prefix_len=64)
GROUP = ResourceGroup(name="www", preferred="a", resources=(VIP, VIP6))
STATE = VipState(
    stopping=False,
    groups=(HeldGroup(name="www", status=HoldStatus.HELD, epoch=7, addresses=(), reason=""),),
)


def event(address: AddressResource, times: int) -> VipRepaired:
    return VipRepaired(group="www", director="a", epoch=7, address=address.name, times=times)


def test_each_repair_is_told_at_once_with_group_and_epoch() -> None:
    repairs = Repairs("a", [GROUP])
    assert repairs.repaired([VIP, VIP6], STATE, now_s=100.0) == [event(VIP, 1), event(VIP6, 1)]


def test_repairs_without_end_are_counted_and_told_once_in_a_while() -> None:
    repairs = Repairs("a", [GROUP])
    told = [repairs.repaired([VIP], STATE, now_s=100.0 + n / 10) for n in range(11)]
    assert told == [[event(VIP, 1)], *[[]] * 9, [event(VIP, 10)]]
    assert repairs.repaired([VIP], STATE, now_s=200.0) == [event(VIP, 1)]
