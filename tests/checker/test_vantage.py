"""When our own view of the real servers is to be doubted."""

from __future__ import annotations

import pytest

from heartbus.events import CheckerState, Health, Verdict
from heartbus_checker.peers import FRESH_S, Peers
from heartbus_checker.vantage import suspicion

SERVICE = "tcp:192.0.2.110:80"
HEALTHS = {"u": Health.UP, "d": Health.DOWN, "?": Health.UNKNOWN}


def view(healths: str) -> list[tuple[tuple[str, str], Health]]:
    return [((SERVICE, f"192.0.2.{n}:80"), HEALTHS[one]) for n, one in enumerate(healths)]


def state(healths: str, *, suspect: str | None = None) -> CheckerState:
    verdicts = tuple(
        Verdict(virtual_service=key[0], real_server=key[1], health=health, reason="", since_s=0.0)
        for key, health in view(healths)
    )
    return CheckerState(verdicts=verdicts, suspect=suspect)


@pytest.mark.parametrize(
    ("own", "peers", "suspect"),
    [
        ("dddd", ["uuuu"], True),
        ("dddu", ["uuuu"], True),
        ("dd??", ["uuuu"], True),
        ("dddd", [], False),
        ("dduu", ["uuuu"], False),
        ("d", ["u"], False),
        ("dddd", ["dddd"], False),
        ("dddd", ["ddu?"], False),
        ("dddd", ["????"], False),
        ("dddd", ["uu??"], True),
        ("dddd", ["u???"], False),
        ("dddd", ["uuuu", "dddd"], False),
        ("dddd", ["uuuu", "????"], True),
        ("????", ["uuuu"], False),
        # Each is checked by some directors: one sees the one half, one the other.
        ("dddd", ["uu??", "??uu"], True),
        ("dddd", ["uu??", "??dd"], False),
        # Each is checked by one alone: nobody knows ours, and the others see theirs up.
        ("ddd???", ["???uuu"], True),
        ("ddd???", ["???udd"], False),
        ("ddd???", ["???u??"], False),
        # They have begun to look at ours.
        ("ddd???", ["u??uuu"], True),
        ("ddd???", ["d??uuu"], False),
    ],
)
def test_only_one_who_sees_most_of_the_world_down_alone_is_suspect(
    own: str, peers: list[str], suspect: bool
) -> None:
    heard = Peers()
    for number, healths in enumerate(peers, 2):
        heard.heard(f"linuxha{number}", state(healths), now_s=0.0)
    why = suspicion(view(own), heard.lately(now_s=1.0))
    assert (why is not None) is suspect, why


def test_the_reason_names_who_sees_what() -> None:
    heard = Peers()
    heard.heard("linuxha2", state("uu??"), now_s=0.0)
    heard.heard("linuxha3", state("??uu"), now_s=0.0)
    here = "4 of 4 real servers are down from here, but "
    both = suspicion(view("dddd"), heard.lately(now_s=1.0))
    assert both == f"{here}linuxha2 and linuxha3 see 4 of them up"
    others = Peers()
    others.heard("linuxha2", state("????uud"), now_s=0.0)
    alone = suspicion(view("dddd"), others.lately(now_s=1.0))
    assert alone == f"{here}linuxha2 sees 2 of 3 others up"


def test_a_peer_that_is_silent_stopped_or_suspect_itself_does_not_count() -> None:
    heard = Peers()
    heard.heard("linuxha2", state("uuuu"), now_s=0.0)
    assert set(heard.lately(now_s=FRESH_S)) == {"linuxha2"}
    assert set(heard.lately(now_s=FRESH_S + 0.1)) == set()
    heard.heard("linuxha2", state("uuuu"), now_s=10.0)
    heard.heard("linuxha2", state("uuuu", suspect="alone"), now_s=10.0)
    assert set(heard.lately(now_s=10.0)) == set()
    heard.heard("linuxha2", state("uuuu"), now_s=11.0)
    heard.stopped("linuxha2")
    assert set(heard.lately(now_s=11.0)) == set()
