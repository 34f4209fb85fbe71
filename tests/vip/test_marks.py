"""The marks of started groups lie in a directory that may belong to another user."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from heartbus_vip.marks import StartedMarks


@pytest.mark.parametrize("link", [os.symlink, os.link], ids=["symbolic", "hard"])
def test_a_link_in_the_place_of_the_draft_harms_no_other_file(tmp_path: Path, link: object) -> None:
    victim = tmp_path / "victim"
    victim.write_text("precious")
    assert callable(link)
    link(victim, tmp_path / "vip-started.new")
    marks = StartedMarks(tmp_path, boot_id="boot")
    marks.write(["www"])
    assert victim.read_text() == "precious"
    assert marks.read() == {"www"}
    assert not (tmp_path / "vip-started.json").is_symlink()


def test_a_link_in_the_place_of_the_file_is_replaced(tmp_path: Path) -> None:
    victim = tmp_path / "victim"
    victim.write_text("precious")
    (tmp_path / "vip-started.json").symlink_to(victim)
    marks = StartedMarks(tmp_path, boot_id="boot")
    marks.write(["www"])
    assert victim.read_text() == "precious"
    assert marks.read() == {"www"}


def test_a_draft_left_by_a_crash_is_no_obstacle(tmp_path: Path) -> None:
    (tmp_path / "vip-started.new").write_text("half")
    marks = StartedMarks(tmp_path, boot_id="boot")
    marks.write(["www"])
    marks.write([])
    assert marks.read() == frozenset()
    assert [path.name for path in tmp_path.iterdir()] == ["vip-started.json"]
