"""What must be so before a check is sent by the VIP."""

from __future__ import annotations

import asyncio
import errno
import os
import socket
from collections.abc import Callable
from pathlib import Path

import pytest

from heartbus.model import Endpoint
from heartbus.probe_marks import ACCEPT_LOCAL_NOTE
from heartbus_checker.probes import ProbeResult
from heartbus_checker.probes.stream import StreamProbe, Streams
from heartbus_checker.probes.tcp import ConnectOnly
from heartbus_checker.probes.through_vip import (
    LOOK_AGAIN_S,
    LOOK_PERIOD_S,
    VipPath,
    VipPaths,
)
from tests.common.ports import free_port

MARK = 0x68620001
TABLE = """\
IP Virtual Server version 1.2.1 (size=4096)
Prot LocalAddress:Port Scheduler Flags
  -> RemoteAddress:Port Forward Weight ActiveConn InActConn
FWM  68620001 rr
  -> C0A8070B:0000      Route   1      0          0
TCP  C0A8076E:0050 rr
  -> C0A8070B:0050      Route   1      0          0
"""


def paths(tmp_path: Path, text: str | None = TABLE) -> tuple[VipPaths, list[float]]:
    table, now_s = tmp_path / "ip_vs", [100.0]
    if text is not None:
        table.write_text(text)
    return VipPaths(table=table, runtime_dir=tmp_path, clock=lambda: now_s[0]), now_s


def test_a_mark_that_the_kernel_does_not_know_is_an_obstacle_until_it_does(tmp_path: Path) -> None:
    looked, now_s = paths(tmp_path, "")
    obstacle = looked.obstacle(MARK)
    assert obstacle is not None
    assert "no virtual service of mark 0x68620001 yet" in obstacle
    (tmp_path / "ip_vs").write_text(TABLE)
    now_s[0] += LOOK_PERIOD_S
    assert looked.obstacle(MARK) is None
    assert looked.obstacle(MARK + 1) is not None


def test_a_kernel_without_ipvs_is_an_obstacle(tmp_path: Path) -> None:
    looked, _ = paths(tmp_path, None)
    assert looked.obstacle(MARK) == f"{tmp_path / 'ip_vs'}: No such file or directory"


def test_a_vip_on_this_machine_needs_accept_local(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = tmp_path / "conf"
    (settings / "all").mkdir(parents=True)
    (settings / "all" / "accept_local").write_text("0\n")
    monkeypatch.setattr("heartbus_checker.probes.through_vip.ACCEPT_LOCAL", settings)
    looked, now_s = paths(tmp_path)
    with pytest.raises(OSError, match="accept_local is 0") as refused:
        looked.source("127.0.0.1", "127.0.0.1")
    assert refused.value.errno == errno.EADDRNOTAVAIL
    (settings / "all" / "accept_local").write_text("1\n")
    now_s[0] += LOOK_PERIOD_S
    assert looked.source("127.0.0.1", "127.0.0.1") == "127.0.0.1"


async def test_what_cannot_be_asked_is_inconclusive_and_leaves_no_socket(tmp_path: Path) -> None:
    looked, _ = paths(tmp_path, "")
    loop = asyncio.get_running_loop()
    streams = Streams(loop)
    vip = Endpoint(address="192.0.2.110", port=80)
    path = VipPath(looked, vip=vip, mark=MARK, real_server="192.0.2.11")
    done: asyncio.Future[ProbeResult] = loop.create_future()
    StreamProbe(streams, vip, lambda: ConnectOnly(vip), path).begin(done.set_result)
    result = await asyncio.wait_for(done, 5)
    assert not result.conclusive
    assert result.reason.startswith("connect to 192.0.2.110:80 through 192.0.2.11: the kernel has")
    assert len(streams) == 0
    streams.close()


def test_without_the_privilege_the_words_say_which(tmp_path: Path) -> None:
    class Unprivileged(socket.socket):
        def setsockopt(self, *_arguments: object) -> None:
            raise PermissionError(errno.EPERM, "Operation not permitted")

    looked, _ = paths(tmp_path)
    path = VipPath(
        looked, vip=Endpoint(address="127.0.0.1", port=80), mark=MARK, real_server="127.0.0.1"
    )
    with Unprivileged() as sock:
        assert path.take(sock) == (
            "not allowed to mark packets: CAP_NET_RAW (Linux 5.17) or CAP_NET_ADMIN is needed"
        )


def refused_through(looked: VipPaths, meanwhile: Callable[[], object]) -> ProbeResult:
    """Return how a check by a path ends that nobody listens at, if this happens meanwhile."""

    async def ask() -> ProbeResult:
        loop = asyncio.get_running_loop()
        streams = Streams(loop)
        vip = Endpoint(address="127.0.0.1", port=free_port())
        path = Unmarked(looked, vip=vip, mark=MARK, real_server="127.0.0.1")
        done: asyncio.Future[ProbeResult] = loop.create_future()
        StreamProbe(streams, vip, lambda: ConnectOnly(vip), path).begin(done.set_result)
        meanwhile()
        try:
            return await asyncio.wait_for(done, 5)
        finally:
            streams.close()

    return asyncio.run(ask())


class Unmarked(VipPath):
    """Marks nothing, which needs a privilege."""

    def take(self, sock: socket.SocketType) -> str | None:
        return None


@pytest.fixture
def let_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Answers from an own address are taken, as far as the files of the kernel say."""
    settings = tmp_path / "conf"
    (settings / "all").mkdir(parents=True)
    (settings / "all" / "accept_local").write_text("1\n")
    monkeypatch.setattr("heartbus_checker.probes.through_vip.ACCEPT_LOCAL", settings)


@pytest.mark.usefixtures("let_in")
def test_a_failure_counts_only_if_the_path_was_there_all_the_time(tmp_path: Path) -> None:
    looked, now_s = paths(tmp_path)
    note = tmp_path / ACCEPT_LOCAL_NOTE
    note.touch()

    def removed() -> None:
        (tmp_path / "ip_vs").write_text("")
        now_s[0] += 2 * LOOK_AGAIN_S

    def set_anew() -> None:
        os.utime(note, ns=(1, 1))

    assert refused_through(looked, lambda: None).conclusive
    again = refused_through(looked, set_anew)
    assert not again.conclusive
    assert again.reason.endswith("refused after 1 ms, but accept_local was set anew meanwhile")
    gone = refused_through(looked, removed)
    assert not gone.conclusive
    assert "but the kernel has no virtual service of mark" in gone.reason


@pytest.mark.usefixtures("let_in")
def test_a_failure_by_the_deadline_counts_only_then_too(tmp_path: Path, hanging: list[int]) -> None:
    looked, now_s = paths(tmp_path)
    vip = Endpoint(address="127.0.0.1", port=hanging[0])

    async def expired(text: str) -> ProbeResult:
        streams = Streams(asyncio.get_running_loop())
        path = Unmarked(looked, vip=vip, mark=MARK, real_server="127.0.0.1")
        attempt = StreamProbe(streams, vip, lambda: ConnectOnly(vip), path).begin(print)
        (tmp_path / "ip_vs").write_text(text)
        now_s[0] += 2 * LOOK_AGAIN_S
        result = attempt.expire(1.0)
        streams.close()
        return result

    assert asyncio.run(expired(TABLE)).conclusive
    assert not asyncio.run(expired("")).conclusive
