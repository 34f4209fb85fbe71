"""The rules of the house, as tests: format, lint, strict types, imports, sizes."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from typing import Final

import pytest

CHECKOUT: Final = Path(__file__).resolve().parents[2]
BIN: Final = Path(sys.prefix) / "bin"
FILE_LINES_MAX: Final = 600


@pytest.mark.parametrize(
    "command",
    [
        ("ruff", "format", "--check"),
        ("ruff", "check"),
        ("mypy",),
        ("lint-imports",),
    ],
    ids=" ".join,
)
def test_checker_finds_nothing(command: tuple[str, ...]) -> None:
    program, *arguments = command
    done = subprocess.run(
        [BIN / program, *arguments],
        cwd=CHECKOUT,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    assert done.returncode == 0, f"{' '.join(command)}:\n{done.stdout}"


def test_nothing_is_raised_inside_except_star() -> None:
    """Before Python 3.11.4 that is wrapped into a group, and no exit code comes of it."""
    using = [
        str(path.relative_to(CHECKOUT))
        for folder in ("services", "tests")
        for path in CHECKOUT.glob(f"{folder}/**/*.py")
        if re.search(r"^\s*except\*", path.read_text(), re.MULTILINE)
    ]
    assert not using, "split the group instead"


def test_no_file_of_a_service_is_longer_than_one_can_read() -> None:
    sizes = {
        str(path.relative_to(CHECKOUT)): len(path.read_text().splitlines())
        for path in CHECKOUT.glob("services/**/*.py")
    }
    assert sizes
    too_long = {path: lines for path, lines in sizes.items() if lines > FILE_LINES_MAX}
    assert not too_long
