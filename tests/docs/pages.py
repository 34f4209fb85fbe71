"""The pages of docs/ that are made from the code, by their name."""

from __future__ import annotations

from pathlib import Path
from typing import Final

import yaml

from heartbus import asyncapi
from heartbus.cli.described import Described, described
from heartbus.config.explain import became
from heartbus.config.keepalived_names import OLD_STATEMENTS
from heartbus.config.old_names import HA_CF, LDIRECTORD, OLD_DIRECTIVES

BEGIN: Final = "<!-- made by make docs -->"
END: Final = "<!-- end -->"
DOCS: Final = Path(__file__).resolve().parents[2] / "docs"


class _Dumper(yaml.SafeDumper):  # type: ignore[misc]
    """Without anchors: every part of the document is written where it is read."""

    def ignore_aliases(self, _data: object) -> bool:
        return True


def _text(dumper: yaml.SafeDumper, text: str) -> yaml.ScalarNode:
    style = "|" if "\n" in text else None
    node: yaml.ScalarNode = dumper.represent_scalar("tag:yaml.org,2002:str", text, style=style)
    return node


_Dumper.add_representer(str, _text)


def pages() -> dict[str, str]:
    """Return the text of each generated page."""
    return {
        "asyncapi.yaml": asyncapi_page(),
        "cli.md": cli_page(),
        "moving-from-heartbeat.md": _filled("moving-from-heartbeat.md", _heartbeat_tables()),
        "moving-from-keepalived.md": _filled("moving-from-keepalived.md", _keepalived_table()),
    }


def asyncapi_page() -> str:
    """Return the AsyncAPI document as YAML."""
    text: str = yaml.dump(
        asyncapi.document(), Dumper=_Dumper, sort_keys=False, width=100, allow_unicode=True
    )
    return f"# Made from services/common/heartbus/events.py and subjects.py by make docs.\n{text}"


# --- the pages for who moves: written by hand, with tables that are made -------------------------


def _filled(name: str, lines: list[str]) -> str:
    """Return a page with these lines between its marks."""
    before, _, rest = (DOCS / name).read_text().partition(f"{BEGIN}\n")
    _, _, after = rest.partition(f"{END}\n")
    return "\n".join([f"{before}{BEGIN}", *lines, f"{END}\n{after}"])


def _heartbeat_tables() -> list[str]:
    lines: list[str] = []
    for file in (HA_CF, LDIRECTORD):
        lines += ["", f"### {file}", "", "| old | meaning | here |", "| --- | --- | --- |"]
        lines += [
            f"| `{row.name}` {row.value} | {row.text} | {became(row)} |"
            for row in OLD_DIRECTIVES
            if row.file == file
        ]
    return [*lines, ""]


def _keepalived_table() -> list[str]:
    lines: list[str] = []
    for block in dict.fromkeys(row.block for row in OLD_STATEMENTS):
        lines += ["", f"### {_BLOCKS[block]}", ""]
        lines += ["| statement | converted | here |", "| --- | --- | --- |"]
        lines += [
            f"| {', '.join(f'`{name}`' for name in row.names)} |"
            f" {'yes' if row.converted else 'no'} | {row.here} |"
            for row in OLD_STATEMENTS
            if row.block == block
        ]
    return [*lines, ""]


_BLOCKS: Final = {
    "top": "Outside of any block",
    "global_defs": "global_defs",
    "vrrp_instance": "vrrp_instance",
    "vrrp_sync_group": "vrrp_sync_group",
    "virtual_server": "virtual_server",
    "real_server": "real_server",
    "check": "Checks (HTTP_GET, TCP_CHECK, …)",
    "url": "url of HTTP_GET and SSL_GET",
}

# --- docs/cli.md ---------------------------------------------------------------------------------

_CLI_HEAD: Final = """\
# The command line

Made from the commands themselves by `make docs`; the man pages of the Debian package have the same
(`man heartbus-status`), and it completes words in bash, zsh and fish.

## What scripts may rely on

Exit codes, the keys of `--json` and the words of options stay what they are within a major
version. Keys may be added. What is printed for people may change at any time. News go to standard
output, what went wrong to standard error.

| exit code | of | means |
| --- | --- | --- |
| 0 | all | done; stopped as asked; usable |
| 1 | services | a defect of heartbus |
| 1 | commands | no: refused, not done in time, not known, different; each says which |
| 2 | all | wrong words, or a configuration that cannot be used; FILE:LINE says where |
| 3 | all | this machine lacks something: a privilege, a kernel module, a free port, the bus |

Options that have a variable are read from it where they are not given. Without the package
`eval "$(_HEARTBUS_COMPLETE=bash_source heartbus)"` completes (`zsh_source`, `fish_source`).

## Commands
"""


def cli_page() -> str:
    """Return the page of all commands."""
    found = described()
    lines = [_CLI_HEAD]
    lines += [
        f"- [`{page.name}`](#{page.name.replace(' ', '-')}): {page.summary}" for page in found
    ]
    for page in found:
        lines += ["", *_section(page)]
    return "\n".join(lines) + "\n"


def _section(page: Described) -> list[str]:
    lines = [f"### {page.name}", "", page.summary, "", f"    {page.usage}"]
    for number, paragraph in enumerate(page.paragraphs):
        if number in page.verbatim:
            lines += ["", *(f"    {line}" for line in paragraph.splitlines())]
        else:
            lines += ["", paragraph]
    if page.options:
        lines += ["", "| option | what it does | default | variable |", "| --- | --- | --- | --- |"]
    for option in page.options:
        cells = (f"`{option.names}`", option.help, option.default, option.env)
        lines.append("| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |")
    if page.json:
        lines += ["", "With `--json`:", "", "| key | what it is |", "| --- | --- |"]
        lines += [f"| `{key}` | {meaning} |" for key, meaning in page.json]
    lines += ["", page.exit_codes, ""]
    return [*lines, *(f"    {example}" for example in page.examples)]
