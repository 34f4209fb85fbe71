"""Signs heartbeats and checks signatures, by key id.

Sans-I/O. HMAC (RFC 2104) with SHA-256 truncated to 16 bytes (RFC 4868 section 2.1.1), SHA-1 and
MD5 in full for old authkeys files. ``crc`` is a CRC-32: it finds accidents, not forgers.
"""

from __future__ import annotations

import hmac
import zlib
from typing import Final

from heartbus.model import Authentication, AuthKey, AuthMethod

MAC_BYTES: Final = {
    AuthMethod.CRC: 4,
    AuthMethod.MD5: 16,
    AuthMethod.SHA1: 20,
    AuthMethod.SHA256: 16,
}
MAC_BYTES_MAX: Final = max(MAC_BYTES.values())


class Keyring:
    """The keys of one configuration: one signs, all are accepted (rolling change of keys)."""

    def __init__(self, authentication: Authentication) -> None:
        self.use(authentication)

    def use(self, authentication: Authentication) -> None:
        """Sign with these keys and accept them, and no others, from now on."""
        self._keys = {key.id: key for key in authentication.keys}
        self._signing = self._keys[authentication.signing_key]

    @property
    def signing_id(self) -> int:
        """Id of the key that signs what we send."""
        return self._signing.id

    def sign(self, message: bytes) -> bytes:
        """Return ``message`` followed by its code under the signing key."""
        return message + _mac(self._signing, message)

    def mac_bytes(self, key_id: int) -> int | None:
        """Return the length of codes under a key, None if there is no such key."""
        key = self._keys.get(key_id)
        return None if key is None else MAC_BYTES[key.method]

    def is_genuine(self, key_id: int, message: bytes, mac: bytes) -> bool:
        """Whether ``mac`` is the code of ``message`` under a key; compared in constant time."""
        key = self._keys.get(key_id)
        return key is not None and hmac.compare_digest(_mac(key, message), mac)


def _mac(key: AuthKey, message: bytes) -> bytes:
    if key.method is AuthMethod.CRC:
        return zlib.crc32(message).to_bytes(4, "big")
    return hmac.digest(key.secret, message, key.method.value)[: MAC_BYTES[key.method]]
