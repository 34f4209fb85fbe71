"""Framing of serial lines: golden bytes, round trips, noise, torn frames, bounded memory."""

from __future__ import annotations

import itertools
import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from heartbus_membership.serial_frames import FRAME_BYTES_MAX, HOPS_MAX, Deframer, Frame, encode
from heartbus_membership.wire import DATAGRAM_BYTES_MAX

datagrams = st.one_of(
    st.binary(max_size=DATAGRAM_BYTES_MAX),
    st.lists(st.sampled_from([b"\0", b"\xff", b"x" * 253, b"x" * 254, b"x" * 255]), max_size=5).map(
        b"".join
    ),
)
frames = st.builds(Frame, datagram=datagrams, hops=st.integers(0, HOPS_MAX))
BEAT = Frame(datagram=b"HB\0\0beat", hops=3)
NEXT = Frame(datagram=b"next", hops=1)


def test_bytes_are_as_documented() -> None:
    check = zlib.crc32(b"\x01\x03HB\0\0beat").to_bytes(4, "big")
    assert check.hex(" ") == "e8 94 5b 05"
    assert encode(BEAT).hex(" ") == "00 05 01 03 48 42 01 09 62 65 61 74 e8 94 5b 05 00"


@given(st.lists(frames, max_size=5))
def test_what_is_encoded_is_decoded(sent: list[Frame]) -> None:
    deframer = Deframer()
    assert deframer.feed(b"".join(map(encode, sent))) == sent
    assert deframer.damaged == 0


@given(frames)
def test_a_frame_has_zeros_only_at_its_ends_and_is_never_too_long(frame: Frame) -> None:
    encoded = encode(frame)
    assert encoded[0] == encoded[-1] == 0
    assert 0 not in encoded[1:-1]
    assert len(encoded) <= FRAME_BYTES_MAX + 2


@given(st.lists(frames, max_size=4), st.data())
def test_it_does_not_matter_how_the_bytes_are_torn(sent: list[Frame], draw: st.DataObject) -> None:
    line = b"".join(map(encode, sent))
    cuts = draw.draw(st.lists(st.integers(0, len(line)), max_size=8).map(sorted))
    deframer = Deframer()
    found = [
        frame
        for begin, end in itertools.pairwise([0, *cuts, len(line)])
        for frame in deframer.feed(line[begin:end])
    ]
    assert found == sent


@given(st.lists(st.binary(max_size=3000), max_size=5))
def test_after_any_bytes_the_next_frame_is_found(noise: list[bytes]) -> None:
    deframer = Deframer()
    for chunk in noise:
        deframer.feed(chunk)
    assert deframer.feed(encode(BEAT))[-1:] == [BEAT]


@given(st.data())
def test_no_flipped_bit_makes_another_frame(draw: st.DataObject) -> None:
    line = bytearray(encode(BEAT) + encode(NEXT) + encode(NEXT))
    bit = draw.draw(st.integers(0, 8 * len(encode(BEAT)) - 1))
    line[bit // 8] ^= 1 << bit % 8
    found = Deframer().feed(bytes(line))
    assert set(found) <= {BEAT, NEXT}
    assert found[-1:] == [NEXT]


@pytest.mark.parametrize(
    "broken",
    [
        encode(BEAT)[:-3] + b"\0",
        b"\0\x01\0",
        b"\0\xffshort\0",
        b"\0" + b"x" * FRAME_BYTES_MAX + b"\0",
        b"\0" + b"x" * 100_000 + b"\0",
        b"\0\x07\x02\x03" + zlib.crc32(b"\x02\x03").to_bytes(4, "big") + b"\0",
    ],
    ids=["torn", "empty", "run", "longest", "endless", "unknown kind"],
)
def test_what_is_no_frame_is_counted_once(broken: bytes) -> None:
    deframer = Deframer()
    assert deframer.feed(broken) == []
    assert deframer.damaged == 1
    assert deframer.feed(encode(NEXT)) == [NEXT]


def test_an_idle_line_is_no_damage() -> None:
    deframer = Deframer()
    assert deframer.feed(bytes(1000)) == []
    assert deframer.damaged == 0


def test_a_line_that_never_ends_a_frame_takes_no_memory() -> None:
    deframer = Deframer()
    for _ in range(100):
        deframer.feed(b"\x55" * 4096)
        assert len(deframer._part) <= FRAME_BYTES_MAX
    assert deframer.damaged == 1


def test_a_datagram_that_is_too_long_is_refused() -> None:
    with pytest.raises(ValueError, match="1401 bytes, at most 1400"):
        encode(Frame(datagram=bytes(1401), hops=1))
