"""The HTTP conversation, byte by byte."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from heartbus.model import Endpoint, HttpMethod
from heartbus_checker.probes import Outcome
from heartbus_checker.probes.http import (
    BODY_BYTES_MAX,
    HEADER_BYTES_MAX,
    HttpConversation,
    HttpRequest,
)
from heartbus_checker.probes.pattern import ReceivePattern

SERVER = Endpoint(address="192.0.2.11", port=80)
OK = b"HTTP/1.1 200 OK\r\n"


def request(
    receive: str | None = "Test Page",
    *,
    method: HttpMethod = HttpMethod.GET,
    path: str = "/.testpage",
    host: str | None = None,
    endpoint: Endpoint = SERVER,
) -> HttpRequest:
    pattern = None if receive is None else ReceivePattern(receive)
    return HttpRequest(endpoint=endpoint, method=method, request=path, host=host, receive=pattern)


def judge(answer: bytes, *, asked: HttpRequest | None = None, pieces: int = 1 << 20) -> Outcome:
    """Return what a server's answer leads to, given in pieces, then the end of the stream."""
    conversation = (asked or request()).conversation()
    conversation.connected()
    for position in range(0, len(answer), pieces):
        outcome = conversation.received(answer[position : position + pieces])
        if outcome is not None:
            return outcome
    return conversation.ended()


def test_the_request_asks_for_one_answer_and_the_end() -> None:
    lines = request().message.decode().split("\r\n")
    assert lines[0] == "GET /.testpage HTTP/1.1"
    assert "Host: 192.0.2.11" in lines
    assert "Connection: close" in lines
    assert lines[-2:] == ["", ""]


@pytest.mark.parametrize(
    ("endpoint", "host", "expected"),
    [
        (SERVER, None, "192.0.2.11"),
        (Endpoint(address="192.0.2.11", port=8080), None, "192.0.2.11:8080"),
        (Endpoint(address="2001:db8::1", port=80), None, "[2001:db8::1]"),
        (Endpoint(address="2001:db8::1", port=81), None, "[2001:db8::1]:81"),
        (Endpoint(address="192.0.2.11", port=8080), "www.example.net", "www.example.net"),
    ],
)
def test_host_is_the_virtual_host_else_address_and_port(
    endpoint: Endpoint, host: str | None, expected: str
) -> None:
    message = request(endpoint=endpoint, host=host).message.decode()
    assert f"\r\nHost: {expected}\r\n" in message


def test_a_request_cannot_smuggle_lines() -> None:
    message = request(path="x y\r\nEvil: 1").message
    assert message.startswith(b"GET /x%20y%0D%0AEvil:%201 HTTP/1.1\r\n")


@pytest.mark.parametrize(
    "answer",
    [
        OK + b"Content-Length: 9\r\n\r\nTest Page",
        OK + b"content-length:9 \r\n\r\nTest Page trailing bytes are not ours",
        OK + b"\r\nA page: Test Page.",
        b"HTTP/1.0 200\r\n\r\nTest Page",
        OK + b"Transfer-Encoding: chunked\r\n\r\n5\r\nTest \r\n4;x=y\r\nPage\r\n0\r\n\r\n",
        b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n"
        + OK
        + b"Content-Length: 9\r\n\r\nTest Page",
        b"HTTP/1.1 201 Created\n\nTest Page",
    ],
)
@pytest.mark.parametrize("pieces", [1, 2, 7, 1 << 20])
def test_a_good_answer_passes_however_it_is_cut(answer: bytes, pieces: int) -> None:
    outcome = judge(answer, pieces=pieces)
    assert outcome.passed, outcome.reason
    assert "as expected" in outcome.reason


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (b"", "GET /.testpage: the server closed without an answer"),
        (b"HTTP/1.1 404 Not Found\r\n\r\nTest Page", "GET /.testpage: 404 Not Found"),
        (b"HTTP/1.1 503 \x00\x1b[2J\r\n\r\n", "GET /.testpage: 503 [2J"),
        (
            b"HTTP/1.1 302 Found\r\nLocation: http://example.net/\r\n\r\n",
            "302 Found to 'http://example.net/', which is not followed",
        ),
        (b"HTTP/1.1 304 Not Modified\r\n\r\n", "304 Not Modified"),
        (b"HTTP/1.1 101 Switching Protocols\r\n\r\n", "101 Switching Protocols"),
        (b"\x15\x03\x01\x00\x02\x02\x50", "the answer is not HTTP: "),
        (b"220 mail ESMTP\r\n", "the answer is not HTTP: '2"),
        (b"HTTP/2 200\r\n\r\n", "the status line is not HTTP/1"),
        (b"HTTP/1.1 2000 OK\r\n\r\n", "the status line is not HTTP/1"),
        (b"HTTP/1.1 200 OK\r\nConte", "the server closed within the header"),
        (OK + b"Content-Length: 20\r\n\r\nTest Page", "body was cut off after 9 of 20 bytes"),
        (OK + b"Content-Length: -1\r\n\r\nTest Page", "Content-Length is not one number: '-1'"),
        (OK + b"Content-Length: 9\r\nContent-Length: 8\r\n\r\nTest Page", "not one number"),
        (OK + b"Content-Length: " + b"9" * 5000 + b"\r\n\r\nTest Page", "not one number"),
        (OK + b"Transfer-Encoding: gzip\r\n\r\nx", "transfer coding 'gzip' is not known"),
        (OK + b"Transfer-Encoding: chunked\r\n\r\nZ\r\n", "a chunk size is not hexadecimal: 'Z'"),
        (OK + b"Transfer-Encoding: chunked\r\n\r\n-5\r\n", "a chunk size is not hexadecimal"),
        (OK + b"Transfer-Encoding: chunked\r\n\r\n2\r\nTest", "longer than its size says"),
        (OK + b"Transfer-Encoding: chunked\r\n\r\n" + b"0" * 300, "chunk size is longer than"),
        (OK + b"Transfer-Encoding: chunked\r\n\r\n5\r\nTe", "body was cut off after 2 bytes"),
        (OK + b"Content-Length: 5\r\n\r\nOther", "a body of 5 bytes 'Other', without 'Test Page'"),
        (OK + b"Content-Length: 0\r\n\r\n", "an empty body, without 'Test Page'"),
        (b"HTTP/1.1 204 No Content\r\n\r\nTest Page", "an empty body, without 'Test Page'"),
    ],
)
@pytest.mark.parametrize("pieces", [1, 1 << 20])
def test_a_bad_answer_fails_in_words(answer: bytes, words: str, pieces: int) -> None:
    outcome = judge(answer, pieces=pieces)
    assert not outcome.passed
    assert words in outcome.reason
    assert outcome.reason.isprintable()
    assert len(outcome.reason) < 250


def test_without_receive_any_complete_body_will_do() -> None:
    assert judge(OK + b"Content-Length: 3\r\n\r\nabc", asked=request(None)).passed
    assert not judge(OK + b"Content-Length: 3\r\n\r\nab", asked=request(None)).passed


def test_head_reads_no_body() -> None:
    answer = OK + b"Content-Length: 9999\r\n\r\n"
    assert judge(answer, asked=request(None, method=HttpMethod.HEAD)).passed
    outcome = judge(answer, asked=request(method=HttpMethod.HEAD))
    assert not outcome.passed
    assert "a HEAD request brings no body" in outcome.reason


@pytest.mark.parametrize("delimiter", [b"", b"Content-Length: 9999999\r\n"])
def test_the_text_may_stand_anywhere_in_the_part_that_is_read(delimiter: bytes) -> None:
    filler = b"x" * (BODY_BYTES_MAX - 9)
    assert judge(OK + delimiter + b"\r\n" + filler + b"Test Page" + b"x" * 65536).passed
    assert not judge(OK + delimiter + b"\r\n" + filler + b"x" * 65536 + b"Test Page").passed


@pytest.mark.parametrize("piece", [b"X: y\r\n", b"x", b"\r\r\r"])
def test_a_header_without_end_is_given_up(piece: bytes) -> None:
    conversation = request().conversation()
    outcome, given_bytes = conversation.received(OK), 0
    while outcome is None:
        outcome = conversation.received(piece * 100)
        given_bytes += len(piece) * 100
        assert given_bytes < 2 * HEADER_BYTES_MAX
    assert not outcome.passed


@pytest.mark.parametrize("start", [b"", b"Transfer-Encoding: chunked\r\n"])
def test_a_body_without_end_is_given_up(start: bytes) -> None:
    for receive in ("Test Page", None):
        conversation = request(receive).conversation()
        assert conversation.received(OK + start + b"\r\n") is None
        outcome, given_bytes = None, 0
        while outcome is None:
            outcome = conversation.received(b"1000\r\n" + b"y" * 0x1000 + b"\r\n")
            given_bytes += 0x1000
            assert given_bytes < 2 * BODY_BYTES_MAX
        assert outcome.passed is (receive is None)


def test_interim_answers_without_end_are_given_up() -> None:
    conversation = request().conversation()
    outcome = None
    for _ in range(10_000):
        outcome = conversation.received(b"HTTP/1.1 100 Continue\r\n\r\n")
        if outcome is not None:
            break
    assert outcome is not None
    assert not outcome.passed


def test_a_pattern_that_runs_away_is_stopped() -> None:
    outcome = judge(OK + b"\r\n" + b"x" * 5000, asked=request("(x+x+)+y"))
    assert not outcome.passed
    assert "write a simpler pattern" in outcome.reason


@pytest.mark.parametrize(
    ("receive", "body", "found"),
    [
        ("^Test", b"a\nTest", False),
        ("(?m)^Test", b"a\nTest", True),
        (r"ok|\bup\b", b"is up now", True),
        (r"Tést", "ein Tést".encode(), True),
        (r"\d{3}(?=x)", b"12 345x", True),
        ("page", b"Page", False),
        ("(?i)page", b"Page", True),
    ],
)
def test_receive_is_a_perl_expression_searched_anywhere(
    receive: str, body: bytes, found: bool
) -> None:
    assert judge(OK + b"\r\n" + body, asked=request(receive)).passed is found


@pytest.mark.parametrize("broken_after", [b"", OK, OK + b"Content-Length: 9\r\n\r\nTest"])
def test_a_broken_connection_says_how_far_it_came(broken_after: bytes) -> None:
    conversation: HttpConversation = request().conversation()
    if broken_after:
        assert conversation.received(broken_after) is None
    outcome = conversation.broken("no answer within 3 s")
    assert not outcome.passed
    assert outcome.reason.startswith("GET /.testpage: ")
    assert "no answer within 3 s" in outcome.reason


PARTS = st.sampled_from(
    [
        OK,
        b"HTTP/1.1 ",
        b"404 x",
        b"\r\n",
        b"\n",
        b"Content-Length: 5\r\n",
        b"Transfer-Encoding: chunked\r\n",
        b"5\r\n",
        b"hello",
        b"0\r\n",
        b"Test Page",
        b"HTTP/1.1 100 Continue\r\n\r\n",
    ]
)
ANSWERS = st.one_of(
    st.binary(max_size=200), st.lists(st.one_of(PARTS, st.binary(max_size=4))).map(b"".join)
)


@settings(max_examples=300)
@given(answer=ANSWERS, pieces=st.integers(1, 9))
def test_any_bytes_lead_to_the_same_printable_outcome_however_they_are_cut(
    answer: bytes, pieces: int
) -> None:
    whole, cut = judge(answer), judge(answer, pieces=pieces)
    assert whole.passed == cut.passed
    assert whole.reason.isprintable()
    assert cut.reason.isprintable()
