"""The [history] table of the TOML form: its rows in the table of every key, and its reader.

Sans-I/O.
"""

from __future__ import annotations

import re
from typing import Final
from urllib.parse import urlsplit

from heartbus.config.keys import Form, Key
from heartbus.config.toml_table import Table
from heartbus.config.values import bad
from heartbus.model_history import (
    DAYS_MAX,
    MEGABYTES_MAX,
    MEGABYTES_MIN,
    STREAM_SUBJECT,
    HistorySettings,
)

_SUBJECT: Final = re.compile(r"[A-Za-z0-9_-]{1,32}(\.[A-Za-z0-9_-]{1,32}){0,7}")

HISTORY_KEYS: Final = (
    Key(
        path="history",
        form=Form.TABLE,
        text="What `heartbus history` and `heartbus why` remember.",
        default="(see its keys)",
    ),
    Key(
        path="history.days",
        form=Form.INTEGER,
        text="Events are forgotten after so long.",
        default="400",
        low=1,
        high=DAYS_MAX,
    ),
    Key(
        path="history.megabytes",
        form=Form.INTEGER,
        text="Of the file; the oldest events are forgotten before it grows beyond.",
        default="128",
        low=MEGABYTES_MIN,
        high=MEGABYTES_MAX,
    ),
    Key(
        path="history.stream",
        form=Form.TEXT,
        text="`nats://HOST:PORT` of a nats-server with JetStream: events go there as well.",
        default="none",
    ),
    Key(
        path="history.stream_subject",
        form=Form.TEXT,
        text="They are sent as `SUBJECT.vip.acquired`, …; a stream must take `SUBJECT.>`.",
        default=STREAM_SUBJECT,
    ),
    Key(
        path="history.stream_credentials",
        form=Form.TEXT,
        text="Credentials file of that server, mode 600, readable to the recorder.",
        default="none",
    ),
)


def _url(text: str) -> str:
    try:
        parts = urlsplit(text)
        good = parts.scheme in ("nats", "tls") and bool(parts.hostname) and not parts.path
        good = good and parts.port != 0 and not parts.password
    except ValueError:
        good = False
    if not good:
        raise bad(text, "nats://HOST:PORT or tls://HOST:PORT, without a password")
    return text


def _subject(text: str) -> str:
    if not _SUBJECT.fullmatch(text):
        raise bad(text, "words of letters, digits, '-' and '_' with dots between them")
    return text


def _path(text: str) -> str:
    if not text.startswith("/"):
        raise bad(text, "a path that begins with /")
    return text


def read_history(table: Table) -> HistorySettings:
    """Return what [history] says; what is wrong is told to the report."""
    default = HistorySettings()
    settings = HistorySettings(
        days=table.integer("days", 1, DAYS_MAX) or default.days,
        megabytes=table.integer("megabytes", MEGABYTES_MIN, MEGABYTES_MAX) or default.megabytes,
        stream=table.text("stream", _url),
        stream_subject=table.text("stream_subject", _subject) or default.stream_subject,
        stream_credentials=table.text("stream_credentials", _path),
    )
    table.close()
    return settings
