"""Writes man pages and shell completion: ``python -m heartbus.cli.manual DIRECTORY``.

Packages call it and put the directory under /usr/share. Nothing of it is needed at run time.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Final

from click.shell_completion import BashComplete, FishComplete, ShellComplete, ZshComplete

from heartbus import __version__
from heartbus.cli.__main__ import COMMANDS, heartbus
from heartbus.cli.described import Described, described

_COMPLETIONS: Final[dict[str, tuple[type[ShellComplete], str]]] = {
    "bash": (BashComplete, "bash-completion/completions/heartbus"),
    "zsh": (ZshComplete, "zsh/vendor-completions/_heartbus"),
    "fish": (FishComplete, "fish/vendor_completions.d/heartbus.fish"),
}


def files() -> dict[str, str]:
    """Return the text of every file by its path under /usr/share."""
    found = described()
    made = {f"man/man{page.section}/{_file(page)}.{page.section}": man_page(page) for page in found}
    made["man/man1/heartbus.1"] = _overview(found)
    for maker, path in _COMPLETIONS.values():
        made[path] = maker(heartbus, {}, "heartbus", "_HEARTBUS_COMPLETE").source()
    return made


def main(directory: Path) -> None:
    """Write every file."""
    for name, text in files().items():
        path = directory / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)


# --- man pages -----------------------------------------------------------------------------------


def man_page(page: Described) -> str:
    """Return the page of one command in the man macros (groff_man(7))."""
    return "\n".join(_lines(page)) + "\n"


def _lines(page: Described) -> Iterator[str]:
    yield from _head(_file(page), page.section, page.summary)
    yield ".SH SYNOPSIS"
    yield rf"\fB{_text(page.name)}\fR{_text(page.usage.removeprefix(page.name))}"
    yield ".SH DESCRIPTION"
    yield _text(page.summary)
    for number, paragraph in enumerate(page.paragraphs):
        if number in page.verbatim:
            yield from (".PP", ".nf", *map(_text, paragraph.splitlines()), ".fi")
        else:
            yield from (".PP", _text(paragraph))
    if page.options:
        yield ".SH OPTIONS"
    for option in page.options:
        words = option.help
        if option.default:
            words += f" Default: {option.default}."
        if option.env:
            words += f" Variable: {option.env}."
        yield from (".TP", rf"\fB{_text(option.names)}\fR", _text(words.strip()))
    if page.json:
        yield from (".SH JSON", "With \\fB\\-\\-json\\fR:")
    for key, meaning in page.json:
        yield from (".TP", rf"\fB{_text(key)}\fR", _text(meaning))
    if page.exit_codes:
        yield from (".SH EXIT STATUS", _text(page.exit_codes.removeprefix("Exit code: ")))
    yield from (".SH EXAMPLES", ".nf", *map(_text, page.examples), ".fi")
    yield from (".SH SEE ALSO", "\\fBheartbus\\fR(1), docs/cli.md, docs/operations.md")


def _overview(pages: Iterable[Described]) -> str:
    lines = list(_head("heartbus", 1, heartbus.help or ""))
    lines += [".SH SYNOPSIS", r"\fBheartbus\fR COMMAND [OPTIONS] [ARGS]...", ".SH COMMANDS"]
    for page in pages:
        lines += [".TP", rf"\fB{_text(_file(page))}\fR({page.section})", _text(page.summary)]
    lines += [".SH FILES"]
    lines += [".TP", r"\fI/etc/heartbus/heartbus.toml\fR", "The configuration, or /etc/ha.d."]
    lines += [".TP", r"\fI/var/lib/heartbus\fR", "Epochs, overrides and the history."]
    lines += [".TP", r"\fI/run/heartbus\fR", "Leases; gone after a boot."]
    lines += [".SH SEE ALSO", r"\fBipvsadm\fR(8), \fBip-address\fR(8), docs/operations.md"]
    assert COMMANDS
    return "\n".join(lines) + "\n"


def _head(name: str, section: int, summary: str) -> Iterator[str]:
    yield f'.TH "{name.upper()}" "{section}" "" "heartbus {__version__}" "heartbus"'
    yield from (".SH NAME", rf"{_text(name)} \- {_text(summary.rstrip('.'))}")


def _file(page: Described) -> str:
    return page.name.replace(" ", "-")


def _text(text: str) -> str:
    """Return text that troff prints as it is: a dot or an apostrophe begins no request."""
    shown = text.replace("\\", "\\e").replace("-", "\\-")
    return f"\\&{shown}" if shown[:1] in (".", "'") else shown


if __name__ == "__main__":
    main(Path(sys.argv[1]))
