"""Whatever bytes come, in whatever pieces: every conversation ends in an outcome with its words."""

from __future__ import annotations

from typing import Final, cast

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from heartbus.model import (
    Check,
    CheckService,
    Endpoint,
    ForwardingMethod,
    RealServer,
    TransportProtocol,
    VirtualService,
)
from heartbus_checker.probes import Conversation, Outcome
from heartbus_checker.probes.datagram import DatagramProbe
from heartbus_checker.probes.factory import ProbeMaker
from heartbus_checker.probes.ping import Pings
from heartbus_checker.probes.stream import StreamProbe, Streams
from heartbus_checker.targets import plan_checks

S = CheckService
BY_TASK: Final = (S.NONE, S.FTP, S.MYSQL, S.PGSQL, S.ORACLE)
"""Their libraries read for themselves; the hostile servers are for these too."""
CHUNKS_MAX: Final = 12

# What servers of these protocols say first, or could: so that a fuzzer comes further than the door.
PLAUSIBLE: Final = (
    *(b"HTTP/1.1 200 OK\r\n", b"Content-Length: 5\r\n", b"Transfer-Encoding: chunked\r\n"),
    *(b"\r\n", b"5\r\nhello\r\n", b"0\r\n\r\n", b"HTTP/1.1 101 Switching Protocols\r\n"),
    *(b"Sec-WebSocket-Accept: x\r\n", b"220 mx ESMTP\r\n", b"250-mx\r\n250 OK\r\n", b"354 go\r\n"),
    *(b"+OK <1.2@mx>\r\n", b"-ERR no\r\n", b"* OK ready\r\n", b"a1 OK done\r\n", b"a1 NO\r\n"),
    *(b"* BYE\r\n", b"200 news\r\n", b"SIP/2.0 200 OK\r\n", b"CSeq: 1 OPTIONS\r\n"),
    *(b"+OK\r\n", b"+PONG\r\n", b"$-1\r\n", b"*2\r\n", b"VERSION 1.6\r\n", b"ERROR\r\n"),
    b"\x30\x0c\x02\x01\x01\x61\x07\x0a\x01\x00\x04\x00\x04\x00",  # LDAP: a bind that succeeds
    b"\x30\x84\xff\xff\xff\xff",
    b"\x30\x0c\x02\x01\x02\x65\x07\x0a\x01\x00\x04\x00\x04\x00",  # and the end of a search
    b"\x00\x20\x00\x01\x81\x80\x00\x01\x00\x01\x00\x00\x00\x00",  # DNS by TCP
    b"\xc0\x0c\x00\x01\x00\x01\x00\x00\x00\x3c\x00\x04\xc0\x00\x02\x07",
    b"\x02\x01\x00\x14" + bytes(16),  # RADIUS: accepted
    b"\x01\x00\x00\x00\x00\x00\x0c\x00\x0a\x00\x0a\x00\x09",  # AMQP connection.start
    b"\x20\x02\x00\x00",  # MQTT: accepted
    b"\x00\x00\x00\x04\x00\x00\x00\x00\x00",  # HTTP/2 SETTINGS
    b"\x00\x00\x01\x01\x04\x00\x00\x00\x01\x88",  # HEADERS: 200
    b"\x00\x00\x05\x00\x01\x00\x00\x00\x01\x00\x00\x00\x00\x00",  # DATA: an empty message of gRPC
    b"\x16\x03\x03\x00\x2a\x02\x00\x00\x26\x03\x03",  # TLS ServerHello
)
PIECES: Final = st.lists(
    st.one_of(st.binary(min_size=1, max_size=80), st.sampled_from(PLAUSIBLE)), max_size=CHUNKS_MAX
)


def conversation(service: CheckService, *, udp: bool) -> Conversation:
    """Begin one as the checker does."""
    check = Check(
        service=service,
        login="checker",
        password="letmein7",
        secret="shared",
        request="/x",
        receive="wanted",
    )
    server = RealServer(
        endpoint=Endpoint(address="192.0.2.11", port=80), forwarding=ForwardingMethod.GATE
    )
    virtual = VirtualService(
        protocol=TransportProtocol.UDP if udp else TransportProtocol.TCP,
        endpoint=Endpoint(address="192.0.2.110", port=80),
        real_servers=(server,),
        check=check,
    )
    (target,) = plan_checks((virtual,)).targets
    probe = ProbeMaker(streams=cast(Streams, None), node="one", pings=Pings()).probe(target)
    assert isinstance(probe, StreamProbe | DatagramProbe)
    return probe._conversation()


@pytest.mark.parametrize(
    ("service", "udp"),
    [
        *((s, False) for s in S if s not in (*BY_TASK, S.UDP, S.RADIUS)),
        *((s, True) for s in (S.DNS, S.SIP, S.RADIUS, S.UDP)),
    ],
    ids=str,
)
@given(pieces=PIECES, broken=st.booleans())
@settings(max_examples=40)
def test_any_answer_ends_in_words(
    service: CheckService, udp: bool, pieces: list[bytes], broken: bool
) -> None:
    asked = conversation(service, udp=udp)
    step: bytes | Outcome | None = asked.connected()
    for piece in pieces:
        if isinstance(step, Outcome):
            break
        step = asked.received(piece)
        assert step is None or isinstance(step, bytes | Outcome)
    if not isinstance(step, Outcome):
        step = asked.broken("no answer within 3 s") if broken else asked.ended()
    assert isinstance(step, Outcome)
    assert step.reason
    assert step.reason.isprintable()
    assert len(step.reason) < 400
    assert "letmein7" not in step.reason
