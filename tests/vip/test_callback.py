"""The program that hears of changed files: real ones, that end, fail, and hang."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from heartbus import log
from heartbus_vip.callback import Callback

NOTES = '#!/bin/sh\nfor name in "$@"; do echo "$name" >> {out}; done\n'


async def until(true: Callable[[], object]) -> None:
    async with asyncio.timeout(10):
        while not true():  # noqa: ASYNC110 — files and processes tell no event
            await asyncio.sleep(0.01)


def program(tmp_path: Path, text: str) -> str:
    path = tmp_path / "callback"
    path.write_text(text.format(out=tmp_path / "out"))
    path.chmod(0o755)
    return str(path)


def lines(tmp_path: Path) -> list[str]:
    out = tmp_path / "out"
    return out.read_text().splitlines() if out.exists() else []


async def test_it_gets_the_names_of_the_changed_files(tmp_path: Path) -> None:
    called = program(tmp_path, NOTES)
    callback = Callback(lambda: called, log=log.logger())
    callback.files_changed(("/etc/a b.cf", "/etc/c.cf"))
    await until(lambda: len(lines(tmp_path)) == 2)
    assert lines(tmp_path) == ["/etc/a b.cf", "/etc/c.cf"]
    await callback.stop()


async def test_what_changes_while_it_runs_is_told_by_one_more_call(tmp_path: Path) -> None:
    called = program(tmp_path, '#!/bin/sh\nsleep 0.2\necho "$*" >> {out}\n')
    callback = Callback(lambda: called, log=log.logger())
    callback.files_changed(("/a",))
    await asyncio.sleep(0.05)
    callback.files_changed(("/b",))
    callback.files_changed(("/c", "/b"))
    await until(lambda: len(lines(tmp_path)) == 2)
    assert lines(tmp_path) == ["/a", "/b /c"]
    await callback.stop()


async def test_one_that_hangs_is_ended_and_the_next_is_called(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    called = program(tmp_path, "#!/bin/sh\necho $$ >> {out}\nexec sleep 60\n")
    callback = Callback(lambda: called, log=log.logger(), timeout_s=0.2)
    callback.files_changed(("/a",))
    await until(lambda: lines(tmp_path))
    callback.files_changed(("/b",))
    await until(lambda: len(lines(tmp_path)) == 2)
    first, second = map(int, lines(tmp_path))
    with pytest.raises(ProcessLookupError):
        os.kill(first, 0)
    assert "was ended after 0.2 s" in "".join(capsys.readouterr())
    await callback.stop()
    with pytest.raises(ProcessLookupError):
        os.kill(second, 0)


@pytest.mark.parametrize(
    ("text", "problem"),
    [("#!/bin/sh\necho no such peer >&2\nexit 7\n", "exit code 7"), ("#!/no/such\n", "No such")],
)
async def test_one_that_fails_is_told_with_its_last_words(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], text: str, problem: str
) -> None:
    called = program(tmp_path, text)
    callback = Callback(lambda: called, log=log.logger())
    callback.files_changed(("/a",))
    said = ""

    def told() -> bool:
        nonlocal said
        said += "".join(capsys.readouterr())
        return "callback.failed" in said

    await until(told)
    assert problem in said
    assert "exit" not in problem or "no such peer" in said
    await callback.stop()


async def test_without_a_program_nothing_is_run(tmp_path: Path) -> None:
    callback = Callback(lambda: None, log=log.logger())
    callback.files_changed(("/a",))
    await callback.stop()
    assert lines(tmp_path) == []
