"""When our own view of the real servers is to be doubted."""

from __future__ import annotations

import pytest

from heartbus.events import CheckerState, Health, Verdict
from heartbus_checker.vantage import FRESH_S, Vantage

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
        ("dddd", ["uu??"], False),
        ("dddd", ["uuuu", "dddd"], False),
        ("dddd", ["uuuu", "????"], True),
        ("????", ["uuuu"], False),
    ],
)
def test_only_one_who_sees_most_of_the_world_down_alone_is_suspect(
    own: str, peers: list[str], suspect: bool
) -> None:
    vantage = Vantage()
    for number, healths in enumerate(peers, 2):
        vantage.peer_heard(f"linuxha{number}", state(healths), now_s=0.0)
    why = vantage.suspicion(view(own), now_s=1.0)
    assert (why is not None) is suspect, why


def test_a_peer_that_is_silent_or_suspect_itself_does_not_count() -> None:
    vantage = Vantage()
    vantage.peer_heard("linuxha2", state("uuuu"), now_s=0.0)
    assert vantage.suspicion(view("dddd"), now_s=FRESH_S) is not None
    assert vantage.suspicion(view("dddd"), now_s=FRESH_S + 0.1) is None
    vantage.peer_heard("linuxha2", state("uuuu"), now_s=10.0)
    vantage.peer_heard("linuxha2", state("uuuu", suspect="alone"), now_s=10.0)
    assert vantage.suspicion(view("dddd"), now_s=10.0) is None
