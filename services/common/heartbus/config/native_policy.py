"""Reads what a [[virtual_services]] table says of its quorum, its start and its stop.

Sans-I/O.
"""

from __future__ import annotations

import shlex
from typing import Final

from heartbus.config.report import shown
from heartbus.config.toml_table import Table
from heartbus.config.values import BadValueError
from heartbus.model_policy import (
    COMMAND_WORDS_MAX,
    DEFAULT_POLICY,
    QUORUM_MAX,
    ServicePolicy,
    StartPolicy,
)

_SHELL_SIGNS: Final = frozenset("|&;<>()$`\\\"'*?[]#~={}!")
"""Characters that mean something to a shell."""


def policy(table: Table) -> ServicePolicy:
    """Return what the keys of the service's own table say."""
    quorum = table.integer("quorum", 1, QUORUM_MAX)
    return ServicePolicy(
        quorum=DEFAULT_POLICY.quorum if quorum is None else quorum,
        hysteresis=table.integer("hysteresis", 0, QUORUM_MAX) or 0,
        start=table.choice("start", StartPolicy) or StartPolicy.KEEP,
        cleanstop=bool(table.boolean("cleanstop")),
        fallback_command=_command(table, "fallback_command"),
        quorum_up=_command(table, "quorum_up"),
        quorum_down=_command(table, "quorum_down"),
    )


def _command(table: Table, key: str) -> tuple[str, ...]:
    if isinstance(table.peek(key), str):
        return table.text(key, _split) or ()
    words = table.texts(key, str)
    try:
        return command_words(words) if table.has(key) else ()
    except BadValueError as error:
        table.report.error(table.at(key), str(error))
        return ()


def _split(text: str) -> tuple[str, ...]:
    try:
        return command_words(shlex.split(text))
    except ValueError as error:
        if isinstance(error, BadValueError):
            raise
        raise BadValueError(f"{error}; allowed is a program and its arguments") from None


def command_words(words: list[str]) -> tuple[str, ...]:
    """Return program and arguments.

    Raises:
        BadValueError: no program, not by its whole path, or too many words.

    """
    if not words:
        raise BadValueError("no program; allowed is a path such as /usr/local/bin/tell")
    if len(words) > COMMAND_WORDS_MAX:
        raise BadValueError(f"{len(words)} words; allowed is at most {COMMAND_WORDS_MAX}")
    if not words[0].startswith("/"):
        raise BadValueError(f"{shown(words[0])} is not allowed; allowed is a program's whole path")
    return tuple(words)


def shell_command(text: str) -> tuple[str, ...]:
    """Return a command line as ldirectord has it: run by a shell, more arguments at its end.

    A plain one is run without a shell.

    Raises:
        BadValueError: no program.

    """
    words = text.split()
    if not words:
        raise BadValueError("no program; allowed is a command such as /usr/local/bin/tell")
    if words[0].startswith("/") and not _SHELL_SIGNS.intersection(text):
        return command_words(words)
    return ("/bin/sh", "-c", f'{text} "$@"', "fallbackcommand")
