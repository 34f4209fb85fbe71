"""The bytes of ICMP and ICMPv6 echo: questions that only their own answer fits.

Sans-I/O. RFC 792 and RFC 4443. A question carries, as data,

    0   4   magic "HBpn"
    4   8   number of the question, counted from the start of this process, big-endian
    12  16  BLAKE2b over the number, keyed with a secret of this process

and its sequence is the low half of the number. An answer counts only for a question that is still
open, from the very address that was asked: neither other programs' answers nor forged ones do.
"""

from __future__ import annotations

import hashlib
import hmac
import struct
from collections import deque
from dataclasses import dataclass
from typing import Final

MAGIC: Final = b"HBpn"
OPEN_MAX: Final = 8
"""Questions to one target that may still be answered; an answer that is later than that is lost."""

MAC_BYTES: Final = 16
_ICMP: Final = struct.Struct("!BBHHH")  # type, code, checksum, identifier, sequence
_NUMBER: Final = struct.Struct("!Q")
DATA_BYTES: Final = len(MAGIC) + _NUMBER.size + MAC_BYTES
MESSAGE_BYTES: Final = _ICMP.size + DATA_BYTES

IPV4_HEADER_BYTES: Final = 20
IPPROTO_ICMP: Final = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Family:
    """What differs between the two protocols. ``checksum``: computed and checked by us."""

    version: int
    request: int
    reply: int
    checksum: bool


IPV4: Final = Family(version=4, request=8, reply=0, checksum=True)
IPV6: Final = Family(version=6, request=128, reply=129, checksum=False)  # the kernel does it


@dataclass(frozen=True, slots=True, kw_only=True)
class Reply:
    """An echo reply that is whole; whether it answers us is another question."""

    identifier: int
    sequence: int
    data: bytes


def checksum(message: bytes) -> int:
    """Return the Internet checksum (RFC 1071); 0 over a message that carries a right one."""
    if len(message) % 2:
        message += b"\0"
    total = sum(struct.unpack(f"!{len(message) // 2}H", message))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return int(~total & 0xFFFF)


def request(family: Family, *, identifier: int, sequence: int, data: bytes) -> bytes:
    """Return an echo request."""
    head = _ICMP.pack(family.request, 0, 0, identifier, sequence)
    total = checksum(head + data) if family.checksum else 0
    return _ICMP.pack(family.request, 0, total, identifier, sequence) + data


def without_ipv4_header(packet: bytes) -> bytes | None:
    """Return the ICMP message of a whole IPv4 packet, None if it is none."""
    if len(packet) < IPV4_HEADER_BYTES or packet[0] >> 4 != IPV4.version:
        return None
    header_bytes = (packet[0] & 0x0F) * 4
    fragment = (packet[6] & 0x3F) << 8 | packet[7]
    if header_bytes < IPV4_HEADER_BYTES or packet[9] != IPPROTO_ICMP or fragment:
        return None
    return packet[header_bytes:]


def parse(family: Family, message: bytes) -> Reply | None:
    """Return the echo reply that an ICMP message is, None for anything else; never raises."""
    if len(message) != MESSAGE_BYTES:
        return None
    kind, code, _, identifier, sequence = _ICMP.unpack_from(message)
    if kind != family.reply or code != 0 or (family.checksum and checksum(message) != 0):
        return None
    return Reply(identifier=identifier, sequence=sequence, data=message[_ICMP.size :])


class Questions:
    """The open questions of this process; ``secret`` is random and never leaves it."""

    def __init__(self, *, secret: bytes) -> None:
        self._secret = secret
        self._asked = 0
        self._open: dict[str, deque[int]] = {}

    def ask(self, target: str) -> tuple[int, bytes]:
        """Return sequence and data of a new question to a target, which is its address."""
        self._asked += 1
        opened = self._open.setdefault(target, deque(maxlen=OPEN_MAX))
        opened.append(self._asked)
        return self._asked & 0xFFFF, self._data(self._asked)

    def answered(self, target: str, reply: Reply) -> bool:
        """Return whether this reply, from this address, answers an open question; it closes it."""
        opened = self._open.get(target)
        if opened is None or not reply.data.startswith(MAGIC) or len(reply.data) != DATA_BYTES:
            return False
        (number,) = _NUMBER.unpack_from(reply.data, len(MAGIC))
        if number not in opened or reply.sequence != number & 0xFFFF:
            return False
        if not hmac.compare_digest(reply.data, self._data(number)):
            return False
        opened.remove(number)
        return True

    def forget(self, target: str) -> None:
        """Close every question to a target that is asked no more."""
        self._open.pop(target, None)

    def _data(self, number: int) -> bytes:
        counted = _NUMBER.pack(number)
        mac = hashlib.blake2b(counted, key=self._secret, digest_size=MAC_BYTES)
        return MAGIC + counted + mac.digest()
