"""The rows about quorum, start and stop of [[virtual_services]]; see ``keys``.

Sans-I/O.
"""

from __future__ import annotations

from typing import Final

from heartbus.config.keys import Form, Key
from heartbus.model_policy import QUORUM_MAX, StartPolicy

_V: Final = "virtual_services"

POLICY_KEYS: Final = (
    Key(
        path=f"{_V}.quorum",
        form=Form.INTEGER,
        text="Weight of its servers that are up below which it is lost, and the fallback answers.",
        default="1",
        low=1,
        high=QUORUM_MAX,
    ),
    Key(
        path=f"{_V}.hysteresis",
        form=Form.INTEGER,
        text="It is gained at quorum + this and lost below quorum - this, or at 0.",
        default="0",
        low=0,
        high=QUORUM_MAX,
    ),
    Key(
        path=f"{_V}.start",
        form=Form.TEXT,
        text="What a server gets before its first check: keep, as in the kernel's table and none"
        " where it is not there; down, no traffic; up, traffic where the service was not there.",
        default="keep",
        old="ldirectord.cf readdquiescent",
        words=tuple(StartPolicy),
    ),
    Key(
        path=f"{_V}.cleanstop",
        form=Form.BOOLEAN,
        text="A stop of heartbus-ipvs-agent, its restart too, takes the service out of the table.",
        default="false",
        old="ldirectord.cf cleanstop",
    ),
    Key(
        path=f"{_V}.fallback_command",
        form=Form.WORDS,
        text="Run with start when the service is lost and stop when it is gained, then its address"
        " and port, or mark, and its protocol.",
        default="none",
        old="ldirectord.cf fallbackcommand",
    ),
    Key(
        path=f"{_V}.quorum_up",
        form=Form.WORDS,
        text="Run when it is gained.",
        default="none",
    ),
    Key(
        path=f"{_V}.quorum_down",
        form=Form.WORDS,
        text="Run when it is lost, and by a stop with cleanstop.",
        default="none",
    ),
)
