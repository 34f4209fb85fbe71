"""Every command and service with its words, options and examples, as its own parser knows them.

Man pages, docs/cli.md and the tests of ``--help`` are made from this, so that none of them can
name an option that is not there.
"""

from __future__ import annotations

import argparse
import importlib
import inspect
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

import click

from heartbus.cli.__main__ import heartbus
from heartbus.cli.json_forms import JSON_FORMS
from heartbus.runner import parser

SERVICES: Final = {
    "checker": "heartbus_checker.__main__",
    "ipvs-agent": "heartbus_ipvs_agent.__main__",
    "membership": "heartbus_membership.__main__",
    "recorder": "heartbus.history.__main__",
    "vip": "heartbus_vip.__main__",
}
SERVICE_CODES: Final = (
    "Exit code: 0 stopped as asked, 1 a defect, 2 the configuration is wrong, 3 this machine lacks"
    " something."
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Option:
    """An option or argument. ``names``: as they are written; ``env``: its variable, "" for none."""

    names: str
    help: str
    default: str = ""
    env: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Described:
    """A command. ``paragraphs``: its text without what stands in fields of its own.

    ``verbatim``: paragraphs whose lines stay as they are. ``json``: top-level keys and what each
    is, empty for a command without ``--json``.
    """

    name: str
    summary: str
    usage: str
    paragraphs: tuple[str, ...]
    verbatim: frozenset[int]
    exit_codes: str
    options: tuple[Option, ...]
    examples: tuple[str, ...]
    json: tuple[tuple[str, str], ...] = ()
    section: int = 1


def described() -> tuple[Described, ...]:
    """Return all commands in the order of their names, then the services."""
    return (*_commands(heartbus, "heartbus", None), *map(_service, SERVICES))


# --- commands ------------------------------------------------------------------------------------


def _commands(
    command: click.Command, name: str, parent: click.Context | None
) -> Iterator[Described]:
    context = click.Context(command, info_name=name.rpartition(" ")[2], parent=parent)
    if not isinstance(command, click.Group):
        yield _command(command, name, context)
        return
    for verb in command.list_commands(context):
        found = command.get_command(context, verb)
        assert found is not None
        yield from _commands(found, f"{name} {verb}", context)


def _command(command: click.Command, name: str, context: click.Context) -> Described:
    paragraphs, verbatim, codes = _paragraphs(command.help or "")
    epilog = (command.epilog or "").replace("\b", "")
    examples = [line.strip() for line in epilog.splitlines() if line.strip()]
    if len(examples) == 1:
        examples[0] = examples[0].removeprefix("Example: ")
    else:
        examples = [line for line in examples if not line.startswith("Example")]
    return Described(
        name=name,
        summary=paragraphs[0],
        usage=f"{name} {' '.join(command.collect_usage_pieces(context))}",
        paragraphs=paragraphs[1:],
        verbatim=frozenset(n - 1 for n in verbatim),
        exit_codes=codes,
        options=tuple(_option(p, context) for p in command.get_params(context) if _is_told(p)),
        examples=tuple(examples),
        json=JSON_FORMS.get(name.removeprefix("heartbus "), ()),
    )


def _is_told(parameter: click.Parameter) -> bool:
    return isinstance(parameter, click.Option) and "--help" not in parameter.opts


def _option(parameter: click.Parameter, context: click.Context) -> Option:
    assert isinstance(parameter, click.Option)
    record = parameter.get_help_record(context)
    assert record is not None
    env = parameter.envvar if isinstance(parameter.envvar, str) else ""
    default = ""
    if parameter.show_default and parameter.default not in (None, (), False):
        default = str(parameter.default)
    return Option(names=record[0], help=parameter.help or "", default=default, env=env)


def _paragraphs(text: str) -> tuple[tuple[str, ...], frozenset[int], str]:
    """Return the paragraphs of a help text, which of them are verbatim, and its exit codes."""
    found: list[str] = []
    verbatim: set[int] = set()
    codes = ""
    for paragraph in re.split(r"\n\s*\n", inspect.cleandoc(text)):
        if paragraph.lstrip().startswith("\b"):
            verbatim.add(len(found))
            found.append(inspect.cleandoc(paragraph.replace("\b", "").strip("\n")))
            continue
        plain = " ".join(paragraph.split())
        before, separator, after = plain.partition("Exit code: ")
        if separator:
            codes, plain = f"Exit code: {after}", before.strip()
        if plain:
            found.append(plain)
    return tuple(found), frozenset(verbatim), codes


# --- services ------------------------------------------------------------------------------------


def _service(service: str) -> Described:
    words = inspect.cleandoc(importlib.import_module(SERVICES[service]).__doc__ or "")
    first = " ".join(words.split("\n\n")[0].split())
    summary = first.partition(": ")[2] or first
    found = parser(service, summary)
    usage = " ".join(found.format_usage().split()).removeprefix("usage: ")
    return Described(
        name=f"heartbus-{service}",
        summary=f"{summary[:1].upper()}{summary[1:]}",
        usage=usage,
        paragraphs=(),
        verbatim=frozenset(),
        exit_codes=SERVICE_CODES,
        options=tuple(
            _argument(action) for action in found._actions if "--help" not in action.option_strings
        ),
        examples=((found.epilog or "").removeprefix("example: "),),
        section=8,
    )


def _argument(action: argparse.Action) -> Option:
    names = ", ".join(action.option_strings)
    takes = action.metavar or (
        "[" + "|".join(map(str, action.choices)) + "]" if action.choices else action.dest.upper()
    )
    if action.nargs != 0:
        names = f"{names} {takes}"
    # Defaults are of the machine that this runs on.
    words = re.sub(r" \(default %\(default\)s\)", "", action.help or "")
    env = "" if action.dest == "version" else f"HEARTBUS_{action.dest.upper()}"
    return Option(names=names, help=words, env=env)
