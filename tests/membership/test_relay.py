"""What goes on from line to line: in chains and rings everybody hears everybody, and it ends."""

from __future__ import annotations

from dataclasses import dataclass, field

import pytest

from heartbus.model import Authentication, AuthKey, AuthMethod
from heartbus_membership.hearing import Dropped, Heard, Hearing
from heartbus_membership.relay import Relay, first_hops
from heartbus_membership.signing import Keyring
from heartbus_membership.wire import Heartbeat, encode

RING = Keyring(
    Authentication(signing_key=1, keys=(AuthKey(id=1, method=AuthMethod.SHA256, secret=b"s"),))
)


def heard(peer: str = "b", sequence: int = 5, incarnation: int = 1) -> Heard:
    return Heard(
        peer=peer, link="l", incarnation=incarnation, sequence=sequence, leaving=False, report=None
    )


def test_the_first_time_on_a_line_it_goes_on_with_one_hop_less() -> None:
    assert Relay(directors=3).onward_hops(heard(), hops=4) == 3


def test_it_goes_on_once() -> None:
    relay = Relay(directors=3)
    relay.onward_hops(heard(), hops=4)
    assert relay.onward_hops(heard(), hops=4) == 0
    assert relay.onward_hops(heard(sequence=4), hops=4) == 0
    assert relay.onward_hops(heard(sequence=6), hops=4) == 3
    assert relay.onward_hops(heard(sequence=1, incarnation=2), hops=4) == 3
    assert relay.onward_hops(heard(peer="c", sequence=1), hops=4) == 3


def test_two_directors_pass_nothing_on() -> None:
    assert Relay(directors=2).onward_hops(heard(), hops=9) == 0


@pytest.mark.parametrize("hops", [0, 1])
def test_what_may_go_no_further_stays_and_does_not_bar_a_shorter_way(hops: int) -> None:
    relay = Relay(directors=3)
    assert relay.onward_hops(heard(), hops=hops) == 0
    assert relay.onward_hops(heard(), hops=2) == 1


@pytest.mark.parametrize(("directors", "hopfudge", "hops"), [(2, 1, 3), (5, 0, 5), (9, 255, 255)])
def test_hopfudge_bounds_the_way(directors: int, hopfudge: int, hops: int) -> None:
    assert first_hops(directors=directors, hopfudge=hopfudge) == hops


@dataclass
class Lines:
    """Directors joined by lines; ``cables`` are pairs of names, ``frames`` counts what is sent."""

    names: str
    cables: list[str]
    frames: int = 0
    heard: dict[str, set[str]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.hearing = {
            name: Hearing(
                node=name,
                incarnation=1,
                peers=[n for n in self.names if n != name],
                keyring=RING,
                groups_by_id={},
            )
            for name in self.names
        }
        self.relay = {name: Relay(directors=len(self.names)) for name in self.names}
        self.heard = {name: set() for name in self.names}

    def beat(self, name: str, sequence: int, *, hopfudge: int = 1) -> None:
        """Send one heartbeat over the lines and let it go on until it has ended."""
        datagram = encode(
            Heartbeat(
                node=name, incarnation=1, sequence=sequence, settled=True, ready=True,
                leaving=False, deadtime_ms=1, config_digest=bytes(8),
            ),
            RING,
        )  # fmt: skip
        hops = first_hops(directors=len(self.names), hopfudge=hopfudge)
        under_way = [(name, cable, hops) for cable in self.cables if name in cable]
        while under_way:
            sender, cable, hops = under_way.pop(0)
            self.frames += 1
            receiver = cable.replace(sender, "")
            told = self.hearing[receiver].judge(datagram, link=cable)
            if told is None:
                continue
            assert not isinstance(told, Dropped)
            self.heard[receiver].add(name)
            if onward := self.relay[receiver].onward_hops(told, hops=hops):
                others = [c for c in self.cables if receiver in c and c != cable]
                under_way += [(receiver, other, onward) for other in others]


@pytest.mark.parametrize(
    ("names", "cables"),
    [
        ("abc", ["ab", "bc"]),
        ("abc", ["ab", "bc", "ca"]),
        ("abcd", ["ab", "bc", "cd", "da"]),
        ("abcde", ["ab", "bc", "cd", "de"]),
        ("abcde", ["ab", "bc", "cd", "de", "ea"]),
    ],
)
def test_everybody_hears_everybody_in_few_frames(names: str, cables: list[str]) -> None:
    lines = Lines(names, cables)
    for sequence in range(3):
        for name in names:
            lines.beat(name, sequence)
    assert lines.heard == {name: set(names) - {name} for name in names}
    # Each director sends each heartbeat at most once over each of its lines.
    assert lines.frames <= 3 * len(names) * 2 * len(cables)


def test_what_the_network_brought_before_still_goes_on() -> None:
    """Else c, whose network is cut, would hear b only: b hears a over the network first."""
    lines = Lines("abc", ["ab", "bc"])
    datagram = encode(
        Heartbeat(
            node="a", incarnation=1, sequence=0, settled=True, ready=True,
            leaving=False, deadtime_ms=1, config_digest=bytes(8),
        ),
        RING,
    )  # fmt: skip
    lines.hearing["b"].judge(datagram, link="bcast:eth1")
    lines.beat("a", 0)
    assert "a" in lines.heard["c"]
