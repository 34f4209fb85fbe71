"""The pages for who moves over name every old option, and say of each what really becomes of it."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Final

import pytest

from heartbus.config import keepalived
from heartbus.config.keepalived_names import OLD_STATEMENTS, OldStatement
from heartbus.config.old_names import OLD_DIRECTIVES
from heartbus.config.report import Report
from tests.docs.pages import DOCS

BLOCKS: Final = {
    "top": "{line}\n",
    "global_defs": "global_defs {{ {line} }}\n",
    "vrrp_instance": "vrrp_instance one {{ interface eth0\n {line} }}\n",
    "vrrp_sync_group": "vrrp_sync_group all {{ {line} }}\n",
    "virtual_server": "virtual_server 192.0.2.100 80 {{\n {line} }}\n",
    "real_server": "virtual_server 192.0.2.100 80 {{ real_server 192.0.2.11 80 {{\n {line} }} }}\n",
    "check": (
        "virtual_server 192.0.2.100 80 {{ real_server 192.0.2.11 80 {{"
        " TCP_CHECK {{\n {line} }} }} }}\n"
    ),
    "url": (
        "virtual_server 192.0.2.100 80 {{ real_server 192.0.2.11 80 {{ HTTP_GET {{"
        " url {{\n {line} }} }} }} }}\n"
    ),
}
BASE: Final = "vrrp_instance base { interface eth1\n virtual_ipaddress { 192.0.2.100/24 } }\n"


def listed(directory: Path, row: OldStatement, name: str) -> list[str]:
    """Return what ``config convert`` lists as left out of a file with this statement."""
    path = directory / "keepalived.conf"
    path.write_text(BASE + BLOCKS[row.block].format(line=f"{name} 1"))
    report = Report()
    keepalived.load(str(path), directors=("a", "b"), secret=b"x" * 32, report=report)
    pattern = re.compile(rf"\b{re.escape(name)}\b.*(left out|: not needed)")
    return [str(found) for found in report.diagnostics() if pattern.search(str(found))]


@pytest.mark.parametrize("row", OLD_STATEMENTS, ids=lambda row: f"{row.block}: {row.names[0]}")
def test_keepalived_what_is_called_converted_is_and_the_rest_is_listed(
    tmp_path: Path, row: OldStatement
) -> None:
    wrong = [name for name in row.names if bool(listed(tmp_path, row, name)) is row.converted]
    assert not wrong, f"{'listed as left out' if row.converted else 'not listed'}: {wrong}"


def test_keepalived_every_word_that_the_reader_knows_is_in_the_table() -> None:
    known = {name for row in OLD_STATEMENTS for name in row.names}
    source = Path(keepalived.__file__).parent
    cases = {
        name
        for file in source.glob("keepalived*.py")
        if file.name != "keepalived_names.py"
        for case in re.findall(r'case ((?:"\w+"(?: \| )?)+)', file.read_text())
        for name in re.findall(r'"(\w+)"', case)
    }
    assert len(cases) > 40
    # Words within an address or a reference to a tracker are no statements.
    assert cases - known <= {"brd", "broadcast", "dev", "global_defs", "label", "reverse", "fwmark"}


def test_every_old_option_is_on_its_page() -> None:
    heartbeat = (DOCS / "moving-from-heartbeat.md").read_text()
    for row in OLD_DIRECTIVES:
        assert f"| `{row.name}` " in heartbeat, row.name
    page = (DOCS / "moving-from-keepalived.md").read_text()
    for name in {name for row in OLD_STATEMENTS for name in row.names}:
        assert f"`{name}`" in page
