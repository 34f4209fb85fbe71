"""Heartbeat <-> datagram; docs/wire.md shows it byte by byte.

Sans-I/O. Whatever arrives ends in a Heartbeat or in WireError, never in anything else.
"""

from __future__ import annotations

import functools
import hashlib
import struct
from dataclasses import dataclass, replace
from typing import Final

from heartbus.config.digest import PART_BYTES, PARTS
from heartbus_membership.claims import Claim, Phase
from heartbus_membership.pingnodes import Reach
from heartbus_membership.signing import Keyring

MAGIC: Final = b"HB"
VERSION: Final = 1
DATAGRAM_BYTES_MAX: Final = 1400
"""Fits one Ethernet frame with room for tunnels and IPv6 headers."""
NODE_BYTES_MAX: Final = 253
GROUPS_MAX: Final = 64
VOTERS_MAX: Final = 16
NAMES_MAX: Final = 4 * (GROUPS_MAX + VOTERS_MAX)
DIGEST_BYTES: Final = 8
PARTS_BYTES_MAX: Final = 64
"""Of the digests of the parts of a configuration; a later version may have more parts."""
EPOCH_HEARD_MAX: Final = 2**62
"""A higher epoch is nonsense (a crc key lets bit errors through); leaves room to count on."""

_HEAD: Final = struct.Struct(">2sBBBQQI8sB")
_CLAIM: Final = struct.Struct(">QQB")
_LENGTH: Final = struct.Struct(">H")
_KEY_ID_AT: Final = 3
_MARK: Final = struct.Struct(">QQQ")
_ITEM: Final = struct.Struct(">BH")
_SCORE: Final = struct.Struct(">h")
_SETTLED, _READY, _LEAVING = 1, 2, 4
_HEARD, _VOTES, _REACH, _PARTS, _SCORES = 1, 2, 3, 4, 5
_NO_VOTE, _OWN_VOTE = 255, 254
_PHASE_MASK: Final = 0x0F
_CANDIDATE: Final = 0x80


class WireError(ValueError):
    """A datagram is not a heartbeat that we may believe; ``reason`` is one of a few words."""

    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(detail)
        self.reason = reason


@dataclass(frozen=True, slots=True, kw_only=True)
class HeardMark:
    """The newest heartbeat that the sender believed of another voter; ``peer`` is a ``name_id``."""

    peer: int
    incarnation: int
    sequence: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Heartbeat:
    """What one director says of itself every keepalive.

    ``claims``: pairs of group id (see ``name_id``) and claim. ``deadtime_ms`` is its own, for
    people to compare. ``config_digest``: 8 bytes, equal on directors with equal configuration.
    ``heard``: at most VOTERS_MAX. ``votes``: pairs of group id and the ``name_id`` of the voter
    whose claim the sender supports, itself or one in ``heard``. ``reach``: of its ping nodes, None
    without any. ``config_parts``: ``part_digests`` while another configuration is heard.
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
    heard: tuple[HeardMark, ...] = ()
    votes: tuple[tuple[int, int], ...] = ()
    reach: Reach | None = None
    config_parts: bytes = b""


@functools.lru_cache(maxsize=NAMES_MAX)
def name_id(name: str) -> int:
    """Return the 64-bit id of a group or a director on the wire: BLAKE2b-64 of its name."""
    return int.from_bytes(hashlib.blake2b(name.encode(), digest_size=8).digest(), "big")


def encode(beat: Heartbeat, keyring: Keyring) -> bytes:
    """Return the signed datagram of a heartbeat.

    Raises:
        ValueError: more than GROUPS_MAX claims, a name longer than NODE_BYTES_MAX, a vote for
            somebody unheard, or more than DATAGRAM_BYTES_MAX in all.

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
    extension = _extension(beat)
    body = head + name + bytes([len(beat.claims)]) + claims + _LENGTH.pack(len(extension))
    datagram = keyring.sign(body + extension)
    if len(datagram) > DATAGRAM_BYTES_MAX:
        raise ValueError(f"{len(datagram)} bytes, at most {DATAGRAM_BYTES_MAX} fit in a datagram")
    return datagram


def size_bytes(*, name_bytes: int, groups: int, others: int, mac_bytes: int) -> int:
    """Return the length of the longest heartbeat of a director that hears ``others``."""
    values = others * _MARK.size + groups + 2 + PART_BYTES * len(PARTS) + groups * _SCORE.size
    extension = _LENGTH.size + 5 * _ITEM.size + values
    return _HEAD.size + name_bytes + 1 + groups * _CLAIM.size + extension + mac_bytes


def _extension(beat: Heartbeat) -> bytes:
    items: list[tuple[int, bytes]] = []
    if beat.heard:
        if len(beat.heard) > VOTERS_MAX:
            raise ValueError(f"{len(beat.heard)} voters heard, at most {VOTERS_MAX}")
        marks = (_MARK.pack(m.peer, m.incarnation, m.sequence) for m in beat.heard)
        items.append((_HEARD, b"".join(marks)))
    if beat.votes:
        numbers = {mark.peer: number for number, mark in enumerate(beat.heard)}
        numbers[name_id(beat.node)] = _OWN_VOTE
        votes = dict(beat.votes)
        if not numbers.keys() >= set(votes.values()):
            raise ValueError("a vote for a director that was not heard")
        indices = (
            numbers[votes[group]] if group in votes else _NO_VOTE for group, _ in beat.claims
        )
        items.append((_VOTES, bytes(indices)))
    if beat.reach is not None:
        items.append((_REACH, beat.reach.octets()))
    if beat.config_parts:
        items.append((_PARTS, beat.config_parts))
    if any(claim.score for _, claim in beat.claims):
        scores = (_SCORE.pack(claim.score) for _, claim in beat.claims)
        items.append((_SCORES, b"".join(scores)))
    return b"".join(_ITEM.pack(kind, len(value)) + value for kind, value in items)


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
    items = _items(body[end + _LENGTH.size :])
    heard = _marks(items.get(_HEARD, b""))
    claims = _scored(claims, items.get(_SCORES))
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
        heard=heard,
        votes=_votes(items.get(_VOTES), name, claims, heard),
        reach=_reach(items.get(_REACH)),
        config_parts=_parts(items.get(_PARTS, b"")),
    )


def _items(extension: bytes) -> dict[int, bytes]:
    """Return what an extension holds by kind; kinds that we do not know are skipped by the rest."""
    items: dict[int, bytes] = {}
    at = 0
    while at < len(extension):
        kind, length = _ITEM.unpack_from(extension, at)
        at += _ITEM.size + length
        if kind in items or at > len(extension):
            raise ValueError(f"item {kind} of its extension is there twice or cut off")
        items[kind] = extension[at - length : at]
    return items


def _marks(value: bytes) -> tuple[HeardMark, ...]:
    if len(value) % _MARK.size or len(value) > VOTERS_MAX * _MARK.size:
        raise ValueError(f"{len(value)} bytes of voters heard")
    return tuple(
        HeardMark(peer=peer, incarnation=incarnation, sequence=sequence)
        for peer, incarnation, sequence in _MARK.iter_unpack(value)
    )


def _votes(
    value: bytes | None,
    node: str,
    claims: tuple[tuple[int, Claim], ...],
    heard: tuple[HeardMark, ...],
) -> tuple[tuple[int, int], ...]:
    if value is None:
        return ()
    if len(value) != len(claims):
        raise ValueError(f"{len(value)} votes for {len(claims)} groups")
    votes: list[tuple[int, int]] = []
    for (group, _), number in zip(claims, value, strict=True):
        if number == _OWN_VOTE:
            votes.append((group, name_id(node)))
        elif number != _NO_VOTE:
            votes.append((group, heard[number].peer))
    return tuple(votes)


def _scored(
    claims: tuple[tuple[int, Claim], ...], value: bytes | None
) -> tuple[tuple[int, Claim], ...]:
    if value is None:
        return claims
    if len(value) != len(claims) * _SCORE.size:
        raise ValueError(f"{len(value)} bytes of scores for {len(claims)} groups")
    scores = (score for (score,) in _SCORE.iter_unpack(value))
    return tuple(
        (group, replace(claim, score=score))
        for (group, claim), score in zip(claims, scores, strict=True)
    )


def _reach(value: bytes | None) -> Reach | None:
    if value is None:
        return None
    reach = Reach.from_octets(value)
    if reach is None:
        raise ValueError("its ping nodes make no sense")
    return reach


def _parts(value: bytes) -> bytes:
    if len(value) > PARTS_BYTES_MAX:
        raise ValueError(f"{len(value)} bytes of configuration parts")
    return value


def _claim(group: int, epoch: int, phase: int) -> tuple[int, Claim]:
    if epoch > EPOCH_HEARD_MAX:
        raise ValueError(f"epoch {epoch} is above {EPOCH_HEARD_MAX}")
    claim = Claim(epoch=epoch, phase=Phase(phase & _PHASE_MASK), candidate=bool(phase & _CANDIDATE))
    return group, claim
