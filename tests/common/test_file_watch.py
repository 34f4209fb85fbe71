"""Files are told apart by content; what rests is not read again."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from heartbus.config import ConfigError, load, source
from heartbus.file_watch import RECENT_S, FileWatch
from tests.common.config_samples import classic_files, directory


def old(path: Path) -> None:
    """Make a file look as if it had rested for long; its change time only the kernel sets."""
    os.utime(path, (0, 0))


def test_a_file_is_its_content_not_its_times(tmp_path: Path) -> None:
    path, watch = tmp_path / "a", FileWatch()
    path.write_text("one")
    first = watch.look([str(path)])
    old(path)
    assert watch.look([str(path)]) == first
    path.write_text("two")
    second = watch.look([str(path)])
    assert second != first
    path.write_text("one")
    assert watch.look([str(path)]) == first


def test_what_is_not_there_comes_and_goes(tmp_path: Path) -> None:
    path, watch = tmp_path / "a", FileWatch()
    names = [str(path), str(tmp_path / "no" / "such"), "/a\0b"]
    assert set(watch.look(names).values()) == {""}
    path.write_text("here")
    assert watch.look(names)[str(path)]
    path.unlink()
    assert set(watch.look(names).values()) == {""}


def test_a_file_of_the_same_size_written_within_a_tick_is_noticed(tmp_path: Path) -> None:
    path, watch = tmp_path / "a", FileWatch()
    path.write_text("one")
    times = path.stat()
    first = watch.look([str(path)])
    with path.open("r+") as file:
        file.write("two")
    os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))
    assert watch.look([str(path)]) != first


def test_what_rests_is_not_read_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path, watch = tmp_path / "a", FileWatch()
    path.write_text("one")
    rested_s = path.stat().st_ctime + RECENT_S + 1
    monkeypatch.setattr("heartbus.file_watch.time.time", lambda: rested_s)
    first = watch.look([str(path)])
    monkeypatch.setattr(source, "digest_of", lambda _path: pytest.fail("read again"))
    assert watch.look([str(path)]) == first


def test_a_directory_is_the_names_in_it(tmp_path: Path) -> None:
    watch = FileWatch()
    first = watch.look([str(tmp_path)])
    (tmp_path / "a").write_text("")
    assert watch.look([str(tmp_path)]) != first


def test_the_watch_sees_files_as_the_load_did(tmp_path: Path) -> None:
    """Nothing has changed between a load and a look, so no digest differs; L-19 hangs on it."""
    files = {**classic_files(), "ipvsadm.rules": "-A -t 192.168.7.110:80 -s rr\n"}
    loaded = load(str(directory(tmp_path, files)), root=str(tmp_path))
    names = {Path(name).name for name in loaded.files}
    assert {"ha.cf", "haresources", "authkeys", "www.cf", "ipvsadm.rules"} <= names
    assert FileWatch().look(loaded.files) == dict(loaded.files)


def test_a_refused_load_says_what_to_look_at(tmp_path: Path) -> None:
    place = directory(tmp_path, classic_files())
    (place / "www.cf").unlink()
    with pytest.raises(ConfigError) as refused:
        load(str(place))
    assert refused.value.files[str(place / "www.cf")] == ""
    assert refused.value.files[str(place / "ha.cf")]
    with pytest.raises(ConfigError) as empty:
        load(str(tmp_path / "nothing"))
    assert empty.value.files == {str(tmp_path / "nothing"): ""}
