"""Real packets through every forwarding method, scheduler, flag, transport and family.

Tunnels go over IPv4 and over IPv6, with either family in them.

client .50 ─┬─ director .1 ─┬─ one .11
            │               └─ two .12      192.0.2.0/24 and fd00::/64
            └── all on one switch; .110 is the director's, and on lo of the servers
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest

from heartbus.model import (
    Endpoint,
    ForwardingMethod,
    PersistenceEngine,
    RealServer,
    Scheduler,
    SchedulerFlag,
    TransportProtocol,
    Tunnel,
    TunnelChecksum,
    TunnelType,
    VirtualService,
)
from heartbus_ipvs_agent.desired import service_key, wanted_table
from heartbus_ipvs_agent.entries import Table
from heartbus_ipvs_agent.plan import plan
from heartbus_ipvs_agent.table import KernelTable
from heartbus_ipvs_agent.traffic import decode
from tests.ipvs_agent.test_all_of_ipvs import all_up
from tests.lab.network import Host, Lab, wait_until
from tests.lab.web import prepare_for_direct_routing

pytestmark = pytest.mark.ipvs

GATE, MASQ, IPIP = ForwardingMethod.GATE, ForwardingMethod.MASQ, ForwardingMethod.IPIP
TCP, UDP, SCTP = TransportProtocol.TCP, TransportProtocol.UDP, TransportProtocol.SCTP
VIP, VIP6 = "192.0.2.110", "fd00::110"
ONE, TWO = ("192.0.2.11", "fd00::11"), ("192.0.2.12", "fd00::12")
ENDS = Path(__file__).with_name("traffic_ends.py")
PORTS = range(7, 15)
GUE_PORT = 6080
ANY = Endpoint(address="0.0.0.0", port=0)

Question = tuple[str, str, int, int]


@dataclass(slots=True, kw_only=True)
class Rig:
    """The network and the director's table."""

    client: Host
    director: Host

    def fill(self, services: Sequence[VirtualService]) -> None:
        """Make the director's table these services, every real server up."""
        wanted = wanted_table(services, verdicts=all_up(services), observed=Table())

        def apply() -> list[str]:
            table = KernelTable()
            try:
                observed = table.dump()
                gone = observed.services.keys() - wanted.services.keys()
                outcomes = table.apply(plan(wanted=wanted, observed=observed, obsolete=gone))
                return [f"{o.action}: {o.failure}" for o in outcomes if o.failure is not None]
            finally:
                table.close()

        assert self.director.call(apply) == []

    def table(self) -> Table:
        """Return the director's table."""

        def dump() -> Table:
            table = KernelTable()
            try:
                return table.dump()
            finally:
                table.close()

        return self.director.call(dump)

    def ask(self, *questions: Question) -> list[list[str]]:
        """Return who answered each question, each time that it was asked."""
        argv = [sys.executable, str(ENDS), "ask"]
        done = self.client.run(argv, stdin=json.dumps(questions), timeout_s=110.0)
        answers: list[list[str]] = json.loads(done.stdout)
        return answers


@pytest.fixture(scope="module")
def rig() -> Iterator[Rig]:
    modprobe = Path("/proc/sys/kernel/modprobe").read_text().strip()
    subprocess.run([modprobe, "-a", "fou", "fou6"], check=True)  # nothing asks for these
    with Lab() as lab:
        lan = lab.switch("lan")
        client, director = lab.host("client"), lab.host("director")
        lab.attach(client, lan, "eth0", "192.0.2.50/24")
        lab.attach(director, lan, "eth0", "192.0.2.1/24")
        client.ip("addr add fd00::50/64 dev eth0 nodad")
        director.ip(
            "addr add fd00::1/64 dev eth0 nodad",
            f"addr add {VIP}/32 dev eth0",
            # As vip has it: no tunnel begins at the VIP, which the servers have as well.
            f"addr add {VIP6}/128 dev eth0 nodad preferred_lft 0",
        )
        for name in ("net.ipv4.ip_forward", "net.ipv6.conf.all.forwarding"):
            director.sysctl(name, 1)
        for which in ("all", "eth0"):
            director.sysctl(f"net.ipv4.conf.{which}.send_redirects", 0)
        # Marks without a packet filter: whatever comes to ports 96 to 99 has mark 3.
        director.run(["tc", "qdisc", "add", "dev", "eth0", "ingress"])
        for family, dport in (("ip", "ip dport 96 0xfffc"), ("ipv6", "ip6 dport 96 0xfffc")):
            director.run(
                ["tc", "filter", "add", "dev", "eth0", "parent", "ffff:", "protocol", family,
                 "u32", "match", *dport.split(), "action", "skbedit", "mark", "3"]
            )  # fmt: skip
        for name, (address, address6) in (("one", ONE), ("two", TWO)):
            _real_server(lab, lab.host(name), address, address6, lan)
        # A neighbour that is not known yet costs the first packet.
        known = json.dumps([["tcp", address, 7, 1] for address in (*ONE, *TWO)])
        director.run([sys.executable, str(ENDS), "ask"], stdin=known)
        yield Rig(client=client, director=director)


def _real_server(lab: Lab, host: Host, address: str, address6: str, lan: object) -> None:
    lab.attach(host, lan, "eth0", f"{address}/24")  # type: ignore[arg-type]
    prepare_for_direct_routing(host, VIP)
    host.ip(
        f"addr add {address6}/64 dev eth0 nodad",
        f"addr add {VIP6}/128 dev lo nodad",
        # What masq changed must come back the same way; with the others VIP answers by itself.
        "route add 192.0.2.50/32 via 192.0.2.1 table 100",
        f"rule add from {address} table 100",
        "route add fd00::50/128 via fd00::1 table 100",
        # A tunnel of a kind loads its module; what comes from anywhere comes to tunl0 and sit0.
        *(f"link add name {kind}9 type {kind} remote 192.0.2.250" for kind in ("ipip", "sit")),
        f"link add name gre9 type gre local {address} remote 192.0.2.1 csum",
        # Over IPv6: a device takes nothing that comes from an address of its own host.
        f"link add name any6 type ip6tnl mode any local {address6} remote ::",
        f"link add name gre6 type ip6gre local {address6} remote ::",
        *(f"link set dev {name} up" for name in ("tunl0", "sit0", "gre9", "any6", "gre6")),
    )
    for family in ("-4", "-6"):
        host.run(["ip", family, "fou", "add", "port", str(GUE_PORT), "gue"])
    host.run(["ip", "-6", "rule", "add", "from", address6, "table", "100"])
    for which in ("all", "eth0"):
        # A router says that the client is a neighbour; what masq changed must not go there.
        host.sysctl(f"net.ipv6.conf.{which}.accept_redirects", 0)
    for which in ("all", "default", "eth0", "tunl0", "gre9", "any6", "gre6"):
        host.sysctl(f"net.ipv4.conf.{which}.rp_filter", 0)
    server = host.start([sys.executable, ENDS, "serve", host.name, *map(str, PORTS)])
    wait_until(lambda: "ready" in server.output(), timeout_s=30.0, what="the server")


def at(
    endpoint: Endpoint, method: ForwardingMethod = MASQ, *, ipv6: bool = False, **more: object
) -> tuple[RealServer, ...]:
    return tuple(
        RealServer(
            endpoint=Endpoint(address=pair[ipv6], port=endpoint.port),
            forwarding=method,
            **more,  # type: ignore[arg-type]
        )
        for pair in (ONE, TWO)
    )


def served(
    protocol: TransportProtocol,
    port: int,
    servers: tuple[RealServer, ...],
    *,
    vip: str = VIP,
    **more: object,
) -> VirtualService:
    return VirtualService(
        protocol=protocol,
        endpoint=Endpoint(address=vip, port=port),
        scheduler=more.pop("scheduler", Scheduler.RR),  # type: ignore[arg-type]
        real_servers=servers,
        **more,  # type: ignore[arg-type]
    )


def tunnel(kind: TunnelType, checksum: TunnelChecksum = TunnelChecksum.NONE) -> Tunnel:
    return Tunnel(type=kind, port=GUE_PORT if kind is TunnelType.GUE else 0, checksum=checksum)


def here(port: int) -> Endpoint:
    return Endpoint(address="", port=port)


def test_every_forwarding_method_transport_and_family_carries_packets(rig: Rig) -> None:
    full, remote = TunnelChecksum.FULL, TunnelChecksum.REMOTE
    services = [
        served(TCP, 7, at(here(7), GATE)),
        served(UDP, 7, at(here(7), GATE)),
        served(TCP, 80, at(here(7))),
        served(UDP, 80, at(here(7))),
        served(SCTP, 80, at(here(7))),
        served(TCP, 8, at(here(8), IPIP)),
        served(UDP, 8, at(here(8), IPIP)),
        served(TCP, 9, at(here(9), IPIP, tunnel=tunnel(TunnelType.GUE))),
        served(TCP, 10, at(here(10), IPIP, tunnel=tunnel(TunnelType.GUE, full))),
        served(TCP, 11, at(here(11), IPIP, tunnel=tunnel(TunnelType.GRE, full))),
        served(TCP, 7, at(here(7), GATE, ipv6=True), vip=VIP6),
        served(TCP, 80, at(here(7), ipv6=True), vip=VIP6),
        served(UDP, 80, at(here(7), ipv6=True), vip=VIP6),
        served(TCP, 12, at(here(12), IPIP, tunnel=tunnel(TunnelType.GUE, remote))),
        served(SCTP, 7, at(here(7), GATE)),
        served(SCTP, 8, at(here(8), IPIP)),
        served(UDP, 7, at(here(7), GATE, ipv6=True), vip=VIP6),
        served(SCTP, 7, at(here(7), GATE, ipv6=True), vip=VIP6),
        served(SCTP, 80, at(here(7), ipv6=True), vip=VIP6),
        # IPv6 in IPv6.
        served(TCP, 8, at(here(8), IPIP, ipv6=True), vip=VIP6),
        served(UDP, 8, at(here(8), IPIP, ipv6=True), vip=VIP6),
        served(TCP, 9, at(here(9), IPIP, ipv6=True, tunnel=tunnel(TunnelType.GUE)), vip=VIP6),
        served(
            TCP, 10, at(here(10), IPIP, ipv6=True, tunnel=tunnel(TunnelType.GUE, full)), vip=VIP6
        ),
        served(TCP, 11, at(here(11), IPIP, ipv6=True, tunnel=tunnel(TunnelType.GRE)), vip=VIP6),
        # One family through the other, which takes a tunnel: IPv6 in IPv4, then IPv4 in IPv6.
        served(TCP, 12, at(here(12), IPIP), vip=VIP6),
        served(UDP, 12, at(here(12), IPIP), vip=VIP6),
        served(TCP, 13, at(here(13), IPIP, tunnel=tunnel(TunnelType.GUE)), vip=VIP6),
        served(TCP, 14, at(here(14), IPIP, tunnel=tunnel(TunnelType.GRE, full)), vip=VIP6),
        served(UDP, 11, at(here(11), IPIP, ipv6=True)),
        served(TCP, 13, at(here(13), IPIP, ipv6=True)),
        served(UDP, 13, at(here(13), IPIP, ipv6=True, tunnel=tunnel(TunnelType.GUE, full))),
        served(TCP, 14, at(here(14), IPIP, ipv6=True, tunnel=tunnel(TunnelType.GRE))),
    ]
    rig.fill(services)
    questions = [(str(s.protocol), s.endpoint.address, s.endpoint.port, 4) for s in services]
    answers = rig.ask(*questions)
    found = {
        f"{s.name} {s.real_servers[0].forwarding} {s.real_servers[0].tunnel}": sorted(a)
        for s, a in zip(services, answers, strict=True)
    }
    assert found == {what: ["one", "one", "two", "two"] for what in found}
    keys = [service_key(service) for service in services]

    def counted_all() -> bool:
        found = [decode(counters) for counters in map(rig.table().traffic.__getitem__, keys)]
        return all(each is not None and each.connections == 4 for each in found)

    wait_until(counted_all, timeout_s=10.0, what="the kernel's sums, which it makes every 2 s")
    table = rig.table()
    for service in services:
        counted = decode(table.traffic[service_key(service)])
        assert counted is not None
        assert counted.connections == 4, service.name
        assert counted.packets_in >= 4
        # Only what masq changes comes back through the director.
        masq = service.real_servers[0].forwarding is MASQ
        assert (counted.bytes_out > 0) == masq, service.name


def test_every_scheduler_and_flag_picks_a_server_for_each_client(rig: Rig) -> None:
    variants: list[tuple[Scheduler, tuple[SchedulerFlag, ...]]] = []
    for scheduler in Scheduler:
        if scheduler is Scheduler.TWOS:
            continue  # this kernel is built without it
        known = tuple(f for f in SchedulerFlag if f.scheduler is scheduler)
        variants += [
            (scheduler, flags) for flags in dict.fromkeys(((), *((f,) for f in known), known))
        ]
    services = [
        served(TCP, 100 + n, at(here(7)), scheduler=scheduler, scheduler_flags=flags)
        for n, (scheduler, flags) in enumerate(variants)
    ]
    rig.fill(services)
    answers = rig.ask(*[("tcp", VIP, s.endpoint.port, 6) for s in services])
    for (scheduler, flags), names in zip(variants, answers, strict=True):
        what = f"{scheduler} {flags}"
        assert set(names) <= {"one", "two"}, what
        if scheduler in (Scheduler.RR, Scheduler.WRR):
            assert sorted(names) == ["one"] * 3 + ["two"] * 3, what
        by_address = scheduler in (Scheduler.SH, Scheduler.DH, Scheduler.MH)
        if by_address and not any(str(f).endswith("-port") for f in flags):
            assert len(set(names)) == 1, what


def test_persistence_one_packet_marks_every_port_and_thresholds(rig: Rig) -> None:
    marked = VirtualService(
        protocol=TransportProtocol.FWM,
        endpoint=ANY,
        fwmark=3,
        scheduler=Scheduler.RR,
        real_servers=at(here(7)),
    )
    marked6 = VirtualService(
        protocol=TransportProtocol.FWM,
        endpoint=Endpoint(address="::", port=0),
        fwmark=3,
        scheduler=Scheduler.RR,
        real_servers=at(here(7), ipv6=True),
    )
    services = [
        served(TCP, 81, at(here(7)), persistence_timeout_s=60),
        served(TCP, 82, at(here(7)), persistence_timeout_s=60, persistence_netmask=16),
        served(UDP, 10, at(here(10), GATE), one_packet=True),
        served(
            UDP,
            84,
            at(here(7)),
            persistence_timeout_s=60,
            persistence_engine=PersistenceEngine.SIP,
        ),
        marked,
        marked6,
        served(TCP, 86, at(here(7), upper_threshold=2, lower_threshold=1)),
    ]
    every_port = VirtualService(
        protocol=TCP,
        endpoint=Endpoint(address=VIP, port=0),
        scheduler=Scheduler.RR,
        persistence_timeout_s=60,
        real_servers=at(Endpoint(address="", port=0), GATE),
    )
    rig.fill([*services, every_port])
    persistent, wide, packets, no_sip, sip, mark, last, mark6, limited, eight, nine = rig.ask(
        ("tcp", VIP, 81, 4),
        ("tcp", VIP, 82, 4),
        ("udp", VIP, 10, 4),
        ("udp", VIP, 84, 1),
        ("sip", VIP, 84, 4),
        ("tcp", VIP, 96, 4),
        ("tcp", VIP, 99, 4),
        ("tcp", VIP6, 99, 4),
        ("tcp", VIP, 86, 6),
        ("tcp", VIP, 8, 2),
        ("tcp", VIP, 9, 2),
    )
    assert len(set(persistent)) == len(set(wide)) == 1
    assert set(persistent) <= {"one", "two"}
    both = ["one", "one", "two", "two"]
    assert [sorted(names) for names in (packets, mark, last, mark6)] == [both] * 4
    assert sorted(limited) == ["", "", *both], "two connections each, closed ones too, and no more"
    # Each call stays where it began, whatever its port. What is no SIP message nobody gets.
    assert (sip[0], sip[2]) == (sip[1], sip[3])
    assert sorted(sip) == both
    assert no_sip == [""]
    assert eight == nine
    assert len(set(eight)) == 1
