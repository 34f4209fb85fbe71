"""Read the lease file that membership keeps for us: what we may hold when the bus is silent.

Written atomically by membership at each renewal, as JSON: ``schema``, ``boot_id``,
``written_monotonic_s`` and ``leases`` (``group``, ``epoch``, ``deadline_monotonic_s``, ``cause``).
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import msgspec

from heartbus.events import Lease
from heartbus_vip.news import LeaseNews

LEASE_FILE: Final = "leases.json"
LEASE_FILE_BYTES_MAX: Final = 1024 * 1024
LEASE_SCHEMA: Final = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class _Document:
    schema: int
    boot_id: str
    written_monotonic_s: float
    leases: tuple[Lease, ...]


_decoder = msgspec.json.Decoder(_Document)


def boot_id() -> str:
    """Return what names this boot of the machine; monotonic times mean nothing in another."""
    return Path("/proc/sys/kernel/random/boot_id").read_text().strip()


class LeaseFile:
    """The file in the runtime directory. ``problem`` tells why the last ``read`` gave nothing."""

    def __init__(self, runtime_dir: Path, *, boot_id: str) -> None:
        self._path = str(runtime_dir / LEASE_FILE)
        self._boot_id = boot_id
        self.problem: str | None = None

    def read(self) -> LeaseNews | None:
        """Return what the file says, or None: absent, half written, of another boot, not ours."""
        try:
            descriptor = os.open(self._path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
            try:
                octets = os.read(descriptor, LEASE_FILE_BYTES_MAX + 1)
            finally:
                os.close(descriptor)
        except FileNotFoundError:
            self.problem = None  # membership has not spoken yet
            return None
        except OSError as error:
            self.problem = f"cannot read it: {error.strerror}"
            return None
        return self._decode(octets)

    def _decode(self, octets: bytes) -> LeaseNews | None:
        self.problem = None
        if len(octets) > LEASE_FILE_BYTES_MAX:
            self.problem = f"more than {LEASE_FILE_BYTES_MAX} bytes"
            return None
        try:
            document = _decoder.decode(octets)
        except (msgspec.DecodeError, RecursionError) as error:
            self.problem = f"not a lease file: {error}"
            return None
        if document.schema != LEASE_SCHEMA:
            self.problem = f"schema {document.schema}, this version reads {LEASE_SCHEMA}"
            return None
        if document.boot_id != self._boot_id:
            self.problem = "it is of another boot"
            return None
        return LeaseNews(written_s=document.written_monotonic_s, leases=document.leases)
