"""The pages of docs/ that are made from the code, by their name."""

from __future__ import annotations

from pathlib import Path
from typing import Final

import yaml

from heartbus import asyncapi

DOCS: Final = Path(__file__).resolve().parents[2] / "docs"


class _Dumper(yaml.SafeDumper):  # type: ignore[misc]
    """Without anchors: every part of the document is written where it is read."""

    def ignore_aliases(self, _data: object) -> bool:
        return True


def _text(dumper: yaml.SafeDumper, text: str) -> yaml.ScalarNode:
    style = "|" if "\n" in text else None
    node: yaml.ScalarNode = dumper.represent_scalar("tag:yaml.org,2002:str", text, style=style)
    return node


_Dumper.add_representer(str, _text)


def pages() -> dict[str, str]:
    """Return the text of each generated page."""
    return {"asyncapi.yaml": asyncapi_page()}


def asyncapi_page() -> str:
    """Return the AsyncAPI document as YAML."""
    text: str = yaml.dump(
        asyncapi.document(), Dumper=_Dumper, sort_keys=False, width=100, allow_unicode=True
    )
    return f"# Made from services/common/heartbus/events.py and subjects.py by make docs.\n{text}"
