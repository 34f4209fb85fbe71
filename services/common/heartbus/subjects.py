"""Event kind, snapshot and command to NATS subject and back; no other file spells a subject.

Sans-I/O. An event is published on its kind (``realserver.down``), who sent it is in the payload.
Snapshots and commands carry the node, because a request without it may be answered by the wrong
host. Node names are host names: their dots would split a subject into tokens, so a dot becomes
an underscore, which no host name contains (RFC 1123 section 2.1).
"""

from __future__ import annotations

import re
from typing import Final

ALL_STATES: Final = "state.>"

_NODE = re.compile(r"[A-Za-z0-9]([A-Za-z0-9.-]{0,251}[A-Za-z0-9])?")
_WORD = re.compile(r"[a-z][a-z0-9-]{0,31}")


def node_token(node: str) -> str:
    """Return the subject token of a node name.

    Raises:
        ValueError: the name is not a host name.

    """
    if not _NODE.fullmatch(node) or ".." in node:
        raise ValueError(f"{node!r} is not a host name: letters, digits, '-' and '.' are allowed")
    return node.replace(".", "_")


def node_from_token(token: str) -> str:
    """Return the node name of a subject token."""
    return token.replace("_", ".")


def state(node: str, service: str) -> str:
    """``state.<node>.<service>``: snapshots of one service on one director."""
    return f"state.{node_token(node)}.{_word(service)}"


def states_of_node(node: str) -> str:
    """Return the wildcard for the snapshots of all services of one director."""
    return f"state.{node_token(node)}.*"


def states_of_service(service: str) -> str:
    """Return the wildcard for the snapshots of one service on all directors."""
    return f"state.*.{_word(service)}"


def command(node: str, service: str, verb: str) -> str:
    """``command.<node>.<service>.<verb>``: a request to one service on one director."""
    return f"command.{node_token(node)}.{_word(service)}.{_word(verb)}"


def query(node: str, service: str, verb: str) -> str:
    """``query.<node>.<service>.<verb>``: a question to one service on one director.

    Apart from commands, so that whoever may watch may ask, and change nothing.
    """
    return f"query.{node_token(node)}.{_word(service)}.{_word(verb)}"


def echo(node: str, service: str) -> str:
    """``local.<node>.<service>.echo``: a client's own beat, which proves that it still hears.

    Raises:
        ValueError: node or service cannot be a subject token.

    """
    return f"local.{node_token(node)}.{_word(service)}.echo"


def _word(text: str) -> str:
    if not _WORD.fullmatch(text):
        raise ValueError(f"{text!r} cannot be a subject token: lower-case letters, digits, '-'")
    return text
