from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from heartbus.events import Lease
from heartbus_vip.leases import LEASE_FILE, LEASE_FILE_BYTES_MAX, LeaseFile
from heartbus_vip.marks import MARK_FILE, StartedMarks
from heartbus_vip.news import LeaseNews

BOOT = "b0071d"
DOCUMENT = {
    "schema": 1,
    "boot_id": BOOT,
    "written_monotonic_s": 100.5,
    "leases": [{"group": "www", "epoch": 7, "deadline_monotonic_s": 105.5, "cause": "abc"}],
}


def read(directory: Path, content: str | bytes) -> tuple[LeaseNews | None, str | None]:
    octets = content.encode() if isinstance(content, str) else content
    (directory / LEASE_FILE).write_bytes(octets)
    file = LeaseFile(directory, boot_id=BOOT)
    return file.read(), file.problem


def test_a_good_file_is_news(tmp_path: Path) -> None:
    lease = Lease(group="www", epoch=7, deadline_monotonic_s=105.5, cause="abc")
    expected = LeaseNews(written_s=100.5, leases=(lease,))
    assert read(tmp_path, json.dumps(DOCUMENT)) == (expected, None)


def test_fields_of_a_newer_version_are_ignored(tmp_path: Path) -> None:
    news, problem = read(tmp_path, json.dumps({**DOCUMENT, "colour": "blue"}))
    assert news is not None
    assert problem is None


def test_an_absent_file_is_silence_and_no_problem(tmp_path: Path) -> None:
    file = LeaseFile(tmp_path, boot_id=BOOT)
    assert (file.read(), file.problem) == (None, None)


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        ("", "not a lease file"),
        (json.dumps(DOCUMENT)[:40], "not a lease file"),
        ("[]", "not a lease file"),
        (b"\xff\xfe\x00", "not a lease file"),
        ("[" * 100_000, "not a lease file"),
        (json.dumps({**DOCUMENT, "leases": [{"group": "www"}]}), "not a lease file"),
        (json.dumps({**DOCUMENT, "schema": 2}), "schema 2, this version reads 1"),
        (json.dumps({**DOCUMENT, "boot_id": "other"}), "of another boot"),
        (b" " * (LEASE_FILE_BYTES_MAX + 1), "more than"),
    ],
    ids=["empty", "half", "list", "binary", "deep", "field", "schema", "boot", "long"],
)
def test_a_file_that_cannot_be_used_is_silence_with_a_reason(
    tmp_path: Path, content: str | bytes, problem: str
) -> None:
    news, said = read(tmp_path, content)
    assert news is None
    assert said is not None
    assert problem in said


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(garbage=st.binary(max_size=300))
def test_garbage_never_raises(tmp_path: Path, garbage: bytes) -> None:
    news, _ = read(tmp_path, garbage)
    assert news is None


def test_a_directory_in_its_place_is_silence_with_a_reason(tmp_path: Path) -> None:
    (tmp_path / LEASE_FILE).mkdir()
    file = LeaseFile(tmp_path, boot_id=BOOT)
    assert file.read() is None
    assert file.problem == "cannot read it: Is a directory"


def test_marks_are_read_back_in_the_same_boot_only(tmp_path: Path) -> None:
    StartedMarks(tmp_path, boot_id=BOOT).write({"www", "mail"})
    assert StartedMarks(tmp_path, boot_id=BOOT).read() == {"www", "mail"}
    assert StartedMarks(tmp_path, boot_id="other").read() == frozenset()


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"\xff"])
def test_unreadable_marks_are_no_marks(tmp_path: Path, content: bytes) -> None:
    (tmp_path / MARK_FILE).write_bytes(content)
    assert StartedMarks(tmp_path, boot_id=BOOT).read() == frozenset()
