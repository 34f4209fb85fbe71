"""Any bytes end in a counter: no exception, and nothing else that we know has changed."""

from __future__ import annotations

import copy
from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from heartbus.model import Authentication, AuthKey, AuthMethod
from heartbus_membership.hearing import Dropped, Hearing
from heartbus_membership.replay import Mark
from heartbus_membership.signing import Keyring
from heartbus_membership.wire import encode
from tests.membership.test_hearing import BEAT, RING, hearing

GENUINE = encode(replace(BEAT, sequence=6), RING)
OTHER_RING = Keyring(
    Authentication(signing_key=1, keys=(AuthKey(id=1, method=AuthMethod.SHA256, secret=b"other"),))
)


def known(ears: Hearing) -> tuple[object, ...]:
    """Return all that hearing knows, but for the counters."""
    marks: dict[str, Mark] = ears.replays.marks(reserve=0)
    return copy.deepcopy(ears.newest), marks


def ends_in_a_counter(datagram: bytes) -> None:
    ears = hearing()
    ears.judge(encode(BEAT, RING), link="l1")
    before = known(ears)
    assert isinstance(ears.judge(datagram, link="l1"), Dropped)
    assert sum(ears.dropped.values()) == 1
    assert known(ears) == before


@given(st.binary(max_size=2000))
def test_any_bytes(datagram: bytes) -> None:
    ends_in_a_counter(datagram)


@given(st.integers(0, len(GENUINE) * 8 - 1))
def test_a_bit_flipped(bit: int) -> None:
    datagram = bytearray(GENUINE)
    datagram[bit // 8] ^= 1 << bit % 8
    ends_in_a_counter(bytes(datagram))


@given(st.integers(0, len(GENUINE) - 1))
def test_cut_short(length: int) -> None:
    ends_in_a_counter(GENUINE[:length])


@given(st.binary(min_size=1, max_size=1500))
def test_more_behind_it(more: bytes) -> None:
    ends_in_a_counter(GENUINE + more)


@given(st.integers(0, 7), st.integers(0, 255))
def test_another_head(position: int, value: int) -> None:
    datagram = bytearray(GENUINE)
    if datagram[position] == value:
        return
    datagram[position] = value
    ends_in_a_counter(bytes(datagram))


def test_another_secret() -> None:
    ends_in_a_counter(encode(replace(BEAT, sequence=6), OTHER_RING))


def test_the_unharmed_datagram_is_believed() -> None:
    ears = hearing()
    ears.judge(encode(BEAT, RING), link="l1")
    assert not isinstance(ears.judge(GENUINE, link="l1"), Dropped)
