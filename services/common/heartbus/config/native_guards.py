"""Reads from the TOML form what stands beside membership: fence commands and clients.

Sans-I/O: secret files are read by the caller's ``Secrets``.
"""

from __future__ import annotations

import re
from typing import Final, Protocol

from heartbus.config.toml_table import Table
from heartbus.config.values import absolute_path, bad, node_name
from heartbus.guards import FENCE_TIMEOUT_S, Fence, FenceAction, FenceOption, is_secret_option
from heartbus.model import SupervisedClient

FENCE_TIMEOUT_MAX_S: Final = 600.0
OPTIONS_MAX: Final = 64
OPTION_CHARS_MAX: Final = 4096

_OPTION: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,63}")
_FILE: Final = "_file"


class Secrets(Protocol):
    """Reads secrets, and warns of those that others may read."""

    def from_file(self, table: Table, key: str, name: str) -> bytes:
        """Return the content of a file beside the configuration; errors go to the report."""
        ...

    def written_here(self, table: Table, key: str) -> None:
        """Warn if the configuration itself is readable by others."""
        ...


def fences(tables: list[Table], secrets: Secrets) -> tuple[Fence, ...]:
    """Return what ``[[membership.fences]]`` says; what was refused is left out."""
    return tuple(filter(None, (_fence(table, secrets) for table in tables)))


def clients(tables: list[Table]) -> tuple[SupervisedClient, ...]:
    """Return what ``[[membership.clients]]`` says; what was refused is left out."""
    return tuple(filter(None, map(_client, tables)))


def _client(table: Table) -> SupervisedClient | None:
    user = table.required("user", table.text("user", _user))
    command = table.required("command", table.text("command", absolute_path))
    table.close()
    return SupervisedClient(user=user, command=command) if user and command else None


def _user(text: str) -> str:
    if text and text.isprintable() and not set(text) & set(" :/"):
        return text
    raise bad(text, "the name of a user, such as hacluster")


def _fence(table: Table, secrets: Secrets) -> Fence | None:
    director = table.required("director", table.text("director", node_name))
    command = table.required("command", table.text("command", absolute_path))
    action = table.choice("action", FenceAction) or FenceAction.OFF
    timeout_s = table.seconds("timeout") or FENCE_TIMEOUT_S
    if timeout_s > FENCE_TIMEOUT_MAX_S:
        table.refuse("timeout", timeout_s, f"{FENCE_TIMEOUT_MAX_S:g} s at most")
    options = _options(table.table("options"), secrets)
    table.close()
    if director is None or command is None:
        return None
    return Fence(
        director=director, command=command, action=action, timeout_s=timeout_s, options=options
    )


def _options(table: Table, secrets: Secrets) -> tuple[FenceOption, ...]:
    """Return the lines for the command; ``password_file`` becomes ``password``."""
    options: list[FenceOption] = []
    if len(table.keys) > OPTIONS_MAX:
        table.report.error(table.at(), f"more than {OPTIONS_MAX} options; allowed is {OPTIONS_MAX}")
        return ()
    for key in table.keys:
        name = key.removesuffix(_FILE)
        from_file = name != key and is_secret_option(name)
        if not _OPTION.fullmatch(key):
            table.report.error(
                table.at(key),
                "no name for an option; allowed are letters, digits, - and _, as in the manual"
                " page of the command",
            )
            continue
        if key in ("action", "option"):
            table.report.error(
                table.at(key),
                'not allowed among the options; allowed is action = "off" or "reboot" beside them',
            )
            continue
        if from_file and name in table.keys:
            table.report.error(table.at(key), f"given beside {name}; allowed is one")
            continue
        value = _value(table, key, is_secret_option(key) and not from_file)
        if value is None:
            continue
        if from_file:
            value = secrets.from_file(table, key, value).decode("utf-8", "surrogateescape")
        elif is_secret_option(key):
            secrets.written_here(table, key)
        if "\n" in value or "\0" in value or len(value) > OPTION_CHARS_MAX:
            table.report.error(
                table.at(key), f"allowed is one line of at most {OPTION_CHARS_MAX} characters"
            )
            continue
        options.append(FenceOption(name=name if from_file else key, value=value))
    return tuple(options)


def _value(table: Table, key: str, secret: bool) -> str | None:
    value = table.peek(key)
    if isinstance(value, bool):
        return "1" if value else "0"
    if isinstance(value, str) or (isinstance(value, int) and abs(value) < 1 << 63):
        return str(value)
    if secret:
        table.report.error(table.at(key), 'not text; allowed is text in quotes: "text"')
    else:
        table.refuse(key, value, "text, a whole number, true or false")
    return None
