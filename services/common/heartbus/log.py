"""Structured logs: JSON lines when nobody watches, readable ones on a terminal.

Every line carries node and service. The one global set-up call of the project is here.
"""

from __future__ import annotations

import logging
import os
import sys
from pathlib import Path
from typing import Final, TextIO, cast

import structlog

LEVELS: Final = ("debug", "info", "warning", "error")


class RateLimit:
    """Lets one line per key and period pass; tells how many were held back since.

    ``now_s`` is any monotonic clock. Keys are few and fixed (names of a fault, not its content).
    """

    def __init__(self, *, period_s: float) -> None:
        self._period_s = period_s
        self._last_s: dict[str, float] = {}
        self._held_back: dict[str, int] = {}

    def passes(self, key: str, *, now_s: float) -> int | None:
        """Return the number of lines held back since the last one, or None to hold this one."""
        last_s = self._last_s.get(key)
        if last_s is not None and now_s - last_s < self._period_s:
            self._held_back[key] = self._held_back.get(key, 0) + 1
            return None
        self._last_s[key] = now_s
        return self._held_back.pop(key, 0)


def configure(*, level: str = "info", stream: TextIO | None = None) -> None:
    """Set up structlog for this process; JSON unless ``stream`` (stderr) is a terminal."""
    out = stream or sys.stderr
    if out is None:  # started with standard error closed: nobody wants to read us
        out = Path(os.devnull).open("w")  # noqa: SIM115 (it serves as long as the process)
    renderer: structlog.typing.Processor
    if out.isatty():
        renderer = structlog.dev.ConsoleRenderer(pad_event_to=0)
    else:
        renderer = _for_journal if _is_journal(out) else structlog.processors.JSONRenderer()
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.format_exc_info,
            renderer,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(
            logging.getLevelNamesMapping()[level.upper()]
        ),
        # One write per line: the processes of a director share one stderr.
        logger_factory=structlog.WriteLoggerFactory(out),
        cache_logger_on_first_use=False,
    )


PRIORITIES: Final = {"debug": 7, "info": 6, "warning": 4, "error": 3, "critical": 2}
"""Of syslog(3), as ``journalctl --priority`` knows them."""

_json: Final = structlog.processors.JSONRenderer()


def _for_journal(
    of: structlog.typing.WrappedLogger, name: str, fields: structlog.typing.EventDict
) -> str:
    """Return a line that begins with its priority, as sd-daemon(3) wants it."""
    return f"<{PRIORITIES.get(fields.get('level', ''), 6)}>{_json(of, name, fields)!s}"


def _is_journal(out: TextIO) -> bool:
    """Return whether what is written there goes to journald: it says by which device and inode."""
    try:
        written = os.fstat(out.fileno())
    except (OSError, ValueError):  # a stream of a test has no file
        return False
    return os.environ.get("JOURNAL_STREAM") == f"{written.st_dev}:{written.st_ino}"


def logger(**fields: object) -> structlog.typing.FilteringBoundLogger:
    """Return a logger whose lines carry ``fields``."""
    return cast("structlog.typing.FilteringBoundLogger", structlog.get_logger(**fields))
