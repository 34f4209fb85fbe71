"""Has this director turned off by its own fence commands, because a resource cannot be stopped.

They are those of the configuration that other directors would use against this one, called as
fence-agents are: ``name=value`` lines on standard input, exit status 0 for "it is done".
"""

from __future__ import annotations

from collections.abc import Iterable

from heartbus.model import Fence
from heartbus_vip.resource import Command
from heartbus_vip.scripts import run


async def fence_self(fences: Iterable[Fence]) -> str | None:
    """Call the commands in order until one works; return why none did.

    A command that works ends this machine: nobody may be left to see its result.
    """
    problems: list[str] = []
    for fence in fences:
        pairs = [("action", str(fence.action)), *((o.name, o.value) for o in fence.options)]
        text = "".join(f"{name}={value}\n" for name, value in pairs)
        result = await run(Command(argv=(fence.command,)), timeout_s=fence.timeout_s, text=text)
        if result.problem is None:
            return None
        # Not what it printed: that may repeat a password.
        problems.append(f"{fence.command}: {result.end.value}, exit code {result.code}")
    return "; ".join(problems) or "no fence command for this director"
