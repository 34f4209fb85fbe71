"""``heartbus config check`` and ``show``: what the files say, and what was made of it."""

from __future__ import annotations

import json
import sys

import click

from heartbus.cli.options import json_option
from heartbus.config import ConfigError, Diagnostic, Level, load
from heartbus.config.digest import config_digest
from heartbus.config.show import render
from heartbus.runner import EXIT_CONFIG, fail


@click.group()
def config() -> None:
    """Check and show a configuration, in the old form (a directory) or the new (TOML)."""


@config.command(epilog="Example: heartbus config check /etc/ha.d")
@click.argument("path")
@click.option("--strict", is_flag=True, help="Exit with 1 if there are warnings.")
@json_option
def check(path: str, *, strict: bool, as_json: bool) -> None:
    """Say whether PATH can be used, and everything that is not used as it is written.

    Exit code: 0 usable, 1 warnings with --strict, 2 errors.
    """
    try:
        loaded = load(path)
    except ConfigError as error:
        if as_json:
            click.echo(json.dumps({"usable": False, "remarks": _remarks(error)}, indent=2))
            sys.exit(EXIT_CONFIG)
        _print(tuple(d for d in error.diagnostics if d.level is not Level.ERROR))
        sys.exit(fail("heartbus config check", error, EXIT_CONFIG))
    warnings = sum(d.level is Level.WARNING for d in loaded.diagnostics)
    cluster = loaded.cluster
    if as_json:
        document = {
            "usable": True,
            "digest": config_digest(cluster),
            "remarks": [_remark(d) for d in loaded.diagnostics],
        }
        click.echo(json.dumps(document, indent=2))
    else:
        _print(loaded.diagnostics)
        click.echo(
            f"{path}: usable: {_count(len(cluster.directors), 'director')}, "
            f"{_count(len(cluster.groups), 'resource group')}, "
            f"{_count(len(cluster.virtual_services), 'virtual service')}, "
            f"{_count(warnings, 'warning')} (digest {config_digest(cluster)})"
        )
    sys.exit(1 if strict and warnings else 0)


@config.command(epilog="Example: heartbus config show /etc/ha.d --json")
@click.argument("path")
@json_option
def show(path: str, *, as_json: bool) -> None:
    """Print what PATH means to heartbus; keys and passwords are left out."""
    try:
        loaded = load(path)
    except ConfigError as error:
        sys.exit(fail("heartbus config show", error, EXIT_CONFIG))
    click.echo(render(loaded.cluster, as_json=as_json))


def _print(diagnostics: tuple[Diagnostic, ...]) -> None:
    colours = {Level.ERROR: "red", Level.WARNING: "yellow", Level.NOTE: "cyan"}
    for diagnostic in diagnostics:
        level = click.style(f"{diagnostic.level}:", fg=colours[diagnostic.level])
        click.echo(f"{level} {diagnostic}")


def _remarks(error: ConfigError) -> list[dict[str, object]]:
    if error.diagnostics:
        return [_remark(d) for d in error.diagnostics]
    return [{"level": "error", "message": str(error)}]


def _remark(diagnostic: Diagnostic) -> dict[str, object]:
    return {
        "level": str(diagnostic.level),
        "file": diagnostic.file,
        "line": diagnostic.line,
        "directive": diagnostic.directive,
        "message": diagnostic.message,
    }


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"
