"""The keys of ``[vip.resources]`` of the TOML form; part of the table of ``keys.py``.

Sans-I/O.
"""

from __future__ import annotations

from typing import Final

from heartbus.config.keys import Form, Key
from heartbus.model import StopFailure, TrackKind

_S: Final = "vip.resources"

RESOURCE_KEYS: Final = (
    Key(
        path="vip.resources",
        form=Form.TABLE,
        text="How scripts of held groups are watched and stopped.",
    ),
    Key(
        path=f"{_S}.monitor_interval",
        form=Form.TIME,
        text="How often each script of a held group is asked for its state; 0: never.",
        default="10 s",
        zero=True,
    ),
    Key(
        path=f"{_S}.monitor_fall",
        form=Form.INTEGER,
        text="So many answers in a row that it does not run fail the group here.",
        default="2",
        low=1,
        high=1000,
    ),
    Key(
        path=f"{_S}.stop_retries",
        form=Form.INTEGER,
        text="How often a stop that failed is tried again.",
        default="10",
        low=0,
        high=1000,
    ),
    Key(path=f"{_S}.stop_retry", form=Form.TIME, text="Between two of these tries.", default="1 s"),
    Key(
        path=f"{_S}.on_stop_failure",
        form=Form.TEXT,
        text="After the last try: `tell`, or `fence` this director by its own fence commands.",
        default="tell",
        words=tuple(StopFailure),
    ),
    Key(
        path=f"{_S}.hooks",
        form=Form.TABLES,
        text="Programs that are told the state of groups.",
        default="none",
    ),
    Key(
        path=f"{_S}.hooks.command",
        form=Form.TEXT,
        text="Called as `command STATE GROUP EPOCH`: acquired, released or failed.",
        default=None,
    ),
    Key(
        path=f"{_S}.hooks.timeout",
        form=Form.TIME,
        text="After that a call is ended.",
        default="30 s",
    ),
    Key(
        path=f"{_S}.hooks.groups",
        form=Form.TEXTS,
        text="Which groups it is told of.",
        default="all",
    ),
    Key(
        path=f"{_S}.trackers",
        form=Form.TABLES,
        text="What a director must have to hold groups, or is the better holder for having.",
        default="none",
    ),
    Key(
        path=f"{_S}.trackers.kind",
        form=Form.TEXT,
        text="What is looked at.",
        default=None,
        words=tuple(TrackKind),
    ),
    Key(
        path=f"{_S}.trackers.target",
        form=Form.TEXT,
        text="Name of the interface, path of the file, name of the process, or path of the script.",
        default=None,
    ),
    Key(
        path=f"{_S}.trackers.name",
        form=Form.TEXT,
        text="In status and events.",
        default="kind:target",
    ),
    Key(
        path=f"{_S}.trackers.weight",
        form=Form.INTEGER,
        text="0: while it is down this director is no candidate. Above 0: added to its score while"
        " up; below 0: while down. The director with the higher score holds the group. The number"
        " in a file is multiplied by it; with 0 a number other than 0 is down.",
        default="0",
        low=-254,
        high=254,
    ),
    Key(path=f"{_S}.trackers.interval", form=Form.TIME, text="Between two looks.", default="1 s"),
    Key(
        path=f"{_S}.trackers.timeout",
        form=Form.TIME,
        text="After that a script is ended: down.",
        default="5 s",
    ),
    Key(
        path=f"{_S}.trackers.rise",
        form=Form.INTEGER,
        text="So many good looks in a row make it up.",
        default="1",
        low=1,
        high=1000,
    ),
    Key(
        path=f"{_S}.trackers.fall",
        form=Form.INTEGER,
        text="So many bad looks in a row make it down.",
        default="1",
        low=1,
        high=1000,
    ),
    Key(
        path=f"{_S}.trackers.quorum",
        form=Form.INTEGER,
        text="So many processes of that name must run.",
        default="1",
        low=1,
        high=30000,
    ),
    Key(
        path=f"{_S}.trackers.groups",
        form=Form.TEXTS,
        text="Which groups it counts for.",
        default="all",
    ),
)
