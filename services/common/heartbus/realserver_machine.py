"""The machine that ``realserver`` is about: read from the kernel, changed, and put back.

What was changed is written down first, so that ``remove`` takes away what ``setup`` brought and
nothing else. The file is in the runtime directory: a boot undoes the changes too.
"""

from __future__ import annotations

import contextlib
import ipaddress
import socket
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Final

import msgspec
from pyroute2 import IPRoute
from pyroute2.netlink.exceptions import NetlinkError

from heartbus.realserver import (
    AddressChange,
    Change,
    Interface,
    LinkUp,
    Machine,
    SysctlChange,
)

CONF: Final = Path("/proc/sys/net/ipv4/conf")
NAMES: Final = ("arp_ignore", "arp_announce", "rp_filter")
LISTEN: Final = "0A"
"""TCP_LISTEN in /proc/net/tcp."""

IFF_UP: Final = 1
IFA_F_NODAD: Final = 0x02


class RealServerError(Exception):
    """The machine cannot be changed; the message says what failed, and what to do."""


class Record(msgspec.Struct, kw_only=True):
    """What ``setup`` changed: addresses it added, and what variables had before."""

    addresses: list[AddressChange] = []
    sysctls: dict[str, tuple[int, int]] = {}
    """Of each variable: what it had, and what we wrote."""


def look() -> Machine:
    """Return what the kernel says of this machine."""
    with IPRoute() as route:
        by_index: dict[int, list[tuple[str, int]]] = {}
        for message in route.get_addr():
            address = message.get_attr("IFA_LOCAL") or message.get_attr("IFA_ADDRESS")
            by_index.setdefault(message["index"], []).append((address, message["prefixlen"]))
        interfaces = tuple(
            Interface(
                name=link.get_attr("IFLA_IFNAME"),
                up=bool(link["flags"] & IFF_UP),
                addresses=tuple(by_index.get(link["index"], ())),
            )
            for link in route.get_links()
        )
    sysctls = {
        f"{directory.name}.{name}": int((directory / name).read_text())
        for directory in CONF.iterdir()
        for name in NAMES
    }
    return Machine(interfaces=interfaces, sysctls=sysctls, listening=frozenset(_listening()))


def _listening() -> Iterator[tuple[int, str, int]]:
    for family, file in ((4, "tcp"), (6, "tcp6")):
        try:
            lines = Path(f"/proc/net/{file}").read_text().splitlines()[1:]
        except FileNotFoundError:  # a kernel without IPv6
            continue
        for line in lines:
            _, local, _, state, *_ = line.split()
            if state == LISTEN:
                number, _, port = local.partition(":")
                yield family, _address(number), int(port, 16)


def _address(words: str) -> str:
    """Return an address of /proc/net/tcp: 32-bit words in the byte order of this machine."""
    raw = bytes.fromhex(words)
    packed = b"".join(
        int.from_bytes(raw[at : at + 4], "big").to_bytes(4, sys.byteorder)
        for at in range(0, len(raw), 4)
    )
    return str(ipaddress.ip_address(packed))


def change(wanted: Iterable[Change], record_file: Path) -> None:
    """Make changes, in their order; each is written down before it is made.

    Raises:
        RealServerError: one of them cannot be made; those before it stand, and are written down.

    """
    record = read_record(record_file)
    for one in wanted:
        match one:
            case SysctlChange():
                before = int(_variable(one.name).read_text())
                first = record.sysctls.get(one.name, (before, 0))[0]
                record.sysctls[one.name] = (first, one.value)
                _write(record, record_file)
                _set(one.name, one.value)
            case LinkUp():
                _bring_up(one)
            case AddressChange():
                if one not in record.addresses:
                    record.addresses.append(one)
                _write(record, record_file)
                _address_call("add", one)


def put_back(record_file: Path) -> list[str]:
    """Undo what is written down; return in words what was undone.

    Raises:
        RealServerError: something cannot be undone; it stays written down.

    """
    record, undone = read_record(record_file), []
    seen = look()
    for one in tuple(record.addresses):
        interface = seen.interface(one.interface)
        if interface is not None and (one.address, one.prefix) in interface.addresses:
            _address_call("del", one)
            undone.append(f"removed {one.address}/{one.prefix} from {one.interface}")
        record.addresses.remove(one)
        _write(record, record_file)
    for name, (before, ours) in tuple(record.sysctls.items()):
        if seen.sysctls.get(name) == ours and before != ours:
            _set(name, before)
            undone.append(f"set net.ipv4.conf.{name} back to {before}")
        del record.sysctls[name]
        _write(record, record_file)
    record_file.unlink(missing_ok=True)
    return undone


def read_record(file: Path) -> Record:
    """Return what is written down; nothing if there is no file.

    Raises:
        RealServerError: it is not such a file.

    """
    try:
        return msgspec.json.decode(file.read_bytes(), type=Record)
    except FileNotFoundError:
        return Record()
    except (OSError, msgspec.DecodeError) as error:
        raise RealServerError(
            f"{file} cannot be read: {error}; remove it, and what setup added by hand"
        ) from error


def _write(record: Record, file: Path) -> None:
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        beside = file.with_suffix(".new")
        beside.write_bytes(msgspec.json.encode(record))
        beside.replace(file)
    except OSError as error:
        raise RealServerError(f"cannot write {file}: {error.strerror}; run as root") from error


def _variable(name: str) -> Path:
    interface, _, variable = name.rpartition(".")
    return CONF / interface / variable


def _set(name: str, value: int) -> None:
    try:
        _variable(name).write_text(f"{value}\n")
    except OSError as error:
        raise RealServerError(
            f"cannot set net.ipv4.conf.{name} to {value}: {error.strerror}; run as root"
        ) from error


def _bring_up(link: LinkUp) -> None:
    with IPRoute() as route:
        found = route.link_lookup(ifname=link.interface)
        if not found:
            # The kernel loads the module for that, which makes the interface by itself; then it
            # is there already. Where it does not, as some network namespaces want it, we make it.
            with contextlib.suppress(NetlinkError):
                route.link("add", ifname=link.interface, kind=link.kind)
            found = route.link_lookup(ifname=link.interface)
        if not found:
            raise RealServerError(
                f"there is no {link.interface}, and the kernel does not make one (is the module"
                f" {link.module} there?); packets in a tunnel cannot be taken"
            )
        try:
            route.link("set", index=found[0], state="up")
        except NetlinkError as error:
            raise RealServerError(
                f"cannot bring up {link.interface}: {error}; run as root"
            ) from error


def _address_call(command: str, one: AddressChange) -> None:
    family = socket.AF_INET6 if ":" in one.address else socket.AF_INET
    with IPRoute() as route:
        flags = {"flags": IFA_F_NODAD} if family == socket.AF_INET6 and command == "add" else {}
        try:
            route.addr(
                command,
                index=route.link_lookup(ifname=one.interface)[0],
                address=one.address,
                prefixlen=one.prefix,
                family=family,
                **flags,
            )
        except NetlinkError as error:
            raise RealServerError(
                f"cannot {command} {one.address}/{one.prefix} on {one.interface}: {error};"
                " run as root"
            ) from error
