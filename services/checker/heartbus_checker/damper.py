"""Decides when results of checks change a verdict: by ``rise`` and ``fall`` in a row.

Sans-I/O.

::

            one pass                     fall failures in a row
    unknown ────────► up ──────────────────────────────────────► down
       │               ▲                  rise passes in a row    │ ▲
       │               └──────────────────────────────────────────┘ │
       └────────────────── fall failures in a row ──────────────────┘

One pass is enough from unknown: a server that answers its first check after our start waits for
nobody, unless it is remembered that it was down before: then ``rise`` passes are needed, as they
would have been without our restart. A failure is not: until ``fall`` of them say so, whoever acts
on verdicts keeps what is. What is remembered is never a verdict: nobody has looked yet.
"""

from __future__ import annotations

from heartbus.events import Health


class Damper:
    """One real server of one virtual service; ldirectord shared the count among services (L-4).

    ``fall`` is ldirectord's failurecount; both are at least 1. ``remembered``: the verdict before
    our start.
    """

    __slots__ = ("_fall", "_health", "_last_passed", "_opposing", "_remembered", "_rise")

    def __init__(self, *, rise: int, fall: int, remembered: Health = Health.UNKNOWN) -> None:
        if rise < 1 or fall < 1:
            raise ValueError(f"rise {rise} and fall {fall} must be at least 1")
        self._rise = rise
        self._fall = fall
        self._remembered = remembered
        self._health = Health.UNKNOWN
        self._opposing = 0
        self._last_passed: bool | None = None

    @property
    def was_down(self) -> bool:
        """Whether it was down before it came up, if only as it is remembered."""
        return self._remembered is Health.DOWN

    @property
    def health(self) -> Health:
        """The verdict so far."""
        return self._health

    @property
    def opposing(self) -> int:
        """Results in a row that contradict the verdict."""
        return self._opposing

    @property
    def undecided(self) -> bool:
        """Whether results contradict the verdict, or there is none yet."""
        return self._opposing > 0 or self._health is Health.UNKNOWN

    def probe_finished(self, *, passed: bool) -> Health | None:
        """Count a result; return the new verdict if it changed, else None."""
        if passed == (self._health is Health.UP) and self._health is not Health.UNKNOWN:
            self._opposing = 0
            return None
        if self._health is Health.UNKNOWN:
            if passed and self._remembered is not Health.DOWN:
                return self._become(Health.UP)
            if passed is not self._last_passed:
                self._opposing = 0  # only results in a row count, and both kinds do
            self._last_passed = passed
        self._opposing += 1
        if self._opposing < (self._rise if passed else self._fall):
            return None
        return self._become(Health.UP if passed else Health.DOWN)

    def taken_out(self) -> None:
        """Be down at once, whatever the count: an operator says so."""
        self._become(Health.DOWN)

    def _become(self, health: Health) -> Health:
        self._health = health
        self._opposing = 0
        return health
