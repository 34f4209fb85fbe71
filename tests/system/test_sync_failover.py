"""Open connections outlive the death of a director, where its connections are synchronised.

Whole directors, the kernel's own sync daemons, direct routing, echo servers; in the lab kernel.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.lab.classic import VIP, ClassicCluster
from tests.lab.client import LongConnections, start_echo_server
from tests.lab.network import Host, Lab, wait_until
from tests.lab.running import ACTIVE, STANDBY, running
from tests.system.test_kill import ECHO_PORT, echo_configuration

pytestmark = [pytest.mark.ipvs, pytest.mark.timeout(300)]

CONNECTIONS = 100
KNOWN_MAX_S = 30.0
"""The daemon sends every 2 s at the latest; the lab kernel is slow."""

SILENT_MAX_S = 60.0
"""A client gives up a connection that is silent for so long; TCP sends again after 1, 2, 4 s."""

ROUNDS = 3


def known(host: Host) -> int:
    """Return how many open connections to the echo service IPVS knows on a host."""
    lines = host.call(Path("/proc/thread-self/net/ip_vs_conn").read_text).splitlines()[1:]
    port = f"{ECHO_PORT:04X}"
    return sum(line.split()[4] == port and "ESTABLISHED" in line for line in lines)


@pytest.mark.parametrize("synchronised", [True, False], ids=["sync", "no sync"])
def test_open_connections_outlive_a_director_whose_connections_are_known(
    lab: Lab, synchronised: bool
) -> None:
    cluster = ClassicCluster(lab)
    cluster.start_real_servers()
    cluster.start_sorry_servers()
    for web in cluster.web.values():
        start_echo_server(web.host, ECHO_PORT)
    config = echo_configuration(cluster)
    if synchronised:
        config.write_text(config.read_text() + '\n[ipvs.sync]\ninterface = "eth1"\n')
    active, standby = (cluster.directors[name].host for name in (ACTIVE, STANDBY))
    with (
        running(cluster, config, timers=None),
        LongConnections(
            cluster.client, VIP, ECHO_PORT, count=CONNECTIONS, timeout_s=SILENT_MAX_S
        ) as held,
    ):
        wait_until(lambda: known(active) == CONNECTIONS, timeout_s=KNOWN_MAX_S, what="all are open")
        if synchronised:
            wait_until(
                lambda: known(standby) == CONNECTIONS,
                timeout_s=KNOWN_MAX_S,
                what="the other director knows them",
            )
        else:
            assert known(standby) == 0
        active.crash()
        cluster.wait_for_vip(STANDBY)
        before = held.exchanged
        if synchronised:
            wait_until(
                lambda: held.exchanged - before >= ROUNDS * CONNECTIONS or held.broken > 0,
                timeout_s=SILENT_MAX_S,
                what="the connections go on",
            )
            assert held.broken == 0
            assert known(standby) == CONNECTIONS
        else:
            wait_until(
                lambda: held.broken == CONNECTIONS,
                timeout_s=2 * SILENT_MAX_S,
                what="a director that does not know them ends them",
            )
        active.bury()
