"""The watch of the lease file."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from heartbus_vip.watch import FileWatch


@pytest.fixture
def watch(tmp_path: Path) -> Iterator[FileWatch]:
    opened = FileWatch.open(tmp_path / "leases.json")
    yield opened
    opened.close()


def replace(path: Path) -> None:
    draft = path.with_name(path.name + ".new")
    draft.write_text("{}")
    draft.rename(path)


def test_a_replacement_is_told_once_however_often_it_happened(
    watch: FileWatch, tmp_path: Path
) -> None:
    assert not watch.replaced()
    replace(tmp_path / "leases.json")
    replace(tmp_path / "leases.json")
    assert watch.replaced()
    assert not watch.replaced()


def test_other_files_and_half_written_ones_are_not_told(watch: FileWatch, tmp_path: Path) -> None:
    replace(tmp_path / "leases.json.other")
    (tmp_path / "leases.json.new").write_text("{")
    (tmp_path / "leases.json").touch()
    assert not watch.replaced()


def test_a_directory_that_is_not_there_is_an_error_that_names_the_file(tmp_path: Path) -> None:
    with pytest.raises(OSError, match=r"cannot watch .*/none/leases\.json"):
        FileWatch.open(tmp_path / "none" / "leases.json")
