"""Reads the statements of a keepalived ``virtual_server`` about quorum, start and stop.

Sans-I/O.
"""

from __future__ import annotations

import shlex
from dataclasses import replace
from typing import Final

from heartbus.config.keepalived_blocks import Block
from heartbus.config.native_policy import command_words
from heartbus.config.report import Report
from heartbus.config.values import BadValueError, integer
from heartbus.model_policy import QUORUM_MAX, ServicePolicy

POLICY_STATEMENTS: Final = frozenset(
    ("alpha", "omega", "quorum", "hysteresis", "quorum_up", "quorum_down")
)


def policy_statement(policy: ServicePolicy, line: Block, report: Report) -> ServicePolicy:
    """Return the policy with what one of POLICY_STATEMENTS says."""
    text = line.values[0] if line.values else ""
    try:
        match line.name:
            case "alpha":
                report.note(line.place, "as it always is here: no traffic before a good check")
            case "omega":
                report.note(line.place, "taken as cleanstop: a stop runs quorum_down")
                return replace(policy, cleanstop=True)
            case "quorum":
                return replace(policy, quorum=integer(text, 1, QUORUM_MAX))
            case "hysteresis":
                return replace(policy, hysteresis=integer(text, 0, QUORUM_MAX))
            case "quorum_up":
                return replace(policy, quorum_up=_command(line))
            case "quorum_down":
                return replace(policy, quorum_down=_command(line))
    except BadValueError as error:
        report.error(line.place, str(error))
    return policy


def _command(line: Block) -> tuple[str, ...]:
    """Return program and arguments; keepalived has them in quotes, or in braces of quotes."""
    try:
        return command_words(shlex.split(" ".join(line.values)))
    except ValueError as error:
        if isinstance(error, BadValueError):
            raise
        raise BadValueError(f"{error}; allowed is a program and its arguments") from None
