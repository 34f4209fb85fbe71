"""What recorders tell, what they and every service are asked for the history, and the answers.

Sans-I/O. ``heartbus.events`` names these too; import them from there. A query changes nothing, so
whoever may watch may ask. Events travel as the payloads that they were published in.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar, Final

RECENT_EVENTS_MAX: Final = 256
"""What every process remembers of its own events, for recorders that missed them."""

ANSWER_BYTES_MAX: Final = 4 * 1024 * 1024
ANSWER_EVENTS_MAX: Final = 5000
IDS_MAX: Final = 20_000
"""Ids in one answer; who wants more asks again."""

ASKED_IDS_MAX: Final = 500
BUCKET_S: Final = 3600.0
"""Recorders compare what they have hour by hour, of the senders' wall clocks."""


@dataclass(frozen=True, slots=True, kw_only=True)
class OperatorCommanded:
    """The sender begins to carry out a command. ``by``: the name that its sender gave itself."""

    kind: ClassVar[str] = "operator.commanded"
    command: str
    arguments: str
    by: str


@dataclass(frozen=True, slots=True, kw_only=True)
class OperatorAnswered:
    """What became of a command; its cause is the event that told of its begin."""

    kind: ClassVar[str] = "operator.answered"
    command: str
    done: bool
    message: str


@dataclass(frozen=True, slots=True, kw_only=True)
class HistoryFailed:
    """The sender cannot write its history down. Everything else goes on; events wait in memory."""

    kind: ClassVar[str] = "history.failed"
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class HistoryRestored:
    """The sender writes its history again; ``lost`` events were more than it could keep."""

    kind: ClassVar[str] = "history.restored"
    lost: int


@dataclass(frozen=True, slots=True, kw_only=True)
class RecorderState:
    """Snapshot of recorder: how much of the history this director has.

    ``digest``: of the ids of all events that are compared with peers. ``since_s``: events before
    this (senders' wall clocks, Unix epoch) are forgotten. ``waiting``: not written yet.
    ``missing``: known to have happened and not found anywhere. ``problem``: an alarm.
    ``stream_problem``: why it does not reach the JetStream that the configuration names.
    """

    kind: ClassVar[str] = "state.recorder"
    events: int
    digest: str
    since_s: float
    size_bytes: int
    waiting: int = 0
    missing: int = 0
    problem: str | None = None
    stream_problem: str | None = None


# --- queries and their answers -------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class AskRecent:
    """To any service: your last events, oldest first."""

    kind: ClassVar[str] = "query.recent"


@dataclass(frozen=True, slots=True, kw_only=True)
class AskEvents:
    """To a recorder: events that match all of what is given.

    Times are wall clocks (Unix epoch), 0: no bound. ``kinds``: such as ``vip.acquired`` or
    ``vip.*``. ``node``: who sent it. ``about``: a word that its content names. ``ids``: these only.
    Of more than ``limit`` the newest count.
    """

    kind: ClassVar[str] = "query.events"
    since_s: float = 0.0
    until_s: float = 0.0
    kinds: tuple[str, ...] = ()
    node: str = ""
    about: str = ""
    ids: tuple[str, ...] = ()
    limit: int = 1000


@dataclass(frozen=True, slots=True, kw_only=True)
class AskBuckets:
    """To a recorder: a digest of the ids of each hour."""

    kind: ClassVar[str] = "query.buckets"


@dataclass(frozen=True, slots=True, kw_only=True)
class AskIds:
    """To a recorder: the ids of one hour that are greater than ``after``, in order."""

    kind: ClassVar[str] = "query.ids"
    bucket: int
    after: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class FoundEvents:
    """Payloads of events in the order of time. ``more``: there were more than fit.

    ``gaps``: ids of those before which the same process published events that are missing here.
    ``problem``: why the answer may lack something.
    """

    kind: ClassVar[str] = "answer.events"
    payloads: tuple[bytes, ...]
    more: bool = False
    gaps: tuple[str, ...] = ()
    problem: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class FoundBuckets:
    """Digests by the number of the hour, as text; earlier than ``since_s`` nothing is known."""

    kind: ClassVar[str] = "answer.buckets"
    since_s: float
    digests: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class FoundIds:
    """Ids of one hour. ``more``: ask again after the last one."""

    kind: ClassVar[str] = "answer.ids"
    ids: tuple[str, ...]
    more: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class NoAnswer:
    """The query cannot be answered now."""

    kind: ClassVar[str] = "answer.none"
    reason: str


Query = AskRecent | AskEvents | AskBuckets | AskIds
Answer = FoundEvents | FoundBuckets | FoundIds | NoAnswer
