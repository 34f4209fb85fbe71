"""Real scripts of a real shell."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from heartbus.model import ScriptResource
from heartbus_vip.resource import ScriptEnd, ScriptResult, Verb
from heartbus_vip.scripts import OUTPUT_BYTES_MAX, Programs


def script(directory: Path, body: str, *, name: str = "demo", mode: int = 0o755) -> Path:
    path = directory / name
    path.write_text(f"#!/bin/sh\n{body}\n")
    path.chmod(mode)
    return path


async def call(
    directory: Path, *arguments: str, verb: Verb = Verb.START, timeout_s: float = 10.0
) -> ScriptResult:
    programs = Programs((str(directory),), root=str(directory))
    return await programs.call(
        ScriptResource(script="demo", arguments=arguments), verb, timeout_s=timeout_s
    )


async def until(condition: Callable[[], bool]) -> None:
    for _ in range(2500):
        if condition():
            return
        await asyncio.sleep(0.002)
    raise AssertionError("not within 5 s")


async def until_written(path: Path) -> str:
    await until(lambda: content(path).endswith("\n"))
    return content(path).strip()


def content(path: Path) -> str:
    return path.read_text() if path.exists() else ""


def gone(pid: int) -> bool:
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return True
    return stat.rpartition(")")[2].split()[0] == "Z"  # its new parent has not looked yet


async def test_a_script_gets_its_arguments_and_the_verb_last(tmp_path: Path) -> None:
    script(tmp_path, 'echo "$@"; echo oops >&2; exit 3')
    result = await call(tmp_path, "one", "two words", verb=Verb.STOP)
    assert result == ScriptResult(end=ScriptEnd.EXITED, code=3, output="one two words stop\noops\n")


async def test_a_missing_script_is_said_to_be_missing(tmp_path: Path) -> None:
    result = await call(tmp_path)
    assert result.end is ScriptEnd.MISSING
    assert str(tmp_path) in result.detail


async def test_a_script_without_an_interpreter_is_unrunnable(tmp_path: Path) -> None:
    path = tmp_path / "demo"
    path.write_text("#!/no/such/shell\n")
    path.chmod(0o755)
    result = await call(tmp_path)
    assert result.end is ScriptEnd.UNRUNNABLE
    assert "No such file" in result.detail


async def test_a_script_does_not_get_what_the_service_manager_meant_for_us(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NOTIFY_SOCKET", "/run/x")
    monkeypatch.setenv("SITE", "berlin")
    script(tmp_path, 'echo "$NOTIFY_SOCKET/$SITE/$LC_ALL"')
    assert (await call(tmp_path)).output == "/berlin/C\n"


async def test_a_script_that_hangs_is_ended_with_all_it_started(tmp_path: Path) -> None:
    pids = tmp_path / "pids"
    body = f"trap '' TERM\nsleep 1000 &\nsleep 1001 &\necho $$ $(jobs -p) > {pids}\necho half; wait"
    script(tmp_path, f"{body}; wait")
    result = await call(tmp_path, timeout_s=0.3)
    assert result.end is ScriptEnd.TIMED_OUT
    assert result.output == "half\n"
    await until(lambda: all(gone(int(pid)) for pid in pids.read_text().split()))


async def test_a_script_that_hangs_may_clean_up_first(tmp_path: Path) -> None:
    cleaned = tmp_path / "cleaned"
    script(tmp_path, f"trap 'echo yes > {cleaned}; exit 1' TERM; echo ready; sleep 1000 & wait")
    await call(tmp_path, timeout_s=0.3)
    assert cleaned.read_text() == "yes\n"


async def test_cancelling_a_call_ends_the_script(tmp_path: Path) -> None:
    pids = tmp_path / "pids"
    script(tmp_path, f"sleep 1000 & echo $$ $! > {pids}; wait")
    task = asyncio.create_task(call(tmp_path))
    started = await until_written(pids)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await until(lambda: all(gone(int(pid)) for pid in started.split()))


async def test_a_daemon_that_keeps_the_output_open_holds_nobody_up_and_lives(
    tmp_path: Path,
) -> None:
    pid_file, said = tmp_path / "pid", tmp_path / "said"
    script(
        tmp_path,
        f"(while :; do echo noise; sleep 0.01; echo again > {said}; done) & echo $! > {pid_file}",
    )
    start_s = time.monotonic()
    result = await call(tmp_path)
    assert result.end is ScriptEnd.EXITED
    assert time.monotonic() - start_s < 5.0
    await until_written(said)
    pid = int(pid_file.read_text())
    os.kill(pid, 0)
    os.kill(pid, signal.SIGKILL)


async def test_output_beyond_the_bound_is_cut(tmp_path: Path) -> None:
    script(tmp_path, "head -c 1000000 /dev/zero | tr '\\0' x; exit 0")
    result = await call(tmp_path)
    assert result.end is ScriptEnd.EXITED
    assert len(result.output) <= OUTPUT_BYTES_MAX
