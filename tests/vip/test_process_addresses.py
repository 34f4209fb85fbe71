"""The real process and the addresses of both families: kept, repaired, announced, on any interface.

As in test_process there is no bus; the test is the membership.
"""

from __future__ import annotations

import socket
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest

from tests.lab import addresses
from tests.lab.network import Host, Lab, Process
from tests.vip.test_process import (
    LIFETIME_S,
    VIP,
    Director,
    lines,
    logged,
    wait_for,
)

pytestmark = pytest.mark.netns

VIP6 = "2001:db8::110"
BOTH = (f'"{VIP}/24"', f'"{VIP6}/64"')
QUIET = "announce = { burst = 1, again = 0, refresh = 0 }"
SLOW_REFRESH = "lifetime = 60\nrefresh = 20\n"
"""With it whatever happens within a second happens because the kernel told of a change."""

SOON_S = 1.0
STALE_MAC = "02:00:00:00:00:99"


@pytest.fixture
def director(lab: Lab, tmp_path: Path) -> Director:
    director = Director(lab, tmp_path)
    for interface in ("all", "eth0"):  # the lab's hosts look for no duplicates, real ones do
        director.host.sysctl(f"net.ipv6.conf.{interface}.accept_dad", 1)
    director.host.ip("addr add 2001:db8::1/64 dev eth0 nodad")
    director.configure(*BOTH)
    return director


def held(director: Director) -> list[str]:
    return [vip for vip in (VIP, VIP6) if addresses.holds(director.host, vip)]


def both(director: Director) -> Callable[[], bool]:
    return lambda: held(director) == [VIP, VIP6]


def neither(director: Director) -> Callable[[], bool]:
    return lambda: held(director) == []


def holding(director: Director, *, settings: str = "") -> Process:
    director.configure(*BOTH, settings=settings)
    director.lease(for_s=120.0)
    process = director.start()
    wait_for(logged(process, "vip.acquired"), of=process)
    assert held(director) == [VIP, VIP6]
    return process


def as_the_kernel_says(host: Host, address: str = VIP6) -> str:
    return host.run(["ip", "-o", "addr", "show", "to", address]).stdout


# --- held, and given up --------------------------------------------------------------------------


def test_both_families_are_held_as_one_usable_at_once_and_for_a_finite_time(
    director: Director,
) -> None:
    process = holding(director)
    found = {a.address: a for a in addresses.of(director.host)}
    assert found[VIP6].prefix_len == 64
    for vip in (VIP, VIP6):
        assert found[vip].valid_s in (LIFETIME_S, LIFETIME_S - 1)
    assert "tentative" not in as_the_kernel_says(director.host)
    (acquired,) = lines(process, "vip.acquired")
    assert acquired["data"]["addresses"] == [VIP, VIP6]  # type: ignore[index]
    director.revoke()
    wait_for(neither(director), within_s=SOON_S, of=process)


def test_a_killed_process_adopts_both_without_a_gap(director: Director) -> None:
    settings = "lifetime = 12"  # in the lab kernel a process starts in 5 s
    first = holding(director, settings=settings)
    first.kill()
    second = director.start()
    while not lines(second, "vip.acquired"):
        assert held(director) == [VIP, VIP6]
        assert second.returncode is None, second.output()
        time.sleep(0.005)  # the sampling period; the test's own limit bounds it
    assert not lines(second, "vip.repaired")
    assert not lines(second, "address.removed")


def test_left_overs_go_once_membership_gives_no_lease(director: Director) -> None:
    director.host.ip(f"addr add {VIP6}/64 dev eth0 valid_lft 60 preferred_lft 0 nodad")
    director.revoke()
    process = director.start()
    wait_for(logged(process, "address.removed"), of=process)
    assert held(director) == []


def test_one_that_cannot_be_held_takes_the_whole_group_along(director: Director) -> None:
    director.host.sysctl("net.ipv6.conf.eth0.disable_ipv6", 1)
    director.configure(f'"{VIP}/24"', f'"{VIP6}/64/eth0"')
    director.lease()
    process = director.start()
    wait_for(logged(process, "vip.failed"), of=process)
    wait_for(neither(director), of=process)
    (failed,) = lines(process, "vip.failed")
    assert f"cannot add {VIP6}/64 on eth0" in str(failed["data"])
    assert lines(process, "address.ipv6_off")  # and the start had said it


# --- what others do to it ------------------------------------------------------------------------


def test_addresses_deleted_by_hand_are_back_at_once_announced_and_told(
    director: Director, lab: Lab
) -> None:
    client = neighbour(lab, director)
    process = holding(director, settings=SLOW_REFRESH + QUIET)
    for vip, length in ((VIP, 24), (VIP6, 64)):
        believe_otherwise(client, vip)
        director.host.ip(f"addr del {vip}/{length} dev eth0")
        assert wait_for(both(director), of=process) < SOON_S
        wait_for(believes(client, vip, director.link.mac), within_s=SOON_S)
    told = [line["data"] for line in lines(process, "vip.repaired")]
    assert [(t["group"], t["epoch"], t["address"], t["times"]) for t in told] == [  # type: ignore[index]
        ("www", 1, f"{VIP}/24", 1),
        ("www", 1, f"{VIP6}/64", 1),
    ]


def test_who_deletes_without_end_is_repaired_without_end_and_told_in_moderation(
    director: Director,
) -> None:
    process = holding(director, settings=SLOW_REFRESH + QUIET)
    for _ in range(20):
        director.host.ip(f"addr del {VIP}/24 dev eth0")
        wait_for(both(director), within_s=SOON_S, of=process)
    assert 1 <= len(lines(process, "vip.repaired")) < 10
    assert len(lines(process, "address.repaired")) == 20


@pytest.mark.parametrize("carrier", [False, True], ids=["set down", "no carrier"])
def test_a_link_that_comes_back_is_announced_on_with_the_addresses_that_stayed(
    director: Director, lab: Lab, carrier: bool
) -> None:
    client = neighbour(lab, director)
    process = holding(director, settings=QUIET)
    cable, host = director.link, director.host
    cable.pull() if carrier else host.ip("link set eth0 down")
    time.sleep(LIFETIME_S + 1.0)  # longer than an address lasts that nobody refreshes
    assert VIP in held(director)
    for vip in (VIP, VIP6):
        believe_otherwise(client, vip)
    cable.plug_in() if carrier else host.ip("link set eth0 up")
    for vip in (VIP, VIP6):
        wait_for(believes(client, vip, director.link.mac), of=process)
    wait_for(both(director), within_s=SOON_S, of=process)
    assert len(lines(process, "vip.acquired")) == 1
    assert not lines(process, "vip.failed")
    answered(client, VIP, VIP6)


def test_an_interface_that_is_made_anew_gets_its_addresses_back(director: Director) -> None:
    director.host.ip("link add new0 type veth peer name new1", "link set new0 up")
    director.configure('"172.16.5.5/24/new0"', '"2001:db8:5::5/64/new0"')
    director.lease(for_s=120.0)
    process = director.start()
    wait_for(logged(process, "vip.acquired"), of=process)
    director.host.ip("link del new0")
    director.host.ip("link add new0 type veth peer name new1", "link set new0 up")
    for vip in ("172.16.5.5", "2001:db8:5::5"):
        wait_for(partial(addresses.holds, director.host, vip), of=process)
    assert not lines(process, "vip.failed")


# --- a director that is a real server too --------------------------------------------------------


def test_the_vip_on_the_loopback_is_no_holding_and_stays_where_it_is(
    director: Director, lab: Lab
) -> None:
    client = neighbour(lab, director)
    host = director.host
    host.sysctl("net.ipv4.conf.all.arp_ignore", 1)
    host.sysctl("net.ipv4.conf.all.arp_announce", 2)
    host.ip(f"addr add {VIP}/32 dev lo", f"addr add {VIP6}/128 dev lo nodad")
    director.revoke()
    process = director.start()
    wait_for(logged(process, "service.ready"), of=process)
    assert addresses.arp_answers(client, VIP, interface="eth0", wait_s=0.3) == []
    director.lease(for_s=120.0)
    wait_for(logged(process, "vip.acquired"), of=process)
    assert addresses.arp_answer(client, VIP, interface="eth0") == director.link.mac
    answered(client, VIP, VIP6)
    director.revoke()
    wait_for(logged(process, "vip.released"), of=process)
    assert addresses.arp_answers(client, VIP, interface="eth0", wait_s=0.3) == []
    assert held(director) == [VIP, VIP6]  # on lo, where a real server needs them
    assert {a.interface for a in addresses.of(host) if a.address in (VIP, VIP6)} == {"lo"}
    assert not lines(process, "address.loopback")


# --- neighbours ----------------------------------------------------------------------------------


def neighbour(lab: Lab, director: Director) -> Host:
    host = lab.host("client")
    lab.attach(host, director.lan, "eth0", "192.168.7.9/24", "2001:db8::9/64")
    return host


def believe_otherwise(client: Host, vip: str, *, interface: str = "eth0") -> None:
    client.ip(f"neigh replace {vip} lladdr {STALE_MAC} dev {interface} nud stale")


def believes(client: Host, vip: str, mac: str) -> Callable[[], bool]:
    """Whether the client has this hardware address for the VIP."""
    return lambda: f" lladdr {mac} " in client.run(["ip", "neigh", "show", vip]).stdout


def answered(client: Host, *vips: str) -> None:
    """See that each VIP is reached: its host refuses a connection to a port that nobody has."""
    for vip in vips:
        with pytest.raises(ConnectionRefusedError):
            client.call(partial(socket.create_connection, (vip, 9), 5.0))
