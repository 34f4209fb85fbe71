"""Every command has help with an example that can be typed, exit codes, and a stable --json."""

from __future__ import annotations

import dataclasses
import json
import re
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any, Final

import click
import msgspec
import pytest
from click.testing import CliRunner

from heartbus.asyncapi_examples import example_body, example_envelope
from heartbus.cli.__main__ import heartbus
from heartbus.cli.config import check, diff
from heartbus.cli.described import Described, described
from heartbus.cli.history import _document as history_document
from heartbus.cli.json_forms import JSON_FORMS, LINES
from heartbus.cli.manual import files, man_page
from heartbus.cli.status import document as status_document
from heartbus.codec import to_map
from heartbus.events import CommandOutcome, Message, NodeDead
from heartbus.history.asking import Found
from heartbus.observer import ClusterView
from heartbus.why.story import Account
from heartbus.why.story import document as why_document
from tests.simulator.clusters import configuration

PAGES: Final = described()
COMMANDS: Final = tuple(page for page in PAGES if page.section == 1)
BIN: Final = Path(sys.prefix) / "bin"


def name_of(page: Described) -> str:
    return page.name


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_a_command_says_what_it_does_how_it_ends_and_an_example(page: Described) -> None:
    assert page.summary
    assert page.summary.endswith(".")
    assert page.exit_codes.startswith("Exit code: 0"), "its help needs a paragraph Exit code: …"
    assert page.examples
    assert not [option.names for option in page.options if not option.help]
    for example in page.examples:
        assert example.startswith("heartbus"), example
    assert any(example.startswith(page.name) for example in page.examples), page.examples


@pytest.mark.parametrize(
    "example", [e for page in COMMANDS for e in page.examples if e.startswith("heartbus ")]
)
def test_an_example_can_be_typed(example: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its words are parsed by the command that they name; files in it need not be there."""
    monkeypatch.setattr(click.Path, "convert", lambda _self, value, _param, _ctx: value)
    words = shlex.split(re.split(r" (?:\||>|&&|\|\|) ", example)[0])[1:]
    command: click.Command = heartbus
    context = click.Context(heartbus, info_name="heartbus")
    while isinstance(command, click.Group):
        verb = words.pop(0)
        found = command.get_command(context, verb)
        assert found is not None, f"no command {verb}"
        command = found
    context = command.make_context("heartbus", words)
    assert context.args == []


@pytest.mark.parametrize("page", COMMANDS, ids=name_of)
def test_help_shows_it(page: Described) -> None:
    done = CliRunner().invoke(heartbus, [*page.name.split()[1:], "--help"])
    assert done.exit_code == 0
    shown = " ".join(done.output.split())
    assert " ".join(page.examples[0].split()) in shown
    assert "Exit code: 0" in shown


def test_a_service_shows_its_help_too() -> None:
    done = subprocess.run(
        [BIN / "heartbus-vip", "--help"], capture_output=True, text=True, check=True
    )
    assert "example: heartbus-vip --config" in done.stdout


def test_the_options_with_json_are_the_documented_forms() -> None:
    with_json = {
        page.name.removeprefix("heartbus ")
        for page in COMMANDS
        if any(option.names == "--json" for option in page.options)
    }
    assert with_json == set(JSON_FORMS)


# --- what --json prints --------------------------------------------------------------------------


def keys(command: str) -> list[str]:
    return [key for key, _meaning in JSON_FORMS[command] if key != LINES]


def printed(command: click.Command, *words: str) -> Any:
    return json.loads(CliRunner().invoke(command, [*words, "--json"]).stdout)


def test_events_have_the_documented_keys() -> None:
    message = Message(envelope=example_envelope(NodeDead.kind), body=example_body(NodeDead))
    assert list(to_map(message)) == keys("watch")
    assert list(history_document(message, Found(messages=(message,), source=""))) == keys("history")


def test_outcomes_have_the_documented_keys() -> None:
    outcome = msgspec.to_builtins(CommandOutcome(done=True, message=""))
    for command in ("standby", "takeover", "failback"):
        assert list(outcome) == keys(command)


def test_status_and_why_have_the_documented_keys() -> None:
    assert sorted(status_document(ClusterView(), now_s=0.0)) == sorted(keys("status"))
    account = Account(subject="", answer="", steps=(), unknown=None, remarks=())
    for command in ("why vip", "why node", "why realserver"):
        assert [*why_document(account), "source"] == keys(command)


def test_config_check_and_diff_have_the_documented_form(tmp_path: Path) -> None:
    path = str(configuration(tmp_path))
    assert list(printed(check, path)) == keys("config check")
    assert printed(diff, path, path) == []


# --- man pages and completion --------------------------------------------------------------------


def test_every_command_has_a_man_page_in_which_no_text_is_a_request() -> None:
    made = files()
    for page in PAGES:
        assert f"man/man{page.section}/{page.name.replace(' ', '-')}.{page.section}" in made
    for name, text in made.items():
        if name.startswith("man/"):
            assert text.startswith(".TH "), name
            requests = {line.split()[0] for line in text.splitlines() if line[:1] in ".'"}
            assert requests <= {".TH", ".SH", ".PP", ".TP", ".nf", ".fi"}, name


def test_text_that_looks_like_a_request_of_troff_is_text() -> None:
    page = dataclasses.replace(PAGES[0], paragraphs=(".TH x", "'tis", "-r \\fB"))
    lines = man_page(page).splitlines()
    assert {"\\&.TH x", "\\&'tis", "\\-r \\efB"} <= set(lines)


def test_completion_knows_commands_options_and_words() -> None:
    def completed(*words: str) -> list[str]:
        line = " ".join(("heartbus", *words))
        done = subprocess.run(
            [BIN / "heartbus"],
            env={
                "_HEARTBUS_COMPLETE": "bash_complete",
                "COMP_WORDS": line,
                "COMP_CWORD": str(len(words)),
                "PATH": "/usr/bin:/bin",
            },
            capture_output=True,
            text=True,
            check=False,
        )
        return [found.partition(",")[2] for found in done.stdout.splitlines()]

    assert completed("sta") == ["standby", "status"]
    assert completed("why", "v") == ["vip"]
    assert "--offline" in completed("simulate", "--")
    assert completed("standby", "lo") == ["local"]


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_is_written_for_each_shell(shell: str) -> None:
    (text,) = [text for name, text in files().items() if name.startswith(f"{shell}")]
    assert "_HEARTBUS_COMPLETE" in text
