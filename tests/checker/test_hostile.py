"""Every kind of check against a hostile server: on time, with a reason, and nothing left."""

from __future__ import annotations

import asyncio
import contextlib
import os
from typing import Any, Final

import pytest

from heartbus.model import CheckService, Tls
from heartbus_checker.probes import ProbeResult

from .asking import Asker
from .hostile import MODES, hostile

TIMEOUT_S: Final = 0.15
LATE_S: Final = 5.0
"""So much later than its timeout a check may end on a busy machine; without it, not at all."""
EXCHANGES: Final = 1000
AT_ONCE: Final = 50

FIELDS: Final[dict[str, Any]] = {
    "login": "checker",
    "password": "letmein",
    "secret": "s",
    "database": "d",
    "request": "/x",
    "receive": "wanted",
}
CHECKS: Final[list[tuple[str, CheckService, bool, dict[str, Any]]]] = [
    *(
        (service.value, service, False, {})
        for service in CheckService
        if service not in (CheckService.NONE, CheckService.UDP, CheckService.RADIUS)
    ),
    *(
        (f"{service.value} by UDP", service, True, {})
        for service in (CheckService.DNS, CheckService.SIP, CheckService.RADIUS, CheckService.UDP)
    ),
    ("http, verified", CheckService.HTTPS, False, {"tls": Tls()}),
    ("grpc in TLS", CheckService.GRPC, False, {"tls": Tls(verify=False)}),
    ("ftp of a file", CheckService.FTP, False, {"request": "file"}),
]


async def ask(asker: Asker, mode_endpoint: Any, check: Any) -> ProbeResult:
    _, service, udp, more = check
    return await asker.ask(
        service, mode_endpoint, timeout_s=TIMEOUT_S, udp=udp, **{**FIELDS, **more}
    )


@pytest.mark.parametrize("mode", MODES)
async def test_each_check_fails_on_time_with_its_reason(asker: Asker, mode: str) -> None:
    async with hostile(mode) as endpoint:
        for check in CHECKS:
            result = await ask(asker, endpoint, check)
            assert not result.passed, (check[0], result.reason)
            assert result.took_s < TIMEOUT_S + LATE_S, (check[0], result.took_s)
            assert "defect" not in result.reason, (check[0], result.reason)
            assert len(result.reason) < 400, (check[0], result.reason)
            if mode == "silent":
                assert result.reason.endswith(f"no answer within {TIMEOUT_S} s"), result.reason


async def test_a_thousand_hostile_exchanges_leave_nothing_behind() -> None:
    async with contextlib.AsyncExitStack() as stack:
        endpoints = [await stack.enter_async_context(hostile(mode)) for mode in MODES]
        for round_ in range(2):
            # What is made once (patterns, certificates, libraries) is made in the first round.
            asker = Asker()
            before = _held()
            todo = [(endpoint, check) for endpoint in endpoints for check in CHECKS] * (
                1 if round_ == 0 else EXCHANGES // (len(MODES) * len(CHECKS)) + 1
            )
            for at in range(0, len(todo), AT_ONCE):
                await asyncio.gather(*(ask(asker, *one) for one in todo[at : at + AT_ONCE]))
            assert len(todo) >= EXCHANGES or round_ == 0
            await _settled(before if round_ else None)
            asker.close()


def _held() -> tuple[int, int]:
    """Return how many descriptors and tasks this process has."""
    return len(os.listdir("/proc/self/fd")), len(asyncio.all_tasks())


async def _settled(before: tuple[int, int] | None) -> None:
    """Wait until the hostile servers have seen the last reset; fail if something stays."""
    async with asyncio.timeout(10):
        while True:
            held = _held()
            if held == before:
                return
            await asyncio.sleep(0.1)
            if before is None and _held() == held:
                return
