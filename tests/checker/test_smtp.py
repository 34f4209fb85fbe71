"""The SMTP conversation, line by line."""

from __future__ import annotations

import os
import signal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from heartbus.model import CheckService
from heartbus_checker.probes import Outcome
from heartbus_checker.probes.smtp import ANSWER_BYTES_MAX, SmtpGreeting

from .asking import Asker
from .hostile import relay
from .servers import RealServers
from .servers.launching import stop
from .servers.mail import start_postfix


def talk(*replies: bytes) -> tuple[list[bytes], Outcome]:
    """Give the server's replies in turn, then its end; return what was said and the outcome."""
    greeting = SmtpGreeting("linuxha1")
    said: list[bytes] = []
    for reply in replies:
        step = greeting.received(reply)
        if isinstance(step, Outcome):
            return said, step
        if step is not None:
            said.append(step)
    return said, greeting.ended()


def test_a_mail_server_is_greeted_and_told_quit() -> None:
    said, outcome = talk(
        b"220 mx ESMTP\r\n", b"250-mx\r\n250-SIZE 1\r\n250 HELP\r\n", b"221 bye\r\n"
    )
    assert said == [b"EHLO linuxha1\r\n", b"QUIT\r\n"]
    assert outcome.passed


def test_helo_is_the_second_try() -> None:
    said, outcome = talk(b"220 mx\r\n", b"502 what?\r\n", b"250 mx\r\n", b"221 bye\r\n")
    assert said == [b"EHLO linuxha1\r\n", b"HELO linuxha1\r\n", b"QUIT\r\n"]
    assert outcome.passed


@pytest.mark.parametrize(
    "replies",
    [
        (b"220-mx\r\n220 ready\r\n", b"250\r\n"),
        (b"220 m", b"x\r\n", b"250 mx\r\n"),
        (b"220 mx\n", b"250 mx\n", b"garbage after QUIT\n"),
        (b"220 mx\r\n", b"250 mx\r\n", b"421 later\r\n"),
    ],
)
def test_a_good_greeting_passes_whatever_follows_quit(replies: tuple[bytes, ...]) -> None:
    said, outcome = talk(*replies)
    assert said[-1] == b"QUIT\r\n"
    assert outcome.passed


@pytest.mark.parametrize(
    ("replies", "words"),
    [
        ((), "SMTP banner: the server closed"),
        ((b"554 no service\r\n",), "SMTP banner: '554 no service'"),
        ((b"421 too busy\r\n",), "SMTP banner: '421 too busy'"),
        ((b"HTTP/1.1 400 Bad\r\n",), "SMTP banner: not SMTP: 'HTTP/1.1 400 Bad'"),
        ((b"220 mx\r\n", b"421 busy\r\n"), "SMTP EHLO: '421 busy'"),
        ((b"220 mx\r\n", b"500 ?\r\n", b"500 ?\r\n"), "SMTP HELO: '500 ?'"),
        ((b"220 mx\r\n", b"250-mx\r\n"), "SMTP EHLO: the server closed after '250-mx'"),
        ((b"220 mx\r\n",), "SMTP EHLO: the server closed"),
    ],
)
def test_a_bad_greeting_fails_in_words(replies: tuple[bytes, ...], words: str) -> None:
    _, outcome = talk(*replies)
    assert not outcome.passed
    assert outcome.reason == words


@pytest.mark.parametrize("piece", [b"220-more\r\n", b"2", b"220 "])
def test_a_reply_without_end_is_given_up(piece: bytes) -> None:
    greeting = SmtpGreeting("linuxha1")
    step: bytes | Outcome | None = None
    for _ in range(2 * ANSWER_BYTES_MAX):
        step = greeting.received(piece)
        if step is not None:
            break
    assert isinstance(step, Outcome)
    assert not step.passed


@given(st.lists(st.one_of(st.binary(max_size=40), st.just(b"220 x\r\n"), st.just(b"250 x\r\n"))))
def test_any_bytes_lead_to_a_printable_outcome(replies: list[bytes]) -> None:
    _, outcome = talk(*replies)
    assert outcome.reason.isprintable()


def test_time_that_is_up_after_quit_does_not_undo_the_greeting() -> None:
    greeting = SmtpGreeting("linuxha1")
    greeting.received(b"220 mx\r\n")
    assert not greeting.broken("no answer within 3 s").passed
    greeting.received(b"250 mx\r\n")
    assert greeting.broken("no answer within 3 s").passed


@pytest.mark.netns  # for root: postfix starts as such, and has users in a mount namespace
async def test_postfix(asker: Asker, real_servers: RealServers) -> None:
    server = real_servers.alone("postfix", start_postfix)
    endpoint = server.endpoint("smtp")
    async with relay(endpoint) as torn, relay(endpoint, every_s=0.1) as slow:
        for asked in (endpoint, torn):
            result = await asker.ask(CheckService.SMTP, asked)
            assert result.passed, result.reason
            assert result.reason.startswith("SMTP greeting: accepted after ")
        result = await asker.ask(CheckService.SMTP, slow, timeout_s=0.2)
        assert not result.passed
        assert "no answer within 0.2 s" in result.reason
    assert server.process is not None
    os.killpg(server.process.pid, signal.SIGSTOP)
    try:
        result = await asker.ask(CheckService.SMTP, endpoint, timeout_s=0.5)
    finally:
        os.killpg(server.process.pid, signal.SIGCONT)
    assert not result.passed, "its queue of connections accepts, and nobody greets"
    assert result.reason == "SMTP banner: no answer within 0.5 s"
    stop(server)
    result = await asker.ask(CheckService.SMTP, endpoint)
    assert not result.passed
    # What it has started may have a moment more than it has itself.
    assert "refused" in result.reason or "reset by the server" in result.reason
