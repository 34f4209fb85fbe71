"""The files of a push on a real file system: modes, what is beside them, and what fails."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from heartbus.config import source
from heartbus.push import files
from heartbus.push.files import PushFileError
from tests.common.config_samples import QUIET, directory


@pytest.fixture
def config(tmp_path: Path) -> Path:
    path = tmp_path / "heartbus.toml"
    path.write_text("old")
    path.chmod(0o600)
    return path


def test_the_new_takes_the_place_and_the_old_stays_beside_it(config: Path) -> None:
    files.write_pushed(str(config), "new")
    assert (config.read_text(), files.digest(str(config))) == ("old", source.content_digest(b"new"))
    files.put_in_place(str(config))
    assert config.read_text() == "new"
    assert Path(f"{config}.old").read_text() == "old"
    assert sorted(os.listdir(config.parent)) == ["heartbus.toml", "heartbus.toml.old"]
    files.put_back(str(config))
    assert config.read_text() == "old"
    assert os.listdir(config.parent) == ["heartbus.toml"]


def test_a_second_push_replaces_what_a_first_one_left(config: Path) -> None:
    for text in ("one", "two", "three"):
        files.write_pushed(str(config), "forgotten")
        files.write_pushed(str(config), text)
        files.put_in_place(str(config))
    assert (config.read_text(), Path(f"{config}.old").read_text()) == ("three", "two")
    files.write_pushed(str(config), "four")
    files.discard(str(config))
    files.discard(str(config))
    assert config.read_text() == "three"
    assert files.digest(str(config)) == ""


@pytest.mark.parametrize(("mode", "wanted"), [(0o600, 0o600), (0o640, 0o640), (0o666, 0o640)])
def test_it_has_the_readers_of_the_old_one_and_no_others(
    config: Path, mode: int, wanted: int
) -> None:
    config.chmod(mode)
    if os.geteuid() == 0:
        os.chown(config, 12345, 23456)
    path = Path(files.write_pushed(str(config), "new"))
    status = path.stat()
    assert stat.S_IMODE(status.st_mode) == wanted
    assert (status.st_uid, status.st_gid) == (config.stat().st_uid, config.stat().st_gid)


def test_a_link_in_the_place_of_what_is_pushed_is_not_followed(
    config: Path, tmp_path: Path
) -> None:
    target = tmp_path / "target"
    target.write_text("precious")
    Path(f"{config}.pushed").symlink_to(target)
    files.write_pushed(str(config), "new")
    assert target.read_text() == "precious"


def test_a_link_to_the_configuration_stays_one(config: Path, tmp_path: Path) -> None:
    link = tmp_path / "link.toml"
    link.symlink_to(config)
    assert files.pushed_to(str(link)) == str(config)


def test_what_cannot_be_done_changes_nothing_and_says_why(config: Path) -> None:
    with pytest.raises(PushFileError, match=r"heartbus.toml: No such file"):
        files.put_in_place(str(config))  # nothing was pushed
    assert config.read_text() == "old"
    with pytest.raises(PushFileError, match=r"no/such.pushed: No such file"):
        files.write_pushed(str(config.parent / "no" / "such"), "new")
    files.discard(str(config))


def test_only_the_toml_form_is_pushed_to(config: Path, tmp_path: Path) -> None:
    assert files.pushed_to(str(tmp_path)) == str(config)
    assert files.pushed_to(str(directory(tmp_path, QUIET))) is None
    (tmp_path / "empty").mkdir()
    assert files.pushed_to(str(tmp_path / "empty")) is None
