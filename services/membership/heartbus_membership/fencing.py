"""Runs one fence command: its options on its input, bounded in time and output, no one left behind.

The convention is that of fence-agents: ``name=value`` lines on standard input, one of them
``action=off`` or ``action=reboot``, and exit status 0 for "it is done".
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from heartbus.guards import Fence
from heartbus_membership.children import REAP_S, Child

OUTPUT_CHARS_MAX: Final = 300
TAIL_BYTES: Final = 8192
READ_BYTES: Final = 65536
READ_PERIOD_S: Final = 0.05
"""Output is taken away in portions: a command that floods us waits in its pipe, at 1.3 MB/s."""
KILL_GRACE_S: Final = 0.5
HIDDEN: Final = "(not shown)"


@dataclass(frozen=True, slots=True, kw_only=True)
class FenceResult:
    """``ok``: the command says that it is done. ``output``: how it ended otherwise, in words."""

    ok: bool
    output: str = ""


async def run_fence(fence: Fence, *, environment: Mapping[str, str]) -> FenceResult:
    """Run the command; return after its end, and after about ``timeout_s`` in any case.

    Cancelling it ends the whole process group first.
    """
    readable, writable = os.pipe()
    try:
        os.set_blocking(readable, False)
        try:
            child = _start(fence, environment, writable)
        except OSError as error:
            return FenceResult(ok=False, output=f"cannot be started: {error.strerror}")
        finally:
            os.close(writable)
        try:
            return await _until_its_end(fence, child, readable)
        finally:
            # The command may have ended and left others of its group: this is for them.
            child.kill()
    finally:
        os.close(readable)


def _start(fence: Fence, environment: Mapping[str, str], output: int) -> Child:
    with tempfile.TemporaryFile() as lines:
        # A file, not a pipe: it can neither block us nor break when the command does not read.
        lines.write(_input(fence))
        lines.seek(0)
        return Child.start(
            [fence.command],
            program=fence.command,
            environment=environment,
            keep_capabilities=True,
            stdin=lines,
            output=output,
        )


def _input(fence: Fence) -> bytes:
    pairs = [("action", str(fence.action)), *((o.name, o.value) for o in fence.options)]
    text = "".join(f"{name}={value}\n" for name, value in pairs)
    return text.encode("utf-8", "surrogateescape")


async def _until_its_end(fence: Fence, child: Child, readable: int) -> FenceResult:
    tail = b""
    loop = asyncio.get_running_loop()
    deadline_s = loop.time() + fence.timeout_s
    while not await child.ended_within(min(READ_PERIOD_S, max(0.0, deadline_s - loop.time()))):
        tail = _read(readable, tail)
        if loop.time() >= deadline_s:
            child.send(signal.SIGTERM)
            await child.ended_within(KILL_GRACE_S)
            child.send(signal.SIGKILL)
            await child.ended_within(REAP_S)
            return FenceResult(ok=False, output=f"was ended after {fence.timeout_s:g} s")
    code = await child.end()
    if (why := child.refusal()) is not None:
        return FenceResult(ok=False, output=f"cannot be started: {why}")
    if code == 0:
        return FenceResult(ok=True)
    words = f"ended with status {code}" if code > 0 else f"was killed by signal {-code}"
    said = _said(fence, _read(readable, tail))
    return FenceResult(ok=False, output=f"{words}: {said}" if said else words)


def _read(readable: int, tail: bytes) -> bytes:
    with contextlib.suppress(BlockingIOError):
        tail += os.read(readable, READ_BYTES)
    return tail[-TAIL_BYTES:]


def _said(fence: Fence, output: bytes) -> str:
    """Return the last line that the command wrote, without any secret of ours."""
    text = output.decode("utf-8", "replace")
    for option in fence.options:
        if option.secret and option.value:
            text = text.replace(option.value, HIDDEN)
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    last = lines[-1] if lines else ""
    return "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in last)[
        :OUTPUT_CHARS_MAX
    ]
