"""Which sync daemons the kernel should run, and what leads there; and their netlink bytes.

Sans-I/O. A master tells the network which connections it has, a backup listens and knows them when
it takes over. The kernel runs one of each at most; another interface or id takes a restart.
"""

from __future__ import annotations

import enum
import ipaddress
import struct
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from typing import Final

from heartbus.model_ipvs import IpvsSettings, SyncDaemon
from heartbus_ipvs_agent import nlmsg
from heartbus_ipvs_agent.nlmsg import WireError

CMD_NEW_DAEMON: Final = 9
CMD_DEL_DAEMON: Final = 10
CMD_GET_DAEMON: Final = 11
CMD_SET_CONFIG: Final = 12
CMD_ATTR_DAEMON: Final = 3
CMD_ATTR_TIMEOUT_TCP: Final = 4
CMD_ATTR_TIMEOUT_TCP_FIN: Final = 5
CMD_ATTR_TIMEOUT_UDP: Final = 6
DAEMON_STATE: Final = 1
DAEMON_INTERFACE: Final = 2
DAEMON_SYNC_ID: Final = 3
DAEMON_MAXLEN: Final = 4
DAEMON_GROUP: Final = 5
DAEMON_GROUP6: Final = 6
DAEMON_PORT: Final = 7
DAEMON_TTL: Final = 8

INTERFACE_BYTES_MAX: Final = 15

_U8 = struct.Struct("=B")
_U16 = struct.Struct("=H")
_U32 = struct.Struct("=I")


class Role(enum.IntEnum):
    """IP_VS_STATE_MASTER and IP_VS_STATE_BACKUP."""

    MASTER = 1
    BACKUP = 2

    @property
    def word(self) -> str:
        """As ipvsadm says it."""
        return self.name.lower()


@dataclass(frozen=True, slots=True, kw_only=True)
class StartDaemon:
    """``ipvsadm --start-daemon``."""

    role: Role
    daemon: SyncDaemon

    def __str__(self) -> str:
        return (
            f"--start-daemon {self.role.word} --mcast-interface {self.daemon.interface}"
            f" --syncid {self.daemon.sync_id}"
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class StopDaemon:
    """``ipvsadm --stop-daemon``."""

    role: Role

    def __str__(self) -> str:
        return f"--stop-daemon {self.role.word}"


DaemonAction = StartDaemon | StopDaemon
Running = dict[Role, SyncDaemon]


def wanted_roles(*, groups: Collection[str], held: Collection[str]) -> frozenset[Role]:
    """Return what a director does that holds these of all resource groups."""
    if not groups:
        return frozenset(Role)
    roles = set()
    if held:
        roles.add(Role.MASTER)
    if set(groups).difference(held):
        roles.add(Role.BACKUP)
    return frozenset(roles)


def plan_daemons(
    daemon: SyncDaemon, roles: Iterable[Role], running: Running
) -> tuple[DaemonAction, ...]:
    """Return what turns the running daemons into those wanted; the new role comes first.

    While a director takes over it listens until it sends, so nothing of its peer is missed.
    """
    wanted = frozenset(roles)
    start: list[DaemonAction] = []
    for role in sorted(wanted):
        there = running.get(role)
        if there is not None and not _same(daemon, there):
            start.append(StopDaemon(role=role))
            there = None
        if there is None:
            start.append(StartDaemon(role=role, daemon=daemon))
    return (*start, *(StopDaemon(role=role) for role in sorted(running) if role not in wanted))


def _same(wanted: SyncDaemon, running: SyncDaemon) -> bool:
    """Return whether all that is configured is so; the kernel fills in the rest."""
    return all(
        asked in (is_so, 0, "")
        for asked, is_so in (
            (wanted.maxlen, running.maxlen),
            (wanted.group, running.group),
            (wanted.port, running.port),
            (wanted.ttl, running.ttl),
        )
    ) and (wanted.interface, wanted.sync_id) == (running.interface, running.sync_id)


# --- bytes ---------------------------------------------------------------------------------------


def dump_daemons() -> bytes:
    """Return the body of the request for the running daemons."""
    return nlmsg.command(CMD_GET_DAEMON)


def encode(action: DaemonAction) -> bytes:
    """Return the body of the request that carries out an action.

    Raises:
        WireError: a value does not fit the kernel's field.

    """
    state = nlmsg.attribute(DAEMON_STATE, _U32.pack(action.role))
    if isinstance(action, StopDaemon):
        return nlmsg.command(CMD_DEL_DAEMON, nlmsg.nested(CMD_ATTR_DAEMON, state))
    daemon = action.daemon
    interface = daemon.interface.encode()
    if not 0 < len(interface) <= INTERFACE_BYTES_MAX or b"\0" in interface:
        raise WireError(f"interface {daemon.interface!r}: 1 to 15 bytes are allowed")
    try:
        inner = [
            state,
            nlmsg.attribute(DAEMON_INTERFACE, interface + b"\0"),
            nlmsg.attribute(DAEMON_SYNC_ID, _U32.pack(daemon.sync_id)),
        ]
        if daemon.maxlen:
            inner.append(nlmsg.attribute(DAEMON_MAXLEN, _U16.pack(daemon.maxlen)))
        if daemon.group:
            group = ipaddress.ip_address(daemon.group)
            kind = DAEMON_GROUP if group.version == 4 else DAEMON_GROUP6
            inner.append(nlmsg.attribute(kind, group.packed))
        if daemon.port:
            inner.append(nlmsg.attribute(DAEMON_PORT, _U16.pack(daemon.port)))
        if daemon.ttl:
            inner.append(nlmsg.attribute(DAEMON_TTL, _U8.pack(daemon.ttl)))
    except (struct.error, ValueError) as error:
        raise WireError(f"{action}: {error}") from error
    return nlmsg.command(CMD_NEW_DAEMON, nlmsg.nested(CMD_ATTR_DAEMON, *inner))


def decode(body: bytes) -> tuple[Role, SyncDaemon]:
    """Return the daemon in one message of a dump (or in a request that starts one).

    Raises:
        WireError: an attribute is missing, or is not what it should be.

    """
    nlmsg.command_number(body)
    outer = dict(nlmsg.attributes(body, nlmsg.GENL_HEADER_BYTES))
    if CMD_ATTR_DAEMON not in outer:
        raise WireError("the message holds no daemon")
    found = dict(nlmsg.attributes(outer[CMD_ATTR_DAEMON]))
    try:
        group = ""
        if DAEMON_GROUP in found:
            group = str(ipaddress.IPv4Address(found[DAEMON_GROUP]))
        elif DAEMON_GROUP6 in found:
            group = str(ipaddress.IPv6Address(found[DAEMON_GROUP6]))
        return Role(_U32.unpack(found[DAEMON_STATE])[0]), SyncDaemon(
            interface=found[DAEMON_INTERFACE].split(b"\0", 1)[0].decode(),
            sync_id=_U32.unpack(found[DAEMON_SYNC_ID])[0],
            maxlen=_U16.unpack(found.get(DAEMON_MAXLEN, bytes(2)))[0],
            group=group,
            port=_U16.unpack(found.get(DAEMON_PORT, bytes(2)))[0],
            ttl=_U8.unpack(found.get(DAEMON_TTL, bytes(1)))[0],
        )
    except KeyError as error:
        raise WireError(f"daemon without attribute {error}") from error
    except (struct.error, ValueError) as error:
        raise WireError(f"daemon: {error}") from error


def encode_timeouts(settings: IpvsSettings) -> bytes | None:
    """Return the body of the request that sets the timeouts; None: all are left alone."""
    attributes = [
        nlmsg.attribute(kind, _U32.pack(value))
        for kind, value in (
            (CMD_ATTR_TIMEOUT_TCP, settings.timeout_tcp_s),
            (CMD_ATTR_TIMEOUT_TCP_FIN, settings.timeout_tcpfin_s),
            (CMD_ATTR_TIMEOUT_UDP, settings.timeout_udp_s),
        )
        if value
    ]
    return nlmsg.command(CMD_SET_CONFIG, *attributes) if attributes else None
