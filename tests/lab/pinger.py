"""One client that asks an address for an echo all the time and notes each answer.

Runs inside a host, apart from the code that reads its facts; ``tests.lab.echoes`` does both. Only
the standard library is imported. Called as ``python -S pinger.py FACTS ADDRESS PERIOD_S``; SIGTERM
ends it. One line per answer, on CLOCK_MONOTONIC:

    N SENT_S ANSWERED_S     the N-th request, counted from 1; a number that is missing got no answer
    late SENT_S LATE_S      the pinger itself was late by so much: no answer could come meanwhile

The answer's time is the kernel's (SO_TIMESTAMPNS), so how busy the pinger is does not enter.
"""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import struct
import sys
import time
from pathlib import Path
from typing import Final

SO_TIMESTAMPNS: Final = 35  # asm-generic/socket.h
TIMESPEC: Final = struct.Struct("=qq")
ECHO_REQUEST: Final = 8
ECHO: Final = struct.Struct("!BBHHHQ")  # RFC 792; our number is the payload
IP_HEADER_BYTES: Final = 20
LATE_S: Final = 0.002
PRIORITY: Final = 10
FLUSH_LINES: Final = 20
DRIFT_LOOK_S: Final = 1.0


def _checksum(packet: bytes) -> int:
    total: int = sum(struct.unpack(f"!{len(packet) // 2}H", packet))
    total = (total & 0xFFFF) + (total >> 16)
    return ~(total + (total >> 16)) & 0xFFFF


def _request(identifier: int, number: int) -> bytes:
    head = ECHO.pack(ECHO_REQUEST, 0, 0, identifier, number & 0xFFFF, number)
    return ECHO.pack(ECHO_REQUEST, 0, _checksum(head), identifier, number & 0xFFFF, number)


def _answers(wire: socket.socket, identifier: int) -> list[tuple[int, float]]:
    """Return number and wall-clock time of each answer that waits."""
    found: list[tuple[int, float]] = []
    while True:
        try:
            packet, ancillary, *_ = wire.recvmsg(256, 64)
        except BlockingIOError:
            return found
        if len(packet) < IP_HEADER_BYTES + ECHO.size:
            continue
        kind, _, _, owner, _, number = ECHO.unpack_from(packet, IP_HEADER_BYTES)
        if kind != 0 or owner != identifier:
            continue
        seconds, nanoseconds = TIMESPEC.unpack(ancillary[0][2])
        found.append((number, seconds + nanoseconds * 1e-9))


def main(facts: Path, address: str, period_s: float) -> None:
    """Ask until SIGTERM."""
    stopped = []
    signal.signal(signal.SIGTERM, lambda *_: stopped.append(True))
    # It measures: what else runs here should not show in its own lateness.
    with contextlib.suppress(PermissionError):
        os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(PRIORITY))
    identifier = os.getpid() & 0xFFFF
    sent_s: dict[int, float] = {}
    lines: list[str] = []
    with (
        facts.open("a") as output,
        socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP) as wire,
    ):
        wire.setblocking(False)
        wire.setsockopt(socket.SOL_SOCKET, SO_TIMESTAMPNS, 1)
        print("ready", flush=True)
        number, due_s = 0, time.monotonic()
        behind_s = offset_s = 0.0
        while not stopped:
            now_s = time.monotonic()
            if now_s > behind_s:  # a stepped or slewed wall clock must not show in the facts
                behind_s, offset_s = now_s + DRIFT_LOOK_S, time.time() - time.monotonic()
            for answered, wall_s in _answers(wire, identifier):
                asked_s = sent_s.pop(answered, None)
                if asked_s is not None:
                    lines.append(f"{answered} {asked_s:.6f} {wall_s - offset_s:.6f}\n")
            if now_s - due_s > LATE_S:
                lines.append(f"late {now_s:.6f} {now_s - due_s:.6f}\n")
            number += 1
            sent_s[number] = time.monotonic()
            with contextlib.suppress(OSError):  # no neighbour answers for it: that is a gap
                wire.sendto(_request(identifier, number), (address, 0))
            if len(lines) >= FLUSH_LINES:
                output.writelines(lines)
                output.flush()
                lines.clear()
                for old in [n for n in sent_s if n < number - 10_000]:
                    del sent_s[old]
            due_s = max(due_s + period_s, time.monotonic() - period_s)
            time.sleep(max(0.0, due_s - time.monotonic()))
        output.writelines(lines)


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2], float(sys.argv[3]))
