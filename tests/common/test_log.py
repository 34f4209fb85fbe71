"""Log lines: JSON, with the priority in front where journald reads them."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

PROGRAM = """\
from heartbus import log
log.configure(level="debug")
for level in ("debug", "info", "warning", "error"):
    getattr(log.logger(node="one"), level)("it.happened")
"""


def said(path: Path, *, journal: bool) -> list[str]:
    """Return what a process says whose standard error is this file."""
    with path.open("wb") as error:
        found = os.fstat(error.fileno())
        environment = {name: text for name, text in os.environ.items() if name != "JOURNAL_STREAM"}
        # As systemd says it (systemd.exec(5)): whose standard error went elsewhere is not fooled.
        inode = found.st_ino if journal else found.st_ino + 1
        environment["JOURNAL_STREAM"] = f"{found.st_dev}:{inode}"
        command = [sys.executable, "-c", PROGRAM]
        subprocess.run(command, stderr=error, env=environment, check=True)
    return path.read_text().splitlines()


def test_the_journal_is_told_the_priority_of_each_line(tmp_path: Path) -> None:
    lines = said(tmp_path / "log", journal=True)
    assert [line[:3] for line in lines] == ["<7>", "<6>", "<4>", "<3>"]
    assert {json.loads(line[3:])["event"] for line in lines} == {"it.happened"}


def test_whoever_reads_a_file_or_a_pipe_gets_json_alone(tmp_path: Path) -> None:
    lines = said(tmp_path / "log", journal=False)
    assert [json.loads(line)["level"] for line in lines] == ["debug", "info", "warning", "error"]
