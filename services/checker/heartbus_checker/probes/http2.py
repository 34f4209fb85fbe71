"""HTTP/2 and gRPC health checks: one stream of one connection.

Sans-I/O; the h2 library speaks HTTP/2 (RFC 9113). gRPC: ``grpc.health.v1.Health/Check``, whose
messages are two fields of protobuf, written and read here.
"""

from __future__ import annotations

from typing import Final

import h2.config
import h2.connection
import h2.events
import h2.exceptions
import h2.settings

from heartbus import __version__

from . import Outcome, excerpt
from .pattern import ReceivePattern

BODY_BYTES_MAX: Final = 1024 * 1024
WIRE_BYTES_MAX: Final = 2 * BODY_BYTES_MAX
SERVING: Final = 1

_STATUSES_DEFAULT: Final = ((200, 299),)
_HEALTH: Final = {0: "UNKNOWN", 2: "NOT_SERVING", 3: "SERVICE_UNKNOWN"}
_GRPC_CODES: Final = {
    # google.rpc.Code
    1: "CANCELLED",
    2: "UNKNOWN",
    4: "DEADLINE_EXCEEDED",
    5: "NOT_FOUND: the server knows no such service",
    7: "PERMISSION_DENIED",
    8: "RESOURCE_EXHAUSTED",
    12: "UNIMPLEMENTED: the server has no health service",
    13: "INTERNAL",
    14: "UNAVAILABLE",
    16: "UNAUTHENTICATED",
}


class Http2Request:
    """What is asked and what is expected; made once per target.

    ``grpc_service`` None is plain HTTP/2; text asks the health of that service ("" of all).
    """

    def __init__(
        self,
        *,
        authority: str,
        scheme: str,
        path: str = "/",
        receive: ReceivePattern | None = None,
        statuses: tuple[tuple[int, int], ...] = (),
        grpc_service: str | None = None,
    ) -> None:
        self.receive = receive
        self.statuses = statuses or _STATUSES_DEFAULT
        self.grpc = grpc_service is not None
        self.body: bytes | None = None
        head = [(":authority", authority), (":scheme", scheme)]
        if grpc_service is None:
            self.label = f"HTTP/2 GET {path}"
            self.headers = [(":method", "GET"), (":path", path), *head]
        else:
            self.label = f"gRPC health of {grpc_service or 'the server'}"
            self.headers = [(":method", "POST"), (":path", "/grpc.health.v1.Health/Check"), *head]
            self.headers += [("content-type", "application/grpc"), ("te", "trailers")]
            name = grpc_service.encode()[:127]
            message = b"\x0a" + bytes((len(name),)) + name if name else b""
            self.body = b"\x00" + len(message).to_bytes(4, "big") + message
        self.headers.append(("user-agent", f"heartbus/{__version__}"))

    def conversation(self) -> Http2Conversation:
        """Begin anew."""
        return Http2Conversation(self)


class Http2Conversation:
    """One request and its answer."""

    __slots__ = ("_body", "_connection", "_fields", "_request", "_wire_bytes")

    def __init__(self, request: Http2Request) -> None:
        self._request = request
        self._connection = h2.connection.H2Connection(
            config=h2.config.H2Configuration(client_side=True, header_encoding=None)
        )
        self._fields: dict[bytes, bytes] = {}
        self._body = bytearray()
        self._wire_bytes = 0

    def connected(self) -> bytes:
        """Return preface, settings and request."""
        connection = self._connection
        connection.initiate_connection()
        connection.update_settings({h2.settings.SettingCodes.ENABLE_PUSH: 0})
        connection.send_headers(1, self._request.headers, end_stream=self._request.body is None)
        if self._request.body is not None:
            connection.send_data(1, self._request.body, end_stream=True)
        return bytes(connection.data_to_send())

    def received(self, chunk: bytes) -> bytes | Outcome | None:
        """Conclude once the stream has ended."""
        self._wire_bytes += len(chunk)
        try:
            events = self._connection.receive_data(chunk)
        except (h2.exceptions.ProtocolError, ValueError, IndexError, KeyError) as error:
            return self._failed(f"not HTTP/2 ({error}): {excerpt(chunk)}")
        for event in events:
            outcome = self._take(event)
            if outcome is not None:
                return outcome
        if self._wire_bytes > WIRE_BYTES_MAX:
            return self._failed(f"more than {WIRE_BYTES_MAX} bytes")
        return bytes(self._connection.data_to_send()) or None

    def ended(self) -> Outcome:
        """Conclude: cut off."""
        return self._failed(f"the server closed{self._so_far()}")

    def broken(self, how: str) -> Outcome:
        """Conclude: ``how`` in words."""
        return self._failed(f"{how}{self._so_far()}")

    def _take(self, event: h2.events.Event) -> Outcome | None:
        match event:
            case h2.events.ResponseReceived() | h2.events.TrailersReceived():
                self._fields.update((bytes(n), bytes(v)) for n, v in event.headers or ())
            case h2.events.DataReceived():
                self._body += event.data
                if event.flow_controlled_length:
                    self._connection.acknowledge_received_data(event.flow_controlled_length, 1)
                if len(self._body) >= BODY_BYTES_MAX:
                    return self._judge()
            case h2.events.StreamReset():
                return self._failed(f"the stream was reset, error {event.error_code}")
            case h2.events.ConnectionTerminated():
                return self._failed(f"the connection was ended, error {event.error_code}")
            case _:
                pass
        if isinstance(event, h2.events.StreamEnded):
            return self._judge()
        return None

    def _judge(self) -> Outcome:
        request = self._request
        status = self._fields.get(b":status", b"")
        code = int(status) if status.isdigit() and len(status) == 3 else 0
        if not any(low <= code <= high for low, high in request.statuses):
            return self._failed(excerpt(status)[1:-1] or "no status")
        if request.grpc:
            return self._judge_health()
        if request.receive is None:
            return self._passed(str(code))
        problem = request.receive.problem(bytes(self._body))
        if problem is None:
            return self._passed(f"{code}, as expected")
        what = f"a body of {len(self._body)} bytes {excerpt(self._body)}, "
        return self._failed(f"{code}, {what}{problem}")

    def _judge_health(self) -> Outcome:
        status = self._fields.get(b"grpc-status", b"")
        if status != b"0":
            number = int(status) if status.isdigit() and len(status) < 4 else -1
            words = _GRPC_CODES.get(number, f"status {excerpt(status)}")
            said = self._fields.get(b"grpc-message")
            return self._failed(f"{words}{f' ({excerpt(said)})' if said else ''}")
        # Uncompressed, length, then field 1 as a varint; an absent field is 0.
        message = bytes(self._body[5:])
        if bytes(self._body[:1]) not in (b"\x00", b"") or (message and message[:1] != b"\x08"):
            return self._failed(f"not a health response: {excerpt(self._body)}")
        health = message[1] if len(message) > 1 else 0
        if health != SERVING:
            return self._failed(_HEALTH.get(health, f"health {health}"))
        return self._passed("SERVING")

    def _so_far(self) -> str:
        status = self._fields.get(b":status")
        return f" after status {excerpt(status)} and {len(self._body)} bytes" if status else ""

    def _passed(self, how: str) -> Outcome:
        return Outcome(passed=True, reason=f"{self._request.label}: {how}")

    def _failed(self, how: str) -> Outcome:
        return Outcome(passed=False, reason=f"{self._request.label}: {how}")
