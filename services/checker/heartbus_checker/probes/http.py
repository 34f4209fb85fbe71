"""HTTP check: one request, an accepted status, the expected text or digest of its body.

Sans-I/O; ``stream`` does the rest. ldirectord ``service=http``, keepalived HTTP_GET; RFC 9112 for
the messages. Unlike ldirectord it does not follow redirects (the reason says where to), sends the
port in ``Host`` where it is not the usual one, and reads a bounded answer.
"""

from __future__ import annotations

import hashlib
import re
from typing import Final, Protocol
from urllib.parse import quote

from heartbus import __version__
from heartbus.model import Endpoint, HttpMethod

from . import Outcome, excerpt
from .pattern import ReceivePattern

HEADER_BYTES_MAX: Final = 32 * 1024
BODY_BYTES_MAX: Final = 1024 * 1024
"""``receive`` is searched in so much of the body; a longer one is not read to its end."""
WIRE_BYTES_MAX: Final = 2 * BODY_BYTES_MAX
"""So much is read of any answer; in tiny chunks most of it is their sizes."""

_CHUNK_LINE_BYTES_MAX: Final = 256
_STATUS_LINE = re.compile(rb"HTTP/1\.[0-9] ([1-9][0-9][0-9])(?: ([^\r\n]*))?\r?\n")
_CHUNK_SIZE = re.compile(rb"[ \t]*([0-9A-Fa-f]{1,8})[ \t]*(?:;[^\r\n]*)?\r?\n")
# Searched in a header in small letters: without regard to case a search takes many times longer.
_LENGTH = re.compile(rb"\ncontent-length[ \t]*:[ \t]*([^\r\n]*)")
_CODING = re.compile(rb"\ntransfer-encoding[ \t]*:[ \t]*([^\r\n]*)")
_LOCATION = re.compile(rb"\nlocation[ \t]*:[ \t]*([^\r\n]*)", re.IGNORECASE)
_STATUSES_DEFAULT: Final = ((200, 299),)
_NOTHING_YET: Final = bytearray()
_WEIGHT = re.compile(rb"[ \t]*([0-9]{1,5})[ \t]*")
WEIGHT_MAX: Final = 65535
STATUS_LINE_KEPT_MAX: Final = 64
"""The last accepted status line is kept, one a target, so that it is read once."""
_TARGET_SAFE: Final = "!#$%&'()*+,/:;=?@[]~"
"""Left as written in a request target; anything else, blanks above all, is percent-encoded."""


class _MalformedError(Exception):
    """The answer breaks the rules of HTTP; the message says how."""


class HttpRequest:
    """What is asked and what is expected; made once per target.

    ``host``: value of the Host header, None for the address. ``receive`` None accepts any body.
    ``statuses``: accepted codes, as ranges; none: 200 to 299. ``digest``: MD5 or SHA-256 of the
    body, in hexadecimal. ``weight_header``: a field whose number is the weight. ``proxy``: the
    server is asked as a proxy, for a whole URL. ``usual_port`` is left out of ``Host``.
    """

    __slots__ = (
        "digest",
        "head",
        "known",
        "label",
        "message",
        "receive",
        "statuses",
        "weight_field",
    )

    def __init__(
        self,
        *,
        endpoint: Endpoint,
        method: HttpMethod = HttpMethod.GET,
        request: str = "/",
        host: str | None = None,
        receive: ReceivePattern | None = None,
        statuses: tuple[tuple[int, int], ...] = (),
        digest: str | None = None,
        weight_header: str | None = None,
        proxy: bool = False,
        usual_port: int = 80,
    ) -> None:
        address = _host(endpoint, usual_port)
        whole = "://" in request.split("?")[0]
        if proxy and not whole:
            request = (
                f"http://{_host(endpoint, 80)}{request if request[:1] == '/' else f'/{request}'}"
            )
        elif not proxy and not request.startswith("/"):
            request = f"/{request}"
        path = quote(request, safe=_TARGET_SAFE)
        if proxy:
            address = path.partition("://")[2].partition("/")[0]
        self.label = f"{method} {path}"
        self.head = method is HttpMethod.HEAD
        self.receive = receive
        self.digest = digest
        self.known: tuple[bytes, bytes, str] = (b"", b"", "")
        self.statuses = statuses or _STATUSES_DEFAULT
        self.weight_field = (
            None
            if weight_header is None
            else re.compile(rb"\n%b[ \t]*:([^\r\n]*)" % re.escape(weight_header.encode()), re.I)
        )
        self.message = (
            f"{method} {path} HTTP/1.1\r\n"
            f"Host: {host or address}\r\n"
            f"User-Agent: heartbus/{__version__}\r\n"
            "Accept: */*\r\n"
            "Connection: close\r\n\r\n"
        ).encode()

    def accepts(self, code: bytes) -> bool:
        """Return whether this status passes."""
        number = int(code)
        for low, high in self.statuses:  # noqa: SIM110  # any() takes thrice as long for one range
            if low <= number <= high:
                return True
        return False

    def conversation(self) -> HttpConversation:
        """Begin anew."""
        return HttpConversation(self)


class HttpConversation:
    """One request and its answer."""

    __slots__ = (
        "_body",
        "_interim_bytes",
        "_received",
        "_request",
        "_searched",
        "_status",
        "_weight",
        "_wire_bytes",
    )

    def __init__(self, request: HttpRequest) -> None:
        self._request = request
        self._received = _NOTHING_YET  # what there is of a header that is not complete
        self._searched = 0
        self._interim_bytes = 0
        self._status = ""
        self._weight: int | None = None
        self._wire_bytes = 0
        self._body: _Body | None = None

    def connected(self) -> bytes:
        """Return the request."""
        return self._request.message

    def received(self, chunk: bytes) -> Outcome | None:
        """Conclude once the answer is complete, or cannot become a good one."""
        self._wire_bytes += len(chunk)
        try:
            if self._body is None:
                if not self._received:
                    return self._header(chunk)
                self._received += chunk
                return self._header(self._received)
            return self._take(self._body, chunk)
        except _MalformedError as error:
            return self._failed(str(error))

    def ended(self) -> Outcome:
        """Conclude: complete if the body ends with the connection, else cut off."""
        if self._body is None:
            if not self._received:
                return self._failed("the server closed without an answer")
            return self._failed(f"the server closed within the header: {excerpt(self._received)}")
        if isinstance(self._body, _UntilClose):
            return self._judge(self._body)
        return self._failed(f"{self._status}, but the body was cut off {self._body.progress}")

    def broken(self, how: str) -> Outcome:
        """Conclude: no complete answer; say how far it came."""
        if self._body is not None:
            return self._failed(f"{self._status}, then {how}, body cut off {self._body.progress}")
        if self._received:
            return self._failed(f"{how}, but {len(self._received)} bytes of a header")
        return self._failed(how)

    def _header(self, received: bytes | bytearray) -> Outcome | None:
        while True:
            if not received.startswith(b"HTTP/"[: len(received)]):
                raise _MalformedError(f"the answer is not HTTP: {excerpt(received)}")
            begin, end = _header_end(received, self._searched)
            header_bytes = self._interim_bytes + (end or len(received))
            if header_bytes > HEADER_BYTES_MAX:
                raise _MalformedError(f"more than {HEADER_BYTES_MAX} bytes of header")
            if not end:
                self._searched = max(0, len(received) - 3)
                if received is not self._received:
                    self._received = bytearray(received)
                return None
            header, rest = bytes(received[:begin]) + b"\n", bytes(received[end:])
            line, code, self._status = self._request.known
            if line and header.startswith(line):
                break  # as the last time; it is accepted
            status = _STATUS_LINE.match(header)
            if status is None:
                raise _MalformedError(f"the status line is not HTTP/1: {excerpt(header)}")
            code = status[1]
            # 1xx announce the answer proper, RFC 9110 section 15.2; 101 is an answer.
            if code[:1] == b"1" and code != b"101":
                received = received[end:]
                self._received = _NOTHING_YET
                self._interim_bytes = header_bytes
                self._searched = 0
                if received:
                    continue
                return None
            phrase = "OK" if status[2] == b"OK" else excerpt(status[2] or b"")[1:-1].strip()
            self._status = f"{code.decode()} {phrase}".rstrip()
            if not self._request.accepts(code):
                location = _LOCATION.search(header) if code[:1] == b"3" else None
                where = f" to {excerpt(location[1])}, which is not followed" if location else ""
                return self._failed(f"{self._status}{where}")
            if status.end() <= STATUS_LINE_KEPT_MAX:
                self._request.known = (status[0], code, self._status)
            break
        if self._request.weight_field is not None:
            self._weight = self._asked_weight(self._request.weight_field, header)
        self._received = _NOTHING_YET
        self._body = self._expected_body(header, code)
        return self._take(self._body, rest)

    def _asked_weight(self, field: re.Pattern[bytes], header: bytes) -> int | None:
        """Return the weight that the server asks for; one that is no number fails the check."""
        found = field.search(header)
        if found is None:
            return None
        number = _WEIGHT.fullmatch(found[1])
        if number is None or int(number[1]) > WEIGHT_MAX:
            raise _MalformedError(f"{self._status}, a weight that is none: {excerpt(found[1])}")
        return int(number[1])

    def _expected_body(self, header: bytes, code: bytes) -> _Body:
        """Return how the body is delimited, RFC 9112 section 6.3."""
        keep = self._request.receive is not None or self._request.digest is not None
        if self._request.head or code in (b"204", b"205", b"304"):
            return _Sized(0, keep=False)
        header = header.lower()
        coding = _CODING.search(header) if b"\ntransfer-encoding" in header else None
        if coding is not None:
            if coding[1].strip().lower() != b"chunked":
                raise _MalformedError(f"transfer coding {excerpt(coding[1])} is not known")
            return _Chunked(keep=keep)
        found = _LENGTH.findall(header)
        if not found:
            return _UntilClose(keep=keep)
        length = found[0].strip()
        if (
            any(other.strip() != length for other in found[1:])
            or not length.isdigit()
            or len(length) > 18
        ):
            raise _MalformedError(f"Content-Length is not one number: {excerpt(length)}")
        return _Sized(int(length), keep=keep)

    def _take(self, body: _Body, chunk: bytes) -> Outcome | None:
        if body.take(chunk) or body.length >= BODY_BYTES_MAX or self._wire_bytes >= WIRE_BYTES_MAX:
            return self._judge(body)
        return None

    def _judge(self, body: _Body) -> Outcome:
        pattern = self._request.receive
        if self._request.digest is not None and (wrong := self._wrong_digest(body)) is not None:
            return self._failed(f"{self._status}, {wrong}")
        if pattern is None:
            return self._passed("")
        kept = body.kept if len(body.kept) <= BODY_BYTES_MAX else body.kept[:BODY_BYTES_MAX]
        problem = pattern.problem(bytes(kept))
        if problem is None:
            return self._passed(", as expected")
        if self._request.head:
            what = "a HEAD request brings no body: "
        elif not body.kept:
            what = "an empty body, "
        else:
            what = f"a body of {body.length} bytes {excerpt(body.kept)}, "
        return self._failed(f"{self._status}, {what}{problem}")

    def _wrong_digest(self, body: _Body) -> str | None:
        wanted = self._request.digest or ""
        if body.length > BODY_BYTES_MAX:
            return f"a body of more than {BODY_BYTES_MAX} bytes, too much for a digest"
        kind = "md5" if len(wanted) == 32 else "sha256"
        found = hashlib.new(kind, body.kept, usedforsecurity=False).hexdigest()
        if found == wanted:
            return None
        return f"a body of {body.length} bytes with the {kind} digest {found} instead of {wanted}"

    def _passed(self, how: str) -> Outcome:
        reason = f"{self._request.label}: {self._status}{how}"
        return Outcome(passed=True, reason=reason, weight=self._weight)

    def _failed(self, reason: str) -> Outcome:
        return Outcome(passed=False, reason=f"{self._request.label}: {reason}")


def _header_end(received: bytes | bytearray, since: int) -> tuple[int, int]:
    """Return where the header ends and where the body begins; 0 if it goes on.

    A line ends with LF, with or without CR before it; an empty one ends the header.
    """
    crlf, bare = received.find(b"\n\r\n", since), received.find(b"\n\n", since)
    if crlf < 0 and bare < 0:
        return 0, 0
    begin, end = (crlf, crlf + 3) if bare < 0 or 0 <= crlf < bare else (bare, bare + 2)
    return (begin - 1 if begin and received[begin - 1] == 0x0D else begin), end


class _Body(Protocol):
    """A body that arrives in pieces: ``kept`` for the search, ``length`` of all so far."""

    kept: bytearray
    length: int

    def take(self, chunk: bytes) -> bool:
        """Take a piece; return whether the body is complete."""
        ...

    @property
    def progress(self) -> str:
        """``after 5 of 20 bytes``."""
        ...


class _Sized:
    """As long as Content-Length says."""

    __slots__ = ("_keep", "_size", "kept", "length")

    def __init__(self, size: int, *, keep: bool) -> None:
        self._size = size
        self._keep = keep
        self.kept = bytearray()
        self.length = 0

    def take(self, chunk: bytes) -> bool:
        fitting = chunk[: self._size - self.length]
        self.length += len(fitting)
        if self._keep:
            self.kept += fitting
        return self.length == self._size

    @property
    def progress(self) -> str:
        return f"after {self.length} of {self._size} bytes"


class _UntilClose:
    """As long as the connection, HTTP/1.0."""

    __slots__ = ("_keep", "kept", "length")

    def __init__(self, *, keep: bool) -> None:
        self._keep = keep
        self.kept = bytearray()
        self.length = 0

    def take(self, chunk: bytes) -> bool:
        self.length += len(chunk)
        if self._keep:
            self.kept += chunk
        return False

    @property
    def progress(self) -> str:
        return f"after {self.length} bytes"


class _Chunked:
    """In chunks, RFC 9112 section 7.1; what follows the last chunk is not read."""

    __slots__ = ("_keep", "_line", "_rest", "kept", "length")

    def __init__(self, *, keep: bool) -> None:
        self._keep = keep
        self._line = b""
        self._rest = 0  # bytes of the present chunk still to come, its line end included
        self.kept = bytearray()
        self.length = 0

    def take(self, chunk: bytes) -> bool:
        at = 0
        while at < len(chunk):
            if self._rest:
                end = min(len(chunk), at + self._rest)
                payload_end = max(at, min(end, at + self._rest - 2))
                if payload_end < end:
                    self._check_line_end(chunk[payload_end:end], self._rest - (payload_end - at))
                self.length += payload_end - at
                if self._keep:
                    self.kept += chunk[at:payload_end]
                self._rest -= end - at
                at = end
                continue
            end = chunk.find(b"\n", at, at + _CHUNK_LINE_BYTES_MAX + 1) + 1
            self._line += chunk[at : end or at + _CHUNK_LINE_BYTES_MAX + 1]
            if len(self._line) > _CHUNK_LINE_BYTES_MAX:
                raise _MalformedError(f"a chunk size is longer than {_CHUNK_LINE_BYTES_MAX} bytes")
            if not end:
                return False
            at = end
            size = _CHUNK_SIZE.fullmatch(self._line)
            if size is None:
                raise _MalformedError(f"a chunk size is not hexadecimal: {excerpt(self._line)}")
            self._line = b""
            self._rest = int(size[1], 16) + 2
            if self._rest == 2:
                return True
        return False

    def _check_line_end(self, found: bytes, missing: int) -> None:
        if not b"\r\n"[2 - missing :].startswith(found):
            raise _MalformedError(f"a chunk is longer than its size says: {excerpt(found)}")

    @property
    def progress(self) -> str:
        return f"after {self.length} bytes"


def _host(endpoint: Endpoint, usual_port: int) -> str:
    address = f"[{endpoint.address}]" if ":" in endpoint.address else endpoint.address
    return address if endpoint.port == usual_port else f"{address}:{endpoint.port}"
