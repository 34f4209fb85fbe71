"""The keys of ``[vip.conflicts]`` of the TOML form; part of the table of ``keys.py``.

Sans-I/O.
"""

from __future__ import annotations

from typing import Final

from heartbus.config.keys import Form, Key
from heartbus.model import OnConflict

CONFLICT_KEYS: Final = (
    Key(
        path="vip.conflicts",
        form=Form.TABLE,
        text="What follows when another machine answers for a virtual IP.",
    ),
    Key(
        path="vip.conflicts.policy",
        form=Form.TEXT,
        text="`defend` and keep the address, `yield` the group, or `ignore`: do not look.",
        default="defend",
        words=tuple(OnConflict),
    ),
    Key(
        path="vip.conflicts.interval",
        form=Form.TIME,
        text="How often every director asks the network who has an address; 0: it listens only.",
        default="30 s",
        zero=True,
    ),
)
