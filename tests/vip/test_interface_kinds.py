"""Addresses on bridges, macvlans, VLANs and bonds: held and announced there, by the real process.

VLANs and bonds need modules that the lab kernel has; it loads them when they are asked for.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.lab import addresses
from tests.lab.network import Host, Lab, Link
from tests.vip.test_process import Director, lines, logged, wait_for
from tests.vip.test_process_addresses import answered, believe_otherwise, believes

OWN, OWN6 = "10.7.0.1/24", "2001:db8:7::1/64"
VIP, VIP6 = "10.7.0.110", "2001:db8:7::110"
NEIGHBOUR, NEIGHBOUR6 = "10.7.0.9/24", "2001:db8:7::9/64"
VLAN = 7
ASK_OFTEN = "[vip.conflicts]\ninterval = 1\n"


def bridge(director: Director, client: Host) -> str:
    director.host.ip("link add br0 type bridge forward_delay 0", "link set eth0 master br0")
    return "br0"


def macvlan(director: Director, client: Host) -> str:
    director.host.ip("link add link eth0 name mac0 type macvlan mode bridge")
    return "mac0"


def vlan(director: Director, client: Host) -> str:
    for host in (director.host, client):
        host.ip(f"link add link eth0 name eth0.{VLAN} type vlan id {VLAN}")
    return f"eth0.{VLAN}"


def bond(director: Director, client: Host, *, options: str = "") -> str:
    director.host.ip(f"link add bond0 type bond mode active-backup miimon 20 {options}")
    director.host.ip("link set eth0 down", "link set eth1 down")
    director.host.ip("link set eth0 master bond0", "link set eth1 master bond0")
    return "bond0"


def bond_of_two_macs(director: Director, client: Host) -> str:
    return bond(director, client, options="fail_over_mac active")


class Stage:
    """A director with the interface, and a neighbour; the process holds both addresses there."""

    def __init__(
        self,
        lab: Lab,
        directory: Path,
        make: Callable[[Director, Host], str],
        *,
        settings: str = "",
    ) -> None:
        self.director = director = Director(lab, directory)
        self.second: Link = lab.attach(director.host, director.lan, "eth1")
        self.client = lab.host("client")
        lab.attach(self.client, director.lan, "eth0")
        self.interface = make(director, self.client)
        clients_own = self.interface if make is vlan else "eth0"
        for host, nic, mine, mine6 in (
            (director.host, self.interface, OWN, OWN6),
            (self.client, clients_own, NEIGHBOUR, NEIGHBOUR6),
        ):
            host.ip(
                f"link set {nic} up",
                f"addr add {mine} broadcast + dev {nic}",
                f"addr add {mine6} dev {nic} nodad",
            )
        self.clients_own = clients_own
        director.configure(f'"{VIP}/24"', f'"{VIP6}/64"', settings=settings)
        director.lease(for_s=300.0)
        self.process = director.start()
        wait_for(logged(self.process, "vip.acquired"), of=self.process)

    @property
    def mac(self) -> str:
        """The hardware address of the interface."""
        text = self.director.host.run(["ip", "-o", "link", "show", self.interface]).stdout
        return text.partition("link/ether ")[2].split()[0]

    def check(self) -> None:
        """Both are on the interface, a neighbour is told of both, and reaches both."""
        where = {a.interface for a in addresses.of(self.director.host) if a.address in (VIP, VIP6)}
        assert where == {self.interface}
        for vip in (VIP, VIP6):
            believe_otherwise(self.client, vip, interface=self.clients_own)
        self.director.lease(epoch=2, for_s=300.0)  # announced anew
        for vip in (VIP, VIP6):
            wait_for(believes(self.client, vip, self.mac), of=self.process)
            answered(self.client, vip)


@pytest.mark.netns
@pytest.mark.parametrize("make", [bridge, macvlan])
def test_bridges_and_macvlans_hold_addresses_and_tell_of_them(
    lab: Lab, tmp_path: Path, make: Callable[[Director, Host], str]
) -> None:
    Stage(lab, tmp_path, make).check()


@pytest.mark.ipvs
def test_vlans_hold_addresses_and_tell_of_them(lab: Lab, tmp_path: Path) -> None:
    Stage(lab, tmp_path, vlan).check()


@pytest.mark.ipvs
def test_a_bond_that_fails_over_tells_of_all_addresses(lab: Lab, tmp_path: Path) -> None:
    stage = Stage(lab, tmp_path, bond)
    stage.check()
    before = len(lines(stage.process, "address.reannounced"))
    active = stage.director.host.run(["cat", "/sys/class/net/bond0/bonding/active_slave"]).stdout
    cable = stage.director.link if active.strip() == "eth0" else stage.second
    cable.pull()
    wait_for(lambda: len(lines(stage.process, "address.reannounced")) > before, of=stage.process)
    answered(stage.client, VIP, VIP6)
    assert len(lines(stage.process, "vip.acquired")) == 1


@pytest.mark.ipvs
def test_on_a_bond_a_foreign_machine_is_a_conflict_and_own_frames_are_none(
    lab: Lab, tmp_path: Path
) -> None:
    """Both interfaces are on one network, and the bond changes its hardware address: the hardest.

    What it sends over one comes back over the other, from an address that it had before.
    """
    stage = Stage(lab, tmp_path, bond_of_two_macs, settings=ASK_OFTEN)
    process = stage.process
    wait_for(logged(process, "address.alone"), of=process)
    active = stage.director.host.run(["cat", "/sys/class/net/bond0/bonding/active_slave"]).stdout
    cable = stage.director.link if active.strip() == "eth0" else stage.second
    before = stage.mac
    cable.pull()
    wait_for(logged(process, "address.reannounced"), of=process)
    assert stage.mac != before
    cable.plug_in()  # both hear everything again
    stage.director.lease(epoch=2, for_s=300.0)  # announced anew, and asked for
    wait_for(lambda: len(lines(process, "address.alone")) >= 2, of=process)
    time.sleep(3.0)  # nothing is to happen: there is nothing to wait for
    assert lines(process, "vip.conflict") == []
    stranger = lab.host("stranger")
    cable = lab.attach(stranger, stage.director.lan, "eth0", "10.7.0.77/24")
    stranger.ip(f"addr add {VIP}/32 dev eth0")
    wait_for(logged(process, "vip.conflict"), of=process)
    (conflict,) = (line["data"] for line in lines(process, "vip.conflict"))
    assert isinstance(conflict, dict)
    assert (conflict["mac"], conflict["interface"]) == (cable.mac, "bond0")
