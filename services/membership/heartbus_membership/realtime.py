"""Real-time scheduling and locked memory for this process, as Heartbeat had them.

Not needed: membership notices when it was not scheduled in time and declares nobody dead then. A
failure is said, and is no reason to stop.
"""

from __future__ import annotations

import ctypes
import os
import resource
from pathlib import Path
from typing import Final

MCL_CURRENT: Final = 1  # asm-generic/mman.h
MCL_FUTURE: Final = 2
CAP_IPC_LOCK: Final = 14  # linux/capability.h


def use_real_time(rtprio: int) -> list[str]:
    """Ask for both; return what was refused, in words that name the capability or limit."""
    return [*filter(None, (_schedule(rtprio), _lock_memory()))]


def _schedule(rtprio: int) -> str | None:
    # Programs that we start run as ordinary ones: SCHED_RESET_ON_FORK.
    policy = os.SCHED_RR | os.SCHED_RESET_ON_FORK
    try:
        os.sched_setscheduler(0, policy, os.sched_param(rtprio))
    except OSError as error:
        return (
            f"no real-time scheduling: {error.strerror}; it needs CAP_SYS_NICE or"
            f" LimitRTPRIO={rtprio}, RestrictRealtime=no, and real-time run time in the control"
            " group"
        )
    return None


def _lock_memory() -> str | None:
    soft, hard = resource.getrlimit(resource.RLIMIT_MEMLOCK)
    endless = resource.RLIM_INFINITY
    if soft != endless and hard == endless:
        resource.setrlimit(resource.RLIMIT_MEMLOCK, (endless, endless))
        soft = endless
    # With a limit in force locking may succeed now, and an allocation fail at any time later.
    if soft != endless and not _has_capability(CAP_IPC_LOCK):
        return (
            f"memory is not locked: at most {soft} bytes may be; it needs CAP_IPC_LOCK or"
            " LimitMEMLOCK=infinity"
        )
    library = ctypes.CDLL(None, use_errno=True)
    if library.mlockall(MCL_CURRENT | MCL_FUTURE) != 0:
        return (
            f"memory is not locked: {os.strerror(ctypes.get_errno())}; it needs CAP_IPC_LOCK or"
            " LimitMEMLOCK=infinity"
        )
    return None


def _has_capability(number: int) -> bool:
    for line in Path("/proc/self/status").read_text().splitlines():
        name, _, value = line.partition(":")
        if name == "CapEff":
            return bool(int(value, 16) >> number & 1)
    return False
