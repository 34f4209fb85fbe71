"""Reads [vip.resources] of the TOML form: watching and stopping of scripts, hooks and trackers.

Sans-I/O.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from heartbus.config.toml_table import Table
from heartbus.config.values import absolute_path, bad, interface
from heartbus.model import Hook, ResourceSettings, StopFailure, Tracker, TrackKind
from heartbus.model_resources import SCORE_MAX

RESULTS_MAX: Final = 1000
RETRIES_MAX: Final = 1000
WEIGHT_MAX: Final = 254
"""As in keepalived."""
PROCESS_CHARS_MAX: Final = 15
"""What the kernel keeps of the name of a process (TASK_COMM_LEN)."""


def resource_settings(table: Table) -> ResourceSettings:
    """Return what is written, with the defaults of what is not."""
    default = ResourceSettings()
    interval_s = table.seconds("monitor_interval", zero=True)
    retries = table.integer("stop_retries", 0, RETRIES_MAX)
    settings = ResourceSettings(
        monitor_interval_s=default.monitor_interval_s if interval_s is None else interval_s,
        monitor_fall=table.integer("monitor_fall", 1, RESULTS_MAX) or default.monitor_fall,
        stop_retries=default.stop_retries if retries is None else retries,
        stop_retry_s=table.seconds("stop_retry") or default.stop_retry_s,
        on_stop_failure=table.choice("on_stop_failure", StopFailure) or default.on_stop_failure,
        hooks=tuple(filter(None, map(_hook, table.tables("hooks")))),
        trackers=tuple(filter(None, map(_tracker, table.tables("trackers")))),
    )
    table.close()
    return settings


def _hook(table: Table) -> Hook | None:
    command = table.required("command", table.text("command", absolute_path))
    timeout_s = table.seconds("timeout") or Hook(command="").timeout_s
    groups = table.texts("groups", str)
    table.close()
    if command is None:
        return None
    return Hook(command=command, timeout_s=timeout_s, groups=tuple(groups))


def _tracker(table: Table) -> Tracker | None:
    kind = table.required("kind", table.choice("kind", TrackKind))
    target = table.required("target", table.text("target", TARGETS[kind] if kind else str))
    name = table.text("name", str)
    default = Tracker(name="", kind=TrackKind.SCRIPT, target="")
    weight = table.integer("weight", -WEIGHT_MAX, WEIGHT_MAX)
    tracker = Tracker(
        name=name or f"{kind}:{target}",
        kind=kind or TrackKind.SCRIPT,
        target=target or "",
        weight=weight or 0,
        interval_s=table.seconds("interval") or default.interval_s,
        timeout_s=table.seconds("timeout") or default.timeout_s,
        rise=table.integer("rise", 1, RESULTS_MAX) or default.rise,
        fall=table.integer("fall", 1, RESULTS_MAX) or default.fall,
        quorum=table.integer("quorum", 1, SCORE_MAX) or default.quorum,
        groups=tuple(table.texts("groups", str)),
    )
    table.close()
    return tracker if kind is not None and target is not None else None


def _process(text: str) -> str:
    if 0 < len(text) <= PROCESS_CHARS_MAX and text.isprintable() and "/" not in text:
        return text
    raise bad(text, f"the name of a process as ps -o comm shows it, {PROCESS_CHARS_MAX} characters")


TARGETS: Final[dict[TrackKind, Callable[[str], str]]] = {
    TrackKind.INTERFACE: interface,
    TrackKind.FILE: absolute_path,
    TrackKind.PROCESS: _process,
    TrackKind.SCRIPT: absolute_path,
}
