"""Late, repeated and superseded messages are told from news."""

from __future__ import annotations

import dataclasses

from hypothesis import given
from hypothesis import strategies as st

from heartbus.events import Envelope
from heartbus.freshness import SENDERS_MAX, Freshness, FreshnessFilter
from tests.common.samples import sample_envelope

BASE = sample_envelope("node.dead")


def sent(
    *, sequence: int, uptime_s: float, incarnation: int = 5, node: str = "a", valid_for_s: float = 3
) -> Envelope:
    return dataclasses.replace(
        BASE,
        node=node,
        sequence=sequence,
        uptime_s=uptime_s,
        incarnation=incarnation,
        valid_for_s=valid_for_s,
    )


def test_growing_sequences_are_fresh() -> None:
    judge = FreshnessFilter().judge
    verdicts = [judge(sent(sequence=n, uptime_s=n), now_s=100.0 + n) for n in range(1, 5)]
    assert set(verdicts) == {Freshness.FRESH}


def test_the_same_or_an_older_sequence_is_repeated() -> None:
    judge = FreshnessFilter().judge
    judge(sent(sequence=4, uptime_s=4.0), now_s=104.0)
    assert judge(sent(sequence=4, uptime_s=4.0), now_s=104.1) is Freshness.REPEATED
    assert judge(sent(sequence=3, uptime_s=3.0), now_s=104.2) is Freshness.REPEATED


def test_kinds_may_overtake_one_another() -> None:
    judge = FreshnessFilter().judge
    state = dataclasses.replace(sent(sequence=8, uptime_s=8.0), kind="state.checker")
    event = dataclasses.replace(sent(sequence=7, uptime_s=7.9), kind="realserver.down")
    assert judge(state, now_s=108.0) is Freshness.FRESH
    assert judge(event, now_s=108.0) is Freshness.FRESH
    assert judge(event, now_s=108.0) is Freshness.REPEATED


def test_a_late_burst_is_expired_whatever_the_wall_clocks_say() -> None:
    judge = FreshnessFilter().judge
    judge(sent(sequence=1, uptime_s=1.0), now_s=101.0)
    assert judge(sent(sequence=2, uptime_s=2.0), now_s=105.1) is Freshness.EXPIRED
    assert judge(sent(sequence=3, uptime_s=3.0), now_s=105.1) is Freshness.FRESH


def test_a_sender_whose_machine_was_paused_is_believed_again_soon() -> None:
    # Its clock stood still for a minute, so every message looks a minute late, for ever.
    judge = FreshnessFilter().judge
    judge(sent(sequence=1, uptime_s=1.0), now_s=101.0)
    verdicts = [judge(sent(sequence=n, uptime_s=float(n)), now_s=160.0 + n) for n in range(2, 30)]
    assert verdicts[0] is Freshness.EXPIRED
    assert verdicts[7:] == [Freshness.FRESH] * len(verdicts[7:])


def test_a_clock_that_drifts_never_silences_its_sender_for_long() -> None:
    judge = FreshnessFilter().judge
    verdicts = [
        judge(sent(sequence=n, uptime_s=n * 0.999), now_s=100.0 + n) for n in range(1, 20_000)
    ]
    expired = verdicts.count(Freshness.EXPIRED)
    assert expired < len(verdicts) / 100


def test_a_burst_is_late_however_long_it_takes_to_arrive() -> None:
    # Thirty messages of an outage, delivered over six seconds: each is less late than the last.
    judge = FreshnessFilter().judge
    judge(sent(sequence=1, uptime_s=1.0), now_s=101.0)
    burst = [
        judge(sent(sequence=n, uptime_s=float(n)), now_s=140.0 + n * 0.2) for n in range(2, 32)
    ]
    assert set(burst) == {Freshness.EXPIRED}


def test_an_older_incarnation_is_superseded_while_its_successor_speaks() -> None:
    judge = FreshnessFilter().judge
    judge(sent(sequence=9, uptime_s=9.0, incarnation=5), now_s=109.0)
    assert judge(sent(sequence=1, uptime_s=9.5, incarnation=6), now_s=109.5) is Freshness.FRESH
    late = sent(sequence=10, uptime_s=9.1, incarnation=5)
    assert judge(late, now_s=110.0) is Freshness.SUPERSEDED


def test_a_smaller_incarnation_is_believed_after_silence() -> None:
    # The clock of the sender's host was set back between two starts of the process.
    judge = FreshnessFilter().judge
    judge(sent(sequence=9, uptime_s=9.0, incarnation=6), now_s=109.0)
    assert judge(sent(sequence=1, uptime_s=20.0, incarnation=5), now_s=120.0) is Freshness.FRESH


def test_senders_are_judged_apart() -> None:
    judge = FreshnessFilter().judge
    judge(sent(sequence=9, uptime_s=9.0, node="a"), now_s=109.0)
    assert judge(sent(sequence=1, uptime_s=500.0, node="b"), now_s=109.0) is Freshness.FRESH


def test_memory_is_bounded_and_the_longest_silent_is_forgotten() -> None:
    filter_ = FreshnessFilter()
    for n in range(SENDERS_MAX + 1):
        filter_.judge(sent(sequence=5, uptime_s=0.0, node=f"n{n}"), now_s=float(n))
    forgotten = filter_.judge(sent(sequence=5, uptime_s=0.0, node="n0"), now_s=9999.0)
    remembered = filter_.judge(sent(sequence=5, uptime_s=0.0, node=f"n{SENDERS_MAX}"), now_s=9999.0)
    assert (forgotten, remembered) == (Freshness.FRESH, Freshness.REPEATED)


@given(
    st.lists(
        st.tuples(st.integers(1, 3), st.integers(1, 20), st.floats(0, 50), st.floats(0, 5)),
        max_size=60,
    )
)
def test_within_an_incarnation_only_growing_sequences_pass(
    arrivals: list[tuple[int, int, float, float]],
) -> None:
    filter_, now_s = FreshnessFilter(), 1000.0
    passed: list[tuple[int, int]] = []
    for incarnation, sequence, uptime_s, pause_s in arrivals:
        now_s += pause_s
        envelope = sent(sequence=sequence, uptime_s=uptime_s, incarnation=incarnation)
        if filter_.judge(envelope, now_s=now_s) is Freshness.FRESH:
            if passed and passed[-1][0] == incarnation:
                assert sequence > passed[-1][1]
            passed.append((incarnation, sequence))
