"""Heartbeats <-> the bytes of a serial line; docs/wire.md shows a frame byte by byte.

Sans-I/O. A zero byte ends a frame and occurs nowhere in it (consistent overhead byte stuffing), so
that after any noise the next frame is found at its zero. Whatever arrives ends in a frame or in the
count ``damaged``, in bounded memory.
"""

from __future__ import annotations

import zlib
from dataclasses import dataclass
from typing import Final

from heartbus_membership.wire import DATAGRAM_BYTES_MAX

KIND_HEARTBEAT: Final = 1
HOPS_MAX: Final = 255
_HEAD_BYTES: Final = 2  # kind, hops
_CRC_BYTES: Final = 4
_RUN_BYTES_MAX: Final = 254
_CONTENT_BYTES_MAX: Final = _HEAD_BYTES + DATAGRAM_BYTES_MAX + _CRC_BYTES
FRAME_BYTES_MAX: Final = _CONTENT_BYTES_MAX + _CONTENT_BYTES_MAX // _RUN_BYTES_MAX + 1
"""Without the zeros around it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Frame:
    """A datagram and how many lines it may still pass, the one that it came over included."""

    datagram: bytes
    hops: int


def encode(frame: Frame) -> bytes:
    """Return a frame with a zero before it, which ends what noise there was, and one behind.

    Raises:
        ValueError: the datagram is longer than DATAGRAM_BYTES_MAX, or hops are not 0 to 255.

    """
    if len(frame.datagram) > DATAGRAM_BYTES_MAX:
        raise ValueError(f"{len(frame.datagram)} bytes, at most {DATAGRAM_BYTES_MAX}")
    content = bytes((KIND_HEARTBEAT, frame.hops)) + frame.datagram
    content += zlib.crc32(content).to_bytes(_CRC_BYTES, "big")
    return b"\0" + _stuff(content) + b"\0"


class Deframer:
    """Finds the frames in the bytes of one line; ``damaged`` counts what was none."""

    def __init__(self) -> None:
        self._part = bytearray()
        self._too_long = False
        self.damaged = 0

    def feed(self, chunk: bytes) -> list[Frame]:
        """Return the frames that these bytes end."""
        frames: list[Frame] = []
        *ended, rest = chunk.split(b"\0")
        for piece in ended:
            self._append(piece)
            if not self._too_long and self._part:
                frame = _parse(bytes(self._part))
                if frame is None:
                    self.damaged += 1
                else:
                    frames.append(frame)
            self._part.clear()
            self._too_long = False
        self._append(rest)
        return frames

    def _append(self, piece: bytes) -> None:
        if self._too_long:
            return
        if len(self._part) + len(piece) > FRAME_BYTES_MAX:
            self._too_long = True
            self._part.clear()
            self.damaged += 1
            return
        self._part += piece


def _parse(stuffed: bytes) -> Frame | None:
    content = _unstuff(stuffed)
    if content is None or len(content) < _HEAD_BYTES + _CRC_BYTES:
        return None
    body, check = content[:-_CRC_BYTES], content[-_CRC_BYTES:]
    if zlib.crc32(body).to_bytes(_CRC_BYTES, "big") != check or body[0] != KIND_HEARTBEAT:
        return None
    return Frame(datagram=body[_HEAD_BYTES:], hops=body[1])


def _stuff(content: bytes) -> bytes:
    """Return the content as runs: each a byte that says its length + 1, then bytes without zero.

    A zero follows each run but the last and those of 254 bytes, whose first byte is 255.
    """
    stuffed = bytearray()
    for run in content.split(b"\0"):
        left = run
        while len(left) >= _RUN_BYTES_MAX:
            stuffed.append(_RUN_BYTES_MAX + 1)
            stuffed += left[:_RUN_BYTES_MAX]
            left = left[_RUN_BYTES_MAX:]
        stuffed.append(len(left) + 1)
        stuffed += left
    return bytes(stuffed)


def _unstuff(stuffed: bytes) -> bytes | None:
    """Return the content; None: its lengths do not add up. There is no zero in ``stuffed``."""
    content = bytearray()
    at = 0
    while at < len(stuffed):
        code = stuffed[at]
        end = at + code
        if end > len(stuffed):
            return None
        content += stuffed[at + 1 : end]
        if code <= _RUN_BYTES_MAX and end < len(stuffed):
            content.append(0)
        at = end
    return bytes(content)
