"""Sync daemons follow the role of a director."""

from __future__ import annotations

import contextlib
import dataclasses
import subprocess
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from heartbus.events import HeldGroup, HoldStatus, IpvsChanged, IpvsFailed, VipState
from heartbus.model_ipvs import IpvsSettings, SyncDaemon
from heartbus.testing import ManualClock, MemoryBus, MemoryHub
from heartbus_ipvs_agent.nlmsg import WireError
from heartbus_ipvs_agent.roles import Roles
from heartbus_ipvs_agent.syncing import (
    Role,
    StartDaemon,
    StopDaemon,
    decode,
    encode,
    plan_daemons,
    wanted_roles,
)
from heartbus_ipvs_agent.table import KernelTable
from heartbus_ipvs_agent.whole import KernelWhole
from tests.ipvs_agent.fake_whole import FakeWhole

DAEMON = SyncDaemon(interface="eth1", sync_id=7)
MASTER, BACKUP = Role.MASTER, Role.BACKUP


@pytest.mark.parametrize(
    ("groups", "held", "roles"),
    [
        ("", "", {MASTER, BACKUP}),
        ("a", "", {BACKUP}),
        ("a", "a", {MASTER}),
        ("ab", "a", {MASTER, BACKUP}),
        ("ab", "ab", {MASTER}),
        ("ab", "", {BACKUP}),
    ],
)
def test_who_holds_sends_and_who_does_not_hold_all_listens(
    groups: str, held: str, roles: set[Role]
) -> None:
    assert wanted_roles(groups=groups, held=set(held)) == roles


def test_the_new_role_comes_before_the_old_one_goes() -> None:
    assert plan_daemons(DAEMON, {MASTER}, {BACKUP: DAEMON}) == (
        StartDaemon(role=MASTER, daemon=DAEMON),
        StopDaemon(role=BACKUP),
    )


def test_what_the_kernel_filled_in_is_no_difference_but_another_id_is() -> None:
    filled = dataclasses.replace(DAEMON, maxlen=1472, group="224.0.0.81", port=8848, ttl=1)
    assert plan_daemons(DAEMON, {MASTER}, {MASTER: filled}) == ()
    other = dataclasses.replace(DAEMON, sync_id=8)
    assert plan_daemons(other, {MASTER}, {MASTER: filled}) == (
        StopDaemon(role=MASTER),
        StartDaemon(role=MASTER, daemon=other),
    )


def test_start_is_golden() -> None:
    daemon = dataclasses.replace(DAEMON, maxlen=1400, group="224.0.0.90", port=8849, ttl=2)
    body = encode(StartDaemon(role=MASTER, daemon=daemon))
    assert body == bytes.fromhex(
        "09010000"  # NEW_DAEMON, version 1
        "40000380"  # DAEMON, nested
        "08000100 01000000"  # STATE: master
        "09000200 65746831 00000000"  # MCAST_IFN, padded
        "08000300 07000000"  # SYNC_ID
        "06000400 78050000"  # SYNC_MAXLEN
        "08000500 e000005a"  # MCAST_GROUP
        "06000700 91220000"  # MCAST_PORT, host order
        "05000800 02000000"  # MCAST_TTL
    )
    assert decode(body) == (MASTER, daemon)


@given(st.binary(max_size=120))
def test_garbage_ends_in_wire_error_or_nothing(garbage: bytes) -> None:
    with contextlib.suppress(WireError):
        decode(b"\x0b\x01\x00\x00" + garbage)


def vip(bus: MemoryBus, *held: str) -> VipState:
    return VipState(
        groups=tuple(
            HeldGroup(
                name=name,
                status=HoldStatus.HELD if name in held else HoldStatus.RELEASED,
                epoch=1,
                addresses=(),
            )
            for name in "ab"
        )
    )


def roles(whole: FakeWhole | KernelWhole, daemon: SyncDaemon = DAEMON) -> tuple[Roles, MemoryBus]:
    bus = MemoryHub().bus(node="a", service="ipvs-agent", clock=ManualClock())
    return Roles(settings=IpvsSettings(sync=daemon), groups="ab", whole=whole, bus=bus), bus


def test_until_vip_is_heard_nothing_changes_and_then_it_follows() -> None:
    whole = FakeWhole()
    whole.running = {BACKUP: DAEMON}
    following, bus = roles(whole)
    following.look()
    assert whole.done == []
    following.heard(vip(bus, "a"))
    assert (set(whole.running), following.running) == ({MASTER, BACKUP}, ("master", "backup"))
    following.heard(vip(bus, "a", "b"))
    assert set(whole.running) == {MASTER}
    following.heard(vip(bus))
    assert set(whole.running) == {BACKUP}
    del whole.running[BACKUP]  # somebody else stopped it
    following.look()
    assert set(whole.running) == {BACKUP}
    assert len([e for e in bus.published if isinstance(e, IpvsChanged)]) == 4


def test_a_refusal_is_told_once_and_stands_until_it_is_over() -> None:
    whole = FakeWhole()
    whole.refuse = "No such device"
    following, bus = roles(whole)
    following.heard(vip(bus))
    following.look()
    (failed,) = bus.published
    assert isinstance(failed, IpvsFailed)
    assert list(following.problems) == [f"{failed.action}: No such device"]
    whole.refuse = None
    following.look()
    assert list(following.problems) == []
    assert set(whole.running) == {BACKUP}


def test_a_reload_with_another_id_restarts_the_daemon() -> None:
    whole = FakeWhole()
    following, bus = roles(whole)
    following.heard(vip(bus))
    other = dataclasses.replace(DAEMON, sync_id=8)
    following.use(IpvsSettings(sync=other), "ab")
    assert whole.running == {BACKUP: other}


@pytest.mark.ipvs
def test_the_kernel_runs_the_daemons_that_the_role_wants(
    kernel_table: KernelTable, tmp_path: Path
) -> None:
    subprocess.run(["ip", "link", "add", "s0", "type", "dummy"], check=True)
    subprocess.run(["ip", "addr", "add", "10.8.0.1/24", "dev", "s0"], check=True)
    subprocess.run(["ip", "link", "set", "s0", "up"], check=True)
    daemon = SyncDaemon(interface="s0", sync_id=7, maxlen=1400, group="224.0.0.90", port=8849)
    whole = KernelWhole(tmp_path)
    following, bus = roles(whole, daemon)
    for held, words in (("a", {"master", "backup"}), ("ab", {"master"}), ("", {"backup"})):
        following.heard(vip(bus, *held))
        assert following.problems == ()
        assert {role.word for role in whole.daemons()} == words
        listed = subprocess.run(
            ["ipvsadm", "-L", "--daemon"], check=True, capture_output=True, text=True
        ).stdout
        for word in words:
            assert (
                f"{word} sync daemon (mcast=s0, syncid=7, maxlen=1400, group=224.0.0.90" in listed
            )
    for running in whole.daemons():
        assert whole.carry_out([StopDaemon(role=running)]) == (None,)


@pytest.mark.ipvs
def test_timeouts_and_sysctls_are_set_and_what_cannot_be_is_told(
    kernel_table: KernelTable, tmp_path: Path
) -> None:
    settings = IpvsSettings(
        timeout_tcp_s=800,
        timeout_udp_s=70,
        sysctls=(("expire_nodest_conn", "1"), ("sync_threshold", "3 50"), ("no_such", "1")),
    )
    (problem,) = KernelWhole(tmp_path).settle(settings)
    assert problem.startswith("net.ipv4.vs.no_such = 1: ")
    listed = subprocess.run(
        ["ipvsadm", "-L", "--timeout"], check=True, capture_output=True, text=True
    ).stdout
    assert listed.strip() == "Timeout (tcp tcpfin udp): 800 120 70"
    assert Path("/proc/sys/net/ipv4/vs/expire_nodest_conn").read_text().strip() == "1"
