"""Writes a configuration as one TOML file that reads as the same model.

Sans-I/O. What stands in ``[[virtual_services]]`` may have come from files that a group names
(``ldirectord::www``, ``ipvsadm``); it is written out, so that the old files are needed no more.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final

import tomli_w

from heartbus.config.diagnostics import Diagnostic, Level
from heartbus.config.document import document
from heartbus.model import Cluster

REMARKS_MAX: Final = 100

_HEAD: Final = (
    "Written by `heartbus config convert`. It holds secrets: keep it at mode 600.",
    "Each key is explained in docs/configuration.md; a commented example is",
    "examples/heartbus.toml.",
)


class NotTextError(ValueError):
    """A value that a TOML file cannot hold; the text names it, never a secret."""


def to_toml(cluster: Cluster, diagnostics: Iterable[Diagnostic] = ()) -> str:
    """Return the file; what was said about the old one stands above as comments.

    Raises:
        NotTextError: a value is no UTF-8 text, so it needs a file of its own (``secret_file``).

    """
    content = document(cluster, whole=False)
    _all_text(content, "")
    lines = [*_HEAD]
    if cluster.source:
        lines.append(f"Converted from {cluster.source}.")
    said = [d for d in diagnostics if d.level is not Level.ERROR]
    if said:
        lines += ["", "What was said about it:"]
        lines += [f"  {d.level}: {d}" for d in said[:REMARKS_MAX]]
        if len(said) > REMARKS_MAX:
            lines.append(f"  and {len(said) - REMARKS_MAX} more: heartbus config check")
    head = "".join(f"# {line}".rstrip() + "\n" for line in lines)
    return f"{head}\n{tomli_w.dumps(content)}"


def _all_text(value: Any, where: str) -> None:
    if isinstance(value, dict):
        for key, inner in value.items():
            _all_text(inner, f"{where}.{key}" if where else key)
    elif isinstance(value, list):
        for index, inner in enumerate(value):
            _all_text(inner, f"{where}[{index}]")
    elif isinstance(value, str):
        try:
            value.encode()
        except UnicodeEncodeError:
            raise NotTextError(
                f"{where}: not UTF-8 text, which TOML cannot hold; write it to a file of its own"
                f" and name that as {where.rpartition('.')[2]}_file"
            ) from None
