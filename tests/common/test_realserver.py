"""What a real server needs, and what is said of a machine that lacks it."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType

import pytest

from heartbus.cli.realserver import Asked, of_configuration, unit_text
from heartbus.config import load
from heartbus.model import ForwardingMethod
from heartbus.realserver import (
    AddressChange,
    Interface,
    LinkUp,
    Machine,
    ServedAddress,
    SysctlChange,
    problems,
    unserved,
)

VIP, VIP6 = "192.0.2.100", "2001:db8::100"
GATE = ServedAddress(address=VIP, method=ForwardingMethod.GATE)
GATE6 = ServedAddress(address=VIP6, method=ForwardingMethod.GATE)
IPIP = ServedAddress(address=VIP, method=ForwardingMethod.IPIP)
IPIP6 = ServedAddress(address=VIP6, method=ForwardingMethod.IPIP)

QUIET = {"all.arp_ignore": 1, "all.arp_announce": 2}


def machine(
    *,
    lo: tuple[tuple[str, int], ...] = (),
    eth0: tuple[tuple[str, int], ...] = (),
    tunnel: Interface | None = None,
    sysctls: Mapping[str, int] = MappingProxyType({}),
) -> Machine:
    interfaces = [
        Interface(name="lo", up=True, addresses=(("127.0.0.1", 8), *lo)),
        Interface(name="eth0", up=True, addresses=(("192.0.2.11", 24), *eth0)),
    ]
    return Machine(
        interfaces=(*interfaces, *([tunnel] if tunnel else ())),
        sysctls=sysctls,
    )


def mended(*served: ServedAddress, seen: Machine) -> list[object]:
    return [problem.mended_by for problem in problems(served, seen)]


def test_arp_is_silenced_before_an_address_is_added() -> None:
    assert mended(GATE, seen=machine()) == [
        SysctlChange(name="all.arp_ignore", value=1),
        SysctlChange(name="all.arp_announce", value=2),
        AddressChange(interface="lo", address=VIP, prefix=32),
    ]


def test_ipv6_needs_the_address_alone() -> None:
    assert mended(GATE6, seen=machine()) == [
        AddressChange(interface="lo", address=VIP6, prefix=128)
    ]


def test_a_machine_that_is_ready_has_no_problem() -> None:
    assert mended(GATE, GATE6, seen=machine(lo=((VIP, 32), (VIP6, 128)), sysctls=QUIET)) == []


def test_interfaces_that_come_later_count_too() -> None:
    """Before the network is up there is lo alone."""
    seen = dataclasses.replace(machine(), interfaces=machine().interfaces[:1])
    assert SysctlChange(name="all.arp_ignore", value=1) in mended(GATE, seen=seen)


def test_what_an_interface_has_of_its_own_is_enough() -> None:
    own = {
        f"{name}.{key.split('.')[1]}": n for key, n in QUIET.items() for name in ("eth0", "default")
    }
    assert mended(GATE, seen=machine(lo=((VIP, 32),), sysctls=own)) == []


def test_a_tunnel_is_made_brought_up_and_believed() -> None:
    strict = {**QUIET, "all.rp_filter": 1}
    assert mended(IPIP, seen=machine(sysctls=strict)) == [
        LinkUp(interface="tunl0", module="ipip", kind="ipip"),
        SysctlChange(name="tunl0.rp_filter", value=2),
        AddressChange(interface="tunl0", address=VIP, prefix=32),
    ]
    down = Interface(name="tunl0", up=False, addresses=((VIP, 32),))
    assert mended(IPIP, seen=machine(tunnel=down, sysctls=QUIET)) == [
        LinkUp(interface="tunl0", module="ipip", kind="ipip")
    ]
    loose = {**strict, "tunl0.rp_filter": 2}
    up = dataclasses.replace(down, up=True)
    assert mended(IPIP, seen=machine(tunnel=up, sysctls=loose)) == []
    assert mended(IPIP6, seen=machine())[0] == LinkUp(
        interface="ip6tnl0", module="ip6_tunnel", kind="ip6tnl"
    )


@pytest.mark.parametrize(
    ("where", "said"),
    [("eth0", "eth0 has it"), ("lo", "lo has it as /24")],
)
def test_an_address_in_the_wrong_place_is_told_and_left_to_people(where: str, said: str) -> None:
    here = ((VIP, 24),)
    seen = machine(
        lo=here if where == "lo" else (), eth0=here if where == "eth0" else (), sysctls=QUIET
    )
    [problem] = problems((GATE,), seen)
    assert problem.mended_by is None
    assert said in problem.what
    assert f"ip addr del {VIP}/24" in problem.what


def test_ports_without_a_listener_are_told() -> None:
    def seen(*listening: tuple[int, str, int]) -> Machine:
        return dataclasses.replace(machine(), listening=frozenset(listening))

    ports = {VIP: (80,)}
    assert unserved(ports, seen((4, "0.0.0.0", 80))) == ()
    assert unserved(ports, seen((6, "::", 80))) == ()
    assert unserved(ports, seen((4, VIP, 80))) == ()
    for other in ((4, "0.0.0.0", 81), (4, "192.0.2.11", 80), (6, VIP6, 80)):
        [problem] = unserved(ports, seen(other))
        assert problem.about == f"{VIP} port 80"


def test_what_a_machine_serves_is_found_in_the_configuration(tmp_path: Path) -> None:
    file = tmp_path / "heartbus.toml"
    file.write_bytes(Path("examples/heartbus.toml").read_bytes())
    file.chmod(0o600)
    cluster = load(str(file)).cluster
    service = next(s for s in cluster.virtual_services if s.real_servers and not s.fwmark)
    server = next(r for r in service.real_servers if r.forwarding is ForwardingMethod.GATE)
    asked = of_configuration(cluster, {"127.0.0.1", server.endpoint.address})
    assert (
        ServedAddress(address=service.endpoint.address, method=ForwardingMethod.GATE)
        in asked.served
    )
    assert service.endpoint.port in asked.ports[service.endpoint.address]
    assert of_configuration(cluster, {"127.0.0.1"}) == Asked(served=())


def test_the_unit_comes_before_the_network() -> None:
    text = unit_text("/usr/bin/heartbus", Asked(served=(GATE, IPIP6)))
    assert f"ExecStart=/usr/bin/heartbus realserver setup --gate={VIP} --ipip={VIP6}\n" in text
    assert "Before=network-pre.target" in text
