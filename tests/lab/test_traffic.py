"""Web servers and measuring clients of the lab."""

from __future__ import annotations

import time

import pytest

from tests.lab import addresses
from tests.lab.client import ContinuousClient, LongConnections, start_echo_server
from tests.lab.network import Host, Lab, Link, wait_until
from tests.lab.web import TEST_PAGE, WebServer, prepare_for_direct_routing

pytestmark = pytest.mark.netns

VIP = "192.0.2.110"
ANSWER_MAX_S = 20.0


def client_and_server(lab: Lab) -> tuple[Host, Host, Link]:
    lan = lab.switch("lan")
    client, server = lab.host("client"), lab.host("server")
    lab.attach(client, lan, "eth0", "192.0.2.50/24")
    cable = lab.attach(server, lan, "eth0", "192.0.2.11/24")
    return client, server, cable


def test_nginx_serves_its_page_and_the_test_page_until_it_is_stopped(lab: Lab) -> None:
    client, server, _ = client_and_server(lab)
    web = WebServer(server, page="page of one")
    web.start()
    with ContinuousClient(client, "192.0.2.11") as asking:
        asking.wait_for(3, since_s=0.0, timeout_s=ANSWER_MAX_S)
        assert set(asking.pages()) == {"page of one"}
        web.stop()
        stopped_s = time.monotonic()
        web.start()
        asking.wait_for(3, since_s=time.monotonic(), timeout_s=ANSWER_MAX_S)
        errors = {a.error for a in asking.attempts(since_s=stopped_s)} - {None}
        assert errors <= {"ECONNREFUSED", "ECONNRESET", "closed without an answer"}
    with ContinuousClient(client, "192.0.2.11", path="/.testpage") as asking:
        asking.wait_for(1, since_s=0.0, timeout_s=ANSWER_MAX_S)
        assert set(asking.pages()) == {TEST_PAGE}
    assert web.requests("/.testpage") >= 1


def test_the_gap_is_as_long_as_the_cut(lab: Lab) -> None:
    client, server, cable = client_and_server(lab)
    WebServer(server, page="x").start()
    with ContinuousClient(client, "192.0.2.11", period_s=0.01) as asking:
        asking.wait_for(10, since_s=0.0, timeout_s=ANSWER_MAX_S)
        cut_s = time.monotonic()
        cable.cut()
        time.sleep(0.5)  # the length that is measured
        cable.heal()
        healed_s = time.monotonic()
        asking.wait_for(10, since_s=healed_s, timeout_s=ANSWER_MAX_S)
    gap = asking.gap(cut_s)
    assert healed_s - cut_s <= gap.length_s + 0.05
    assert gap.began_s <= cut_s + 0.05
    assert gap.ended_s >= healed_s
    assert gap.failed > 0


def test_long_connections_outlive_a_short_cut_and_are_counted_when_broken(lab: Lab) -> None:
    client, server, cable = client_and_server(lab)
    echo = start_echo_server(server, 7)
    with LongConnections(client, "192.0.2.11", 7, count=5) as held:
        cable.cut()
        cable.heal()
        before = held.exchanged
        wait_until(
            lambda: held.exchanged >= before + 10, timeout_s=ANSWER_MAX_S, what="ten exchanges"
        )
        assert (held.established, held.broken) == (5, 0)
        echo.kill()
        wait_until(lambda: held.broken == 5, timeout_s=ANSWER_MAX_S, what="all are broken")


def test_a_real_server_for_direct_routing_never_answers_for_the_vip(lab: Lab) -> None:
    client, server, _ = client_and_server(lab)
    prepare_for_direct_routing(server, VIP)
    assert addresses.holds(server, VIP)
    assert addresses.arp_answer(client, VIP, interface="eth0") is None
    assert addresses.arp_answer(client, "192.0.2.11", interface="eth0") is not None
