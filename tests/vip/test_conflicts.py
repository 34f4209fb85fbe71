"""When another answer is a conflict, what follows, and what must not count as one."""

from __future__ import annotations

import itertools
from collections.abc import Iterable

import pytest

from heartbus.events import HeldGroup, HoldStatus, VipConflict, VipState
from heartbus.model import AddressResource, ConflictSettings, OnConflict, ResourceGroup
from heartbus_vip.conflicts import (
    ASK_S,
    CONFLICT_ASK_S,
    DEFEND_S,
    END_S,
    PROBE_MAX_S,
    PROBES,
    STATIONS_MAX,
    Alone,
    Ask,
    Asked,
    Conflicts,
    Defend,
    GiveUp,
    Outcome,
)
from heartbus_vip.neighbours import Said

VIP = AddressResource(address="192.168.7.110", prefix_len=24)
GROUP = ResourceGroup(name="www", preferred="a", resources=(VIP,))
OURS, PEERS, FOREIGN = "02:00:00:00:00:0a", "02:00:00:00:00:0b", "02:00:00:00:00:ff"
PEER = "b"
LIFETIME_S = 3.0


class Lan:
    """The core beside a clock that stops wherever it has something to do.

    ``answering``: who answers a question of ours, a moment later.
    """

    def __init__(
        self,
        *,
        policy: OnConflict = OnConflict.DEFEND,
        interval_s: float = 30.0,
        holding: bool = True,
        peer_known: bool = True,
        watching: bool = True,
    ) -> None:
        self.now_s = 100.0
        self.answering: list[str] = []
        self.outcomes: list[Outcome] = []
        self.asked_s: list[float] = []
        self.core = Conflicts(
            groups=[GROUP],
            peers=[PEER],
            settings=ConflictSettings(policy=policy, interval_s=interval_s),
            lifetime_s=LIFETIME_S,
            watching=watching,
            now_s=self.now_s,
        )
        self.core.own_macs([OURS])
        if peer_known:
            self.peer(macs=[PEERS])
        self.hold(holding)

    def peer(self, *, macs: Iterable[str], epoch: int = 0) -> None:
        held = HeldGroup(name="www", status=HoldStatus.RELEASED, epoch=epoch, addresses=())
        self.core.peer_heard(PEER, VipState(groups=(held,), macs=tuple(macs)))

    def hold(self, holding: bool = True, *, epoch: int = 5) -> None:
        status = HoldStatus.HELD if holding else HoldStatus.RELEASED
        addresses = (VIP.address,) if holding else ()
        held = HeldGroup(name="www", status=status, epoch=epoch, addresses=addresses)
        self.take(self.core.held([held], now_s=self.now_s))

    def hear(self, mac: str) -> list[Outcome]:
        said = Said(address=VIP.address, mac=mac)
        return self.take(self.core.heard(said, interface="eth0", now_s=self.now_s))

    def take(self, outcomes: list[Outcome]) -> list[Outcome]:
        self.outcomes += outcomes
        for outcome in outcomes:
            if isinstance(outcome, Ask):
                self.asked_s.append(self.now_s)
                self.now_s += 0.001
                for mac in self.answering:
                    self.hear(mac)
        return outcomes

    def let_pass(self, seconds: float) -> list[Outcome]:
        """Let time pass; return what came of it."""
        start, ends_s = len(self.outcomes), self.now_s + seconds
        for _ in range(10_000):
            due_s = self.core.next_deadline_s
            if due_s > ends_s:
                break
            self.now_s = max(self.now_s, due_s)
            self.take(self.core.deadline_passed(now_s=self.now_s))
        else:
            raise AssertionError("it asks for a turn again and again")
        self.now_s = max(self.now_s, ends_s)
        return self.outcomes[start:]

    @property
    def told(self) -> list[VipConflict]:
        return [o for o in self.outcomes if isinstance(o, VipConflict)]

    def of(self, kind: type[Outcome]) -> list[Outcome]:
        return [o for o in self.outcomes if isinstance(o, kind)]


# --- a foreign machine ---------------------------------------------------------------------------


@pytest.mark.parametrize("holding", [True, False])
def test_a_second_answer_a_second_later_is_a_conflict_with_its_mac(holding: bool) -> None:
    lan = Lan(holding=holding)
    lan.answering = [FOREIGN]
    lan.hear(FOREIGN)
    assert lan.told == []
    lan.let_pass(1.5)
    (told,) = lan.told
    assert (told.mac, told.address, told.interface) == (FOREIGN, VIP.address, "eth0")
    assert (told.director, told.held, told.ended) == ("", holding, False)
    (view,) = lan.core.views()
    assert (view.mac, view.held) == (FOREIGN, holding)


def test_one_answer_that_is_not_repeated_is_forgotten() -> None:
    lan = Lan()
    lan.hear(FOREIGN)
    lan.let_pass(0.9)
    lan.hear(FOREIGN)  # a burst: not a second later
    lan.let_pass(60.0)
    assert lan.told == []
    assert not lan.core.views()
    lan.hear(FOREIGN)
    assert lan.told == []


def test_whoever_is_silent_is_found_by_asking() -> None:
    lan = Lan(interval_s=30.0)
    lan.answering = [FOREIGN]
    lan.let_pass(30.0 + 2.0)
    assert [told.mac for told in lan.told] == [FOREIGN]


def test_nobody_asks_where_the_interval_is_0() -> None:
    lan = Lan(interval_s=0.0)
    lan.let_pass(1000.0)
    assert lan.asked_s == []


def test_a_conflict_ends_when_nobody_answers_any_more() -> None:
    lan = Lan()
    lan.answering = [FOREIGN]
    lan.hear(FOREIGN)
    lan.let_pass(60.0)
    assert len(lan.told) == 1
    lan.answering = []
    lan.let_pass(END_S + CONFLICT_ASK_S)
    assert [told.ended for told in lan.told] == [False, True]
    assert lan.core.views() == ()


def test_an_address_is_defended_at_most_every_ten_seconds() -> None:
    lan = Lan()
    lan.answering = [FOREIGN]
    lan.hear(FOREIGN)
    times: list[float] = []
    for _ in range(600):
        before = len(lan.of(Defend))
        lan.let_pass(0.1)
        lan.hear(FOREIGN)  # it announces itself all the time
        times += [lan.now_s] * (len(lan.of(Defend)) - before)
    assert 5 <= len(times) <= 6
    assert all(b - a >= DEFEND_S - 0.001 for a, b in itertools.pairwise(times))


def test_who_stands_by_does_not_defend() -> None:
    lan = Lan(holding=False)
    lan.answering = [FOREIGN]
    lan.hear(FOREIGN)
    lan.let_pass(60.0)
    assert lan.told
    assert lan.of(Defend) == []


def test_to_yield_lets_go_once_and_bars_the_group_until_the_machine_is_silent() -> None:
    lan = Lan(policy=OnConflict.YIELD)
    lan.answering = [FOREIGN]
    lan.hear(FOREIGN)
    lan.let_pass(2.0)
    (given_up,) = lan.of(GiveUp)
    assert isinstance(given_up, GiveUp)
    assert (given_up.group, given_up.address) == ("www", VIP)
    assert FOREIGN in given_up.reason
    lan.hold(False)
    lan.let_pass(60.0)
    assert FOREIGN in lan.core.barred()["www"]
    lan.answering = []
    lan.let_pass(END_S + CONFLICT_ASK_S)
    assert lan.core.barred() == {}
    assert len(lan.of(GiveUp)) == 1
    assert lan.of(Defend) == []


def test_a_crowd_of_machines_is_bounded_and_counted() -> None:
    lan = Lan()
    for number in range(100):
        lan.hear(f"02:00:00:01:00:{number:02x}")
    assert lan.core.crowded == 100 - STATIONS_MAX
    lan.let_pass(5.0)
    assert len(lan.asked_s) <= 5 * STATIONS_MAX


# --- ourselves and the other directors -----------------------------------------------------------


def test_our_own_frames_do_not_count_whatever_interface_sent_them() -> None:
    lan = Lan()
    lan.answering = [OURS]
    lan.hear(OURS)
    lan.let_pass(30.0)
    lan.hear(FOREIGN)
    lan.core.own_macs([OURS, FOREIGN])  # that of a bonded interface
    lan.answering = [OURS, FOREIGN]
    lan.let_pass(30.0)
    assert lan.told == []


def test_who_stands_by_expects_the_holder_to_answer() -> None:
    lan = Lan(holding=False)
    lan.answering = [PEERS]
    lan.let_pass(300.0)
    assert lan.told == []


def test_a_handover_back_and_forth_is_no_conflict() -> None:
    lan = Lan()
    for _ in range(20):
        lan.hear(PEERS)  # it announces the address, while we have it
        lan.let_pass(0.05)
        lan.hold(False)
        lan.answering = [PEERS]
        for _ in range(4):
            lan.let_pass(0.2)
            lan.hear(PEERS)
        lan.let_pass(1.5)
        lan.hold()
        lan.core.announced(VIP, now_s=lan.now_s)
        lan.hear(PEERS)  # its last answer
        lan.answering = []
        lan.let_pass(3.0)
    assert lan.told == []


def test_a_director_that_keeps_answering_while_we_hold_is_a_conflict() -> None:
    lan = Lan()
    lan.answering = [PEERS]
    lan.hear(PEERS)
    lan.let_pass(LIFETIME_S)
    assert lan.told == []
    lan.let_pass(3.0)
    (told,) = lan.told
    assert (told.director, told.mac, told.held) == (PEER, PEERS, True)


def test_a_conflict_of_directors_ends_when_one_lets_go() -> None:
    lan = Lan()
    lan.answering = [PEERS]
    lan.hear(PEERS)
    lan.let_pass(10.0)
    lan.hold(False)
    assert [told.ended for told in lan.told] == [False, True]
    lan.let_pass(100.0)
    assert len(lan.told) == 2


@pytest.mark.parametrize(("theirs", "defends"), [(4, True), (5, False), (6, False)])
def test_of_two_directors_the_one_with_the_higher_epoch_defends(theirs: int, defends: bool) -> None:
    lan = Lan()
    lan.peer(macs=[PEERS], epoch=theirs)
    lan.answering = [PEERS]
    lan.hear(PEERS)
    lan.let_pass(20.0)
    assert lan.told
    assert bool(lan.of(Defend)) is defends


def test_a_director_is_never_yielded_to_here() -> None:
    lan = Lan(policy=OnConflict.YIELD)
    lan.answering = [PEERS]
    lan.hear(PEERS)
    lan.let_pass(20.0)
    assert lan.told
    assert lan.of(GiveUp) == []
    assert lan.core.barred() == {}


def test_while_the_other_director_is_unknown_any_machine_may_be_it() -> None:
    lan = Lan(holding=False, peer_known=False)
    lan.answering = [FOREIGN]
    lan.let_pass(300.0)
    assert lan.told == []
    assert len(lan.asked_s) <= 10 + 10 * 11  # now and then, not all the time
    lan.hold()
    lan.hear(FOREIGN)
    lan.let_pass(LIFETIME_S)
    assert lan.told == []
    lan.let_pass(5.0)
    assert [told.director for told in lan.told] == [""]
    lan.peer(macs=[FOREIGN])
    assert [view.director for view in lan.core.views()] == [PEER]


def test_a_suspect_that_turns_out_to_be_a_director_is_none() -> None:
    lan = Lan(peer_known=False)
    lan.hear(PEERS)
    lan.let_pass(3.5)
    lan.peer(macs=[PEERS])
    lan.let_pass(0.6)
    lan.hear(PEERS)
    assert lan.told == []


# --- after an announcement, and before taking ----------------------------------------------------


def test_after_an_announcement_everybody_is_asked_whether_we_are_alone() -> None:
    lan = Lan(interval_s=0.0)
    lan.core.announced(VIP, now_s=lan.now_s)
    lan.let_pass(5.0)
    assert lan.outcomes == [Ask(address=VIP), Ask(address=VIP), Alone(address=VIP)]


@pytest.mark.parametrize("mac", [FOREIGN, PEERS])
def test_who_is_answered_by_another_machine_is_not_alone(mac: str) -> None:
    lan = Lan(interval_s=0.0)
    lan.answering = [mac]
    lan.core.announced(VIP, now_s=lan.now_s)
    lan.let_pass(10.0)
    assert lan.of(Alone) == []
    assert [told.mac for told in lan.told] == [mac]


def probe(lan: Lan) -> Asked:
    lan.take(lan.core.ask_first("www", 7, [VIP], now_s=lan.now_s))
    lan.let_pass(PROBE_MAX_S + 0.1)
    (asked,) = lan.of(Asked)
    assert isinstance(asked, Asked)
    assert (asked.group, asked.step) == ("www", 7)
    return asked


def test_a_free_address_is_taken_after_three_questions() -> None:
    lan = Lan(interval_s=0.0, holding=False)
    begun_s = lan.now_s
    lan.take(lan.core.ask_first("www", 7, [VIP], now_s=begun_s))
    while not lan.of(Asked):
        assert lan.now_s - begun_s < 0.7
        lan.let_pass(0.01)
    assert len(lan.asked_s) == PROBES
    assert lan.of(Asked) == [Asked(group="www", step=7, address=VIP, problem=None)]


@pytest.mark.parametrize(
    ("policy", "refused"), [(OnConflict.DEFEND, False), (OnConflict.YIELD, True)]
)
def test_a_used_address_is_told_before_it_is_taken_or_left(
    policy: OnConflict, refused: bool
) -> None:
    lan = Lan(policy=policy, holding=False)
    lan.answering = [FOREIGN]
    asked = probe(lan)
    assert [told.mac for told in lan.told] == [FOREIGN]
    assert lan.outcomes.index(lan.told[0]) < lan.outcomes.index(asked)
    assert (asked.problem is not None) is refused
    assert not refused or FOREIGN in (asked.problem or "")


@pytest.mark.parametrize("policy", list(OnConflict))
def test_an_answer_that_is_not_repeated_delays_the_taking_and_no_more(policy: OnConflict) -> None:
    lan = Lan(policy=policy, holding=False)
    lan.take(lan.core.ask_first("www", 7, [VIP], now_s=lan.now_s))
    lan.hear(FOREIGN)
    begun_s = lan.now_s
    lan.let_pass(PROBE_MAX_S)
    assert lan.of(Asked) == [Asked(group="www", step=7, address=VIP, problem=None)]
    assert lan.now_s - begun_s < 2 * ASK_S + 0.1


def test_where_nobody_watches_nothing_is_waited_for() -> None:
    lan = Lan(watching=False)
    lan.take(lan.core.ask_first("www", 7, [VIP], now_s=lan.now_s))
    assert lan.outcomes == [Asked(group="www", step=7, address=VIP, problem=None)]
    lan.core.announced(VIP, now_s=lan.now_s)
    assert lan.core.next_deadline_s == float("inf")


def test_what_waited_while_we_did_not_listen_makes_no_conflict() -> None:
    lan = Lan()
    lan.hear(PEERS)
    lan.now_s += LIFETIME_S + 2.0
    lan.core.did_not_listen()
    assert not [o for o in lan.hear(PEERS) if isinstance(o, VipConflict)]
    lan.now_s += LIFETIME_S + 2.0
    assert [o for o in lan.hear(PEERS) if isinstance(o, VipConflict)]
