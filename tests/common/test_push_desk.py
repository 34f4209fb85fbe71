"""The shell of a push on one director: real files, a reload that works or does not, no word."""

from __future__ import annotations

import asyncio
import dataclasses
import time
from collections.abc import AsyncIterator, Callable
from functools import partial
from pathlib import Path
from typing import cast

import pytest

from heartbus import log
from heartbus.bus import NatsBus
from heartbus.config import ConfigError
from heartbus.config.digest import config_digest
from heartbus.config.source import content_digest
from heartbus.events import Command, CommandOutcome, DryRun, PushConfig, PushStep
from heartbus.model import Cluster
from heartbus.push import staging
from heartbus.push.desk import PushDesk, serve_dry_run
from heartbus.push.trust import signed, text_digest
from heartbus.runner import Context, load_config
from heartbus.systemd import Notifier
from heartbus.testing import ManualClock, MemoryBus, MemoryHub

SECRET = "a-secret-of-sixteen-or-more"
NODE = "one"


def document(tmp_path: Path, *, extra: str = "", key: int = 1) -> str:
    return (
        '[[directors]]\nname = "one"\n[[directors]]\nname = "two"\n[membership]\n'
        '[[membership.links]]\nkind = "bcast"\ninterface = "eth0"\n'
        f"[membership.authentication]\nsigning_key = {key}\n"
        f'[[membership.authentication.keys]]\nid = 1\nsecret_file = "{tmp_path}/key"\n'
        f'[[membership.authentication.keys]]\nid = 2\nsecret_file = "{tmp_path}/new-key"\n'
        f'[[groups]]\nname = "vip"\npreferred = "one"\nresources = ["192.0.2.100/24"]\n{extra}'
    )


SERVICE = '[[virtual_services]]\naddress = "192.0.2.100:80"\ncheck = { type = "off" }\n'


class Bus(MemoryBus):
    """Nobody else runs on this director, unless a test says so."""

    answers: dict[str, CommandOutcome | None] = {}  # noqa: RUF012 — replaced, never changed

    async def request(
        self, _node: str, service: str, _command: Command, *, timeout_s: float
    ) -> CommandOutcome | None:
        del timeout_s
        return self.answers.get(service)


class Setting:
    """The desk of a vip with one file, whose reloads come out as a test wants."""

    def __init__(self, tmp_path: Path) -> None:
        self.tmp_path = tmp_path
        for name, secret in (("key", SECRET), ("new-key", SECRET[::-1])):
            (tmp_path / name).write_text(secret)
            (tmp_path / name).chmod(0o600)
        self.file = tmp_path / "heartbus.toml"
        self.old = document(tmp_path).replace(
            f'[[membership.authentication.keys]]\nid = 2\nsecret_file = "{tmp_path}/new-key"\n', ""
        )
        self.kept_beside = tmp_path / "heartbus.toml.old"
        self.file.write_text(self.old)
        self.file.chmod(0o600)
        cluster = load_config(str(self.file), timers=None).cluster
        self.bus = Bus(MemoryHub(), node=NODE, service="vip", clock=ManualClock())
        self.context = Context(
            node=NODE,
            service="vip",
            cluster=cluster,
            digest=config_digest(cluster),
            bus=cast(NatsBus, self.bus),
            incarnation=1,
            runtime_dir=tmp_path,
            state_dir=tmp_path,
            stopping=asyncio.Event(),
            notifier=Notifier(),
            log=log.logger(node=NODE),
            config=str(self.file),
        )
        self.reloads: list[str] = []
        self.broken = False
        self.outcome = CommandOutcome(done=True, message="applied")
        load = partial(load_config, timers=None)
        self.desk = PushDesk(self.context, load=load, reload=self.reload)
        serve_dry_run(self.context, load)

    async def reload(self, _command: Command, _within_s: float, _cause: str) -> CommandOutcome:
        self.reloads.append(self.file.read_text())
        if self.broken:
            raise ZeroDivisionError
        return self.outcome

    async def send(
        self, step: PushStep, *, secret: str = SECRET, age_s: float = 0.0, **more: object
    ) -> CommandOutcome:
        message = PushConfig(push="a", step=step, sent_s=time.time() - age_s)
        message = dataclasses.replace(message, **more)  # type: ignore[arg-type]
        return await self.bus.command(signed(message, secret.encode()), timeout_s=5.0)

    async def prepared(self, text: str) -> CommandOutcome:
        assert (await self.send(PushStep.STAGE, text=text, part=0, parts=1)).done
        return await self.send(PushStep.PREPARE, digest=text_digest(text))

    def beside(self) -> set[str]:
        names = {path.name for path in self.tmp_path.iterdir()}
        return {n.removeprefix("heartbus.toml") for n in names if n.startswith("heartbus.toml.")}


@pytest.fixture
async def setting(tmp_path: Path) -> AsyncIterator[Setting]:
    made = Setting(tmp_path)
    running = asyncio.create_task(made.desk.run())
    yield made
    running.cancel()


async def test_a_push_step_by_step(setting: Setting) -> None:
    text = document(setting.tmp_path, extra=SERVICE)
    outcome = await setting.prepared(text)
    assert outcome.done
    assert (setting.file.read_text(), setting.reloads) == (setting.old, [])
    assert setting.beside() == {".pushed"}
    assert (await setting.send(PushStep.COMMIT)).done
    assert (setting.file.read_text(), setting.reloads) == (text, [text])
    assert outcome.digest == config_digest(load_config(str(setting.file), timers=None).cluster)
    assert setting.beside() == {".old"}
    assert (await setting.send(PushStep.CONFIRM)).message == "kept"
    assert setting.kept_beside.read_text() == setting.old


async def test_what_waits_for_a_restart_is_said_before_anything_changes(setting: Setting) -> None:
    outcome = await setting.prepared(document(setting.tmp_path, extra="[vip]\nlifetime = 9\n"))
    assert outcome.details[0] == "waits for a restart: vip settings"
    assert outcome.details[-1].startswith("restart one director after the other")


@pytest.mark.parametrize(
    ("extra", "why"),
    [
        ("nonsense = 1\n", "heartbus.toml.pushed:21: groups[0].nonsense: unknown key"),
        ("[[\n", "heartbus.toml.pushed:21: no TOML"),
    ],
)
async def test_a_document_that_cannot_be_used_leaves_nothing(
    setting: Setting, extra: str, why: str
) -> None:
    outcome = await setting.prepared(document(setting.tmp_path, extra=extra))
    assert not outcome.done
    assert why in outcome.details[0]
    assert setting.beside() == set()
    assert not (await setting.send(PushStep.COMMIT)).done
    assert setting.file.read_text() == setting.old


async def test_a_key_that_the_document_removes_confirms_it_and_then_nothing_more(
    setting: Setting, monkeypatch: pytest.MonkeyPatch
) -> None:
    both = document(setting.tmp_path)
    authentication = load_config(str(setting.file), timers=None).cluster.membership.authentication
    setting.file.write_text(both)
    setting.context.cluster = load_config(str(setting.file), timers=None).cluster
    only_second = both.replace("signing_key = 1", "signing_key = 2").replace(
        '[[membership.authentication.keys]]\nid = 1\nsecret_file = "'
        + f'{setting.tmp_path}/key"\n',
        "",
    )
    assert (await setting.prepared(only_second)).done
    assert (await setting.send(PushStep.COMMIT)).done
    setting.context.cluster = load_config(str(setting.file), timers=None).cluster
    assert setting.context.cluster.membership.authentication != authentication
    assert (await setting.send(PushStep.CONFIRM)).done
    assert (await setting.send(PushStep.CONFIRM)).done, "the first answer may have been lost"
    monkeypatch.setattr(setting.desk, "_secrets_until_s", 0.0)  # a minute and a half later
    assert not (await setting.send(PushStep.CONFIRM)).done
    assert (await setting.send(PushStep.CONFIRM, secret=SECRET[::-1])).done


async def test_a_director_that_is_not_in_the_document_refuses_it(setting: Setting) -> None:
    text = document(setting.tmp_path).replace('"one"', '"three"')
    outcome = await setting.prepared(text)
    assert "one" in outcome.details[0]
    assert setting.beside() == set()


async def test_a_key_that_nobody_has_yet_does_not_sign(setting: Setting) -> None:
    outcome = await setting.prepared(document(setting.tmp_path, key=2))
    assert outcome.details[0].startswith("signing_key = 2 is a new key: add it in one push")


async def test_the_old_form_is_not_pushed_to(setting: Setting) -> None:
    (setting.tmp_path / "ha.cf").write_text("")
    setting.context.config = str(setting.tmp_path)
    outcome = await setting.prepared(setting.old)
    assert "has the old form" in outcome.message


@pytest.mark.parametrize(
    "more", [{"secret": "else"}, {"age_s": 61.0}, {"age_s": -61.0}], ids=["key", "old", "future"]
)
async def test_who_is_not_believed_changes_nothing(setting: Setting, more: object) -> None:
    assert isinstance(more, dict)
    await setting.prepared(document(setting.tmp_path, extra=SERVICE))
    assert not (await setting.send(PushStep.COMMIT, **more)).done
    assert not (await setting.send(PushStep.ROLLBACK, **more)).done
    assert setting.file.read_text() == setting.old
    assert (await setting.send(PushStep.COMMIT)).done


@pytest.mark.parametrize("whose", ["vip", "checker"])
async def test_a_service_that_does_not_take_it_up_brings_the_old_file_back(
    setting: Setting, whose: str
) -> None:
    refusal = CommandOutcome(done=False, message="rejected", details=("x: no such library",))
    if whose == "vip":
        setting.outcome = refusal
    else:
        setting.bus.answers = {"checker": refusal}
    text = document(setting.tmp_path, extra=SERVICE)
    await setting.prepared(text)
    outcome = await setting.send(PushStep.COMMIT)
    assert not outcome.done
    assert outcome.details == (f"{whose}: rejected", f"{whose}: x: no such library")
    assert setting.file.read_text() == setting.old
    assert setting.reloads == [text, setting.old]
    assert setting.beside() == set()


async def test_a_file_that_cannot_be_put_in_place_changes_nothing(setting: Setting) -> None:
    setting.kept_beside.mkdir()
    await setting.prepared(document(setting.tmp_path, extra=SERVICE))
    outcome = await setting.send(PushStep.COMMIT)
    assert "Is a directory" in outcome.message
    assert (setting.file.read_text(), setting.reloads) == (setting.old, [])
    assert setting.beside() == {".old"}


async def test_a_rollback_brings_the_old_file_back(setting: Setting) -> None:
    text = document(setting.tmp_path, extra=SERVICE)
    await setting.prepared(text)
    await setting.send(PushStep.COMMIT)
    assert (await setting.send(PushStep.ROLLBACK)).message == "taken back; applied"
    assert (setting.file.read_text(), setting.reloads) == (setting.old, [text, setting.old])


async def until(true: Callable[[], object]) -> None:
    async with asyncio.timeout(10):
        while not true():  # noqa: ASYNC110 — files tell no event
            await asyncio.sleep(0.01)


async def test_without_a_word_it_goes_back_by_itself(
    setting: Setting, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever pushes has died, or cannot be heard: the others go back as well."""
    monkeypatch.setattr(staging, "CONFIRM_S", 0.1)
    await setting.prepared(document(setting.tmp_path, extra=SERVICE))
    await setting.send(PushStep.COMMIT)
    await until(lambda: setting.file.read_text() == setting.old)
    assert not (await setting.send(PushStep.CONFIRM)).done


async def test_a_defect_while_it_goes_back_does_not_end_the_desk(
    setting: Setting, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(staging, "CONFIRM_S", 0.1)
    setting.broken = True
    await setting.prepared(document(setting.tmp_path, extra=SERVICE))
    with pytest.raises(ZeroDivisionError):  # the desk of commands answers it as a defect
        await setting.send(PushStep.COMMIT)
    await until(lambda: setting.file.read_text() == setting.old)
    await until(lambda: len(setting.reloads) == 2)
    setting.broken = False
    await setting.prepared(document(setting.tmp_path, extra=SERVICE))
    await setting.send(PushStep.COMMIT)
    await until(lambda: setting.file.read_text() == setting.old)


async def test_what_is_prepared_and_never_committed_is_removed(
    setting: Setting, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(staging, "PREPARE_S", 0.1)
    await setting.prepared(document(setting.tmp_path, extra=SERVICE))
    await until(lambda: setting.beside() == set())
    assert setting.file.read_text() == setting.old


async def test_what_an_earlier_life_had_prepared_is_gone_after_a_start(tmp_path: Path) -> None:
    setting = Setting(tmp_path)
    await setting.prepared(document(tmp_path, extra=SERVICE))
    again = Setting(tmp_path)
    running = asyncio.create_task(again.desk.run())
    await until(lambda: again.beside() == set())
    assert not (await again.send(PushStep.COMMIT)).done
    running.cancel()


async def test_a_dry_run_shows_what_the_prepared_document_would_change(setting: Setting) -> None:
    asked: list[Cluster] = []

    def dry_run(wanted: Cluster) -> tuple[str, ...]:
        asked.append(wanted)
        return tuple(f"-a {number}" for number in range(300))

    text = document(setting.tmp_path, extra=SERVICE)
    question = DryRun(digest=content_digest(text.encode()))
    assert "not ready" in (await setting.bus.command(question, timeout_s=1)).message
    setting.context.dry_run = dry_run
    assert not (await setting.bus.command(question, timeout_s=1)).done  # nothing is prepared
    await setting.prepared(text)
    outcome = await setting.bus.command(question, timeout_s=1)
    assert (outcome.done, outcome.message, len(outcome.details)) == (True, "300 changes", 201)
    assert outcome.details[-1] == "... 300 in all"
    assert len(asked[0].virtual_services) == 1
    other = await setting.bus.command(DryRun(digest="0"), timeout_s=1)
    assert other.message == "refused: another document is prepared here"

    def refuses(_wanted: Cluster) -> tuple[str, ...]:
        raise ConfigError.plain("no library for mysql")

    setting.context.dry_run = refuses
    outcome = await setting.bus.command(question, timeout_s=1)
    assert (outcome.done, outcome.details) == (False, ("no library for mysql",))
