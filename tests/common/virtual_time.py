"""An event loop whose time passes only while nothing is to be done.

What takes 1.5 s takes no time, and a machine that is busy with other things delays nobody: for code
that takes its clock from outside and talks to fakes. Children and threads live in another time, so
a test that starts any runs on a real loop (marker ``real_time``).
"""

from __future__ import annotations

import asyncio
import selectors
from collections.abc import Mapping
from typing import Final

BEGINS_S: Final = 1000.0
"""Not 0: a host that has just started would be a case of its own."""


class _Patience(selectors.DefaultSelector):
    """Where it would wait, it lets time pass instead."""

    def __init__(self) -> None:
        super().__init__()
        self.now_s = BEGINS_S

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        ready: list[tuple[selectors.SelectorKey, int]] = super().select(0)
        if ready or timeout == 0:
            return ready
        if timeout is None:
            raise AssertionError("nothing will ever happen: no timer is set, nobody is to run")
        self.now_s += timeout
        return []


class VirtualLoop(asyncio.SelectorEventLoop):
    """The loop; ``time()`` is the clock that the code under test must be given."""

    def __init__(self) -> None:
        self._patience = _Patience()
        super().__init__(self._patience)

    def time(self) -> float:
        return self._patience.now_s

    def hang(self, for_s: float) -> None:
        """Let time pass as if a callback had taken so long."""
        self._patience.now_s += for_s


def loop_factories(*, real_time: bool) -> Mapping[str, type[asyncio.AbstractEventLoop]]:
    """Return what pytest-asyncio is to run a test on."""
    if real_time:
        return {"real": asyncio.SelectorEventLoop}
    return {"virtual": VirtualLoop}
