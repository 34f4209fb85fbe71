"""Looks at what is tracked: interfaces, files, processes and scripts; one bounded look each."""

from __future__ import annotations

import asyncio
import fcntl
import os
import socket
import struct
from collections.abc import Callable, Sequence
from typing import Final

from heartbus.model import Tracker, TrackKind
from heartbus_vip.resource import Command
from heartbus_vip.scripts import run
from heartbus_vip.tracking import Look, Tracking

FILE_BYTES_MAX: Final = 64
_SIOCGIFFLAGS: Final = 0x8913
_IFF_UP, _IFF_RUNNING = 0x1, 0x40
_REQUEST: Final = struct.Struct("16sH22x")  # ifreq: name, flags


class TrackerLooks:
    """Looks at each tracker every ``interval_s``; calls ``changed`` when that changed a view."""

    def __init__(
        self, trackers: Sequence[Tracker], tracking: Tracking, *, changed: Callable[[], None]
    ) -> None:
        self._trackers, self._tracking, self._changed = trackers, tracking, changed

    def start(self, tasks: asyncio.TaskGroup) -> list[asyncio.Task[None]]:
        """Begin to look; cancel what is returned to end it."""
        return [tasks.create_task(self._keep_looking(tracker)) for tracker in self._trackers]

    async def _keep_looking(self, tracker: Tracker) -> None:
        loop = asyncio.get_running_loop()
        while True:
            begins_s = loop.time()
            if self._tracking.looked(tracker.name, await look(tracker)):
                self._changed()
            await asyncio.sleep(max(0.0, begins_s + tracker.interval_s - loop.time()))


async def look(tracker: Tracker) -> Look:
    """Look once; bounded by the timeout of the tracker."""
    match tracker.kind:
        case TrackKind.INTERFACE:
            return interface(tracker.target)
        case TrackKind.FILE:
            return file(tracker.target)
        case TrackKind.PROCESS:
            # Some thousand processes take longer to list than a refresh of addresses may wait.
            return await asyncio.to_thread(process, tracker.target, tracker.quorum)
        case TrackKind.SCRIPT:
            command = Command(argv=(tracker.target,))
            problem = (await run(command, timeout_s=tracker.timeout_s)).problem
            return Look(up=problem is None, reason=problem or "")


def interface(name: str) -> Look:
    """Return whether an interface is there, up, and has a carrier."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as any_socket:
        try:
            answer = fcntl.ioctl(any_socket, _SIOCGIFFLAGS, _REQUEST.pack(name.encode(), 0))
        except OSError as error:
            return Look(up=False, reason=error.strerror or str(error))
    flags = _REQUEST.unpack(answer)[1]
    if not flags & _IFF_UP:
        return Look(up=False, reason="it is set down")
    runs = bool(flags & _IFF_RUNNING)
    return Look(up=runs, reason="" if runs else "it has no carrier")


def file(path: str) -> Look:
    """Return what whole number a file holds; one that is not there holds 0, as for keepalived."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        try:
            octets = os.read(descriptor, FILE_BYTES_MAX)
        finally:
            os.close(descriptor)
    except FileNotFoundError:
        return Look(up=True)
    except OSError as error:
        return Look(up=False, reason=f"cannot be read: {error.strerror}")
    try:
        return Look(up=True, number=int(octets))
    except ValueError:
        return Look(up=False, reason=f"no whole number: {octets[:20]!r}")


def process(name: str, quorum: int) -> Look:
    """Return whether so many processes of this name run."""
    count = 0
    for entry in os.scandir("/proc"):
        if not entry.name.isdecimal():
            continue
        try:
            with open(f"{entry.path}/stat", "rb") as stat:
                comm, _, rest = stat.read(512).partition(b"(")[2].rpartition(b")")
        except OSError:
            continue  # it has ended meanwhile
        count += comm == name.encode() and rest.split()[:1] != [b"Z"]
    enough = count >= quorum
    return Look(up=enough, reason="" if enough else f"{count} of {quorum} processes run")
