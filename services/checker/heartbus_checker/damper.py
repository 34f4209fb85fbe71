"""Decides when results of checks change a verdict: by ``rise`` and ``fall`` in a row.

Sans-I/O.

::

            one pass                     fall failures in a row
    unknown ────────► up ──────────────────────────────────────► down
       │               ▲                  rise passes in a row    │ ▲
       │               └──────────────────────────────────────────┘ │
       └────────────────── fall failures in a row ──────────────────┘

One pass is enough from unknown: a server that answers its first check after our start waits for
nobody. A failure is not: until ``fall`` of them say so, whoever acts on verdicts keeps what is.
"""

from __future__ import annotations

from heartbus.events import Health


class Damper:
    """One real server of one virtual service; ldirectord shared the count among services (L-4).

    ``fall`` is ldirectord's failurecount; both are at least 1.
    """

    __slots__ = ("_fall", "_health", "_opposing", "_rise")

    def __init__(self, *, rise: int, fall: int) -> None:
        if rise < 1 or fall < 1:
            raise ValueError(f"rise {rise} and fall {fall} must be at least 1")
        self._rise = rise
        self._fall = fall
        self._health = Health.UNKNOWN
        self._opposing = 0

    @property
    def health(self) -> Health:
        """The verdict so far."""
        return self._health

    @property
    def opposing(self) -> int:
        """Results in a row that contradict the verdict."""
        return self._opposing

    def probe_finished(self, *, passed: bool) -> Health | None:
        """Count a result; return the new verdict if it changed, else None."""
        if passed == (self._health is Health.UP) and self._health is not Health.UNKNOWN:
            self._opposing = 0
            return None
        if passed and self._health is Health.UNKNOWN:
            return self._become(Health.UP)
        self._opposing += 1
        if self._opposing < (self._rise if passed else self._fall):
            return None
        return self._become(Health.UP if passed else Health.DOWN)

    def _become(self, health: Health) -> Health:
        self._health = health
        self._opposing = 0
        return health
