"""IPVS services, destinations and changes <-> generic netlink bytes (linux/ip_vs.h).

Sans-I/O. Every attribute that the kernel has a default for is sent, so that an entry never keeps
a value that nobody asked for; those of tunnels only for tunnels that older kernels do not have.
"""

from __future__ import annotations

import ipaddress
import struct
from functools import lru_cache
from typing import Final

from heartbus_ipvs_agent import nlmsg
from heartbus_ipvs_agent.entries import (
    IPIP_ENDS,
    SERVICE_HASHED,
    Action,
    AddDestination,
    AddService,
    Connections,
    DestinationKey,
    DestinationSettings,
    EditDestination,
    EditService,
    Family,
    Forwarding,
    RemoveDestination,
    RemoveService,
    ServiceKey,
    ServiceSettings,
    TunnelEnds,
    family_of,
)
from heartbus_ipvs_agent.nlmsg import WireError

FAMILY_NAME: Final = "IPVS"

CMD_NEW_SERVICE: Final = 1
CMD_SET_SERVICE: Final = 2
CMD_DEL_SERVICE: Final = 3
CMD_GET_SERVICE: Final = 4
CMD_NEW_DEST: Final = 5
CMD_SET_DEST: Final = 6
CMD_DEL_DEST: Final = 7
CMD_GET_DEST: Final = 8

CMD_ATTR_SERVICE: Final = 1
CMD_ATTR_DEST: Final = 2

SVC_AF: Final = 1
SVC_PROTOCOL: Final = 2
SVC_ADDR: Final = 3
SVC_PORT: Final = 4
SVC_FWMARK: Final = 5
SVC_SCHED_NAME: Final = 6
SVC_FLAGS: Final = 7
SVC_TIMEOUT: Final = 8
SVC_NETMASK: Final = 9
SVC_STATS: Final = 10
SVC_PE_NAME: Final = 11
SVC_STATS64: Final = 12

DEST_ADDR: Final = 1
DEST_PORT: Final = 2
DEST_FWD_METHOD: Final = 3
DEST_WEIGHT: Final = 4
DEST_U_THRESH: Final = 5
DEST_L_THRESH: Final = 6
DEST_ACTIVE_CONNS: Final = 7
DEST_INACT_CONNS: Final = 8
DEST_PERSIST_CONNS: Final = 9
DEST_STATS: Final = 10
DEST_ADDR_FAMILY: Final = 11
DEST_STATS64: Final = 12
DEST_TUN_TYPE: Final = 13
DEST_TUN_PORT: Final = 14
DEST_TUN_FLAGS: Final = 15

SCHEDULER_BYTES_MAX: Final = 15
"""IP_VS_SCHEDNAME_MAXLEN without the closing NUL."""

ENGINE_BYTES_MAX: Final = 15
"""IP_VS_PENAME_MAXLEN without the closing NUL."""

ADDRESS_BYTES: Final = 16
"""union nf_inet_addr: an IPv4 address is followed by zeros."""

ALL_FLAGS: Final = 0xFFFFFFFF

_U8 = struct.Struct("=B")
_U16 = struct.Struct("=H")
_U32 = struct.Struct("=I")
_PORT = struct.Struct(">H")
_MASK = struct.Struct(">I")
_FLAGS = struct.Struct("=II")


# --- requests ------------------------------------------------------------------------------------


def dump_services() -> bytes:
    """Return the body of the request for all services."""
    return nlmsg.command(CMD_GET_SERVICE)


def dump_destinations(service: ServiceKey) -> bytes:
    """Return the body of the request for all destinations of a service."""
    return nlmsg.command(CMD_GET_DEST, _service(service))


def encode_action(action: Action) -> bytes:
    """Return the body of the request that carries out an action.

    Raises:
        WireError: a value does not fit the kernel's field.

    """
    try:
        return _encode_action(action)
    except (struct.error, ValueError) as error:
        raise WireError(f"{action}: {error}") from error


def _encode_action(action: Action) -> bytes:
    match action:
        case AddService():
            return nlmsg.command(CMD_NEW_SERVICE, _service(action.service, action.settings))
        case EditService():
            return nlmsg.command(CMD_SET_SERVICE, _service(action.service, action.settings))
        case RemoveService():
            return nlmsg.command(CMD_DEL_SERVICE, _service(action.service))
        case AddDestination():
            number, settings = CMD_NEW_DEST, action.settings
        case EditDestination():
            number, settings = CMD_SET_DEST, action.settings
        case RemoveDestination():
            inner = _destination(action.destination)
            return nlmsg.command(CMD_DEL_DEST, _service(action.service), inner)
    inner = _destination(action.destination, settings)
    return nlmsg.command(number, _service(action.service), inner)


def _service(key: ServiceKey, settings: ServiceSettings | None = None) -> bytes:
    attribute = nlmsg.attribute
    inner = [attribute(SVC_AF, _U16.pack(key.family))]
    if key.fwmark:
        inner.append(attribute(SVC_FWMARK, _U32.pack(key.fwmark)))
    else:
        inner += (
            attribute(SVC_PROTOCOL, _U16.pack(key.protocol)),
            attribute(SVC_ADDR, _packed_address(key.address)),
            attribute(SVC_PORT, _PORT.pack(key.port)),
        )
    if settings is not None:
        scheduler = settings.scheduler.encode("ascii")
        if not 0 < len(scheduler) <= SCHEDULER_BYTES_MAX or b"\0" in scheduler:
            raise WireError(f"scheduler {settings.scheduler!r}: 1 to 15 letters are allowed")
        netmask = _MASK if key.family is Family.IPV4 else _U32
        inner += (
            attribute(SVC_SCHED_NAME, scheduler + b"\0"),
            attribute(SVC_FLAGS, _FLAGS.pack(settings.flags, ALL_FLAGS)),
            attribute(SVC_TIMEOUT, _U32.pack(settings.timeout_s)),
            attribute(SVC_NETMASK, netmask.pack(settings.netmask)),
        )
        if settings.engine:
            engine = settings.engine.encode("ascii")
            if len(engine) > ENGINE_BYTES_MAX or b"\0" in engine:
                raise WireError(f"engine {settings.engine!r}: 1 to 15 letters are allowed")
            inner.append(attribute(SVC_PE_NAME, engine + b"\0"))
    return nlmsg.nested(CMD_ATTR_SERVICE, *inner)


def _destination(key: DestinationKey, settings: DestinationSettings | None = None) -> bytes:
    attribute = nlmsg.attribute
    inner = [
        attribute(DEST_ADDR_FAMILY, _U16.pack(family_of(key.address))),
        attribute(DEST_ADDR, _packed_address(key.address)),
        attribute(DEST_PORT, _PORT.pack(key.port)),
    ]
    if settings is not None:
        inner += (
            attribute(DEST_FWD_METHOD, _U32.pack(settings.forwarding)),
            attribute(DEST_WEIGHT, _U32.pack(settings.weight)),
            attribute(DEST_U_THRESH, _U32.pack(settings.upper_threshold)),
            attribute(DEST_L_THRESH, _U32.pack(settings.lower_threshold)),
        )
        if settings.tunnel != IPIP_ENDS:
            inner += (
                attribute(DEST_TUN_TYPE, _U8.pack(settings.tunnel.kind)),
                attribute(DEST_TUN_PORT, _PORT.pack(settings.tunnel.port)),
                attribute(DEST_TUN_FLAGS, _U16.pack(settings.tunnel.flags)),
            )
    return nlmsg.nested(CMD_ATTR_DEST, *inner)


# --- answers -------------------------------------------------------------------------------------


def decode_service(body: bytes) -> tuple[ServiceKey, ServiceSettings]:
    """Return the service in one message of a dump (or in one of our requests).

    Raises:
        WireError: an attribute is missing, or is not what it should be.

    """
    found = _nest(body, CMD_ATTR_SERVICE, "service")
    try:
        family = Family(_U16.unpack(found[SVC_AF])[0])
        key = _service_key(family, found)
        flags, _mask = _FLAGS.unpack(found[SVC_FLAGS])
        netmask = _MASK if family is Family.IPV4 else _U32
        settings = ServiceSettings(
            scheduler=found[SVC_SCHED_NAME].split(b"\0", 1)[0].decode("ascii"),
            flags=flags & ~SERVICE_HASHED,
            timeout_s=_U32.unpack(found[SVC_TIMEOUT])[0],
            netmask=netmask.unpack(found[SVC_NETMASK])[0],
            engine=found.get(SVC_PE_NAME, b"").split(b"\0", 1)[0].decode("ascii"),
        )
    except KeyError as error:
        raise WireError(f"service without attribute {error}") from error
    except (struct.error, ValueError) as error:
        raise WireError(f"service: {error}") from error
    return key, settings


def service_traffic(body: bytes) -> bytes:
    """Return the counters in one message of a dump of services, for ``traffic.decode``.

    Raises:
        WireError: it is no service.

    """
    found = _nest(body, CMD_ATTR_SERVICE, "service")
    return found.get(SVC_STATS64) or found.get(SVC_STATS, b"")


def decode_destination(
    body: bytes, *, family: Family
) -> tuple[DestinationKey, DestinationSettings, Connections]:
    """Return the destination in one message of a dump (or in one of our requests).

    ``family``: that of the service, for kernels before 3.18, which do not say.

    Raises:
        WireError: an attribute is missing, or is not what it should be.

    """
    found = _nest(body, CMD_ATTR_DEST, "destination")
    try:
        if DEST_ADDR_FAMILY in found:
            family = Family(_U16.unpack(found[DEST_ADDR_FAMILY])[0])
        forwarding = _U32.unpack(found[DEST_FWD_METHOD])[0]
        key = DestinationKey(
            address=_address_text(family, found[DEST_ADDR]),
            port=_PORT.unpack(found[DEST_PORT])[0],
        )
        settings = DestinationSettings(
            # The kernel takes 5 to 7 too, from whoever sends them; they mean nothing.
            forwarding=Forwarding(min(forwarding, Forwarding.BYPASS)),
            weight=_U32.unpack(found[DEST_WEIGHT])[0],
            upper_threshold=_U32.unpack(found[DEST_U_THRESH])[0],
            lower_threshold=_U32.unpack(found[DEST_L_THRESH])[0],
            tunnel=_tunnel(found),
        )
        connections = Connections(
            active=_U32.unpack(found.get(DEST_ACTIVE_CONNS, bytes(4)))[0],
            inactive=_U32.unpack(found.get(DEST_INACT_CONNS, bytes(4)))[0],
            persistent=_U32.unpack(found.get(DEST_PERSIST_CONNS, bytes(4)))[0],
            traffic=found.get(DEST_STATS64) or found.get(DEST_STATS, b""),
        )
    except KeyError as error:
        raise WireError(f"destination without attribute {error}") from error
    except (struct.error, ValueError) as error:
        raise WireError(f"destination: {error}") from error
    return key, settings, connections


def _tunnel(found: dict[int, bytes]) -> TunnelEnds:
    """Kernels before 5.3 say nothing of tunnels, later ones say it of every destination."""
    kind = _U8.unpack(found.get(DEST_TUN_TYPE, bytes(1)))[0]
    port = _PORT.unpack(found.get(DEST_TUN_PORT, bytes(2)))[0]
    flags = _U16.unpack(found.get(DEST_TUN_FLAGS, bytes(2)))[0]
    return TunnelEnds(kind, port, flags) if kind or port or flags else IPIP_ENDS


def _nest(body: bytes, kind: int, what: str) -> dict[int, bytes]:
    nlmsg.command_number(body)
    for found, payload in nlmsg.attributes(body, nlmsg.GENL_HEADER_BYTES):
        if found == kind:
            return dict(nlmsg.attributes(payload))
    raise WireError(f"the message holds no {what}")


def _service_key(family: Family, found: dict[int, bytes]) -> ServiceKey:
    if SVC_FWMARK in found:
        fwmark = _U32.unpack(found[SVC_FWMARK])[0]
        if fwmark == 0:
            raise WireError("firewall mark 0")
        return ServiceKey(family=family, protocol=0, address="", port=0, fwmark=fwmark)
    return ServiceKey(
        family=family,
        protocol=_U16.unpack(found[SVC_PROTOCOL])[0],
        address=_address_text(family, found[SVC_ADDR]),
        port=_PORT.unpack(found[SVC_PORT])[0],
    )


@lru_cache(maxsize=65536)
def _packed_address(address: str) -> bytes:
    return ipaddress.ip_address(address).packed.ljust(ADDRESS_BYTES, b"\0")


@lru_cache(maxsize=65536)
def _address_text(family: Family, packed: bytes) -> str:
    if len(packed) != ADDRESS_BYTES:
        raise WireError(f"address of {len(packed)} bytes")
    if family is Family.IPV4:
        return str(ipaddress.IPv4Address(packed[:4]))
    return str(ipaddress.IPv6Address(packed))
