from __future__ import annotations

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from heartbus_ipvs_agent import nlmsg
from heartbus_ipvs_agent.nlmsg import Nlmsg, WireError


def test_a_message_is_laid_out_as_the_kernel_has_it() -> None:
    data = nlmsg.message(type=28, flags=5, sequence=7, body=b"\x01\x01\x00\x00x")
    assert data == bytes.fromhex("15000000 1c00 0500 07000000 00000000 01010000 78 000000")


@given(
    st.lists(
        st.tuples(
            st.integers(0, 65535), st.integers(0, 65535), st.integers(0, 2**32 - 1), st.binary()
        ),
        max_size=5,
    )
)
def test_messages_of_one_buffer_come_apart_again(
    messages: list[tuple[int, int, int, bytes]],
) -> None:
    buffer = b"".join(nlmsg.message(type=t, flags=f, sequence=s, body=b) for t, f, s, b in messages)
    assert nlmsg.split(buffer) == [Nlmsg(*m) for m in messages]


@given(st.lists(st.tuples(st.integers(0, 0x3FFF), st.binary(max_size=40)), max_size=6))
def test_attributes_come_apart_again(pairs: list[tuple[int, bytes]]) -> None:
    buffer = b"".join(nlmsg.attribute(kind, payload) for kind, payload in pairs)
    assert list(nlmsg.attributes(buffer)) == pairs


def test_a_nested_attribute_is_marked_and_read_without_the_mark() -> None:
    inner = nlmsg.attribute(4, b"ab")
    outer = nlmsg.nested(1, inner)
    assert struct.unpack_from("=HH", outer) == (12, 0x8001)
    assert list(nlmsg.attributes(outer)) == [(1, inner)]


@given(st.binary(max_size=200))
def test_garbage_ends_in_wire_error_or_nothing(garbage: bytes) -> None:
    for read in (
        nlmsg.split,
        nlmsg.error_number,
        nlmsg.command_number,
        nlmsg.family_number,
        lambda data: list(nlmsg.attributes(data)),
    ):
        try:
            read(garbage)
        except WireError:
            continue


def test_a_length_beyond_the_end_is_an_error() -> None:
    with pytest.raises(WireError, match="64 bytes in 16 bytes"):
        nlmsg.split(struct.pack("=IHHII", 64, 2, 0, 1, 0))


@pytest.mark.parametrize("length", [0, 1, 2, 3, 9, 65535])
def test_an_attribute_of_impossible_length_is_an_error(length: int) -> None:
    found = nlmsg.attributes(struct.pack("=HHI", length, 1, 0))
    with pytest.raises(WireError, match=f"attribute of {length} bytes in 8 bytes"):
        next(found)


@pytest.mark.parametrize("length", [0, 15, 17])
def test_a_message_of_impossible_length_is_an_error(length: int) -> None:
    with pytest.raises(WireError, match=f"message of {length} bytes in 16 bytes"):
        nlmsg.split(struct.pack("=IHHII", length, 2, 0, 1, 0))


def test_error_numbers_are_positive_for_us() -> None:
    assert nlmsg.error_number(struct.pack("=i", -17) + bytes(16)) == 17
    assert nlmsg.error_number(struct.pack("=i", 0)) == 0


def test_the_family_number_is_found_in_the_answer_of_the_controller() -> None:
    answer = nlmsg.command(
        1, nlmsg.attribute(2, b"IPVS\0"), nlmsg.attribute(1, struct.pack("=H", 34))
    )
    assert nlmsg.family_number(answer) == 34
