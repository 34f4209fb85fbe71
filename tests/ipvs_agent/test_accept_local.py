"""Who set accept_local: only what was set for checks is taken back."""

from __future__ import annotations

from pathlib import Path

import pytest

from heartbus.model import Check, CheckType
from heartbus.probe_marks import ACCEPT_LOCAL_NOTE
from heartbus_ipvs_agent.accept_local import AcceptLocal
from tests.ipvs_agent.builders import cluster, virtual_service
from tests.ipvs_agent.test_probe_services import THROUGH
from tests.ipvs_agent.test_service import start


def settings(tmp_path: Path, value: str) -> tuple[Path, AcceptLocal]:
    setting = tmp_path / "setting"
    setting.write_text(f"{value}\n")
    return setting, AcceptLocal(tmp_path, setting=setting)


def test_what_we_have_set_is_taken_back_also_by_who_comes_after_us(tmp_path: Path) -> None:
    setting, ours = settings(tmp_path, "0")
    assert ours.settle(wanted=True) is None
    assert setting.read_text() == "1"
    after_a_kill = AcceptLocal(tmp_path, setting=setting)
    assert after_a_kill.settle(wanted=True) is None
    assert after_a_kill.settle(wanted=False) is None
    assert setting.read_text() == "0"
    assert not (tmp_path / ACCEPT_LOCAL_NOTE).exists()


def test_what_an_administrator_has_set_stays(tmp_path: Path) -> None:
    setting, ours = settings(tmp_path, "1")
    assert ours.settle(wanted=True) is None
    assert ours.settle(wanted=False) is None
    assert setting.read_text().strip() == "1"


def test_each_setting_leaves_another_note(tmp_path: Path) -> None:
    _setting, ours = settings(tmp_path, "0")
    notes = set()
    for _ in range(3):
        ours.settle(wanted=True)
        notes.add((tmp_path / ACCEPT_LOCAL_NOTE).stat().st_mtime_ns)
        ours.settle(wanted=False)
    assert len(notes) == 3


def test_what_cannot_be_set_is_said(tmp_path: Path) -> None:
    ours = AcceptLocal(tmp_path, setting=tmp_path / "none")
    problem = ours.settle(wanted=True)
    assert problem == "net.ipv4.conf.all.accept_local = 1: No such file or directory"


@pytest.mark.parametrize("ends", ["reload", "stop"])
def test_it_is_set_while_a_check_needs_it(tmp_path: Path, ends: str) -> None:
    setting = start(tmp_path, THROUGH)
    assert setting.whole.done == ["accept_local True"]
    if ends == "stop":
        setting.agent.stop()
    else:
        plain = virtual_service(5, 5, check=Check(type=CheckType.CONNECT))
        setting.agent.take_up(cluster(plain))
    assert setting.whole.done == ["accept_local True", "accept_local False"]
