"""Every known trap of the old programs has a test, and the page that lists them tells the truth."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Final

CHECKOUT: Final = Path(__file__).resolve().parents[2]
PAGE: Final = CHECKOUT / "docs" / "traps.md"
TRAPS: Final = {f"L-{n}" for n in range(1, 22)} | {f"H-{n}" for n in range(1, 19)}

_ROW = re.compile(r"\| ([LH]-\d+) \|.*\| (`.*`) \|")


def rows() -> dict[str, list[str]]:
    found = [_ROW.fullmatch(line) for line in PAGE.read_text().splitlines()]
    return {row[1]: re.findall(r"`([^`]+)`", row[2]) for row in found if row is not None}


def test_every_trap_is_listed_once_with_a_test() -> None:
    assert set(rows()) == TRAPS
    assert len(re.findall(r"^\| [LH]-\d+ \|", PAGE.read_text(), re.MULTILINE)) == len(TRAPS)


def test_each_test_that_is_named_is_there() -> None:
    missing = []
    for trap, names in rows().items():
        for name in names:
            file, _, function = name.partition("::")
            path = CHECKOUT / file
            text = path.read_text() if path.is_file() else ""
            if function and not re.search(rf"^(async )?def {function}\(", text, re.MULTILINE):
                missing.append(f"{trap}: {name}")
            if not function and not path.with_name(f"{path.name}.expected").is_file():
                missing.append(f"{trap}: {name}")
    assert missing == []
