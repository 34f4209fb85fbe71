"""Says who may push a configuration: whoever knows the key of the heartbeats, just now.

Sans-I/O. The bus of a director listens on loopback for every user of the host, and a configuration
names programs that are run with all rights. So each message of a push is signed with a key that is
derived from the signing key, which only those can read who may read the configuration. It is signed
and not encrypted: no document with a secret in it is pushed.
"""

from __future__ import annotations

import dataclasses
import hashlib
import hmac
from typing import Final

from heartbus.model import Authentication
from heartbus.push.messages import PushConfig

SENT_MAX_S: Final = 60.0
"""A message that was sent longer ago, or will be, is not believed: it may be a recorded one."""

_PURPOSE: Final = b"heartbus config push"


def push_key(secret: bytes) -> bytes:
    """Return the key that signs pushes, of the secret of a heartbeat key."""
    return hmac.new(secret, _PURPOSE, hashlib.sha256).digest()


def signing_secret(authentication: Authentication) -> bytes:
    """Return the secret of the key that signs; empty if it has none (crc)."""
    key = authentication.key(authentication.signing_key)
    return key.secret if key is not None else b""


def signed(message: PushConfig, secret: bytes) -> PushConfig:
    """Return the message with its MAC."""
    return dataclasses.replace(message, mac=_mac(message, secret))


def distrust(message: PushConfig, secrets: tuple[bytes, ...], *, wall_s: float) -> str | None:
    """Return why a message is not believed, or None. ``secrets``: of the keys that we accept."""
    known = [secret for secret in secrets if secret]
    if not known:
        return "no key of this director has a secret: allowed is sha256 in [membership]"
    matches = [hmac.compare_digest(message.mac, _mac(message, secret)) for secret in known]
    if not any(matches):
        return "not signed with a key of this director: run it as a user who may read its files"
    if abs(wall_s - message.sent_s) > SENT_MAX_S:
        return f"sent {wall_s - message.sent_s:.0f} s ago by this director's clock"
    return None


def text_digest(text: str) -> str:
    """Return the digest of a document, 64 hex digits."""
    return hashlib.sha256(text.encode()).hexdigest()


def _mac(message: PushConfig, secret: bytes) -> str:
    # Lengths first: no two messages may have the same bytes.
    fields = (
        message.push,
        str(message.step),
        repr(message.sent_s),
        message.text,
        str(message.part),
        str(message.parts),
        message.digest,
    )
    content = b"".join(
        len(part).to_bytes(8, "big") + part for part in (field.encode() for field in fields)
    )
    return hmac.new(push_key(secret), content, hashlib.sha256).hexdigest()
