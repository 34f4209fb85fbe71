"""How much of what happened a director remembers.

Sans-I/O.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

DAY_S: Final = 86_400.0
DAYS_MAX: Final = 3_660
MEGABYTES_MIN: Final = 4
MEGABYTES_MAX: Final = 100_000
STREAM_SUBJECT: Final = "heartbus"


@dataclass(frozen=True, slots=True, kw_only=True)
class HistorySettings:
    """Whichever bound is reached first counts; the oldest events are forgotten then.

    An event takes about 0.6 kB in the file. ``stream``: URL of a nats-server with JetStream, which
    events are sent to as well, under ``stream_subject``; ``stream_credentials``: a file of it.
    """

    days: int = 400
    megabytes: int = 128
    stream: str | None = None
    stream_subject: str = STREAM_SUBJECT
    stream_credentials: str | None = None

    @property
    def age_s(self) -> float:
        """After which events are forgotten."""
        return self.days * DAY_S

    @property
    def size_max_bytes(self) -> int:
        """Of the file, above which the oldest events are forgotten."""
        return self.megabytes * 1_000_000
