"""Scenarios that a seed once failed on, shrunk, each with what it shows.

They hold within the bounds of bounds.py and invariants.py; what they show is where those are wider
than a first thought.
"""

from __future__ import annotations

from tests.simulation.scenario import parse, play


def holds(text: str) -> None:
    lines = "\n".join(line.strip() for line in text.strip().splitlines())
    result = play(parse(lines))
    assert result.violation is None, "\n".join((result.violation or "", *result.story))


def test_seed_563_two_directors_take_a_free_group_in_the_same_moment() -> None:
    # Both reach initdead without a bus at once; the conflict ends with the next heartbeats.
    holds("563 | majority usual groups=1 links=1 no-bus")


def test_seed_438_a_stop_waits_for_a_handover_that_nobody_hears_of() -> None:
    holds(
        """
        438 | pair-fast classic groups=1 links=1
        one-way a>b 1.82-2.82 0
        membership-stop a 2.65-2.75 0
        bus-out * 2.68-3.68 0
        """
    )


def test_seed_304_a_healed_loser_stops_its_script_before_the_address_goes() -> None:
    holds(
        """
        304 | pair-fast usual groups=2 links=2
        isolate a 1.32-1.82 0
        one-way b>a 1.45-4.95 0
        cut b-a 4.79-5.79 0
        vip-pause a 5.55-6.55 0
        """
    )


def test_seed_883_the_loser_of_a_conflict_says_so_before_its_vip_has_released() -> None:
    # a does not hear c, who has won, and takes what b lets go.
    holds(
        """
        883 | majority lan groups=1 links=1 no-bus
        isolate a 15.37-15.87 0
        hang c 15.5-16.5 0
        cut c-a 16.32-18.32 0
        reorder b>c 13.79-18.79 0.6
        """
    )


def test_seed_1062_a_claim_whose_lease_has_lapsed_outbids_the_one_who_holds() -> None:
    holds(
        """
        1062 | pair-fast usual groups=1 links=2
        link * 0.39-5.39 0
        one-way b>a 2.92-3.92 0
        cut a-b 3.91-8.91 0
        membership-pause b 8.56-12.06 0
        """
    )


def test_seed_1578_a_membership_killed_in_a_hand_over_forgets_the_claim() -> None:
    # The stop script of b hangs; its address is refreshed no more, and gone within a lifetime.
    holds(
        """
        1578 | pair-fast usual groups=2 links=1 failback
        vip-stop a 1.88-6.88 0
        bus-down a 6.62-6.92 0
        stop-hangs b 8.5-9.5 0
        membership-kill b 9.39-9.49 0
        """
    )


def test_seed_3140_a_director_that_just_started_believes_what_is_old() -> None:
    # docs/wire.md, "What is not protected".
    holds(
        """
        3140 | pair-fast classic groups=1 links=1
        delay b>a 13.04-14.04 9
        membership-stop a 21.27-22.27 0
        """
    )


def test_seed_3730_both_restart_while_a_cut_heals() -> None:
    holds(
        """
        3730 | pair-fast edge groups=1 links=1
        link * 2.5-7.5 0
        disk-lost b 7.41-8.41 0
        disk-lost a 8.19-9.19 0
        """
    )


def test_seed_4168_a_stop_without_vip_leaves_the_address_for_its_lifetime() -> None:
    holds(
        """
        4168 | pair-fast edge groups=1 links=1
        membership-kill a 2.5-2.6 0
        vip-kill a 2.64-4.64 0
        membership-stop a 3.42-3.52 0
        """
    )


def test_seed_5565_a_disk_and_a_clock_that_both_went_back_make_a_director_unheard() -> None:
    holds(
        """
        5565 | pair-fast lan groups=1 links=1 failback
        disk-lost a 2.5-2.8 0
        clock-step a 2.77-2.87 -3600
        """
    )


def test_seed_7490_a_membership_dies_as_it_wakes() -> None:
    holds(
        """
        7490 | pair-fast lan groups=1 links=1
        hang a 2.5-3.5 0
        die-at a 3.32-3.62 0
        """
    )


def test_seed_12468_a_membership_dies_in_its_first_turn() -> None:
    holds(
        """
        12468 | pair-fast edge groups=3 links=1
        disk-lost b 2.5-2.8 0
        die-at b 2.64-7.64 4
        """
    )


def test_seed_15619_a_state_file_that_went_back_repeats_an_epoch() -> None:
    holds(
        """
        15619 | pair-fast edge groups=1 links=1 failback
        cut a-b 1.99-2.99 0
        disk-stale b 2.65-3.15 0
        link * 3.15-8.15 0
        """
    )
