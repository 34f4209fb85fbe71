"""Heartbeat <-> datagram; docs/wire.md shows it byte by byte.

Sans-I/O. Whatever arrives ends in a Heartbeat or in WireError, never in anything else.
"""

from __future__ import annotations

import hashlib
import struct
from dataclasses import dataclass
from typing import Final

from heartbus_membership.claims import Claim, Phase
from heartbus_membership.signing import MAC_BYTES_MAX, Keyring

MAGIC: Final = b"HB"
VERSION: Final = 1
DATAGRAM_BYTES_MAX: Final = 1400
"""Fits one Ethernet frame with room for tunnels and IPv6 headers."""
NODE_BYTES_MAX: Final = 253
GROUPS_MAX: Final = 64
DIGEST_BYTES: Final = 8
EPOCH_HEARD_MAX: Final = 2**62
"""A higher epoch is nonsense (a crc key lets bit errors through); leaves room to count on."""

_HEAD: Final = struct.Struct(">2sBBBQQI8sB")
_CLAIM: Final = struct.Struct(">QQB")
_LENGTH: Final = struct.Struct(">H")
_KEY_ID_AT: Final = 3
_SETTLED, _READY, _LEAVING = 1, 2, 4
_PHASE_MASK: Final = 0x0F
_CANDIDATE: Final = 0x80

assert (
    _HEAD.size + NODE_BYTES_MAX + 1 + GROUPS_MAX * _CLAIM.size + _LENGTH.size + MAC_BYTES_MAX
    <= DATAGRAM_BYTES_MAX
)


class WireError(ValueError):
    """A datagram is not a heartbeat that we may believe; ``reason`` is one of a few words."""

    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(detail)
        self.reason = reason


@dataclass(frozen=True, slots=True, kw_only=True)
class Heartbeat:
    """What one director says of itself every keepalive.

    ``claims``: pairs of group id (see ``group_id``) and claim. ``deadtime_ms`` is its own, for
    people to compare. ``config_digest``: 8 bytes, equal on directors with equal configuration.
    """

    node: str
    incarnation: int
    sequence: int
    settled: bool
    ready: bool
    leaving: bool
    deadtime_ms: int
    config_digest: bytes
    claims: tuple[tuple[int, Claim], ...] = ()


def group_id(name: str) -> int:
    """Return the 64-bit id of a group on the wire: BLAKE2b-64 of its name."""
    return int.from_bytes(hashlib.blake2b(name.encode(), digest_size=8).digest(), "big")


def encode(beat: Heartbeat, keyring: Keyring) -> bytes:
    """Return the signed datagram of a heartbeat.

    Raises:
        ValueError: more than GROUPS_MAX claims, or a name longer than NODE_BYTES_MAX.

    """
    name = beat.node.encode("ascii")
    if not 0 < len(name) <= NODE_BYTES_MAX or len(beat.claims) > GROUPS_MAX:
        raise ValueError(f"{len(name)} bytes of name and {len(beat.claims)} claims do not fit")
    flags = _SETTLED * beat.settled | _READY * beat.ready | _LEAVING * beat.leaving
    head = _HEAD.pack(
        MAGIC,
        VERSION,
        keyring.signing_id,
        flags,
        beat.incarnation,
        beat.sequence,
        beat.deadtime_ms,
        beat.config_digest,
        len(name),
    )
    claims = b"".join(
        _CLAIM.pack(group, claim.epoch, claim.phase | _CANDIDATE * claim.candidate)
        for group, claim in beat.claims
    )
    no_extension = _LENGTH.pack(0)
    return keyring.sign(head + name + bytes([len(beat.claims)]) + claims + no_extension)


def decode(datagram: bytes, keyring: Keyring) -> Heartbeat:
    """Return the heartbeat in a datagram whose signature is genuine.

    Raises:
        WireError: ``reason`` is ``alien`` (not ours at all), ``version``, ``unknown-key``,
            ``forged`` or ``malformed``.

    """
    if len(datagram) < _HEAD.size or not datagram.startswith(MAGIC):
        raise WireError("alien", f"{len(datagram)} bytes that do not begin as a heartbeat")
    if len(datagram) > DATAGRAM_BYTES_MAX:
        raise WireError("malformed", f"{len(datagram)} bytes, at most {DATAGRAM_BYTES_MAX}")
    if datagram[2] != VERSION:
        raise WireError("version", f"version {datagram[2]}, this one reads {VERSION}")
    key_id = datagram[_KEY_ID_AT]
    mac_bytes = keyring.mac_bytes(key_id)
    if mac_bytes is None:
        raise WireError("unknown-key", f"signed with key {key_id}, which is not in our keys")
    body, mac = datagram[:-mac_bytes], datagram[-mac_bytes:]
    if not keyring.is_genuine(key_id, body, mac):
        raise WireError("forged", f"wrong signature for key {key_id}")
    try:
        return _parse(body)
    except (struct.error, IndexError, ValueError) as error:
        raise WireError("malformed", str(error)) from error


def _parse(body: bytes) -> Heartbeat:
    _, _, _, flags, incarnation, sequence, deadtime_ms, digest, name_len = _HEAD.unpack_from(body)
    claims_at = _HEAD.size + name_len + 1
    name = body[_HEAD.size : claims_at - 1].decode("ascii")
    count = body[claims_at - 1]
    end = claims_at + count * _CLAIM.size
    if not name or name_len > NODE_BYTES_MAX or count > GROUPS_MAX:
        raise ValueError(f"name of {name_len} bytes, {count} claims")
    claims = tuple(_claim(*fields) for fields in _CLAIM.iter_unpack(body[claims_at:end]))
    (extension,) = _LENGTH.unpack_from(body, end)
    if len(claims) != count or len(body) != end + _LENGTH.size + extension:
        raise ValueError("its lengths do not add up")
    return Heartbeat(
        node=name,
        incarnation=incarnation,
        sequence=sequence,
        settled=bool(flags & _SETTLED),
        ready=bool(flags & _READY),
        leaving=bool(flags & _LEAVING),
        deadtime_ms=deadtime_ms,
        config_digest=digest,
        claims=claims,
    )


def _claim(group: int, epoch: int, phase: int) -> tuple[int, Claim]:
    if epoch > EPOCH_HEARD_MAX:
        raise ValueError(f"epoch {epoch} is above {EPOCH_HEARD_MAX}")
    claim = Claim(epoch=epoch, phase=Phase(phase & _PHASE_MASK), candidate=bool(phase & _CANDIDATE))
    return group, claim
