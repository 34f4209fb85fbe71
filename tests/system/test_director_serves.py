"""Two directors that are the real servers too: what the active one forwards is not sent on again.

The recipe of docs/addresses.md, word for word: a service of a firewall mark, and a rule that marks
what does not come from the other director. Whole directors, direct routing, in the lab kernel.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest

from tests.lab.classic import HEARTBUS, VIP, ClassicCluster, full_name
from tests.lab.client import ContinuousClient
from tests.lab.kernel import CHECKOUT
from tests.lab.network import Host, Lab, wait_until
from tests.lab.running import ACTIVE, STANDBY, running
from tests.lab.web import WebServer, prepare_for_direct_routing
from tests.system.test_kill import TIMES

pytestmark = [pytest.mark.ipvs, pytest.mark.timeout(300)]

MARK: Final = ("iptables-legacy", "-t", "mangle")
"""The lab kernel has no nftables for IP; the words are those of iptables on any machine."""

SERVICE: Final = """\
[[virtual_services]]
fwmark = 1
scheduler = "rr"
group = "IPaddr::192.168.7.110/24/192.168.7.255"
check = { type = "connect", interval = 1, connect_timeout = 20 }
real_servers = [{ address = "192.168.7.101:80" }, { address = "192.168.7.102:80" }]
"""
ASKED: Final = 30
PATIENCE_S: Final = 20.0
"""How long a client waits for an answer: on a busy machine only what is lost for good fails."""

LOST_S: Final = 3.0


@pytest.fixture(scope="module")
def cluster() -> Iterator[ClassicCluster]:
    with Lab() as lab:
        made = ClassicCluster(lab)
        for name, director in made.directors.items():
            WebServer(director.host, page=name).start()
            prepare_for_direct_routing(director.host, VIP)
            mark(made, name)
        text = (CHECKOUT / "examples" / "heartbus.toml").read_text()
        head = text[: text.index("[[virtual_services]]")].replace('timers = "classic"', TIMES)
        config = lab.directory / "heartbus.toml"
        config.write_text(head + SERVICE)
        config.chmod(0o600)  # it has a secret
        with running(made, config, timers=None):
            yield made


def mark(cluster: ClassicCluster, name: str, *, whatever_comes: bool = False) -> None:
    """Mark on a director what clients send; ``whatever_comes``: what the other one sends too."""
    (other,) = (d.host.links[0].mac for n, d in cluster.directors.items() if n != name)
    host = cluster.directors[name].host
    not_from = [] if whatever_comes else ["-m", "mac", "!", "--mac-source", other]
    what = ["-d", VIP, "-p", "tcp", "--dport", "80", *not_from, "-j", "MARK", "--set-mark", "1"]
    host.run([*MARK, "-F", "PREROUTING"])
    host.run([*MARK, "-A", "PREROUTING", *what])


def scheduled(host: Host) -> int:
    """Return how many connections of clients IPVS has distributed on a host."""
    text = host.call(Path("/proc/thread-self/net/ip_vs_conn").read_text)
    return text.count("C0A80732")  # 192.168.7.50, the client


def answers(cluster: ClassicCluster) -> Counter[str]:
    """Return how often each director answered the client's next connections; all must be."""
    since_s = time.monotonic()
    with ContinuousClient(cluster.client, VIP, period_s=0.1, timeout_s=PATIENCE_S) as client:
        client.wait_for(ASKED, since_s=since_s, timeout_s=60.0)
    assert [a for a in client.attempts() if not a.ok] == []
    return client.pages()


def test_both_serve_and_only_the_active_one_distributes(cluster: ClassicCluster) -> None:
    first, second = cluster.directors[ACTIVE].host, cluster.directors[STANDBY].host
    assert set(answers(cluster)) == {ACTIVE, STANDBY}
    assert scheduled(first) >= ASKED
    assert scheduled(second) == 0
    done = second.run([HEARTBUS, "takeover", "--node", full_name(STANDBY)], timeout_s=60.0)
    assert "taken over" in done.stdout
    before = scheduled(first)
    assert set(answers(cluster)) == {ACTIVE, STANDBY}
    assert scheduled(first) <= before, "those of before end"
    assert scheduled(second) >= ASKED


def test_what_is_marked_whoever_sends_it_goes_round_in_circles(cluster: ClassicCluster) -> None:
    """What the rule is for: without its condition connections are lost between the two."""
    for name in cluster.directors:
        mark(cluster, name, whatever_comes=True)
    with ContinuousClient(cluster.client, VIP, period_s=0.1, timeout_s=LOST_S) as client:
        wait_until(
            lambda: any(not attempt.ok for attempt in client.attempts()),
            timeout_s=60.0,
            what="a connection is lost",
        )
