"""Keeps what must outlive this process: epochs, votes, standby, up to where peers were heard.

Shell: joins the state file with what the cores know. A full disk is told and tried again; nothing
on the failover path waits for it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from heartbus_membership.claims import PersistEpoch, PersistStandby, PersistVote, Vote
from heartbus_membership.leases import StateFile, VoteFile
from heartbus_membership.replay import ReplayGuard, reserve_beats

MARKS_PERIOD_S: Final = 0.5

Say = Callable[[str, str, str], None]
"""Tell of a problem at most now and then: event, what it is about, the error."""


class Keeping:
    """What one process of membership writes down."""

    def __init__(
        self,
        state_file: StateFile,
        vote_file: VoteFile,
        *,
        replays: ReplayGuard,
        keepalive_s: float,
        say: Say,
    ) -> None:
        self._state_file = state_file
        self._vote_file = vote_file
        self._replays = replays
        self._say = say
        self._reserve = reserve_beats(keepalive_s)
        self._marks_written_s = float("-inf")
        self._votes: dict[str, Vote] = {}

    def epoch(self, effect: PersistEpoch) -> None:
        """Write a higher epoch down before it is claimed."""
        try:
            self._state_file.remember_epoch(effect.group, effect.epoch)
        except OSError as error:
            # Worse than losing the epoch would be to let nobody take the group.
            self._say("epoch.unwritten", "epoch", str(error))

    def standby(self, effect: PersistStandby) -> None:
        """Write down what an operator moved away: it is not to come back when we restart."""
        try:
            self._state_file.remember_standby(effect.groups)
        except OSError as error:
            self._say("standby.unwritten", "standby", str(error))

    def vote(self, effect: PersistVote) -> None:
        """Note a vote, to be written before a heartbeat says it."""
        self._votes[effect.group] = effect.vote

    def write_votes(self) -> frozenset[str]:
        """Write the new votes; return the groups of those that cannot be, and must not be said."""
        for group, vote in list(self._votes.items()):
            try:
                self._vote_file.remember(group, vote)
                del self._votes[group]
            except OSError as error:
                self._say("vote.unwritten", "vote", str(error))
        return frozenset(self._votes)

    def write_marks(self, *, now_s: float) -> None:
        """Write up to where each peer was heard, when what is reserved for it is half used up."""
        if now_s - self._marks_written_s < MARKS_PERIOD_S:
            return
        if not self._replays.unwritten(reserve=self._reserve):
            return
        self._marks_written_s = now_s
        marks = self._replays.marks(reserve=self._reserve)
        try:
            self._state_file.remember_heard(marks)
            self._replays.written(marks)
        except OSError as error:
            self._say("marks.unwritten", "marks", str(error))
