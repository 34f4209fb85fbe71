"""What a start says where it cannot work."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from heartbus.runner import MachineError
from heartbus_ipvs_agent import table, wire
from heartbus_ipvs_agent.table import KernelTable, TableError, open_kernel_table

NOBODY = 65534


@pytest.fixture
def modprobe(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A modprobe that only writes down how it was called."""
    calls = tmp_path / "calls"
    script = tmp_path / "modprobe"
    script.write_text(f'#!/bin/sh\necho "$@" >>{calls}\n')
    script.chmod(0o755)
    monkeypatch.setattr(table, "MODPROBE", str(script))
    return calls


def test_without_ip_vs_the_module_is_tried_once_and_then_one_line_says_what_to_do(
    modprobe: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(wire, "FAMILY_NAME", "HB_NONESUCH")
    with pytest.raises(MachineError) as raised:
        open_kernel_table()
    assert str(raised.value) == (
        "this kernel has no IPVS (module ip_vs): load it with 'modprobe ip_vs' "
        "or install a kernel that has it"
    )
    assert modprobe.read_text() == "ip_vs\n"


def test_without_modprobe_the_same_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(wire, "FAMILY_NAME", "HB_NONESUCH")
    monkeypatch.setattr(table, "MODPROBE", str(tmp_path / "absent"))
    with pytest.raises(MachineError, match="modprobe ip_vs"):
        open_kernel_table()


def test_a_table_that_was_never_there_is_a_table_error() -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(wire, "FAMILY_NAME", "HB_NONESUCH")
        with pytest.raises(TableError, match="no generic netlink family HB_NONESUCH"):
            KernelTable().dump()


@pytest.mark.ipvs
def test_without_the_capability_one_line_says_what_to_do(modprobe: Path) -> None:
    os.seteuid(NOBODY)  # drops the effective capabilities of this process until it is root again
    try:
        with pytest.raises(MachineError) as raised:
            open_kernel_table()
    finally:
        os.seteuid(0)
    assert str(raised.value) == (
        "not allowed to read the kernel's IPVS table: "
        "run as root or with the capability CAP_NET_ADMIN"
    )
    assert not modprobe.exists()
