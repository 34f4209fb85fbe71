"""What the kernel tells leads to a refresh or to announcements, and never to a storm of them."""

from __future__ import annotations

from heartbus_vip.rtnetlink import AddressGone, KernelAddress, LinkGone, LinkNews
from heartbus_vip.upkeep import REPAIR_SPACING_S, Follows, LinkIs, Upkeep

VIP, VIP6 = "192.168.7.110", "2001:db8::110"


def gone(address: str) -> AddressGone:
    return AddressGone(address=KernelAddress(address=address, prefix_len=24, index=2))


def link(*, running: bool = True, mac: bytes = b"\2\0\0\0\0\1", notify: bool = False) -> LinkNews:
    return LinkNews(index=2, name="eth0", running=running, mac=mac, notify=notify)


NOTHING = Follows()


def refresh(at_s: float) -> Follows:
    return Follows(refresh_s=at_s)


def test_a_configured_address_that_went_is_refreshed_at_once() -> None:
    upkeep = Upkeep({VIP, VIP6}, settles_s=0.5)
    assert upkeep.told([gone(VIP)], now_s=100.0) == refresh(100.0)
    assert upkeep.told([gone(VIP6)], now_s=100.0) == refresh(100.0)


def test_any_other_address_is_nobodys_business() -> None:
    assert Upkeep({VIP}, settles_s=0.5).told([gone("192.168.7.111")], now_s=100.0) == NOTHING


def test_who_takes_an_address_away_again_and_again_cannot_keep_us_busy() -> None:
    upkeep = Upkeep({VIP}, settles_s=0.5)
    upkeep.refreshed(now_s=100.0)
    assert upkeep.told([gone(VIP)], now_s=100.001) == refresh(100.0 + REPAIR_SPACING_S)
    assert upkeep.told([gone(VIP)], now_s=101.0) == refresh(101.0)


def test_an_interface_that_runs_again_is_announced_on_and_refreshed() -> None:
    upkeep = Upkeep({VIP}, settles_s=0.5)
    upkeep.told([link()], now_s=99.0)
    assert upkeep.told([link()], now_s=100.0) == NOTHING  # a change of something else
    down = Follows(links={"eth0": LinkIs.SILENT})
    assert upkeep.told([link(running=False)], now_s=101.0) == down
    up = Follows(refresh_s=102.0, links={"eth0": LinkIs.BACK})
    assert upkeep.told([link()], now_s=102.0) == up


def test_a_new_hardware_address_and_a_bond_that_failed_over_are_announced() -> None:
    upkeep = Upkeep({VIP}, settles_s=0.5)
    upkeep.told([link()], now_s=99.0)
    another = Follows(links={"eth0": LinkIs.ANOTHER})
    assert upkeep.told([link(mac=b"\2\0\0\0\0\2")], now_s=100.0) == another
    assert upkeep.told([link(mac=b"\2\0\0\0\0\2", notify=True)], now_s=101.0) == another


def test_down_and_up_between_two_looks_has_to_wait_whatever_comes_with_it() -> None:
    upkeep = Upkeep({VIP}, settles_s=0.5)
    upkeep.told([link()], now_s=99.0)
    told = [link(running=False), link(), link(notify=True)]
    back = Follows(refresh_s=100.0, links={"eth0": LinkIs.BACK})
    assert upkeep.told(told, now_s=100.0) == back
    assert upkeep.told([link(notify=True)], now_s=100.4) == NOTHING
    assert upkeep.told([link(notify=True)], now_s=100.6).links == {"eth0": LinkIs.ANOTHER}


def test_up_and_down_between_two_looks_is_down() -> None:
    upkeep = Upkeep({VIP}, settles_s=0.5)
    upkeep.told([link(running=False)], now_s=99.0)
    follows = upkeep.told([link(), link(running=False)], now_s=100.0)
    assert follows.links == {"eth0": LinkIs.SILENT}


def test_an_interface_that_vanished_is_looked_at_soon_and_made_anew_is_announced() -> None:
    upkeep = Upkeep({VIP}, settles_s=0.5)
    upkeep.told([link()], now_s=99.0)
    assert upkeep.told([LinkGone(index=2, name="eth0")], now_s=100.0) == refresh(100.0)
    back = Follows(refresh_s=101.0, links={"eth0": LinkIs.BACK})
    assert upkeep.told([link()], now_s=101.0) == back


def test_lost_news_may_have_been_of_anything() -> None:
    upkeep = Upkeep({VIP}, settles_s=0.5)
    upkeep.told([link()], now_s=99.0)
    assert upkeep.told(None, now_s=100.0) == refresh(100.0)
    it_may_have_been_down = upkeep.told([link()], now_s=101.0)
    assert it_may_have_been_down.links == {"eth0": LinkIs.BACK}
