"""The real kernel, in a network namespace of its own."""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest

from heartbus.model import AddressResource
from heartbus_vip.address import AddressError, AddressTable, StalledError
from heartbus_vip.announce import Announcer
from heartbus_vip.frames import ArpForm
from tests.lab import addresses
from tests.lab.addresses import HeldAddress
from tests.lab.network import Host, Lab, wait_until

pytestmark = pytest.mark.netns

VIP = AddressResource(address="192.168.7.110", prefix_len=24)


@pytest.fixture
def host(lab: Lab) -> Host:
    host = lab.host("director")
    lan, back = lab.switch("lan"), lab.switch("back")
    lab.attach(host, lan, "eth0", "192.168.7.1/24")
    lab.attach(host, back, "eth1", "10.0.0.1/24")
    return host


@pytest.fixture
def table(host: Host) -> Iterator[AddressTable]:
    created = host.call(AddressTable)  # a socket belongs to the namespace where it was made
    yield created
    created.close()


def soon() -> float:
    return time.monotonic() + 60.0


def vip(host: Host, address: str = VIP.address) -> list[HeldAddress]:
    return [a for a in addresses.of(host) if a.address == address]


def put(host: Host, table: AddressTable, resource: AddressResource, lifetime_s: int = 30) -> None:
    host.call(lambda: table.put(resource, lifetime_s=lifetime_s, not_after_s=soon()))


def remove(host: Host, table: AddressTable, resource: AddressResource) -> bool:
    return host.call(lambda: table.remove(resource))


def test_an_address_gets_interface_mask_broadcast_and_lifetime(
    host: Host, table: AddressTable
) -> None:
    put(host, table, VIP)
    assert vip(host) == [
        HeldAddress(
            interface="eth0",
            address="192.168.7.110",
            prefix_len=24,
            broadcast="192.168.7.255",
            valid_s=30,
        )
    ]


def ip(text: str, *, interface: str | None = None, broadcast: str | None = None) -> AddressResource:
    address, prefix_len = text.split("/")
    return AddressResource(
        address=address, prefix_len=int(prefix_len), interface=interface, broadcast=broadcast
    )


@pytest.mark.parametrize(
    ("resource", "interface", "broadcast"),
    [
        (ip("10.0.0.9/24"), "eth1", "10.0.0.255"),
        (ip("10.0.0.9/32"), "eth1", None),
        (ip("10.0.0.9/31"), "eth1", None),
        (ip("10.0.0.9/24", interface="eth0"), "eth0", "10.0.0.255"),
        (ip("10.0.0.9/24", broadcast="10.0.0.7"), "eth1", "10.0.0.7"),
        (ip("172.16.5.5/16", interface="eth1"), "eth1", "172.16.255.255"),
    ],
)
def test_interface_and_broadcast_follow_the_configuration_or_the_route(
    host: Host,
    table: AddressTable,
    resource: AddressResource,
    interface: str,
    broadcast: str | None,
) -> None:
    put(host, table, resource)
    (found,) = vip(host, resource.address)
    assert (found.interface, found.prefix_len, found.broadcast) == (
        interface,
        resource.prefix_len,
        broadcast,
    )


def test_the_default_route_is_taken_when_there_is_no_better_one(
    host: Host, table: AddressTable
) -> None:
    host.ip("route add default via 10.0.0.254")
    put(host, table, ip("203.0.113.5/32"))
    assert [a.interface for a in vip(host, "203.0.113.5")] == ["eth1"]


def test_an_address_that_is_held_already_keeps_its_interface(
    host: Host, table: AddressTable
) -> None:
    host.ip("addr add 10.0.0.9/24 dev eth0")
    put(host, table, ip("10.0.0.9/24"))
    assert [a.interface for a in vip(host, "10.0.0.9")] == ["eth0"]


def test_the_address_of_the_loopback_does_not_decide_the_interface(
    host: Host, table: AddressTable
) -> None:
    host.ip("addr add 192.168.7.110/32 dev lo")
    put(host, table, VIP)
    assert [(a.interface, a.prefix_len) for a in vip(host)] == [("lo", 32), ("eth0", 24)]
    remove(host, table, VIP)
    assert [(a.interface, a.prefix_len) for a in vip(host)] == [("lo", 32)]


def test_no_route_is_an_error_that_says_what_to_do(host: Host, table: AddressTable) -> None:
    with pytest.raises(AddressError, match=r"203\.0\.113\.5/32: no interface has a route to it"):
        put(host, table, ip("203.0.113.5/32"))


def test_an_unknown_interface_is_an_error_that_names_those_there_are(
    host: Host, table: AddressTable
) -> None:
    with pytest.raises(AddressError, match=r"no interface 'eth9' here .*eth0, eth1"):
        put(host, table, ip("10.0.0.9/24", interface="eth9"))


def test_a_refresh_sets_the_lifetime_anew_and_says_what_was_missing(
    host: Host, table: AddressTable
) -> None:
    other = ip("10.0.0.9/24")
    put(host, table, VIP, 30)
    outcomes = host.call(lambda: table.refresh([(VIP, 50), (other, 60)], not_after_s=soon()))
    assert [(o.resource, o.missing, o.problem) for o in outcomes] == [
        (VIP, False, None),
        (other, True, None),
    ]
    assert [a.valid_s for a in (*vip(host), *vip(host, "10.0.0.9"))] == [50, 60]


def test_one_bad_address_of_a_refresh_does_not_harm_the_others(
    host: Host, table: AddressTable
) -> None:
    bad = ip("10.0.0.9/24", interface="eth9")
    worse = ip("0.0.0.0/24", interface="eth1")
    last = ip("10.0.0.10/24")
    outcomes = host.call(
        lambda: table.refresh([(bad, 9), (worse, 9), (VIP, 9), (last, 9)], not_after_s=soon())
    )
    problems = {o.resource: o.problem for o in outcomes}
    assert problems[VIP] is None
    assert problems[last] is None
    assert "no interface 'eth9'" in str(problems[bad])
    assert [len(vip(host)), len(vip(host, "10.0.0.10"))] == [1, 1]


def test_nothing_is_sent_later_than_the_decision_allows(host: Host, table: AddressTable) -> None:
    past_s = time.monotonic() - 0.001
    with pytest.raises(StalledError):
        host.call(lambda: table.put(VIP, lifetime_s=30, not_after_s=past_s))
    with pytest.raises(StalledError):
        host.call(lambda: table.refresh([(VIP, 30)], not_after_s=past_s))
    assert vip(host) == []


def test_a_refresh_finds_an_interface_that_was_made_anew(host: Host, table: AddressTable) -> None:
    there = ip("172.16.5.5/24", interface="new0")
    host.ip("link add new0 type veth peer name new1", "link set new0 up")
    put(host, table, there)
    host.ip("link del new0", "link add new0 type veth peer name new1", "link set new0 up")
    first = host.call(lambda: table.refresh([(there, 9)], not_after_s=soon()))
    second = host.call(lambda: table.refresh([(there, 9)], not_after_s=soon()))
    assert first[0].problem is not None
    assert second[0].problem is None
    assert [a.interface for a in vip(host, "172.16.5.5")] == ["new0"]


def test_a_permanent_address_of_somebody_else_becomes_finite_and_ours(
    host: Host, table: AddressTable
) -> None:
    host.ip("addr add 192.168.7.110/24 dev eth0")
    assert [a.valid_s for a in host.call(lambda: table.matching(VIP))] == [None]
    put(host, table, VIP, 30)
    assert [a.valid_s for a in vip(host)] == [30]


def test_the_same_address_with_another_mask_is_replaced(host: Host, table: AddressTable) -> None:
    host.ip("addr add 192.168.7.110/32 dev eth0", "addr add 192.168.7.110/16 dev eth1")
    resource = AddressResource(address=VIP.address, prefix_len=24, interface="eth0")
    put(host, table, resource)
    assert ("eth0", 24) in [(a.interface, a.prefix_len) for a in vip(host)]
    host.call(lambda: table.remove_strays(resource))
    assert [(a.interface, a.prefix_len) for a in vip(host)] == [("eth0", 24)]


@pytest.mark.parametrize("how", ["put", "refreshed"])
def test_an_address_of_ipv6_with_another_prefix_length_is_replaced(
    host: Host, table: AddressTable, how: str
) -> None:
    host.ip("addr add 2001:db8::1/64 dev eth1 nodad", "addr add 2001:db8::110/128 dev eth1 nodad")
    if how == "put":
        put(host, table, VIP6)
        host.call(lambda: table.remove_strays(VIP6))
    else:
        (outcome,) = host.call(lambda: table.refresh([(VIP6, 30)], not_after_s=soon()))
        assert outcome.problem is None
    found = vip(host, VIP6.address)
    assert [(a.interface, a.prefix_len, a.valid_s) for a in found] == [("eth1", 64, 30)]


def test_label_and_broadcast_of_an_address_that_is_there_are_corrected(
    host: Host, table: AddressTable
) -> None:
    host.ip("addr add 192.168.7.110/24 brd 192.168.7.9 dev eth0 label eth0:old")
    labelled = AddressResource(address=VIP.address, prefix_len=24, label="eth0:vip")
    put(host, table, labelled)
    (found,) = host.call(lambda: table.matching(labelled))
    assert (found.label, found.broadcast, found.valid_s) == ("eth0:vip", "192.168.7.255", 30)
    host.ip(
        "addr del 192.168.7.110/24 dev eth0",
        "addr add 192.168.7.110/24 brd 192.168.7.9 dev eth0",
    )
    host.call(lambda: table.refresh([(labelled, 50)], not_after_s=soon()))
    (found,) = host.call(lambda: table.matching(labelled))
    assert (found.label, found.broadcast, found.valid_s) == ("eth0:vip", "192.168.7.255", 50)


def test_a_label_that_nobody_asked_for_is_left_alone(host: Host, table: AddressTable) -> None:
    # Taking it off would take the address away for a moment.
    host.ip("addr add 192.168.7.110/24 brd + dev eth0 label eth0:0")
    put(host, table, VIP)
    assert [a.label for a in host.call(lambda: table.matching(VIP))] == ["eth0:0"]


def test_removing_leaves_every_other_address(host: Host, table: AddressTable) -> None:
    # The virtual IP comes first here, so the others of its network are its secondaries.
    first = ip("172.16.5.5/24", interface="eth1")
    put(host, table, first)
    host.ip("addr add 172.16.5.6/24 dev eth1", "addr add 172.16.5.7/24 dev eth1")
    assert remove(host, table, first)
    assert [a.address for a in addresses.of(host) if a.interface == "eth1" and a.valid_s is None][
        :3
    ] == ["10.0.0.1", "172.16.5.6", "172.16.5.7"]


VIP6 = AddressResource(address="2001:db8::110", prefix_len=64)


def vip6_as_the_kernel_says(host: Host) -> list[str]:
    return host.run(["ip", "-6", "-o", "addr", "show", "to", "2001:db8::110"]).stdout.splitlines()


def test_an_address_of_ipv6_is_put_where_the_route_goes_refreshed_and_removed(
    host: Host, table: AddressTable
) -> None:
    for interface in ("all", "eth1"):  # the lab's hosts look for no duplicates
        host.sysctl(f"net.ipv6.conf.{interface}.accept_dad", 1)
    host.ip("addr add 2001:db8::1/64 dev eth1 nodad")
    put(host, table, VIP6, 30)
    (line,) = vip6_as_the_kernel_says(host)
    assert " eth1 " in line
    assert "2001:db8::110/64" in line
    assert "valid_lft 30sec" in line
    assert "tentative" not in line  # or it could not be used at once
    outcomes = host.call(lambda: table.refresh([(VIP6, 50)], not_after_s=soon()))
    assert [(o.missing, o.problem) for o in outcomes] == [(False, None)]
    assert "valid_lft 50sec" in vip6_as_the_kernel_says(host)[0]
    assert remove(host, table, VIP6)
    assert vip6_as_the_kernel_says(host) == []


def test_one_that_is_still_looking_for_duplicates_is_usable_at_once(
    host: Host, table: AddressTable
) -> None:
    for interface in ("all", "eth1"):
        host.sysctl(f"net.ipv6.conf.{interface}.accept_dad", 1)
    host.ip("addr add 2001:db8::1/64 dev eth1 nodad", "addr add 2001:db8::110/64 dev eth1")
    assert " tentative" in vip6_as_the_kernel_says(host)[0]
    put(host, table, VIP6)
    (line,) = vip6_as_the_kernel_says(host)
    assert " tentative" not in line
    assert "valid_lft 30sec" in line


def test_own_connections_do_not_begin_from_an_address_of_ipv6_that_is_held(
    host: Host, table: AddressTable
) -> None:
    host.ip("addr add 2001:db8::1/64 dev eth1 nodad")
    put(host, table, VIP6, 30)
    # The VIP has the longer common prefix with it (RFC 6724 rule 8): it would win if preferred.
    route = host.run(["ip", "-6", "route", "get", "2001:db8::111"]).stdout
    assert "src 2001:db8::1 " in route


def test_own_connections_may_begin_from_it_if_that_is_wanted(
    host: Host, table: AddressTable
) -> None:
    host.ip("addr add 2001:db8::1/64 dev eth1 nodad")
    source = AddressResource(address=VIP6.address, prefix_len=64, source=True)
    put(host, table, source, 30)
    route = host.run(["ip", "-6", "route", "get", "2001:db8::111"]).stdout
    assert "src 2001:db8::110 " in route


def test_an_address_of_ipv6_on_the_loopback_is_no_obstacle(host: Host, table: AddressTable) -> None:
    host.ip("addr add 2001:db8::1/64 dev eth1 nodad", "addr add 2001:db8::110/128 dev lo nodad")
    put(host, table, VIP6)
    found = vip(host, VIP6.address)
    assert [(a.interface, a.prefix_len) for a in found] == [("lo", 128), ("eth1", 64)]
    assert remove(host, table, VIP6)
    assert [a.interface for a in vip(host, VIP6.address)] == ["lo"]


def test_an_address_of_ipv6_where_ipv6_is_off_is_an_error_in_words(
    host: Host, table: AddressTable
) -> None:
    host.sysctl("net.ipv6.conf.eth1.disable_ipv6", 1)
    there = AddressResource(address=VIP6.address, prefix_len=64, interface="eth1")
    advice = r"cannot add 2001:db8::110/64 on eth1: .*; set net\.ipv6\.conf\.eth1\.disable_ipv6=0"
    with pytest.raises(AddressError, match=advice):
        put(host, table, there)


def test_no_route_of_ipv6_is_an_error_that_says_what_to_do(host: Host, table: AddressTable) -> None:
    with pytest.raises(AddressError, match=r"2001:db8:9::5/128: no interface has a route to it"):
        put(host, table, AddressResource(address="2001:db8:9::5", prefix_len=128))


def test_the_default_route_of_ipv6_is_taken_when_there_is_no_better_one(
    host: Host, table: AddressTable
) -> None:
    host.ip("addr add 2001:db8::1/64 dev eth1 nodad", "route add default via 2001:db8::fe")
    put(host, table, AddressResource(address="2001:db8:9::5", prefix_len=128))
    assert [a.interface for a in vip(host, "2001:db8:9::5")] == ["eth1"]


def test_removing_what_is_not_there_is_no_error(host: Host, table: AddressTable) -> None:
    assert remove(host, table, VIP) is False


def test_many_addresses_are_listed_whole(host: Host, table: AddressTable) -> None:
    many = [ip(f"10.0.0.{n}/24") for n in range(2, 252)]
    outcomes = host.call(lambda: table.refresh([(a, 30) for a in many], not_after_s=soon()))
    assert [o.problem for o in outcomes] == [None] * 250
    listed = [a for a in host.call(table.addresses) if ":" not in a.address]
    assert len(listed) == 250 + 3


@pytest.mark.parametrize("form", list(ArpForm))
def test_an_announcement_changes_what_a_neighbour_believes(
    host: Host, lab: Lab, form: ArpForm
) -> None:
    client = lab.host("client")
    lab.attach(client, host.links[0].switch, "eth0", "192.168.7.9/24")
    client.ip(f"neigh add {VIP.address} lladdr 02:00:00:00:00:99 dev eth0 nud stale")
    announcer = host.call(Announcer)
    sent = host.call(lambda: announcer.announce(address=VIP.address, interface="eth0", form=form))
    announcer.close()
    assert sent
    wait_until(  # a busy machine lets the kernel hand on a frame later
        lambda: addresses.neighbour(client, VIP.address) == host.links[0].mac,
        timeout_s=5.0,
        what="the neighbour knows",
    )


@pytest.mark.parametrize("router", [False, True])
def test_an_advertisement_changes_what_a_neighbour_believes(
    host: Host, lab: Lab, router: bool
) -> None:
    client = lab.host("client")
    lab.attach(client, host.links[0].switch, "eth0", "2001:db8::9/64")
    client.ip(f"neigh add {VIP6.address} lladdr 02:00:00:00:00:99 dev eth0 nud stale")
    host.sysctl("net.ipv6.conf.eth0.forwarding", int(router))
    announcer = host.call(Announcer)
    sent = host.call(
        lambda: announcer.announce(address=VIP6.address, interface="eth0", form=ArpForm.REPLY)
    )
    announcer.close()
    assert sent
    wait_until(
        lambda: host.links[0].mac in neighbours(client), timeout_s=5.0, what="the neighbour knows"
    )
    assert (" router " in f"{neighbours(client)} ") is router


def neighbours(client: Host) -> str:
    return client.run(["ip", "-6", "neigh", "show", VIP6.address]).stdout.strip()


def test_an_interface_without_arp_is_not_announced_on(host: Host) -> None:
    announcer = host.call(Announcer)
    sent = host.call(
        lambda: announcer.announce(address=VIP.address, interface="lo", form=ArpForm.REQUEST)
    )
    announcer.close()
    assert not sent
