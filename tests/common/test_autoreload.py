"""When changed files are read anew: settled, once, and again after a refusal only if repaired."""

from __future__ import annotations

from heartbus.autoreload import SETTLE_S, Autoreload

OLD = {"/a": "1", "/b": "2"}
NEW = {"/a": "1", "/b": "3"}
NEWER = {"/a": "1", "/b": "4"}


def test_files_that_rest_are_never_read_again() -> None:
    watch = Autoreload(OLD)
    assert not any(watch.looked(OLD, now_s=float(second)) for second in range(100))


def test_a_change_is_due_once_it_has_been_still() -> None:
    watch = Autoreload(OLD)
    assert not watch.looked(NEW, now_s=10.0)
    assert not watch.looked(NEW, now_s=10.0 + SETTLE_S - 0.01)
    assert watch.looked(NEW, now_s=10.0 + SETTLE_S)


def test_a_file_that_is_still_being_written_waits() -> None:
    watch = Autoreload(OLD)
    assert not watch.looked(NEW, now_s=10.0)
    assert not watch.looked(NEWER, now_s=11.0)
    assert not watch.looked(NEWER, now_s=11.5)
    assert watch.looked(NEWER, now_s=12.0)


def test_a_change_that_was_undone_is_none() -> None:
    watch = Autoreload(OLD)
    assert not watch.looked(NEW, now_s=10.0)
    assert not watch.looked(OLD, now_s=10.5)
    assert not watch.looked(NEW, now_s=11.5), "it has been still only since now"


def test_a_refused_file_is_told_once_and_its_repair_is_picked_up() -> None:
    watch = Autoreload(OLD)
    watch.looked(NEW, now_s=10.0)
    assert watch.looked(NEW, now_s=11.0)
    watch.refused({"/b": "3"})  # the first file was not reached
    assert not any(watch.looked(NEW, now_s=11.0 + second) for second in range(100))
    assert not watch.looked(NEWER, now_s=200.0)
    assert watch.looked(NEWER, now_s=201.0)
    watch.loaded(NEWER)
    assert not watch.looked(NEWER, now_s=300.0)
    assert set(watch.files) == {"/a", "/b"}


def test_a_change_made_between_the_load_and_the_first_look_is_noticed() -> None:
    """L-19: ldirectord takes its baseline after the first round of checks."""
    watch = Autoreload(OLD)
    watch.looked(NEW, now_s=0.0)
    assert watch.looked(NEW, now_s=SETTLE_S)


def test_files_of_a_used_load_replace_those_of_the_one_before() -> None:
    watch = Autoreload(OLD)
    watch.loaded({"/c": "5"})
    assert watch.files == ("/c",)
    assert watch.differing({"/c": "6", "/d": ""}) == ("/c", "/d")
