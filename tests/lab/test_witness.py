"""The instruments of the failover figures show what was done, and nothing else."""

from __future__ import annotations

import time

import pytest

from tests.benchmarks.takeover.rows import at_quantile, row
from tests.lab.echoes import EchoClient
from tests.lab.network import Host, Lab, Link, wait_until
from tests.lab.witness import Witness

VIP = "192.0.2.100"
SLACK_S = 0.15


def machines(lab: Lab) -> tuple[Host, Host, Link, Link]:
    lan = lab.switch("lan")
    one, two, client = lab.host("one"), lab.host("two"), lab.host("client")
    lab.attach(one, lan, "eth0", "192.0.2.1/24")
    second = lab.attach(two, lan, "eth0", "192.0.2.2/24")
    return one, two, second, lab.attach(client, lan, "eth0", "192.0.2.9/24")


@pytest.mark.netns
def test_the_witness_counts_how_long_two_kernels_have_it_and_two_answer(lab: Lab) -> None:
    one, two, second, client = machines(lab)
    one.ip(f"addr add {VIP}/24 dev eth0")
    with Witness([one, two], VIP, link=client) as witness:
        assert witness.holders() == ["one"]
        begin_s = time.monotonic()
        wait_until(lambda: bool(witness.answering(since_s=begin_s)), timeout_s=5.0, what="ARP")
        assert second.mac not in witness.answering(since_s=begin_s)
        two.ip(f"addr add {VIP}/24 dev eth0 valid_lft 60 preferred_lft 60")
        witness.wait_for(["one", "two"], timeout_s=5.0)
        both_s = time.monotonic()
        two.ip(f"addr change {VIP}/24 dev eth0 valid_lft 50 preferred_lft 50")  # a refresh
        time.sleep(0.4)  # the length that is measured
        one.ip(f"addr del {VIP}/24 dev eth0")
        witness.wait_for(["two"], timeout_s=5.0)
        took_s, now_s = time.monotonic() - both_s, time.monotonic()
        assert witness.on_two_s(since_s=begin_s, until_s=now_s) == pytest.approx(
            took_s, abs=SLACK_S
        )
        answered_s = witness.answered_by_two_s(since_s=begin_s, until_s=now_s)
        assert answered_s == pytest.approx(took_s, abs=SLACK_S)
        assert [hold.host for hold in witness.holds(since_s=begin_s)] == ["two"]
        assert witness.on_two_s(since_s=now_s, until_s=now_s + 1.0) == 0.0


@pytest.mark.netns
def test_the_client_measures_a_cut_and_counts_what_got_no_answer(lab: Lab) -> None:
    _one, two, second, client = machines(lab)
    two.ip(f"addr add {VIP}/24 dev eth0")
    with EchoClient(client.host, VIP) as echoes:
        echoes.wait_for_answer(after_s=time.monotonic() + 0.2, timeout_s=5.0)
        calm = echoes.silence(from_s=time.monotonic() - 0.1, until_s=time.monotonic())
        assert calm.longest_s < SLACK_S
        cut_s = time.monotonic()
        second.cut()
        time.sleep(0.5)  # the length that is measured
        second.heal()
        healed_s = time.monotonic()
        echoes.wait_for_answer(after_s=healed_s, timeout_s=5.0)
        seen = echoes.silence(from_s=cut_s, until_s=time.monotonic())
        assert seen.longest_s == pytest.approx(healed_s - cut_s, abs=SLACK_S)
        assert seen.unanswered == pytest.approx(seen.longest_s * 1000, abs=SLACK_S * 1000)


def test_a_quantile_is_a_value_that_was_measured_by_nearest_rank() -> None:
    values = [float(n) for n in range(1, 21)]
    assert at_quantile(values, 0.5) == 10.0
    assert at_quantile(values, 0.99) == at_quantile(values, 1.0) == 20.0
    assert at_quantile([7.0], 0.5) == 7.0


def test_a_row_says_whether_it_is_no_worse_than_the_peer_and_whether_it_reaches() -> None:
    better = row("x", "ms", [1.0, 3.0], [4.0, 6.0], reach=2.0, load=0.0)
    assert (better.heartbus, better.peer, better.ratio, better.better) == (3.0, 6.0, 0.5, True)
    assert (better.reached, better.spread, better.n) == (False, 2.0, 2)
    alone = row("x", "ms", [0.0], reach=0, load=0.0)
    assert (alone.peer, alone.ratio, alone.better, alone.reached) == (None, None, None, True)
