"""A virtual service of IPv6: its address moves with that of IPv4 when the active director dies.

Whole directors, IPVS, direct routing, a client of each family; in the lab kernel.
"""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from tests.lab import addresses
from tests.lab.classic import VIP, ClassicCluster
from tests.lab.client import ContinuousClient, start_speaker
from tests.lab.kernel import CHECKOUT
from tests.lab.network import Host, Lab, wait_until
from tests.lab.running import ACTIVE, STANDBY, running

pytestmark = [pytest.mark.ipvs, pytest.mark.timeout(300)]

VIP6 = "2001:db8:7::110"
PORT = 8080
HELD = '{ address = "192.168.7.110/24", broadcast = "192.168.7.255" },'
PROMISED_S = 10.0
"""As for IPv4: what the how-to of the classic files promises."""


def six(host: Host) -> str:
    """Return an address of IPv6 with the number that the host has in IPv4."""
    (own,) = [a for a in addresses.of(host) if a.interface == "eth0" and a.broadcast]
    return f"2001:db8:7::{own.address.rpartition('.')[2]}"


def configuration(cluster: ClassicCluster) -> Path:
    text = (CHECKOUT / "examples" / "heartbus.toml").read_text()
    second = text.index("[[virtual_services]]", text.index("[[virtual_services]]") + 1)
    assert HELD in text
    text = text[:second].replace('timers = "classic"', 'timers = "lan"')
    text = text.replace(HELD, f'{HELD}\n  {{ address = "{VIP6}/64" }},')
    servers = "".join(
        f'[[virtual_services.real_servers]]\naddress = "[{six(web.host)}]:{PORT}"\n'
        for web in cluster.web.values()
    )
    text += (
        f'\n[[virtual_services]]\naddress = "[{VIP6}]:{PORT}"\nscheduler = "rr"\n'
        f'[virtual_services.check]\ntype = "connect"\ninterval = 1\n{servers}'
    )
    config = cluster.lab.directory / "heartbus.toml"
    config.write_text(text)
    config.chmod(0o600)  # it has a secret
    return config


def test_a_service_of_ipv6_moves_with_that_of_ipv4_and_its_clients_go_on(lab: Lab) -> None:
    cluster = ClassicCluster(lab)
    for host in lab.hosts.values():
        if host is not cluster.gateway:
            host.ip(f"addr add {six(host)}/64 dev eth0 nodad")
    cluster.start_real_servers()
    cluster.start_sorry_servers()
    for name, web in cluster.web.items():
        web.host.ip(f"addr add {VIP6}/128 dev lo nodad")
        start_speaker(web.host, PORT, name)
    servers = set(cluster.web)
    with (
        running(cluster, configuration(cluster), timers=None),
        ContinuousClient(cluster.client, VIP) as four,
        ContinuousClient(cluster.client, VIP6, PORT) as client,
    ):
        client.wait_for(30, since_s=0.0, timeout_s=30.0)
        assert set(client.pages()) == servers
        died_s = time.monotonic()
        cluster.directors[ACTIVE].host.crash()
        cluster.wait_for_vip(STANDBY)
        assert addresses.holds(cluster.directors[STANDBY].host, VIP6)
        for asking in (four, client):
            asking.wait_for(30, since_s=time.monotonic(), timeout_s=30.0)
            assert asking.gap(died_s).length_s < PROMISED_S
        cluster.directors[ACTIVE].host.bury()
        since_s = time.monotonic()
        wait_until(
            lambda: set(client.pages(since_s=since_s)) == servers,
            timeout_s=20.0,
            what="every real server answers through the other director",
        )
