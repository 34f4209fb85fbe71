"""The file that says which virtual services in the kernel are ours.

A service that is ours and no longer configured is removed; anything else that we did not configure
is foreign. So a service is written down before it is added, and crossed out after it is gone.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Final

import structlog

from heartbus_ipvs_agent.entries import Family, ServiceKey, Table, canonical_address, family_of

FILE_NAME: Final = "ipvs-managed.json"
SCHEMA: Final = 1
FILE_BYTES_MAX: Final = 16 * 1024 * 1024


class ManagedError(Exception):
    """The file cannot be read or written; the message says which, why and what follows."""


class ManagedServices:
    """The file in the state directory.

    It is not synced to disk: after a crash of the machine the kernel's table is gone as well.
    """

    def __init__(self, state_dir: Path) -> None:
        self._path = state_dir / FILE_NAME

    def read(self) -> frozenset[ServiceKey]:
        """Return the services that are ours; none if there is no file.

        Raises:
            ManagedError: the file is there and cannot be used.

        """
        try:
            with self._path.open("rb") as file:
                text = file.read(FILE_BYTES_MAX + 1)
            if len(text) > FILE_BYTES_MAX:
                raise ValueError(f"more than {FILE_BYTES_MAX} bytes")
            return _decode(text)
        except FileNotFoundError:
            return frozenset()
        except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
            raise ManagedError(
                f"{self._path}: {error!r}; virtual services of an earlier configuration "
                "stay in the kernel until they are removed by hand (ipvsadm -D)"
            ) from error

    def write(self, services: Iterable[ServiceKey]) -> None:
        """Replace the file by one with these services.

        Raises:
            ManagedError: it cannot be written.

        """
        temporary = self._path.with_suffix(".new")
        try:
            temporary.write_bytes(_encode(services))
            os.replace(temporary, self._path)
        except OSError as error:
            raise ManagedError(
                f"{self._path}: cannot be written: {error.strerror}; virtual services that leave "
                "the configuration will stay in the kernel"
            ) from error


class ManagedBook:
    """Which services are ours: those that are configured, and those that were and are still there.

    ``obsolete``: the latter.
    """

    def __init__(self, file: ManagedServices, log: structlog.typing.FilteringBoundLogger) -> None:
        self._file = file
        self._log = log
        self._keys: frozenset[ServiceKey] = frozenset()
        self.obsolete: frozenset[ServiceKey] = frozenset()

    def start(self, keys: Iterable[ServiceKey]) -> None:
        """Remember what was ours before; these are from now on."""
        try:
            self._keys = self._file.read()
        except ManagedError as error:
            self._log.warning("managed.unreadable", error=str(error))
        self.use(keys)

    def use(self, keys: Iterable[ServiceKey]) -> None:
        """Write down that these are ours now, before any of them is added."""
        ours = self.obsolete | self._keys
        self._keys = frozenset(keys)
        self.obsolete = ours - self._keys
        self._write()

    def looked(self, observed: Table) -> None:
        """Cross out what is not there any more."""
        still_there = self.obsolete.intersection(observed.services)
        if still_there != self.obsolete:
            self.obsolete = still_there
            self._write()

    def _write(self) -> None:
        try:
            self._file.write(self.obsolete | self._keys)
        except ManagedError as error:
            self._log.warning("managed.unwritable", error=str(error))


def _encode(services: Iterable[ServiceKey]) -> bytes:
    # Sorted, so that two directors' files can be compared.
    entries = [_entry(service) for service in sorted(services)]
    return json.dumps({"schema": SCHEMA, "services": entries}, indent=1).encode()


def _decode(text: bytes) -> frozenset[ServiceKey]:
    document = json.loads(text)
    if document["schema"] != SCHEMA:
        raise ValueError(f"schema {document['schema']!r}, this version reads {SCHEMA}")
    return frozenset(_service(entry) for entry in document["services"])


def _entry(service: ServiceKey) -> dict[str, object]:
    if service.fwmark:
        return {"fwmark": service.fwmark, "family": int(service.family)}
    return {"protocol": service.protocol, "address": service.address, "port": service.port}


def _service(entry: dict[str, object]) -> ServiceKey:
    if "fwmark" in entry:
        fwmark, family = entry["fwmark"], entry["family"]
        if not (isinstance(fwmark, int) and isinstance(family, int)):
            raise TypeError(f"not a service: {entry!r}")
        return ServiceKey(Family(family), 0, "", 0, fwmark)
    protocol, address, port = entry["protocol"], entry["address"], entry["port"]
    if not (isinstance(protocol, int) and isinstance(address, str) and isinstance(port, int)):
        raise TypeError(f"not a service: {entry!r}")
    address = canonical_address(address)
    return ServiceKey(family=family_of(address), protocol=protocol, address=address, port=port)
