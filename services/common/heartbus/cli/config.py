"""``heartbus config``: what the files say, what was made of it, in what they differ."""

from __future__ import annotations

import json
import os
import secrets
import sys
from dataclasses import asdict, replace

import click

from heartbus.cli.options import config_option, json_option, nats_option
from heartbus.config import ConfigError, Diagnostic, Level, Loaded, keepalived, load
from heartbus.config.convert import NotTextError, to_toml
from heartbus.config.difference import Kind, differences
from heartbus.config.digest import config_digest
from heartbus.config.explain import explain as explained
from heartbus.config.explain import reference, suggestion
from heartbus.config.origin import render_origins
from heartbus.config.report import Place, Places, Report, shown
from heartbus.config.schema import json_schema
from heartbus.config.show import render
from heartbus.exits import EXIT_CONFIG, fail


@click.group()
def config() -> None:
    """Check, show, convert and compare configurations, in the old form or as TOML."""


@config.command(epilog="Example: heartbus config check /etc/ha.d")
@click.argument("path")
@click.option("--strict", is_flag=True, help="Exit with 1 if there are warnings.")
@click.option(
    "--node",
    default=lambda: os.environ.get("HEARTBUS_NODE") or os.uname().nodename,
    help="Which director this machine is (default: the one of its name, if any).",
)
@json_option
def check(path: str, *, strict: bool, node: str, as_json: bool) -> None:
    """Say whether PATH can be used, and everything that is not used as it is written.

    On a director itself a missing resource script or interface is an error; elsewhere it is a
    warning.
    Exit code: 0 usable, 1 warnings with --strict, 2 errors.
    """
    try:
        loaded = load(path)
        _refuse_what_is_missing_here(loaded, node)
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
@click.option("--origin", is_flag=True, help="Each value with the file and line it came from.")
@json_option
def show(path: str, *, origin: bool, as_json: bool) -> None:
    """Print what PATH means to heartbus; keys and passwords are left out.

    Exit code: 0, 2 it cannot be used.
    """
    loaded = _load("show", path)
    if origin:
        text = render_origins(loaded.cluster, loaded.places, as_json=as_json)
        click.echo(text, nl=False)
    else:
        click.echo(render(loaded.cluster, as_json=as_json))


@config.command(epilog="Example: heartbus config convert /etc/ha.d --output heartbus.toml")
@click.argument("path")
@click.option(
    "--to", type=click.Choice(["toml"]), default="toml", show_default=True, help="The new form."
)
@click.option("--output", metavar="FILE", help="A new file, mode 600 (default: standard output).")
@click.option(
    "--director",
    "directors",
    multiple=True,
    metavar="NAME",
    help="PATH is a keepalived.conf: the name of a director, that of its own host first; repeat.",
)
@click.option("--config-id", default="", help="Of a keepalived.conf: what @ID conditions mean.")
def convert(
    path: str, *, to: str, output: str | None, directors: tuple[str, ...], config_id: str
) -> None:
    """Write PATH as one TOML file that means the same; keys and passwords are part of it.

    A keepalived.conf names no directors: say them with --director. What has no counterpart is
    listed with its line, and the heartbeats get a new secret.

    What was said about the old files stands above as comments. A file that is there is not
    overwritten. Exit code: 0 written, 1 it cannot be written, 2 errors in PATH.
    """
    del to  # the only form there is
    loaded = _converted(path, directors, config_id) if directors else _load("convert", path)
    if directors:
        _print(loaded.diagnostics, err=True)
    try:
        text = to_toml(loaded.cluster, loaded.diagnostics)
    except NotTextError as error:
        sys.exit(fail("heartbus config convert", error, EXIT_CONFIG))
    if output is None:
        click.echo(text, nl=False)
        return
    try:
        descriptor = os.open(output, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        with open(descriptor, "w", encoding="utf-8") as file:
            file.write(text)
    except OSError as error:
        click.echo(f"heartbus config convert: {output}: {error.strerror}", err=True)
        sys.exit(1)
    click.echo(f"{output}: written; next: heartbus config check {output}")


@config.command(epilog="Example: heartbus config diff /etc/ha.d heartbus.toml")
@click.argument("old")
@click.argument("new")
@json_option
def diff(old: str, new: str, *, as_json: bool) -> None:
    """Say in what NEW differs from OLD, in terms of what they mean; secrets are not shown.

    Exit code: 0 they mean the same, 1 they differ, 2 errors in one of them.
    """
    found = differences(_load("diff", old).cluster, _load("diff", new).cluster)
    if as_json:
        click.echo(json.dumps([asdict(difference) for difference in found], indent=2))
    else:
        colours = {Kind.ADDED: "green", Kind.REMOVED: "red", Kind.CHANGED: "yellow"}
        for difference in found:
            click.echo(click.style(str(difference), fg=colours[difference.kind]))
        if not found:
            click.echo("no difference")
    sys.exit(1 if found else 0)


@config.command(epilog="Example: heartbus config push --dry-run heartbus.toml")
@click.argument("file")
@click.option("--dry-run", is_flag=True, help="Test it everywhere and show what would be done.")
@click.option("--join", is_flag=True, help="Push FILE and what it includes as one file.")
@click.option(
    "--without",
    multiple=True,
    metavar="NAME",
    help="Leave out a director that is down; repeat. Give it the file before it starts.",
)
@click.option(
    "--timeout",
    "timeout_s",
    type=click.FloatRange(min=1, max=55),
    default=40.0,
    show_default=True,
    metavar="SECONDS",
    help="Wait so long for each step; 40,000 real servers take some seconds to read.",
)
@config_option
@nats_option
@json_option
def push(
    file: str,
    *,
    dry_run: bool,
    join: bool,
    without: tuple[str, ...],
    timeout_s: float,
    config: str,
    nats: str,
    as_json: bool,
) -> None:
    """Distribute FILE, a heartbus.toml, to all directors, or to none.

    First it is tested on every director, with what checker and kernel would have to change; then
    it takes the place of their files (FILE.old is kept beside each) and is taken up. If one of
    them refuses or does not answer, all go back. The configuration of this director (--config)
    has the key that the others believe. Secrets must be in files of their own, on every director;
    their names are relative to FILE, so edit a copy beside the original. Files with secrets and
    ldirectord files that a group names stay local, and are named.

    Exit code: 0 every director runs with it (--dry-run: could), 1 refused or taken back, 2 FILE
    cannot be used, 3 the bus cannot be reached.
    """
    from heartbus.cli.push import push as run_push

    code = run_push(
        file,
        config=config,
        nats=nats,
        dry_run=dry_run,
        join=join,
        without=without,
        timeout_s=timeout_s,
        as_json=as_json,
    )
    sys.exit(code)


@config.command(epilog="Example: heartbus config explain nice_failback")
@click.argument("directive")
def explain(directive: str) -> None:
    """Say what DIRECTIVE means: a key of heartbus.toml, or a word of ha.cf or ldirectord.cf.

    Exit code: 0 known, 1 nobody knows it.
    """
    text = explained(directive)
    if text is None:
        click.echo(
            f"heartbus config explain: nobody knows {shown(directive)}{suggestion(directive)}",
            err=True,
        )
        sys.exit(1)
    click.echo(text)


@config.command(epilog="Example: heartbus config schema > heartbus.schema.json")
def schema() -> None:
    """Print the JSON Schema of heartbus.toml, for editors that complete and check.

    Exit code: 0.
    """
    click.echo(json.dumps(json_schema(), indent=2))


@config.command(
    name="reference", epilog="Example: heartbus config reference > docs/configuration.md"
)
def print_reference() -> None:
    """Print every key and every old directive as Markdown: docs/configuration.md.

    Exit code: 0.
    """
    click.echo(reference(), nl=False)


def _converted(path: str, directors: tuple[str, ...], config_id: str) -> Loaded:
    """Read a keepalived.conf; the heartbeats get a secret of 256 random bits."""
    report = Report()
    names = [name.lower() for name in directors]
    secret = secrets.token_hex(32).encode()
    try:
        cluster = keepalived.load(
            path, directors=names, secret=secret, report=report, config_id=config_id
        )
        report.refuse_errors()
    except ConfigError as error:
        sys.exit(fail("heartbus config convert", error, EXIT_CONFIG))
    assert cluster is not None
    places = Places(whole=Place(file=path))
    return Loaded(cluster=cluster, diagnostics=report.diagnostics(), places=places)


def _load(command: str, path: str) -> Loaded:
    try:
        return load(path)
    except ConfigError as error:
        sys.exit(fail(f"heartbus config {command}", error, EXIT_CONFIG))


def _refuse_what_is_missing_here(loaded: Loaded, node: str) -> None:
    names = [name for d in loaded.cluster.directors for name in (d.name, d.name.split(".")[0])]
    missing = [d for d in loaded.diagnostics if d.here]
    if missing and node.lower() in names:
        raise ConfigError(
            tuple(replace(d, level=Level.ERROR) if d.here else d for d in loaded.diagnostics)
        )


def _print(diagnostics: tuple[Diagnostic, ...], *, err: bool = False) -> None:
    colours = {Level.ERROR: "red", Level.WARNING: "yellow", Level.NOTE: "cyan"}
    for diagnostic in diagnostics:
        level = click.style(f"{diagnostic.level}:", fg=colours[diagnostic.level])
        click.echo(f"{level} {diagnostic}", err=err)


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
