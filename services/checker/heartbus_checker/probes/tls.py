"""TLS around any conversation: the handshake, then the same words, encrypted.

Sans-I/O; the ssl module works on memory here. Verification names what is wrong with a certificate.
"""

from __future__ import annotations

import ssl
from collections.abc import Callable, Sequence
from typing import Final

from heartbus.model import Tls

from . import Conversation, Outcome

PLAIN_BYTES_PER_TURN: Final = 65536


class TlsError(ValueError):
    """The TLS settings of a check cannot be used; the text says why."""


def tls_context(tls: Tls, *, protocols: Sequence[str] = ()) -> ssl.SSLContext:
    """Return the settings of one check; ``protocols`` are offered by ALPN.

    Raises:
        TlsError: the file of authorities cannot be read.

    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    if not tls.verify:
        # An old file never asked for a certificate: nor for a modern one.
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
        context.set_ciphers("ALL:@SECLEVEL=0")
    elif tls.ca_file is None:
        context.load_default_certs()
    else:
        try:
            context.load_verify_locations(tls.ca_file)
        except (OSError, ssl.SSLError) as error:
            words = error.strerror or str(error)
            raise TlsError(f"ca_file {tls.ca_file}: {words}") from error
    if protocols:
        context.set_alpn_protocols(list(protocols))
    return context


class TlsConversation:
    """A conversation within TLS. ``server_name`` is sent and verified; an address only verified."""

    __slots__ = ("_incoming", "_inner", "_object", "_outgoing", "_shaken")

    def __init__(
        self, inner: Conversation, context: ssl.SSLContext, server_name: str | None
    ) -> None:
        self._inner = inner
        self._incoming = ssl.MemoryBIO()
        self._outgoing = ssl.MemoryBIO()
        self._object = context.wrap_bio(self._incoming, self._outgoing, server_hostname=server_name)
        self._shaken = False

    def connected(self) -> bytes | Outcome:
        """Return our first message of the handshake."""
        return self._go_on() or b""

    def received(self, chunk: bytes) -> bytes | Outcome | None:
        """Decrypt, let the inner conversation answer, encrypt."""
        self._incoming.write(chunk)
        return self._go_on()

    def ended(self) -> Outcome:
        """Conclude: the server closed, with or without saying so within TLS."""
        if not self._shaken:
            return Outcome(passed=False, reason="TLS handshake: the server closed")
        return self._inner.ended()

    def broken(self, how: str) -> Outcome:
        """Conclude: broken in the handshake or later."""
        if not self._shaken:
            return Outcome(passed=False, reason=f"TLS handshake: {how}")
        return self._inner.broken(how)

    def _go_on(self) -> bytes | Outcome | None:
        try:
            if not self._shaken:
                self._object.do_handshake()
                self._shaken = True
                step = self._inner.connected()
                if isinstance(step, Outcome):
                    return step
                self._object.write(step) if step else None
            while True:
                plain = self._object.read(PLAIN_BYTES_PER_TURN)
                if not plain:
                    return self._inner.ended()
                answer = self._inner.received(plain)
                if isinstance(answer, Outcome):
                    return answer
                if answer:
                    self._object.write(answer)
        except ssl.SSLWantReadError:
            return self._outgoing.read() or None
        except (ssl.SSLZeroReturnError, ssl.SSLEOFError):
            return self.ended()
        except ssl.SSLCertVerificationError as error:
            return Outcome(
                passed=False, reason=f"TLS handshake: the certificate: {error.verify_message}"
            )
        except ssl.SSLError as error:
            words = (error.reason or str(error)).lower().replace("_", " ")
            return self.broken(words) if self._shaken else self._refused(words)

    def _refused(self, words: str) -> Outcome:
        return Outcome(passed=False, reason=f"TLS handshake: {words}")


def within_tls(
    inner: Callable[[], Conversation], context: ssl.SSLContext, server_name: str | None
) -> Callable[[], Conversation]:
    """Return what begins the conversation anew within TLS each time."""
    return lambda: TlsConversation(inner(), context, server_name)
