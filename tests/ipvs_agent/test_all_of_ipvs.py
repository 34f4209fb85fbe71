"""Everything a virtual service may ask of the kernel's IPVS arrives there; ipvsadm is witness."""

from __future__ import annotations

import subprocess
from collections.abc import Iterable, Sequence

import pytest

from heartbus.events import Health
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
from heartbus_ipvs_agent.desired import Verdicts, wanted_table
from heartbus_ipvs_agent.entries import Table
from heartbus_ipvs_agent.plan import plan
from heartbus_ipvs_agent.table import KernelTable

GATE, MASQ, IPIP = ForwardingMethod.GATE, ForwardingMethod.MASQ, ForwardingMethod.IPIP
EMPTY = Table()
VIP, VIP6 = "192.168.7.110", "fd00::110"


def at(
    address: str,
    port: int,
    forwarding: ForwardingMethod = GATE,
    *,
    tunnel: Tunnel | None = None,
    upper: int = 0,
    lower: int = 0,
) -> RealServer:
    return RealServer(
        endpoint=Endpoint(address=address, port=port),
        forwarding=forwarding,
        tunnel=tunnel or Tunnel(),
        upper_threshold=upper,
        lower_threshold=lower,
    )


def by_scheduler() -> list[VirtualService]:
    """One service for each scheduler, with all its flags."""
    return [
        VirtualService(
            protocol=TransportProtocol.TCP,
            endpoint=Endpoint(address=VIP, port=100 + number),
            scheduler=scheduler,
            scheduler_flags=tuple(f for f in SchedulerFlag if f.scheduler is scheduler),
            real_servers=(at("192.168.7.11", 100 + number),),
        )
        for number, scheduler in enumerate(Scheduler)
        if scheduler is not Scheduler.TWOS
    ]


TWOS = VirtualService(
    protocol=TransportProtocol.TCP,
    endpoint=Endpoint(address=VIP, port=200),
    scheduler=Scheduler.TWOS,
    real_servers=(at("192.168.7.11", 200),),
)
"""Debian's user-mode kernel is built without this scheduler."""


SERVICES = (
    VirtualService(
        protocol=TransportProtocol.TCP,
        endpoint=Endpoint(address=VIP, port=80),
        real_servers=(
            at("192.168.7.11", 80, upper=100, lower=50),
            at("192.168.7.12", 8080, MASQ),
            at("192.168.7.13", 80, IPIP),
            at(
                "192.168.7.14",
                80,
                IPIP,
                tunnel=Tunnel(type=TunnelType.GUE, port=6080, checksum=TunnelChecksum.REMOTE),
            ),
            at(
                "192.168.7.15",
                80,
                IPIP,
                tunnel=Tunnel(type=TunnelType.GRE, checksum=TunnelChecksum.FULL),
            ),
            at("fd00::16", 80, IPIP),  # one family reached through the other
        ),
    ),
    VirtualService(
        protocol=TransportProtocol.TCP,
        endpoint=Endpoint(address=VIP6, port=80),
        persistence_timeout_s=300,
        persistence_netmask=64,
        real_servers=(at("fd00::11", 80), at("fd00::12", 81, MASQ), at("192.168.7.17", 80, IPIP)),
    ),
    VirtualService(
        protocol=TransportProtocol.UDP,
        endpoint=Endpoint(address=VIP, port=53),
        one_packet=True,
        real_servers=(at("192.168.7.11", 53),),
    ),
    VirtualService(
        protocol=TransportProtocol.UDP,
        endpoint=Endpoint(address=VIP, port=5060),
        persistence_timeout_s=60,
        persistence_engine=PersistenceEngine.SIP,
        real_servers=(at("192.168.7.11", 5060),),
    ),
    VirtualService(
        protocol=TransportProtocol.SCTP,
        endpoint=Endpoint(address=VIP, port=5000),
        real_servers=(at("192.168.7.11", 5000),),
    ),
    VirtualService(  # every port of the address
        protocol=TransportProtocol.TCP,
        endpoint=Endpoint(address="192.168.7.111", port=0),
        persistence_timeout_s=360,
        persistence_netmask=24,
        real_servers=(at("192.168.7.11", 0),),
    ),
    VirtualService(
        protocol=TransportProtocol.FWM,
        endpoint=Endpoint(address="0.0.0.0", port=0),
        fwmark=3,
        real_servers=(at("192.168.7.11", 0), at("192.168.7.12", 8080, MASQ)),
    ),
    VirtualService(
        protocol=TransportProtocol.FWM,
        endpoint=Endpoint(address="::", port=0),
        fwmark=3,
        real_servers=(at("fd00::11", 0),),
    ),
)

SAVED = """\
-A -t 192.168.7.110:80 -s wrr
-a -t 192.168.7.110:80 -r 192.168.7.11:80 -g -w 1
-a -t 192.168.7.110:80 -r 192.168.7.12:8080 -m -w 1
-a -t 192.168.7.110:80 -r 192.168.7.13:80 -i -w 1 --tun-type ipip
-a -t 192.168.7.110:80 -r 192.168.7.14:80 -i -w 1 --tun-type gue --tun-port 6080 --tun-remcsum
-a -t 192.168.7.110:80 -r 192.168.7.15:80 -i -w 1 --tun-type gre --tun-csum
-a -t 192.168.7.110:80 -r [fd00::16]:80 -i -w 1 --tun-type ipip
-A -t [fd00::110]:80 -s wrr -p 300 -M 64
-a -t [fd00::110]:80 -r [fd00::11]:80 -g -w 1
-a -t [fd00::110]:80 -r [fd00::12]:81 -m -w 1
-a -t [fd00::110]:80 -r 192.168.7.17:80 -i -w 1 --tun-type ipip
-A -u 192.168.7.110:53 -s wrr -o
-a -u 192.168.7.110:53 -r 192.168.7.11:53 -g -w 1
-A -u 192.168.7.110:5060 -s wrr -p 60 --pe sip
-a -u 192.168.7.110:5060 -r 192.168.7.11:5060 -g -w 1
-A --sctp-service 192.168.7.110:5000 -s wrr
-a --sctp-service 192.168.7.110:5000 -r 192.168.7.11:5000 -g -w 1
-A -t 192.168.7.111:0 -s wrr -p 360 -M 255.255.255.0
-a -t 192.168.7.111:0 -r 192.168.7.11:0 -g -w 1
-A -f 3 -s wrr
-a -f 3 -r 192.168.7.11:0 -g -w 1
-a -f 3 -r 192.168.7.12:8080 -m -w 1
-A -f 3 -6 -s wrr
-a -f 3 -6 -r [fd00::11]:0 -g -w 1
"""


@pytest.mark.ipvs
def test_all_that_can_be_configured_is_in_the_kernel_as_ipvsadm_says_it(
    kernel_table: KernelTable,
) -> None:
    fill(kernel_table, SERVICES)
    assert sorted(saved().splitlines()) == sorted(SAVED.splitlines())
    # ipvsadm forgets thresholds when it saves: one more reason not to go through it.
    listed = subprocess.run(
        ["ipvsadm", "-Ln", "--thresholds"], check=True, capture_output=True, text=True
    ).stdout
    assert any(
        line.split()[1:4] == ["192.168.7.11:80", "100", "50"]
        for line in listed.splitlines()
        if "192.168.7.11:80" in line
    )


@pytest.mark.ipvs
def test_every_scheduler_and_flag_is_taken_by_the_kernel(kernel_table: KernelTable) -> None:
    fill(kernel_table, by_scheduler())
    lines = saved().splitlines()
    for service in by_scheduler():
        flags = (
            f" -b {','.join(sorted(service.scheduler_flags))}" if service.scheduler_flags else ""
        )
        port = service.endpoint.port
        assert f"-A -t {VIP}:{port} -s {service.scheduler}{flags}" in lines


@pytest.mark.ipvs
def test_a_scheduler_that_the_kernel_lacks_is_told_and_the_rest_is_carried_out(
    kernel_table: KernelTable,
) -> None:
    wanted = wanted_table([TWOS, SERVICES[4]], verdicts=all_up([TWOS, SERVICES[4]]), observed=EMPTY)
    outcomes = kernel_table.apply(plan(wanted=wanted, observed=EMPTY))
    assert [o.failure for o in outcomes] == [
        "the kernel has no scheduler 'twos': load its module ip_vs_twos",
        "the kernel has no such virtual service",
        None,
        None,
    ]


def fill(table: KernelTable, services: Sequence[VirtualService]) -> None:
    wanted = wanted_table(services, verdicts=all_up(services), observed=EMPTY)
    outcomes = table.apply(plan(wanted=wanted, observed=table.dump()))
    assert [str(o) for o in outcomes if o.failure is not None] == []
    assert plan(wanted=wanted, observed=table.dump()) == ()


def all_up(services: Iterable[VirtualService]) -> Verdicts:
    return {(s.name, real.name): Health.UP for s in services for real in s.real_servers}


def saved() -> str:
    return subprocess.run(
        ["ipvsadm", "--save", "-n"], check=True, capture_output=True, text=True
    ).stdout
