"""Writes what heartbus makes of each file of the corpus beside it."""

from __future__ import annotations

import tempfile
from pathlib import Path

from tests.corpus import samples

for sample in samples():
    with tempfile.TemporaryDirectory() as directory:
        sample.expected.write_text(sample.outcome(Path(directory)))
