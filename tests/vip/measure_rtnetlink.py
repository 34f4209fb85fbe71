# ruff: noqa: T201  (a program: printing is what it is for)
"""What one refresh of a virtual IP costs: heartbus_vip.address beside pyroute2.

pyroute2's asynchronous socket cannot be opened under uvloop, so it runs on asyncio's own loop.

Run as root: ``unshare --net .venv/bin/python -m tests.vip.measure_rtnetlink``.
"""

from __future__ import annotations

import asyncio
import resource
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable

import uvloop

from heartbus.model import AddressResource

ROUNDS = 500
IMPORTS = {
    "shared frame": "import heartbus.runner",
    "frame + our codec": "import heartbus.runner, heartbus_vip.address",
    "frame + pyroute2": "import heartbus.runner; from pyroute2 import AsyncIPRoute",
}


def ours(count: int) -> Callable[[], Awaitable[None]]:
    from heartbus_vip.address import AddressTable

    table = AddressTable()
    wanted = [
        (AddressResource(address=f"10.9.0.{n}", prefix_len=24, interface="lo"), 3)
        for n in range(1, count + 1)
    ]

    async def refresh() -> None:
        assert not [
            r for r in table.refresh(wanted, not_after_s=time.monotonic() + 1.0) if r.problem
        ]

    return refresh


async def theirs(count: int) -> Callable[[], Awaitable[None]]:
    from pyroute2 import AsyncIPRoute

    route = AsyncIPRoute()
    await route.setup_endpoint()

    async def refresh() -> None:
        async for _ in await route.addr("dump", family=2):
            pass  # the same question: is it still there?
        for n in range(1, count + 1):
            await route.addr(
                "replace",
                index=1,
                address=f"10.9.0.{n}",
                prefixlen=24,
                valid_lft=3,
                preferred_lft=3,
            )

    return refresh


async def measured(refresh: Callable[[], Awaitable[None]]) -> str:
    await refresh()
    before, start = resource.getrusage(resource.RUSAGE_SELF), time.perf_counter()
    for _ in range(ROUNDS):
        await refresh()
    took, after = time.perf_counter() - start, resource.getrusage(resource.RUSAGE_SELF)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return f"{took / ROUNDS * 1e6:7.0f} us elapsed, {cpu / ROUNDS * 1e6:7.0f} us CPU"


async def main(subject: str, count: int) -> None:
    refresh = ours(count) if subject == "ours" else await theirs(count)
    print(f"refresh of {count:2} addresses, {subject:8}: {await measured(refresh)}")


def under_uvloop() -> str:
    try:
        uvloop.run(theirs(1))
    except ValueError as error:
        return str(error)
    return "works"


def compare() -> None:
    subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
    for count in (1, 10):
        uvloop.run(main("ours", count))
        asyncio.run(main("pyroute2", count))
    print(f"pyroute2 under uvloop: {under_uvloop()}")
    for name, code in IMPORTS.items():
        best = min(_import_s(code) for _ in range(5))
        print(f"{name:18} {best:5.2f} s, {_memory_kb(code):6} kB resident")


def _import_s(code: str) -> float:
    start = time.perf_counter()
    subprocess.run([sys.executable, "-c", code], check=True)
    return time.perf_counter() - start


def _memory_kb(code: str) -> int:
    code += "; import resource as r; print(r.getrusage(r.RUSAGE_SELF).ru_maxrss)"
    return int(subprocess.run([sys.executable, "-c", code], check=True, capture_output=True).stdout)


if __name__ == "__main__":
    compare()
