"""ICMP echo: bytes of the RFCs, answers that are ours and those that are not, any bytes at all."""

from __future__ import annotations

import dataclasses
import struct

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from heartbus import icmp_echo as echo
from heartbus.icmp_echo import IPV4, IPV6, OPEN_MAX, Family, Questions, Reply

FAMILIES = [IPV4, IPV6]
ROUTER = "192.0.2.1"
SECRET = b"secret of the process"


def answer_to(family: Family, question: bytes) -> bytes:
    """Return what a host answers: the same with another type (RFC 792, RFC 4443)."""
    body = question[4:]
    head = bytes((family.reply, 0))
    total = echo.checksum(head + b"\0\0" + body)
    return head + struct.pack("!H", total) + body


def asked(questions: Questions, target: str = ROUTER) -> Reply:
    """Return the genuine answer to a new question."""
    sequence, data = questions.ask(target)
    return Reply(identifier=7, sequence=sequence, data=data)


def test_the_checksum_is_that_of_rfc_1071() -> None:
    assert echo.checksum(bytes.fromhex("0001f203f4f5f6f7")) == ~0xDDF2 & 0xFFFF
    assert echo.checksum(b"\x01") == ~0x0100 & 0xFFFF


@pytest.mark.parametrize(("family", "kind"), [(IPV4, 8), (IPV6, 128)])
def test_a_request_is_laid_out_as_in_the_rfc(family: Family, kind: int) -> None:
    made = echo.request(family, identifier=0x1234, sequence=1, data=b"abcdefgh")
    assert made[:2] == bytes((kind, 0))
    assert made[4:] == bytes.fromhex("12340001") + b"abcdefgh"
    if family is IPV4:
        assert echo.checksum(made) == 0


@pytest.mark.parametrize("family", FAMILIES)
def test_an_answer_to_a_question_is_read_as_it_was_asked(family: Family) -> None:
    questions = Questions(secret=SECRET)
    sequence, data = questions.ask(ROUTER)
    question = echo.request(family, identifier=9, sequence=sequence, data=data)
    reply = echo.parse(family, answer_to(family, question))
    assert reply == Reply(identifier=9, sequence=sequence, data=data)
    assert questions.answered(ROUTER, reply)


@pytest.mark.parametrize("family", FAMILIES)
def test_a_question_is_no_answer(family: Family) -> None:
    sequence, data = Questions(secret=SECRET).ask(ROUTER)
    question = echo.request(family, identifier=9, sequence=sequence, data=data)
    assert echo.parse(family, question) is None


@given(st.integers(0, echo.MESSAGE_BYTES * 8 - 1))
def test_a_flipped_bit_of_an_ipv4_answer_is_refused(bit: int) -> None:
    sequence, data = Questions(secret=SECRET).ask(ROUTER)
    question = echo.request(IPV4, identifier=9, sequence=sequence, data=data)
    message = bytearray(answer_to(IPV4, question))
    message[bit // 8] ^= 1 << bit % 8
    assert echo.parse(IPV4, bytes(message)) is None


def test_each_answer_counts_once() -> None:
    questions = Questions(secret=SECRET)
    reply = asked(questions)
    assert questions.answered(ROUTER, reply)
    assert not questions.answered(ROUTER, reply)


@pytest.mark.parametrize(
    "forge",
    [
        lambda reply: dataclasses.replace(reply, sequence=reply.sequence ^ 1),
        lambda reply: dataclasses.replace(reply, data=reply.data[:-1] + b"\0"),
        lambda reply: dataclasses.replace(reply, data=reply.data[:-1]),
        lambda reply: dataclasses.replace(reply, data=reply.data + b"\0"),
        lambda reply: dataclasses.replace(reply, data=b"other" + reply.data[5:]),
        lambda reply: dataclasses.replace(reply, data=bytes(len(reply.data))),
        lambda reply: dataclasses.replace(reply, data=b""),
    ],
)
def test_what_is_not_the_answer_to_our_question_does_not_count(forge: object) -> None:
    questions = Questions(secret=SECRET)
    reply = asked(questions)
    assert callable(forge)
    assert not questions.answered(ROUTER, forge(reply))
    assert questions.answered(ROUTER, reply), "and the question is still open"


def test_an_answer_from_another_address_does_not_count() -> None:
    questions = Questions(secret=SECRET)
    reply = asked(questions)
    asked(questions, "192.0.2.9")
    assert not questions.answered("192.0.2.9", reply)
    assert not questions.answered("192.0.2.3", reply)


def test_an_answer_to_another_process_does_not_count() -> None:
    ours, theirs = Questions(secret=SECRET), Questions(secret=b"another secret")
    asked(ours)
    assert not ours.answered(ROUTER, asked(theirs))


def test_old_questions_are_closed() -> None:
    questions = Questions(secret=SECRET)
    replies = [asked(questions) for _ in range(OPEN_MAX + 1)]
    assert [questions.answered(ROUTER, reply) for reply in replies] == [False] + [True] * OPEN_MAX


def test_a_forgotten_target_is_believed_no_more() -> None:
    questions = Questions(secret=SECRET)
    reply = asked(questions)
    questions.forget(ROUTER)
    assert not questions.answered(ROUTER, reply)


def test_sequences_begin_again_after_65535_and_answers_still_fit() -> None:
    questions = Questions(secret=SECRET)
    for _ in range(0x10000):
        questions.ask(ROUTER)
    reply = asked(questions)
    assert reply.sequence == 1
    assert questions.answered(ROUTER, reply)


HEADER = bytes.fromhex("4500003400000000400100000a0000010a000002")


@pytest.mark.parametrize(
    ("packet", "message"),
    [
        (HEADER + b"rest", b"rest"),
        (b"\x46" + HEADER[1:] + b"optsrest", b"rest"),
        (b"\x65" + HEADER[1:] + b"rest", None),  # IPv6
        (b"\x44" + HEADER[1:] + b"rest", None),  # a header of 16 bytes
        (HEADER[:9] + b"\x11" + HEADER[10:] + b"rest", None),  # UDP
        (HEADER[:6] + b"\x20" + HEADER[7:] + b"rest", None),  # the first fragment
        (HEADER[:6] + b"\x40" + HEADER[7:] + b"rest", b"rest"),  # "don't fragment" is fine
        (HEADER[:-1], None),
        (b"", None),
    ],
)
def test_the_ipv4_header_is_taken_off(packet: bytes, message: bytes | None) -> None:
    assert echo.without_ipv4_header(packet) == message


@given(st.binary(max_size=600), st.sampled_from(FAMILIES))
@example(HEADER + bytes(echo.MESSAGE_BYTES), IPV4)
@example(b"\x4f" + HEADER[1:], IPV4)
def test_no_bytes_raise_or_count(packet: bytes, family: Family) -> None:
    questions = Questions(secret=SECRET)
    questions.ask(ROUTER)
    message = echo.without_ipv4_header(packet) if family is IPV4 else packet
    reply = echo.parse(family, message or b"")
    assert reply is None or not questions.answered(ROUTER, reply)


@given(st.binary(min_size=echo.MESSAGE_BYTES - 2, max_size=echo.MESSAGE_BYTES - 2))
def test_no_well_formed_stranger_counts(rest: bytes) -> None:
    questions = Questions(secret=SECRET)
    questions.ask(ROUTER)
    reply = echo.parse(IPV6, bytes((IPV6.reply, 0)) + rest)
    assert reply is not None
    assert not questions.answered(ROUTER, reply)
    marked = dataclasses.replace(reply, data=echo.MAGIC + reply.data[4:])
    assert not questions.answered(ROUTER, marked)
