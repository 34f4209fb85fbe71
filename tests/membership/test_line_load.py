"""What ``config check`` says about serial lines is what the wire format has."""

from __future__ import annotations

import dataclasses

import pytest
from hypothesis import given
from hypothesis import strategies as st

from heartbus.config.line_load import BITS_PER_BYTE, bits_per_keepalive, fits, frame_bytes
from heartbus.model import (
    Authentication,
    AuthKey,
    AuthMethod,
    BroadcastLink,
    Cluster,
    Director,
    HeartbeatLink,
    SerialLink,
)
from heartbus_membership import serial_frames
from heartbus_membership.claims import Claim, Phase
from heartbus_membership.pingnodes import Reach
from heartbus_membership.serial_frames import Frame
from heartbus_membership.signing import MAC_BYTES, MAC_BYTES_MAX, Keyring
from heartbus_membership.wire import (
    GROUPS_MAX,
    NODE_BYTES_MAX,
    VOTERS_MAX,
    HeardMark,
    Heartbeat,
    encode,
    name_id,
)
from tests.membership.fakes import cluster_of

USUAL_NAME = "linuxha1.linux-ha.org"
LINE = SerialLink(device="/dev/ttyS0", baud=9600)


def on_the_line(name: str, groups: int, others: int, method: AuthMethod) -> bytes:
    key = AuthKey(id=1, method=method, secret=b"" if method is AuthMethod.CRC else b"secret")
    beat = Heartbeat(
        node=name,
        incarnation=2**64 - 1,
        sequence=2**64 - 1,
        settled=True,
        ready=True,
        leaving=False,
        deadtime_ms=2**32 - 1,
        config_digest=b"\xff" * 8,
        claims=tuple(
            (n, Claim(epoch=2**62, phase=Phase.HELD, candidate=True)) for n in range(groups)
        ),
        heard=tuple(
            HeardMark(peer=n, incarnation=2**64 - 1, sequence=2**64 - 1) for n in range(others)
        ),
        votes=tuple((n, name_id(name)) for n in range(groups)),
        reach=Reach(reached=2, configured=2, settled=True),
    )
    datagram = encode(beat, Keyring(Authentication(signing_key=1, keys=(key,))))
    return serial_frames.encode(Frame(datagram=datagram, hops=255))


@given(
    st.integers(1, NODE_BYTES_MAX),
    st.integers(1, GROUPS_MAX // 2),
    st.integers(1, VOTERS_MAX // 2),
    st.sampled_from(list(AuthMethod)),
)
def test_the_size_is_that_of_the_wire_and_never_less(
    name_bytes: int, groups: int, others: int, method: AuthMethod
) -> None:
    size = len(on_the_line("x" * name_bytes, groups, others, method))
    spared = MAC_BYTES_MAX - MAC_BYTES[method] + size // 254 + 2  # what stuffing may add
    assert size <= frame_bytes("x" * name_bytes, groups=groups, others=others) <= size + spared


@pytest.mark.parametrize("method", AuthMethod)
def test_a_usual_heartbeat_takes_a_tenth_of_a_slow_line_at_most(method: AuthMethod) -> None:
    seconds = len(on_the_line(USUAL_NAME, 1, 1, method)) * BITS_PER_BYTE / 9600
    assert seconds <= 0.15
    assert seconds / 2.0 < 0.08  # of a keepalive of 2 s


@pytest.mark.parametrize(("groups", "does_fit"), [(1, True), (20, True), (46, True), (64, False)])
def test_how_many_groups_fit_a_slow_line(groups: int, does_fit: bool) -> None:
    bits = BITS_PER_BYTE * frame_bytes(USUAL_NAME, groups=groups, others=1)
    assert fits(bits, 9600, 2.0) is does_fit


def with_links(*links: HeartbeatLink, directors: int) -> Cluster:
    cluster = cluster_of("a")
    names = (Director(name="x" * (n + 1)) for n in range(directors))
    return dataclasses.replace(
        cluster,
        directors=tuple(names),
        membership=dataclasses.replace(cluster.membership, links=links),
    )


def test_rings_carry_the_heartbeats_of_all_others_too() -> None:
    other = SerialLink(device="/dev/ttyS1", baud=9600)

    def bits(name_bytes: int, directors: int) -> int:
        return BITS_PER_BYTE * frame_bytes("x" * name_bytes, groups=1, others=directors - 1)

    three = bits(3, 3)
    assert bits_per_keepalive(with_links(LINE, other, directors=3)) == bits(2, 3) + three
    assert bits_per_keepalive(with_links(LINE, other, directors=2)) == bits(2, 2)
    assert bits_per_keepalive(with_links(LINE, directors=3)) == three
    assert bits_per_keepalive(with_links(LINE, other, directors=1)) == bits(1, 1)
    bcast = BroadcastLink(interface="eth1")
    assert bits_per_keepalive(with_links(LINE, bcast, directors=3)) == three
