"""What is remembered over a restart, and that it is never a verdict."""

from __future__ import annotations

from pathlib import Path

import pytest

from heartbus.events import Health
from heartbus.model import RealServerName, VirtualServiceName
from heartbus_checker.damper import Damper
from heartbus_checker.memory import AGE_S_MAX, Memory

DEAD = (VirtualServiceName("tcp:192.0.2.110:80"), RealServerName("192.0.2.11:80"))
WELL = (VirtualServiceName("tcp:192.0.2.110:80"), RealServerName("192.0.2.12:80"))


def memory(path: Path, *, at_s: float = 1000.0) -> Memory:
    return Memory(path / "verdicts.json", clock=lambda: at_s)


def test_who_was_down_is_remembered(tmp_path: Path) -> None:
    assert memory(tmp_path).read() == {}
    assert memory(tmp_path).write([(DEAD, Health.DOWN), (WELL, Health.UP)]) is None
    assert memory(tmp_path, at_s=1000.0 + AGE_S_MAX).read() == {DEAD: Health.DOWN}
    assert memory(tmp_path, at_s=1001.0 + AGE_S_MAX).read() == {}
    assert memory(tmp_path, at_s=999.0).read() == {}, "the clock was set back: nobody knows"


@pytest.mark.parametrize("content", [b"", b"{", b'{"down": 7}', b"\xff" * 100, b"[]"])
def test_a_broken_memory_is_none(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "verdicts.json").write_bytes(content)
    assert memory(tmp_path).read() == {}


def test_a_full_disk_is_said(tmp_path: Path) -> None:
    assert "No such file" in (memory(tmp_path / "missing").write([]) or "")


def results(damper: Damper, passes: str) -> list[Health | None]:
    return [damper.probe_finished(passed=one == "+") for one in passes]


def test_one_that_was_down_needs_as_many_passes_as_before_the_restart() -> None:
    damper = Damper(rise=3, fall=2, remembered=Health.DOWN)
    assert damper.health is Health.UNKNOWN
    assert results(damper, "++-++") == [None] * 5
    assert results(damper, "+") == [Health.UP]
    damper = Damper(rise=3, fall=2, remembered=Health.DOWN)
    assert results(damper, "+--") == [None, None, Health.DOWN]


def test_one_that_was_up_or_is_new_needs_one_pass() -> None:
    for remembered in (Health.UP, Health.UNKNOWN):
        assert results(Damper(rise=3, fall=2, remembered=remembered), "+") == [Health.UP]
