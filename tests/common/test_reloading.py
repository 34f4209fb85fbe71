"""Reloads of one service: applied, unchanged or rejected, whoever asks, and the answer says it."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import cast

import pytest

from heartbus import autoreload, log, reloading
from heartbus.bus import NatsBus
from heartbus.config import ConfigError, Loaded
from heartbus.config.digest import config_digest
from heartbus.events import CommandOutcome, ConfigApplied, ConfigRejected, Event, Reload
from heartbus.model import Cluster
from heartbus.reloading import Reloading
from heartbus.runner import Context, load_config
from heartbus.systemd import Notifier
from heartbus.testing import ManualClock, MemoryHub
from tests.common.config_samples import QUIET, directory

SERVICES = "virtual=192.168.7.110:80\n\treal=192.168.7.11:80 gate\n"
FILES = {**QUIET, "haresources": "linuxha1 192.168.7.110/24 ldirectord::www.cf\n"}
NODE = "linuxha1"


class Setting:
    """A service with files of its own, on a bus in memory."""

    def __init__(
        self, tmp_path: Path, *, supervised: bool = False, text: str = SERVICES, ready: bool = True
    ) -> None:
        self.place = directory(tmp_path, {**FILES, "www.cf": text})
        loaded = load_config(str(self.place), timers=None)
        self.bus = MemoryHub().bus(node=NODE, service="checker", clock=ManualClock())
        self.taken: list[Cluster] = []
        self.changed: list[tuple[str, ...]] = []
        self.context = Context(
            node=NODE,
            service="checker",
            cluster=loaded.cluster,
            digest=config_digest(loaded.cluster),
            bus=cast(NatsBus, self.bus),
            incarnation=1,
            runtime_dir=tmp_path,
            state_dir=tmp_path,
            stopping=asyncio.Event(),
            notifier=Notifier(),
            log=log.logger(node=NODE),
            take_up=self.taken.append if ready else None,
            files_changed=self.changed.append,
        )
        self.reloading = Reloading(
            self.context,
            load=partial(load_config, str(self.place), timers=None),
            files=loaded.files,
            supervised=supervised,
        )
        self.running = asyncio.create_task(self.reloading.run())

    def write(self, text: str, name: str = "www.cf") -> None:
        (self.place / name).write_text(text)

    async def asked(self, timeout_s: float = 5.0) -> CommandOutcome:
        return await self.bus.command(Reload(), timeout_s=timeout_s)

    def said(self, kind: type[Event]) -> list[Event]:
        return [event for event in self.bus.published if isinstance(event, kind)]


async def until(true: Callable[[], object]) -> None:
    async with asyncio.timeout(10):
        while not true():  # noqa: ASYNC110 — files and processes tell no event
            await asyncio.sleep(0.01)


async def test_a_change_is_applied_and_the_answer_has_its_digest(tmp_path: Path) -> None:
    setting = Setting(tmp_path)
    before = setting.context.digest
    setting.write(SERVICES.replace("gate", "masq"))
    outcome = await setting.asked()
    assert (outcome.done, outcome.message, outcome.details) == (True, "applied", ())
    assert outcome.digest == setting.context.digest != before
    assert setting.taken == [setting.context.cluster]
    [applied] = setting.said(ConfigApplied)
    assert applied == ConfigApplied(source=str(setting.place), digest=outcome.digest)
    assert setting.changed == [(str(setting.place / "www.cf"),)]


async def test_an_equal_configuration_does_nothing_and_tells_nobody(tmp_path: Path) -> None:
    setting = Setting(tmp_path)
    setting.write(f"# another comment\n{SERVICES}")
    outcome = await setting.asked()
    assert (outcome.done, outcome.message) == (True, "unchanged")
    assert outcome.digest == setting.context.digest
    assert setting.taken == []
    assert setting.bus.published == []
    assert len(setting.changed) == 1, "a callback hears of the text all the same"
    await setting.asked()
    assert len(setting.changed) == 1


async def test_what_waits_for_a_restart_is_in_the_answer_and_stays_there(tmp_path: Path) -> None:
    setting = Setting(tmp_path)
    setting.write(str(QUIET["ha.cf"]) + "deadtime 17\n", "ha.cf")
    for _ in range(2):
        outcome = await setting.asked()
        assert (outcome.done, outcome.message) == (True, "unchanged")
        assert outcome.details[0] == "waits for a restart: timers"
        assert outcome.details[1].startswith("timers: a director that sends slower")
        assert outcome.details[2].startswith("restart one director after the other")
    assert setting.taken == []


async def test_a_broken_file_changes_nothing_and_the_repaired_one_is_used(tmp_path: Path) -> None:
    """L-1, as a command."""
    setting = Setting(tmp_path)
    running = setting.context.cluster
    setting.write(SERVICES.replace("gate", "gaet"))
    outcome = await setting.asked()
    assert (outcome.done, outcome.message) == (False, "rejected: goes on as before")
    [reason] = outcome.details
    assert reason.startswith(f"{setting.place / 'www.cf'}:2: real: 'gaet' is not allowed")
    assert outcome.digest == setting.context.digest
    assert setting.context.cluster is running
    assert [e.reasons for e in setting.said(ConfigRejected) if isinstance(e, ConfigRejected)] == [
        outcome.details
    ]
    setting.write(SERVICES.replace("gate", "masq"))
    assert (await setting.asked()).message == "applied"


async def test_what_a_service_cannot_take_up_is_rejected(tmp_path: Path) -> None:
    setting = Setting(tmp_path)
    running = setting.context.cluster

    def refuse(_wanted: Cluster) -> None:
        raise ConfigError.plain("virtual service x: no library for it")

    setting.context.take_up = refuse
    setting.write(SERVICES.replace("gate", "masq"))
    outcome = await setting.asked()
    assert not outcome.done
    assert outcome.details == ("virtual service x: no library for it",)
    assert setting.context.cluster is running


async def test_a_defect_in_reading_is_answered_and_survived(tmp_path: Path) -> None:
    setting = Setting(tmp_path)

    def fails() -> Loaded:
        raise ZeroDivisionError

    load, setting.reloading._load = setting.reloading._load, fails
    outcome = await setting.asked()
    assert outcome.message == "refused: a defect of checker: ZeroDivisionError(); see its log"
    setting.reloading._load = load
    assert (await setting.asked()).message == "unchanged"


async def test_a_defect_in_what_hears_of_changes_is_survived(tmp_path: Path) -> None:
    setting = Setting(tmp_path)

    def fails(_files: tuple[str, ...]) -> None:
        raise ZeroDivisionError

    setting.context.files_changed = fails
    setting.write(SERVICES.replace("gate", "masq"))
    assert "a defect of checker" in (await setting.asked()).message
    assert (await setting.asked()).message == "unchanged"


async def test_a_service_that_is_not_ready_says_so(tmp_path: Path) -> None:
    outcome = await Setting(tmp_path, ready=False).asked()
    assert outcome.message.startswith("refused: checker is not ready yet")


async def test_a_director_whose_name_is_no_longer_in_the_file_goes_on(tmp_path: Path) -> None:
    setting = Setting(tmp_path)
    setting.write(str(QUIET["ha.cf"]).replace("linuxha1", "linuxha3"), "ha.cf")
    setting.write("linuxha3 192.168.7.110/24 ldirectord::www.cf\n", "haresources")
    outcome = await setting.asked()
    assert not outcome.done
    assert "linuxha1" in outcome.details[0]
    assert set(setting.reloading._autoreload.files) >= {str(setting.place / "ha.cf")}


async def test_two_that_ask_at_once_get_one_reload(tmp_path: Path) -> None:
    setting = Setting(tmp_path)
    setting.write(SERVICES.replace("gate", "masq"))
    first, second = await asyncio.gather(setting.asked(), setting.asked())
    assert first == second
    assert len(setting.taken) == 1


# --- below a supervisor --------------------------------------------------------------------------


async def test_a_supervised_service_asks_its_supervisor_and_answers_what_follows(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    setting = Setting(tmp_path, supervised=True)
    told: list[tuple[int, int]] = []
    monkeypatch.setattr(os, "kill", lambda pid, number: told.append((pid, number)))
    setting.write(SERVICES.replace("gate", "masq"))
    answer = asyncio.create_task(setting.asked())
    await until(lambda: told)
    assert told == [(os.getppid(), signal.SIGHUP)]
    assert not answer.done()
    assert setting.taken == [], "it waits for the supervisor, who must not be left behind"
    setting.reloading.hang_up()
    assert (await answer).message == "applied"


async def test_a_supervisor_that_passes_nothing_on_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    setting = Setting(tmp_path, supervised=True)
    monkeypatch.setattr(os, "kill", lambda _pid, _number: None)
    outcome = await setting.asked(timeout_s=0.05)
    assert outcome.message.startswith("refused: no reload came to an end within 0.05 s")


# --- the watch -----------------------------------------------------------------------------------


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reloading, "LOOK_PERIOD_S", 0.02)
    monkeypatch.setattr(autoreload, "SETTLE_S", 0.05)


WATCHED = f"autoreload=yes\n{SERVICES}"


async def test_watched_files_are_taken_up_broken_ones_told_once(
    tmp_path: Path, quick: None
) -> None:
    setting = Setting(tmp_path, text=WATCHED)
    setting.write(WATCHED.replace("gate", "gaet"))
    await until(lambda: setting.said(ConfigRejected))
    await asyncio.sleep(0.3)  # a dozen looks at a file that stays broken
    assert len(setting.said(ConfigRejected)) == 1
    setting.write(WATCHED.replace("gate", "masq"))
    await until(lambda: setting.taken)
    assert len(setting.said(ConfigApplied)) == 1


async def test_without_autoreload_nobody_looks(tmp_path: Path, quick: None) -> None:
    setting = Setting(tmp_path)
    setting.write(WATCHED.replace("gate", "masq"))
    await asyncio.sleep(0.3)
    assert setting.bus.published == []
    await setting.asked()
    setting.write(WATCHED)
    await until(lambda: len(setting.taken) == 2)  # a reload may switch the watch on


async def test_a_supervised_service_leaves_the_watch_to_its_supervisor(
    tmp_path: Path, quick: None
) -> None:
    setting = Setting(tmp_path, text=WATCHED, supervised=True)
    setting.write(WATCHED.replace("gate", "masq"))
    await asyncio.sleep(0.3)
    assert setting.bus.published == []
