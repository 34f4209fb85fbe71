"""What is played from a configuration is what docs/decisions/0004 says of each fault."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest

from heartbus_simulator.plan import Configured, left_out
from heartbus_simulator.play import GroupPlay, Now, Play, UnlikeError, play
from heartbus_simulator.words import parse
from tests.simulator.clusters import ONE, PAIR, TWO, WITNESS, cluster

HELD = Now(held={"web": (ONE, 7)})
DEADTIME_S, KEEPALIVE_S, LEASE_S = 0.3, 0.075, 5.0
REFRESH_S = 0.25
TURN_S = 0.02


def played(
    directory: Path, sentence: str, *, now: Now = HELD, text: str = PAIR, seeds: int = 2
) -> list[Play]:
    found = cluster(directory, text)
    plan = Configured(found)
    return [
        play(plan, now, faults, seed=seed)
        for _title, faults in parse(sentence.split(), found, now).variants
        for seed in range(seeds)
    ]


def of_web(plays: Sequence[Play]) -> list[GroupPlay]:
    assert all(p.settled for p in plays)
    return [p.groups["web"] for p in plays]


def test_the_other_director_takes_what_a_dead_one_held(tmp_path: Path) -> None:
    plays = played(tmp_path, "kill one")
    for group in of_web(plays):
        assert group.holders == (TWO,)
        assert DEADTIME_S - KEEPALIVE_S - TURN_S < group.gap_s < DEADTIME_S + TURN_S
        assert group.double_s == 0.0
    told = [h.text for h in plays[0].happenings if h.director == TWO]
    assert told[:2] == [f"{ONE} is late", f"{ONE} is dead"]
    assert told[2] == f"granted web 8: {ONE} is dead"  # the epoch goes on from the running one


def test_the_holder_of_now_is_where_it_begins_whoever_is_preferred(tmp_path: Path) -> None:
    (group, *_) = of_web(played(tmp_path, "kill one", now=Now(held={"web": (TWO, 3)})))
    assert (group.holders, group.moves, group.gap_s) == ((TWO,), 0, 0.0)


def test_a_director_that_nobody_hears_now_takes_nothing(tmp_path: Path) -> None:
    now = Now(held={"web": (ONE, 7)}, down=frozenset({TWO}))
    for group in of_web(played(tmp_path, "kill one for 1s", now=now)):
        assert group.holders == (ONE,)
        assert group.gap_s > 1.0


def test_one_of_two_links_moves_nothing_both_ways_or_one(tmp_path: Path) -> None:
    for sentence in ("cut eth1", "cut eth1 one-way"):
        for group in of_web(played(tmp_path, sentence)):
            assert (group.holders, group.moves) == ((ONE,), 0)


def test_the_only_link_cut_one_way_moves_it_once_and_never_leaves_two(tmp_path: Path) -> None:
    """Nobody hears the holder: the other one takes it, and says so to the holder, which yields."""
    text = PAIR.replace(', { kind = "bcast", interface = "eth1" }', "")
    silent_holder, silent_other = (
        of_web(played(tmp_path, f"cut eth0 one-way from {name} and bus", text=text))
        for name in ("one", "two")
    )
    for group in silent_holder:
        assert group.holders == (TWO,)
        # Without a bus its vip learns it when it reads the lease file, at its next refresh.
        assert 0 < group.double_s < 2 * KEEPALIVE_S + REFRESH_S + TURN_S
    for group in silent_other:
        assert (group.holders, group.moves) == ((ONE,), 0)


def test_a_clean_stop_hands_over_without_a_gap(tmp_path: Path) -> None:
    for group in of_web(played(tmp_path, "stop one")):
        assert group.holders == (TWO,)
        assert group.gap_s == 0.0


def test_with_a_majority_a_takeover_waits_for_the_lease(tmp_path: Path) -> None:
    text = WITNESS + PAIR.replace('timers = "lan"', 'timers = "lan"\nlease = 2')
    for group in of_web(played(tmp_path, "kill one", text=text)):
        assert group.holders == (TWO,)
        assert 2.0 - 3 * KEEPALIVE_S < group.gap_s < 2.0 + 4 * KEEPALIVE_S
        assert group.double_s == 0.0


def test_a_killed_membership_moves_nothing(tmp_path: Path) -> None:
    for group in of_web(played(tmp_path, "kill membership on one")):
        assert (group.holders, group.gap_s) == ((ONE,), 0.0)


def test_after_the_time_that_was_said_it_is_as_before(tmp_path: Path) -> None:
    plays = played(tmp_path, "kill one for 20s")
    for group in of_web(plays):
        assert group.holders == (TWO,)  # failback is off
    over = [h.at_s for h in plays[0].happenings if h.text == "what was wrong is over"]
    assert over == pytest.approx([20.0])
    back = played(
        tmp_path,
        "kill one for 20s",
        text=PAIR.replace("[membership]", '[membership]\nfailback="on"'),
    )
    assert of_web(back)[0].holders == (ONE,)


def test_a_state_to_which_the_cores_do_not_come_is_not_played(tmp_path: Path) -> None:
    text = PAIR.replace("[membership]", '[membership]\nfailback = "on"')
    with pytest.raises(UnlikeError, match=r"web is on two\.example, but the cores give it to one"):
        played(tmp_path, "kill one", now=Now(held={"web": (TWO, 3)}), text=text)


def test_what_is_left_out_is_said(tmp_path: Path) -> None:
    text = PAIR.replace("[membership]", '[membership]\nping_nodes = ["192.0.2.1"]')
    assert any("ping nodes are not played" in line for line in left_out(cluster(tmp_path, text)))
    assert left_out(cluster(tmp_path)) == ()
