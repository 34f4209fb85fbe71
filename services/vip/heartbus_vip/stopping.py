"""Decides what follows when the stop of a resource fails: ask for its state, try again, give up.

Sans-I/O. Heartbeat tried ten times and rebooted the machine; here the last word is an alarm, and a
fence command if that is wanted::

    stop ──failed──► status ──it runs, or may──► wait ──► stop … until tries or time are over
      │                │
      └──── done ◄─────┘ it is stopped, whatever stop said
"""

from __future__ import annotations

import enum
from dataclasses import dataclass

from heartbus.model import ResourceSettings
from heartbus_vip.resource import Said, ScriptEnd, ScriptResult, Verb


class Next(enum.Enum):
    """What to do after an answer."""

    DONE = "done"
    ASK = "ask for its state"
    WAIT = "wait, then stop it again"
    GIVE_UP = "give up"


@dataclass(slots=True)
class Stopping:
    """The stop of one script. ``may_run``: it was started here, as far as we know.

    ``problem``: why the last try failed; ``again_s``: when to try again.
    """

    began_s: float
    may_run: bool
    tries: int = 0
    problem: str | None = None
    again_s: float | None = None

    def answered(
        self,
        verb: Verb,
        result: ScriptResult,
        *,
        settings: ResourceSettings,
        script_timeout_s: float,
        now_s: float,
    ) -> Next:
        """Take in an answer to ``stop``, or to the ``status`` after it."""
        if verb is Verb.STOP:
            self.problem = result.problem
            return Next.DONE if result.problem is None else Next.ASK
        if result.said is Said.STOPPED:
            return Next.DONE
        if result.end is ScriptEnd.EXITED and result.said is Said.UNCLEAR and not self.may_run:
            return Next.DONE  # never started here; many scripts fail to stop what does not run
        self.tries += 1
        # One that hangs is tried a second time, and no more (STOP_TIMEOUTS_MAX).
        ends_s = self.began_s + 1.5 * script_timeout_s
        if self.tries > settings.stop_retries or now_s >= ends_s:
            return Next.GIVE_UP
        self.again_s = now_s + settings.stop_retry_s
        return Next.WAIT
