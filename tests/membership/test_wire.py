"""Wire format: round trips, size, and that nothing but WireError comes of other bytes."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from heartbus.config.digest import PART_BYTES, PARTS
from heartbus.config.validate import PING_MEMBERS_MAX
from heartbus.model import Authentication, AuthKey, AuthMethod
from heartbus_membership.claims import Claim, Phase
from heartbus_membership.pingnodes import Reach
from heartbus_membership.signing import MAC_BYTES, Keyring
from heartbus_membership.wire import (
    DATAGRAM_BYTES_MAX,
    EPOCH_HEARD_MAX,
    GROUPS_MAX,
    NODE_BYTES_MAX,
    VOTERS_MAX,
    HeardMark,
    Heartbeat,
    WireError,
    decode,
    encode,
    name_id,
    size_bytes,
)

SIGNED = (AuthMethod.MD5, AuthMethod.SHA1, AuthMethod.SHA256)


def keyring(method: AuthMethod, *, key_id: int = 1, secret: bytes = b"secret") -> Keyring:
    key = AuthKey(id=key_id, method=method, secret=b"" if method is AuthMethod.CRC else secret)
    return Keyring(Authentication(signing_key=key_id, keys=(key,)))


u64 = st.integers(0, 2**64 - 1)
claims = st.builds(
    Claim,
    epoch=st.integers(0, EPOCH_HEARD_MAX),
    phase=st.sampled_from(Phase),
    candidate=st.booleans(),
)
heartbeats = st.builds(
    Heartbeat,
    node=st.text("abcdefghijklmnopqrstuvwxyz0123456789.-", min_size=1, max_size=NODE_BYTES_MAX),
    incarnation=u64,
    sequence=u64,
    settled=st.booleans(),
    ready=st.booleans(),
    leaving=st.booleans(),
    deadtime_ms=st.integers(0, 2**32 - 1),
    config_digest=st.binary(min_size=8, max_size=8),
    claims=st.lists(st.tuples(u64, claims), max_size=GROUPS_MAX).map(tuple),
)

marks = st.builds(HeardMark, peer=u64, incarnation=u64, sequence=u64)


@st.composite
def full_heartbeats(draw: st.DrawFn) -> Heartbeat:
    """Heartbeats with an extension: voters heard, votes for some of them, ping nodes."""
    groups = st.lists(st.tuples(u64, claims), max_size=8, unique_by=lambda c: c[0]).map(tuple)
    beat = replace(draw(heartbeats), claims=draw(groups))
    heard = draw(st.lists(marks, max_size=VOTERS_MAX, unique_by=lambda m: m.peer).map(tuple))
    own_id = name_id(beat.node)
    heard = tuple(mark for mark in heard if mark.peer != own_id)
    whom = st.sampled_from([own_id, *(mark.peer for mark in heard)])
    votes = tuple((group, draw(whom)) for group, _ in beat.claims if draw(st.booleans()))
    configured = draw(st.integers(0, PING_MEMBERS_MAX))
    reached = draw(st.integers(0, configured))
    settled = draw(st.booleans())
    reach = Reach(reached=reached if settled else 0, configured=configured, settled=settled)
    reach_or_none = draw(st.sampled_from([reach, None]))
    parts = draw(st.binary(max_size=PART_BYTES * len(PARTS)))
    return replace(beat, heard=heard, votes=votes, reach=reach_or_none, config_parts=parts)


BEAT = Heartbeat(
    node="linuxha1.linux-ha.org",
    incarnation=1_700_000_000_000,
    sequence=7,
    settled=True,
    ready=True,
    leaving=False,
    deadtime_ms=300,
    config_digest=bytes(range(8)),
    claims=((name_id("192.168.7.110/24"), Claim(epoch=3, phase=Phase.HELD, candidate=True)),),
)


@given(heartbeats, st.sampled_from(AuthMethod))
def test_what_is_encoded_is_decoded(beat: Heartbeat, method: AuthMethod) -> None:
    datagram = encode(beat, keyring(method))
    assert decode(datagram, keyring(method)) == beat
    assert len(datagram) <= DATAGRAM_BYTES_MAX


@given(full_heartbeats())
def test_what_is_encoded_in_an_extension_is_decoded(beat: Heartbeat) -> None:
    ring = keyring(AuthMethod.SHA256)
    datagram = encode(beat, ring)
    assert decode(datagram, ring) == beat
    assert len(datagram) <= size_bytes(
        name_bytes=len(beat.node),
        groups=len(beat.claims),
        others=len(beat.heard),
        mac_bytes=MAC_BYTES[AuthMethod.SHA256],
    )


@pytest.mark.parametrize(
    "extension",
    [
        b"\x01",  # an item without its length
        b"\x01\x00\x05abcde",  # no whole number of voters
        b"\x01\x01\x98" + bytes(408),  # more voters than there may be
        b"\x03\x00\x02\x01\x02" * 2,  # one kind twice
        b"\x03\x00\x02\x02\x01",  # more ping nodes reached than there are
        b"\x03\x00\x09\x01",  # longer than the extension
        b"\x02\x00\x01\x00",  # a vote for the first of no voters heard
        b"\x02\x00\x02\xff\xff",  # two votes for one group
        b"\x04\x00\x41" + bytes(65),  # more parts of a configuration than there may be
    ],
)
def test_an_extension_that_makes_no_sense_is_malformed(extension: bytes) -> None:
    ring = keyring(AuthMethod.SHA256)
    body = encode(BEAT, ring)[: -MAC_BYTES[AuthMethod.SHA256] - 2]
    with pytest.raises(WireError) as refused:
        decode(ring.sign(body + len(extension).to_bytes(2, "big") + extension), ring)
    assert refused.value.reason == "malformed"


def test_a_vote_for_somebody_unheard_cannot_be_said() -> None:
    group = BEAT.claims[0][0]
    with pytest.raises(ValueError, match="not heard"):
        encode(replace(BEAT, votes=((group, 99),)), keyring(AuthMethod.SHA256))


def test_more_than_fits_in_a_datagram_cannot_be_said() -> None:
    crowd = tuple(HeardMark(peer=n, incarnation=1, sequence=1) for n in range(VOTERS_MAX))
    many = tuple((n, Claim()) for n in range(GROUPS_MAX))
    beat = replace(BEAT, claims=many, heard=crowd)
    with pytest.raises(ValueError, match="fit in a datagram"):
        encode(beat, keyring(AuthMethod.SHA256))


@given(st.binary(max_size=1600), st.sampled_from(AuthMethod))
def test_any_bytes_are_refused_with_the_one_error(noise: bytes, method: AuthMethod) -> None:
    with pytest.raises(WireError):
        decode(noise, keyring(method))


@given(st.binary(max_size=1500), st.integers(0, 255))
def test_genuinely_signed_nonsense_ends_in_the_one_error_or_a_heartbeat(
    noise: bytes, flags: int
) -> None:
    ring = keyring(AuthMethod.SHA256)
    datagram = ring.sign(b"HB\x01\x01" + bytes([flags]) + noise)
    try:
        assert isinstance(decode(datagram, ring), Heartbeat)
    except WireError as error:
        assert error.reason in {"malformed", "alien"}  # noqa: PT017


@given(st.data(), st.sampled_from(SIGNED))
def test_flipping_any_bit_of_a_signed_datagram_is_refused(
    draw: st.DataObject, method: AuthMethod
) -> None:
    datagram = bytearray(encode(BEAT, keyring(method)))
    bit = draw.draw(st.integers(0, 8 * len(datagram) - 1))
    datagram[bit // 8] ^= 1 << bit % 8
    with pytest.raises(WireError):
        decode(bytes(datagram), keyring(method))


@given(st.data())
def test_every_shortened_datagram_is_refused(draw: st.DataObject) -> None:
    datagram = encode(BEAT, keyring(AuthMethod.SHA256))
    length = draw.draw(st.integers(0, len(datagram) - 1))
    with pytest.raises(WireError):
        decode(datagram[:length], keyring(AuthMethod.SHA256))


@pytest.mark.parametrize("method", AuthMethod)
def test_one_group_fits_a_serial_line_of_9600_baud(method: AuthMethod) -> None:
    peer = HeardMark(peer=1, incarnation=1_700_000_000_000, sequence=7)
    beat = replace(BEAT, heard=(peer,), reach=Reach(reached=2, configured=2, settled=True))
    assert len(encode(beat, keyring(method))) < 200
    without_reach = replace(beat, reach=None)
    assert len(encode(without_reach, keyring(AuthMethod.SHA256))) == 118, "docs/wire.md says so"


def test_bytes_are_as_documented() -> None:
    ring = keyring(AuthMethod.CRC)
    datagram = encode(BEAT, ring)
    assert datagram[:34].hex(" ") == (
        "48 42 01 01 03 00 00 01 8b cf e5 68 00 00 00 00 00 00 00 00 07 "
        "00 00 01 2c 00 01 02 03 04 05 06 07 15"
    )
    assert datagram[34:55] == b"linuxha1.linux-ha.org"
    assert datagram[55:56] == b"\x01"
    assert datagram[56:64] == name_id("192.168.7.110/24").to_bytes(8, "big")
    assert datagram[64:75].hex(" ") == "00 00 00 00 00 00 00 03 81 00 00"
    assert len(datagram) == 75 + MAC_BYTES[AuthMethod.CRC]


def test_an_extension_of_a_newer_sender_is_skipped() -> None:
    ring = keyring(AuthMethod.SHA256)
    body = encode(BEAT, ring)[: -MAC_BYTES[AuthMethod.SHA256] - 2]
    assert decode(ring.sign(body + b"\x00\x06\x99\x00\x03new"), ring) == BEAT


@pytest.mark.parametrize(
    ("datagram", "reason"),
    [
        (b"###\n3:foo", "alien"),
        (b"HB\x02" + bytes(80), "version"),
        (encode(BEAT, keyring(AuthMethod.SHA256, key_id=9)), "unknown-key"),
        (encode(BEAT, keyring(AuthMethod.SHA256, secret=b"other")), "forged"),
        (encode(BEAT, keyring(AuthMethod.SHA1)), "forged"),
        (b"HB\x01\x01" + bytes(1500), "malformed"),
    ],
)
def test_refusals_say_why(datagram: bytes, reason: str) -> None:
    with pytest.raises(WireError) as refused:
        decode(datagram, keyring(AuthMethod.SHA256))
    assert refused.value.reason == reason


def test_an_absurd_epoch_is_refused() -> None:
    ring = keyring(AuthMethod.CRC)
    claim = Claim(epoch=EPOCH_HEARD_MAX + 1, phase=Phase.HELD)
    absurd = Heartbeat(
        node="a", incarnation=1, sequence=1, settled=True, ready=True, leaving=False,
        deadtime_ms=1, config_digest=bytes(8), claims=((1, claim),),
    )  # fmt: skip
    with pytest.raises(WireError, match="epoch"):
        decode(encode(absurd, ring), ring)


def test_keys_change_without_a_gap() -> None:
    old = AuthKey(id=1, method=AuthMethod.SHA1, secret=b"old")
    new = AuthKey(id=2, method=AuthMethod.SHA256, secret=b"new")
    before = Keyring(Authentication(signing_key=1, keys=(old, new)))
    after = Keyring(Authentication(signing_key=2, keys=(old, new)))
    assert decode(encode(BEAT, before), after) == BEAT
    assert decode(encode(BEAT, after), before) == BEAT
