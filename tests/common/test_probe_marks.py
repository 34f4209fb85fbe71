"""The marks of checks through the VIP, and what a file may say of them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from heartbus.config import ConfigError, load
from heartbus.model import Check, CheckType, VirtualService
from heartbus.probe_marks import PROBE_MARK_FIRST, PROBE_MARKS, is_probe_mark, probe_marks
from tests.common.test_config_checks import HEAD, written
from tests.ipvs_agent.builders import virtual_service


def service(servers: int, *, port: int = 80) -> VirtualService:
    check = Check(type=CheckType.CONNECT, through_vip=True)
    return replace(virtual_service(*[1] * servers, port=port), check=check)


def test_each_server_has_a_mark_of_its_own_that_others_do_not_change() -> None:
    few, more = probe_marks([service(3)]), probe_marks([service(5), service(3, port=25)])
    assert len(set(more.values())) == len(more) == 8
    assert few.items() <= more.items()
    assert all(map(is_probe_mark, more.values()))
    assert probe_marks([virtual_service(1, 1)]) == {}


def test_servers_that_share_a_slot_have_marks_of_their_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("heartbus.probe_marks.crc32", lambda _name: PROBE_MARKS - 1)
    marks = probe_marks([service(3)])
    slots = {mark - PROBE_MARK_FIRST for mark in marks.values()}
    assert slots == {PROBE_MARKS - 1, 0, 1}


@pytest.mark.parametrize(
    ("check", "words"),
    [
        ('type = "ping", through_vip = true', "checks over one TCP connection, which this is not"),
        ('service = "ftp", through_vip = true', "checks over one TCP connection, which this is"),
        ('type = "connect", through_vip = true, port = 81', "not allowed with through_vip"),
    ],
)
def test_what_cannot_be_asked_by_the_vip_is_refused(tmp_path: Path, check: str, words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        load(str(written(tmp_path, check)))


def test_a_service_of_one_of_these_marks_is_refused(tmp_path: Path) -> None:
    head = HEAD.replace('address = "192.0.2.110:8000"', f"fwmark = {PROBE_MARK_FIRST + 7}")
    with pytest.raises(ConfigError, match=r"checks through_vip have 1751252992"):
        load(str(written(tmp_path, 'type = "on"', head=head)))
