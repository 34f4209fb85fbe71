"""The way of a check by the VIP onto one real server: marked packets that IPVS sends on.

The agent keeps a virtual service for each mark (``heartbus.probe_marks``). Until it is there a
marked packet would go to any real server, so nothing is asked before it was seen in
/proc/net/ip_vs. The source is the address by which this machine reaches the real server: on the
director that has the VIP the kernel would take the VIP itself, and the server would drop that as
its own. Answers come from the VIP; where it is local the kernel takes them only with accept_local
(ip-sysctl.rst). A failure counts only if all of this was so from the beginning of the check to its
end: the agent may have stopped or started meanwhile.
"""

from __future__ import annotations

import errno
import os
import socket
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

from heartbus.model import Endpoint
from heartbus.probe_marks import ACCEPT_LOCAL_NOTE

TABLE: Final = Path("/proc/net/ip_vs")
ACCEPT_LOCAL: Final = Path("/proc/sys/net/ipv4/conf")
LOOK_PERIOD_S: Final = 1.0
LOOK_AGAIN_S: Final = 0.1
"""Before a failure counts the look must not be older: an answer that was dropped would have come
long before the end of its time."""
IP_BIND_ADDRESS_NO_PORT: Final = 24
"""ip(7): the port is chosen by connect(2), which knows the other end."""
ANY_UDP_PORT: Final = 9


class VipPaths:
    """What the kernel has now, looked at once a second while it is asked."""

    def __init__(
        self,
        *,
        table: Path = TABLE,
        runtime_dir: Path | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._table = table
        self._note = None if runtime_dir is None else runtime_dir / ACCEPT_LOCAL_NOTE
        self._clock = clock
        self._looked_s = float("-inf")
        self._marks: frozenset[int] = frozenset()
        self._sources: dict[tuple[str, str], str | OSError] = {}
        self._accepts = False
        self._unreadable: str | None = None

    def obstacle(self, mark: int) -> str | None:
        """Return in words why nothing can be asked by this mark; None: it can."""
        self._look()
        if self._unreadable is not None:
            return self._unreadable
        if mark in self._marks:
            return None
        return f"the kernel has no virtual service of mark {mark:#x} yet; ipvs-agent makes it"

    def source(self, vip: str, real_server: str) -> str:
        """Return the own address to ask from.

        Raises:
            OSError: there is no way to the real server, or its answers would be dropped.

        """
        self._look()
        found = self._sources.get((vip, real_server))
        if found is None:
            try:
                found = _own_address(real_server)
                if not self._accepts and ":" not in vip and _own_address(vip) == vip:
                    raise OSError(
                        errno.EADDRNOTAVAIL,
                        f"{vip} is on this machine, which takes no answers from it:"
                        " net.ipv4.conf.all.accept_local is 0",
                    )
            except OSError as error:
                found = error
            self._sources[vip, real_server] = found
        if isinstance(found, OSError):
            raise found
        return found

    def note(self) -> int | None:
        """Return what tells one setting of accept_local by the agent from the next."""
        try:
            return None if self._note is None else self._note.stat().st_mtime_ns
        except OSError:
            return None

    def look_anew(self) -> None:
        """Look at the kernel at the next question, unless that was just now."""
        if self._clock() - self._looked_s >= LOOK_AGAIN_S:
            self._looked_s = float("-inf")

    def _look(self) -> None:
        now_s = self._clock()
        if now_s - self._looked_s < LOOK_PERIOD_S:
            return
        self._looked_s = now_s
        self._sources.clear()
        self._accepts = any(
            _text(path).strip() == "1" for path in ACCEPT_LOCAL.glob("*/accept_local")
        )
        try:
            lines = self._table.read_text("ascii", "replace").splitlines()
        except OSError as error:
            self._unreadable = f"{self._table}: {error.strerror}"
            return
        self._unreadable = None
        words = (line.split() for line in lines if line.startswith("FWM"))
        self._marks = frozenset(int(found[1], 16) for found in words if len(found) > 1)


class VipPath:
    """The path of one target: ``real_server`` is only named, the mark decides."""

    __slots__ = ("_mark", "_paths", "_vip", "real_server")

    def __init__(self, paths: VipPaths, *, vip: Endpoint, mark: int, real_server: str) -> None:
        self._paths = paths
        self._vip = vip
        self._mark = mark
        self.real_server = real_server

    def take(self, sock: socket.SocketType) -> str | None:
        """Let a socket take it; return in words why it cannot, None if it does."""
        obstacle = self._paths.obstacle(self._mark)
        if obstacle is not None:
            return obstacle
        try:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_MARK, self._mark)
        except PermissionError:
            return (
                "not allowed to mark packets: CAP_NET_RAW (Linux 5.17) or CAP_NET_ADMIN is needed"
            )
        try:
            source = self._source()
            if sock.family == socket.AF_INET:
                sock.setsockopt(socket.IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, 1)
            sock.bind((source, 0))
        except OSError as error:
            return self._no_way(error)
        return None

    def note(self) -> int | None:
        """Return what ``lost`` compares with; taken when a check begins."""
        return self._paths.note()

    def lost(self, note: int | None) -> str | None:
        """Return in words why a check that began with this note and failed proves nothing."""
        self._paths.look_anew()
        obstacle = self._paths.obstacle(self._mark)
        if obstacle is not None:
            return obstacle
        try:
            self._source()
        except OSError as error:
            return self._no_way(error)
        if self._paths.note() != note:
            return "accept_local was set anew meanwhile"
        return None

    def _source(self) -> str:
        return self._paths.source(self._vip.address, self.real_server)

    def _no_way(self, error: OSError) -> str:
        return f"no way to {self.real_server}: {error.strerror or os.strerror(error.errno or 0)}"


def _own_address(to: str) -> str:
    """Return the address that the kernel would send from; nothing is sent."""
    family = socket.AF_INET6 if ":" in to else socket.AF_INET
    with socket.socket(family, socket.SOCK_DGRAM) as asked:
        asked.connect((to, ANY_UDP_PORT))
        return str(asked.getsockname()[0])


def _text(path: Path) -> str:
    try:
        return path.read_text()
    except OSError:
        return ""
