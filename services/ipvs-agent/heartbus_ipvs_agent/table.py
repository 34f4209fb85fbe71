"""The kernel's IPVS table in this network namespace: read all of it, change some of it."""

from __future__ import annotations

import contextlib
import errno
import os
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Protocol

from heartbus import kernel_age
from heartbus.runner import MachineError
from heartbus_ipvs_agent import nlmsg, wire
from heartbus_ipvs_agent.beyond import beyond
from heartbus_ipvs_agent.entries import (
    Action,
    AddDestination,
    AddService,
    Connections,
    DestinationKey,
    EditService,
    ServiceEntry,
    ServiceKey,
    Table,
)
from heartbus_ipvs_agent.netlink import ANSWER_LOST, GenericNetlink, NetlinkError

MODPROBE: Final = "/sbin/modprobe"
MODPROBE_TIMEOUT_S: Final = 10.0


class TableError(Exception):
    """The table cannot be read or changed now. ``number``: errno, 0 if the kernel gave none."""

    def __init__(self, what: str, number: int = 0) -> None:
        self.number = number
        super().__init__(what)


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What became of one action. ``failure``: the kernel's reason in words; None: carried out."""

    action: Action
    failure: str | None = None


class IpvsTable(Protocol):
    """A table of virtual services; the kernel's, or a test's."""

    def dump(self) -> Table:
        """Return all services, destinations and connection counters.

        Raises:
            TableError: it cannot be read now.

        """
        ...

    def apply(self, actions: Sequence[Action]) -> tuple[Outcome, ...]:
        """Carry out actions in this order, each of them whatever became of those before it.

        Raises:
            TableError: it cannot be changed now; some actions may have been carried out.

        """
        ...


class KernelTable:
    """``IpvsTable`` over generic netlink; reopens its socket after any failure."""

    def __init__(self, *, release: str | None = None) -> None:
        self._age = kernel_age.version(os.uname().release if release is None else release)
        self._netlink: GenericNetlink | None = None

    def close(self) -> None:
        """Close the socket; the next call opens another."""
        if self._netlink is not None:
            self._netlink.close()
            self._netlink = None

    def dump(self) -> Table:
        """Return all services, destinations and connection counters.

        Raises:
            TableError: it cannot be read now.

        """
        try:
            return self._dump(self._open())
        except NetlinkError as error:
            self.close()
            raise TableError(str(error), error.number) from error
        except nlmsg.WireError as error:
            raise TableError(f"unreadable entry in the kernel's table: {error}") from error

    def apply(self, actions: Sequence[Action]) -> tuple[Outcome, ...]:
        """Carry out actions in this order, each of them whatever became of those before it.

        Raises:
            TableError: it cannot be changed now; some actions may have been carried out.

        """
        bodies: list[bytes] = []
        unsent: dict[int, str] = {}
        for position, action in enumerate(actions):
            why = beyond(action, self._age)
            if why is not None:
                unsent[position] = why
                continue
            try:
                bodies.append(wire.encode_action(action))
            except nlmsg.WireError as error:
                unsent[position] = str(error)
        try:
            numbers = iter(self._open().send(bodies))
        except NetlinkError as error:
            self.close()
            raise TableError(str(error), error.number) from error
        outcomes = []
        for position, action in enumerate(actions):
            failure = unsent.get(position)
            if failure is None:
                number = next(numbers)
                failure = failure_words(action, number) if number else None
            outcomes.append(Outcome(action=action, failure=failure))
        return tuple(outcomes)

    def _open(self) -> GenericNetlink:
        if self._netlink is None:
            self._netlink = GenericNetlink(wire.FAMILY_NAME)
        return self._netlink

    @staticmethod
    def _dump(netlink: GenericNetlink) -> Table:
        services: dict[ServiceKey, ServiceEntry] = {}
        connections: dict[tuple[ServiceKey, DestinationKey], Connections] = {}
        traffic: dict[ServiceKey, bytes] = {}
        for body in netlink.dump(wire.dump_services()):
            service, settings = wire.decode_service(body)
            traffic[service] = wire.service_traffic(body)
            destinations = {}
            for inner in netlink.dump(wire.dump_destinations(service)):
                key, destination, counters = wire.decode_destination(inner, family=service.family)
                destinations[key] = destination
                connections[service, key] = counters
            services[service] = ServiceEntry(settings=settings, destinations=destinations)
        return Table(services=services, connections=connections, traffic=traffic)


def failure_words(action: Action, number: int) -> str:
    """Return what an errno of the kernel means for this action (net/netfilter/ipvs/ip_vs_ctl.c)."""
    if number == ANSWER_LOST:
        return "the kernel's answer was lost; the next look at the table will tell"
    if number == errno.ESRCH:
        return "the kernel has no such virtual service"
    if number == errno.EEXIST:
        return "the kernel has this entry already"
    if number == errno.ENOENT:
        if isinstance(action, AddService | EditService):
            name = action.settings.scheduler
            words = f"the kernel has no scheduler {name!r}: load its module ip_vs_{name}"
            if action.settings.engine:
                engine = action.settings.engine
                words += f"; or no persistence engine {engine!r}: load its module ip_vs_pe_{engine}"
            return words
        return "the kernel has no such destination"
    if number == errno.EINVAL and isinstance(action, AddDestination):
        return (
            "the kernel takes no such destination: the address must be a unicast one, of the"
            " family of the service or reached by a tunnel, and no sync daemon may run then"
        )
    if number == errno.EAFNOSUPPORT:
        return "this kernel's IPVS has no IPv6"
    return os.strerror(number)


def open_kernel_table() -> KernelTable:
    """Return the kernel's table, readable; loads the module ip_vs if it is not there.

    Raises:
        MachineError: no ip_vs, or no permission; it says what to do.

    """
    table = KernelTable()
    error = _try_dump(table)
    if error is not None and error.number == errno.ENOENT:
        _load_module()
        error = _try_dump(table)
    if error is not None:
        raise _machine_error(error) from error
    return table


def _try_dump(table: KernelTable) -> TableError | None:
    try:
        table.dump()
    except TableError as error:
        return error
    return None


def _machine_error(error: TableError) -> MachineError:
    if error.number in (errno.ENOENT, errno.EPROTONOSUPPORT, errno.EAFNOSUPPORT):
        return MachineError(
            "this kernel has no IPVS (module ip_vs): load it with 'modprobe ip_vs' "
            "or install a kernel that has it"
        )
    if error.number in (errno.EPERM, errno.EACCES):
        return MachineError(
            "not allowed to read the kernel's IPVS table: "
            "run as root or with the capability CAP_NET_ADMIN"
        )
    return MachineError(f"cannot read the kernel's IPVS table: {error}")


def _load_module() -> None:
    """Try ``modprobe ip_vs`` once; whether it helped is seen by asking for the family again."""
    with contextlib.suppress(OSError, subprocess.TimeoutExpired):
        subprocess.run(
            [MODPROBE, "ip_vs"],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            timeout=MODPROBE_TIMEOUT_S,
            check=False,
        )
