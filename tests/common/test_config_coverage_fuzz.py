"""A short coverage-guided search for input that a configuration parser does not survive."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).parents[2]
SECONDS: Final = 8


def test_no_input_that_is_found_breaks_a_parser() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "tests.fuzz.config", "--seconds", str(SECONDS)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-4000:] + done.stdout[-4000:]
    assert "stat::number_of_executed_units" in done.stderr
