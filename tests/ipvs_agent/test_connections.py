"""Open connections through drain, reload and restart of the agent, in the kernel, by masq.

1,000 of them with whole directors: tests/system/test_open_connections.py.
"""

from __future__ import annotations

import contextlib
import socket
from collections import Counter
from pathlib import Path

import pytest

from heartbus.events import Drain, Enable, Health, RealServerDrained
from heartbus.model import (
    Endpoint,
    ForwardingMethod,
    RealServer,
    Scheduler,
    TransportProtocol,
    VirtualService,
)
from heartbus_ipvs_agent.table import KernelTable
from tests.ipvs_agent.echo import Clients, addresses, ask_by_udp, echo_servers
from tests.ipvs_agent.test_operators import ask, of
from tests.ipvs_agent.test_service import Setting, start

VIP, ONE, TWO = "10.9.0.1", "10.9.0.11", "10.9.0.12"
CONNECTIONS = 200
UP = Health.UP
EXPIRE_NODEST = Path("/proc/sys/net/ipv4/vs/expire_nodest_conn")


def service(protocol: TransportProtocol, weight: int = 1) -> VirtualService:
    return VirtualService(
        protocol=protocol,
        endpoint=Endpoint(address=VIP, port=7),
        scheduler=Scheduler.RR,
        real_servers=tuple(
            RealServer(
                endpoint=Endpoint(address=address, port=7),
                forwarding=ForwardingMethod.MASQ,
                weight=weight,
            )
            for address in (ONE, TWO)
        ),
    )


def agent(tmp_path: Path, kernel: KernelTable, wanted: VirtualService) -> Setting:
    setting = start(tmp_path, wanted, kernel=kernel)
    setting.says(UP, UP, service=wanted)
    return setting


@pytest.mark.ipvs
def test_open_connections_live_through_drain_restart_and_reload(
    tmp_path: Path, kernel_table: KernelTable
) -> None:
    tcp = service(TransportProtocol.TCP)
    addresses(VIP, ONE, TWO)
    with echo_servers((ONE, 7), (TWO, 7)):
        setting = agent(tmp_path, kernel_table, tcp)
        clients = Clients((VIP, 7), CONNECTIONS)
        half = {ONE: CONNECTIONS // 2, TWO: CONNECTIONS // 2}
        assert Counter(clients.answered()) == half
        assert ask(setting, Drain(server=ONE)).done
        assert Counter(clients.answered()) == half
        late = Clients((VIP, 7), 20)
        assert Counter(late.answered()) == {TWO: 20}
        setting = agent(tmp_path, kernel_table, tcp)  # restarted
        assert Counter(clients.answered()) == half
        setting = agent(tmp_path, kernel_table, service(TransportProtocol.TCP, weight=9))
        assert Counter(clients.answered()) == half  # reloaded
        setting.agent.look()
        entries = {e.real_server: e for e in setting.agent.state().services[0].real_servers}
        entry = entries[f"{ONE}:7"]
        assert (entry.weight, entry.active_connections) == (0, CONNECTIONS // 2)
        assert of(setting, RealServerDrained) == []
        clients.close(ONE)
        setting.agent.look()
        assert len(of(setting, RealServerDrained)) == 1
        assert Counter(clients.answered()) == {TWO: CONNECTIONS // 2}
        clients.close()
        late.close()


def udp_client() -> socket.socket:
    client = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    client.connect((VIP, 7))
    return client


@pytest.mark.ipvs
def test_udp_clients_are_not_pinned_to_a_server_that_was_cut(
    tmp_path: Path, kernel_table: KernelTable
) -> None:
    udp = service(TransportProtocol.UDP)
    addresses(VIP, ONE, TWO)
    EXPIRE_NODEST.write_text("1")
    with echo_servers((ONE, 7), (TWO, 7)), contextlib.ExitStack() as stack:
        setting = agent(tmp_path, kernel_table, udp)
        clients = [stack.enter_context(udp_client()) for _ in range(10)]
        assert Counter(map(ask_by_udp, clients)) == {ONE: 5, TWO: 5}
        ask(setting, Drain(server=ONE, deadline_s=10))
        assert Counter(map(ask_by_udp, clients)) == {ONE: 5, TWO: 5}  # flows go on
        setting.clock.advance(11)
        setting.agent.look()
        (drained,) = of(setting, RealServerDrained)
        assert isinstance(drained, RealServerDrained)
        assert drained.cut == 5
        for client in clients:
            ask_by_udp(client)  # the kernel may spend one datagram on forgetting the flow
        assert Counter(map(ask_by_udp, clients)) == {TWO: 10}
        ask(setting, Enable(server=ONE))
