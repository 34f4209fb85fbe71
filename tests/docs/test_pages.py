"""What the pages tell an administrator to type can be typed, and no alarm is left out."""

from __future__ import annotations

import re
import shlex
from pathlib import Path
from typing import Final

import click
import pytest

from heartbus.cli import alarms, watch
from heartbus.cli.__main__ import heartbus
from heartbus.config.loader import load
from heartbus.events import EVENT_CLASSES
from tests.docs.pages import DOCS

ROOT: Final = DOCS.parent
PAGES: Final = (
    ROOT / "README.md",
    DOCS / "getting-started.md",
    DOCS / "moving-from-heartbeat.md",
    DOCS / "moving-from-keepalived.md",
    DOCS / "operations.md",
    DOCS / "realservers.md",
)


def commands(page: Path) -> list[str]:
    """Return the lines of code that call heartbus, without what stands beside them."""
    return [
        re.split(r"\s{2,}|\s(?:\||&&|\|\||>|#)\s", line.strip())[0]
        for line in page.read_text().splitlines()
        if line.startswith("    ") and line.lstrip().startswith("heartbus ")
    ]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_command_on_a_page_can_be_typed(page: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(click.Path, "convert", lambda _self, value, _param, _ctx: value)
    found = commands(page)
    assert found
    for line in found:
        _must_parse(line)


def _must_parse(line: str) -> None:
    words = shlex.split(line.replace("[", "").replace("]", ""))[1:]
    command: click.Command = heartbus
    context = click.Context(heartbus, info_name="heartbus")
    while isinstance(command, click.Group):
        inner = command.get_command(context, words[0])
        assert inner is not None, line
        words, command = words[1:], inner
    command.make_context("heartbus", words)


def test_the_configuration_of_getting_started_is_usable(tmp_path: Path) -> None:
    (text,) = re.findall(r"```toml\n(.*?)```", (DOCS / "getting-started.md").read_text(), re.DOTALL)
    path = tmp_path / "heartbus.toml"
    path.write_text(text)
    path.chmod(0o600)
    loaded = load(str(path))
    assert [str(d) for d in loaded.diagnostics if "warning" in str(d)] == []
    (group,) = loaded.cluster.groups
    assert [a.address for a in group.addresses] == ["192.0.2.100"]
    assert [s.group for s in loaded.cluster.virtual_services] == ["web"]


def test_every_alarm_and_every_bad_event_says_what_to_do() -> None:
    table = (DOCS / "operations.md").read_text().partition("\n## Alarms\n")[2]
    told = set(re.findall(r"^\| `([a-z.-]+)` \|", table, re.MULTILINE))
    source = Path(alarms.__file__).read_text()
    kinds = {c.__name__: c.kind for c in EVENT_CLASSES}
    said = {kinds[name] for name in re.findall(r'"kind": (\w+)\.kind', source)}
    said |= set(re.findall(r'"kind": "([a-z.-]+)"', source)) | {alarms.UNSTREAMED}
    assert len(said) >= 4
    bad = {c.kind for c in EVENT_CLASSES if watch._COLOURS.get(c.kind.rpartition(".")[2]) == "red"}
    assert said | bad <= told
    assert told <= {c.kind for c in EVENT_CLASSES} | said, "an alarm that nobody gives"


def test_no_link_between_pages_leads_nowhere() -> None:
    for page in (*DOCS.glob("*.md"), *DOCS.glob("decisions/*.md"), ROOT / "README.md"):
        for target in re.findall(r"\]\(([^)#]+)(?:#[^)]*)?\)", page.read_text()):
            if "://" not in target:
                assert (page.parent / target).exists(), f"{page.name}: {target}"
