"""What an operator may say, and what is said of everything else."""

from __future__ import annotations

from pathlib import Path

import pytest

from heartbus.model import Cluster
from heartbus_simulator.faults import Fault, Kind
from heartbus_simulator.play import Now
from heartbus_simulator.words import FOR_EVER, SENTENCES, SentenceError, Wanted, parse
from tests.simulator.clusters import ONE, TWO, cluster

INTERFACES = {"eth0": 0.0, "eth1": 1.0}


@pytest.fixture(name="pair")
def _pair(tmp_path: Path) -> Cluster:
    return cluster(tmp_path)


def read(pair: Cluster, sentence: str) -> Wanted:
    return parse(sentence.split(), pair, Now(), resolve={"rs2": "192.0.2.12"}.get)


def faults(pair: Cluster, sentence: str) -> list[tuple[Fault, ...]]:
    return [found for _title, found in read(pair, sentence).variants]


@pytest.mark.parametrize(
    ("sentence", "kind", "target", "end_s"),
    [
        ("kill one", Kind.CRASH, ONE, FOR_EVER),
        ("kill one.example for 20s", Kind.CRASH, ONE, 20.0),
        ("kill membership on two", Kind.MEMBERSHIP_KILL, TWO, 0.5),
        ("kill vip on one for 3s", Kind.VIP_KILL, ONE, 3.0),
        ("pause one for 500ms", Kind.PAUSE, ONE, 0.5),
        ("stop one", Kind.MEMBERSHIP_STOP, ONE, FOR_EVER),
        ("isolate two for 2m", Kind.ISOLATE, TWO, 120.0),
        ("lose bus", Kind.BUS_OUT, "*", FOR_EVER),
        ("lose bus on two for 1h", Kind.BUS_DOWN, TWO, 3600.0),
    ],
)
def test_a_fault_of_a_director(
    pair: Cluster, sentence: str, kind: Kind, target: str, end_s: float
) -> None:
    assert faults(pair, sentence) == [(Fault(kind, target, 0.0, end_s),)]


def test_a_link_is_cut_by_interface_or_name_one_way_or_both(pair: Cluster) -> None:
    for name in ("eth1", "bcast:eth1"):
        assert faults(pair, f"cut {name}") == [(Fault(Kind.LINK, "*", 0.0, FOR_EVER, 1.0),)]
    silent_one = (Fault(Kind.LINK_ONE_WAY, f"{ONE}>{TWO}", 0.0, FOR_EVER, 1.0),)
    silent_two = (Fault(Kind.LINK_ONE_WAY, f"{TWO}>{ONE}", 0.0, FOR_EVER, 1.0),)
    assert faults(pair, "cut eth1 one-way") == [silent_one, silent_two]
    assert faults(pair, "cut eth1 one-way from one") == [silent_one]
    with_bus = faults(pair, "cut eth1 and bus for 9s")
    assert {fault.kind for fault in with_bus[0]} == {Kind.LINK, Kind.BUS_OUT}
    assert {fault.end_s for fault in with_bus[0]} == {9.0}


def test_real_servers_by_address_endpoint_and_host_name(pair: Cluster) -> None:
    wanted = read(pair, "lose 192.0.2.11:80 and rs2 for 30s")
    assert wanted.servers == ("192.0.2.11:80", "192.0.2.12")
    assert wanted.lost_for_s == 30.0


@pytest.mark.parametrize("over", ["last week's heartbeats", "the last week", "1w", "7d"])
def test_another_deadtime_over_what_was_recorded(pair: Cluster, over: str) -> None:
    wanted = read(pair, f"set deadtime 300ms over {over}")
    assert (wanted.deadtime_s, wanted.over_s) == (0.3, 604_800.0)


@pytest.mark.parametrize(
    ("sentence", "said"),
    [
        ("explode one", "'explode' is not allowed"),
        ("kill", "lacks a director"),
        ("kill three", "'three' is no director; there are: one.example, two.example"),
        ("kill membership of one", "'of' is not allowed there; allowed is 'on'"),
        ("kill one quickly", "'quickly' is not allowed there"),
        ("kill one for ever", "'ever' is no time; allowed is such as 300ms"),
        ("kill one for 0s", "'0s' is no time"),
        ("pause one", "pause needs a time"),
        ("cut eth7", "'eth7' is no heartbeat link; there are: bcast:eth0, bcast:eth1"),
        ("lose 192.0.2.99", "'192.0.2.99' is no real server; there are: 192.0.2.11, 192.0.2.12"),
        ("set deadtime 300 over last week", "'300' is no time"),
        ("set warntime 300ms over last week", "allowed is 'deadtime'"),
        (" ".join(["kill"] * 65), "what is to be played?"),
    ],
)
def test_what_cannot_be_played_is_said_with_what_can(
    pair: Cluster, sentence: str, said: str
) -> None:
    with pytest.raises(SentenceError) as error:
        read(pair, sentence)
    assert said in str(error.value)


def test_of_a_director_that_is_gone_nothing_can_be_played(pair: Cluster) -> None:
    with pytest.raises(SentenceError, match=r"one\.example is not heard now"):
        parse(["kill", "one"], pair, Now(down=frozenset({ONE})))


def test_the_help_has_the_sentences_that_are_read() -> None:
    from heartbus_simulator.simulate_command import simulate

    assert simulate.help is not None
    shown = " ".join(simulate.help.split())
    for line in SENTENCES.splitlines()[:-1]:
        verb = line.split("  ")[0].replace("…", "...")
        assert " ".join(verb.split()).replace("over TIME", "over last week") in shown
