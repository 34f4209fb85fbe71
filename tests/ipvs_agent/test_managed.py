from __future__ import annotations

import contextlib
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from heartbus_ipvs_agent.entries import Family, ServiceKey
from heartbus_ipvs_agent.managed import FILE_NAME, ManagedError, ManagedServices, _decode
from tests.ipvs_agent.builders import key


def test_what_was_written_is_read(tmp_path: Path) -> None:
    ours = {key(), key(81), ServiceKey(Family.IPV6, 17, "fd00::1", 53)}
    ManagedServices(tmp_path).write(ours)
    assert ManagedServices(tmp_path).read() == ours


def test_without_a_file_nothing_is_ours(tmp_path: Path) -> None:
    assert ManagedServices(tmp_path).read() == frozenset()


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b"{}",
        b"[]",
        b"\xff",
        b'{"schema": 2, "services": []}',
        b'{"schema": 1, "services": [{"protocol": 6}]}',
        b'{"schema": 1, "services": [{"protocol": 6, "address": "x", "port": 1}]}',
        b'{"schema": 1, "services": [{"protocol": "6", "address": "::1", "port": 1}]}',
        b'{"schema": 1, "services": [7]}',
    ],
)
def test_an_unusable_file_says_what_follows(tmp_path: Path, text: bytes) -> None:
    (tmp_path / FILE_NAME).write_bytes(text)
    with pytest.raises(ManagedError, match="stay in the kernel"):
        ManagedServices(tmp_path).read()


@given(st.binary(max_size=100))
def test_garbage_is_one_of_the_errors_that_reading_expects(garbage: bytes) -> None:
    with contextlib.suppress(ValueError, KeyError, TypeError):
        _decode(garbage)


def test_a_directory_that_cannot_be_written_is_said(tmp_path: Path) -> None:
    with pytest.raises(ManagedError, match="cannot be written"):
        ManagedServices(tmp_path / "missing").write([key()])
