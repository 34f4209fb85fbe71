"""Oracle checks, by the official driver, against a scripted peer: no server can be installed."""

from __future__ import annotations

from typing import Any, Final

import pytest

from heartbus.model import CheckService

from .asking import Asker
from .hostile import relay
from .servers import LOGIN, PASSWORD
from .servers.oracle import SERVICE, oracle

ENTER: Final[dict[str, Any]] = {
    "login": LOGIN,
    "password": PASSWORD,
    "database": SERVICE,
    "request": "SELECT 7",
}


@pytest.mark.parametrize(
    ("fields", "passes", "words"),
    [
        ({}, True, "Oracle: a row, '(7,)' after "),
        ({"request": "SELECT 7 FROM dual WHERE 1 = 0"}, False, "1 = 0: no row after "),
        ({"request": "SELEKT"}, False, "Oracle SELEKT: ORA-00900: invalid SQL statement"),
        ({"password": "wrong"}, False, "Oracle login as checker: ORA-01017: invalid username/pass"),
        ({"database": "TILL"}, False, 'Service "TILL" is not registered'),
    ],
)
async def test_oracle(asker: Asker, fields: dict[str, Any], passes: bool, words: str) -> None:
    async with oracle() as endpoint:
        result = await asker.ask(CheckService.ORACLE, endpoint, **{**ENTER, **fields})
    assert result.passed is passes, result.reason
    assert words in result.reason


async def test_an_answer_in_single_bytes_passes_and_one_that_is_too_slow_fails(
    asker: Asker,
) -> None:
    async with oracle() as endpoint, relay(endpoint) as torn, relay(endpoint, every_s=0.1) as slow:
        result = await asker.ask(CheckService.ORACLE, torn, **ENTER)
        assert result.passed, result.reason
        result = await asker.ask(CheckService.ORACLE, slow, timeout_s=0.2, **ENTER)
        assert not result.passed
        assert result.reason == "Oracle login as checker: no answer within 0.2 s"
