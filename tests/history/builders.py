"""Events as processes publish them, on a clock of the test."""

from __future__ import annotations

import itertools

from heartbus.events import Event, Message, State
from heartbus.model import (
    TIMER_PROFILES,
    Authentication,
    AuthKey,
    AuthMethod,
    Cluster,
    Director,
    Membership,
)
from heartbus.speaker import Speaker

NOW_S = 1_795_348_800.0

_ids = itertools.count(1)


class Process:
    """One process of one director; its ids are like those of the bus."""

    def __init__(
        self, node: str = "one", service: str = "membership", incarnation: int = 1
    ) -> None:
        self._speaker = Speaker(node=node, service=service, incarnation=incarnation)

    def say(
        self, body: Event | State, *, at_s: float = NOW_S, cause: Message | None = None
    ) -> Message:
        return self._speaker.wrap(
            body,
            message_id=f"{next(_ids):032x}",
            cause=None if cause is None else cause.envelope.id,
            valid_for_s=10.0,
            time_s=at_s,
            uptime_s=at_s - NOW_S + 1000.0,
        )


def cluster() -> Cluster:
    """Two directors that hold nothing."""
    return Cluster(
        directors=(Director(name="one"), Director(name="two")),
        membership=Membership(
            timers=TIMER_PROFILES["lan"],
            links=(),
            authentication=Authentication(
                signing_key=1,
                keys=(AuthKey(id=1, method=AuthMethod.SHA256, secret=b"a-secret-of-sixteen"),),
            ),
        ),
    )
