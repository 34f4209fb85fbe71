"""The IPVS table as values: services, destinations, the six changes, and what each change does.

Sans-I/O. Numbers are the kernel's own (linux/ip_vs.h), so that nothing is lost between a dump and
a comparison. Keys are named tuples, not dataclasses: a table of 40,000 destinations hashes each of
them several times per plan, and tuples hash in C.
"""

from __future__ import annotations

import enum
import ipaddress
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Final, NamedTuple

IPPROTO_TCP: Final = 6
IPPROTO_UDP: Final = 17
IPPROTO_SCTP: Final = 132

SERVICE_PERSISTENT: Final = 0x0001
SERVICE_HASHED: Final = 0x0002
"""Set by the kernel on every service; never part of our values."""
SERVICE_ONE_PACKET: Final = 0x0004
SERVICE_SCHED_FALLBACK: Final = 0x0008
"""IP_VS_SVC_F_SCHED1: ``sh-fallback`` of sh, ``mh-fallback`` of mh."""
SERVICE_SCHED_PORT: Final = 0x0010
"""IP_VS_SVC_F_SCHED2: ``sh-port`` of sh, ``mh-port`` of mh."""

IPV4_NETMASK_ALL: Final = 0xFFFFFFFF
IPV6_PREFIX_ALL: Final = 128


class Family(enum.IntEnum):
    """Address family (AF_INET, AF_INET6 of Linux)."""

    IPV4 = 2
    IPV6 = 10


class Forwarding(enum.IntEnum):
    """IP_VS_CONN_F_MASQ and so on; ``BYPASS`` exists for connections only, a dump never has it."""

    MASQ = 0
    LOCAL = 1
    IPIP = 2
    GATE = 3
    BYPASS = 4


class TunnelKind(enum.IntEnum):
    """IP_VS_CONN_F_TUNNEL_TYPE_IPIP and so on."""

    IPIP = 0
    GUE = 1
    GRE = 2


_TUNNEL_WORD: Final[dict[int, str]] = {kind: kind.name.lower() for kind in TunnelKind}


class TunnelEnds(NamedTuple):
    """How a destination with forwarding IPIP is reached; ``flags``: IP_VS_TUNNEL_ENCAP_FLAG_…."""

    kind: int = TunnelKind.IPIP
    port: int = 0
    flags: int = 0


IPIP_ENDS: Final = TunnelEnds()
TUNNEL_CHECKSUM: Final = 1
TUNNEL_REMOTE_CHECKSUM: Final = 2


_FORWARDING_OPTION: Final = {
    Forwarding.MASQ: "-m",
    Forwarding.LOCAL: "-g",
    Forwarding.IPIP: "-i",
    Forwarding.GATE: "-g",
    Forwarding.BYPASS: "-g",
}
_PROTOCOL_OPTION: Final = {IPPROTO_TCP: "-t", IPPROTO_UDP: "-u", IPPROTO_SCTP: "--sctp-service"}


class ServiceKey(NamedTuple):
    """What names a virtual service in the kernel: protocol, address and port, or a mark.

    With ``fwmark`` not 0 the protocol is 0, the address empty and the port 0.
    """

    family: Family
    protocol: int
    address: str
    port: int
    fwmark: int = 0

    def __str__(self) -> str:
        if self.fwmark:
            return f"-f {self.fwmark}" + (" -6" if self.family is Family.IPV6 else "")
        option = _PROTOCOL_OPTION.get(self.protocol, f"--protocol {self.protocol}")
        return f"{option} {endpoint_text(self.address, self.port)}"


class DestinationKey(NamedTuple):
    """What names a destination within its service."""

    address: str
    port: int

    def __str__(self) -> str:
        return endpoint_text(self.address, self.port)


class Connections(NamedTuple):
    """Counters of one destination at the time of the dump.

    ``inactive``: those that are closing, and all flows of UDP. ``persistent``: templates, one for
    each client that comes back to this destination while its time runs. ``traffic``: the kernel's
    own bytes, which ``traffic`` reads when somebody wants to know.
    """

    active: int
    inactive: int
    persistent: int = 0
    traffic: bytes = b""


@dataclass(frozen=True, slots=True, kw_only=True)
class ServiceSettings:
    """How a virtual service behaves. ``flags`` without SERVICE_HASHED.

    ``timeout_s`` counts with SERVICE_PERSISTENT only. ``netmask``: the mask as a number for IPv4,
    the prefix length for IPv6, as the kernel has it. ``engine``: persistence engine, "" for none.
    """

    scheduler: str
    flags: int = 0
    timeout_s: int = 0
    netmask: int = IPV4_NETMASK_ALL
    engine: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class DestinationSettings:
    """How a destination is used. Threshold 0: no limit on its connections."""

    forwarding: Forwarding
    weight: int
    upper_threshold: int = 0
    lower_threshold: int = 0
    tunnel: TunnelEnds = IPIP_ENDS

    @property
    def answers(self) -> bool:
        """Whether it is given new connections."""
        return self.weight > 0


@dataclass(frozen=True, slots=True, kw_only=True)
class ServiceEntry:
    """A virtual service and its destinations."""

    settings: ServiceSettings
    destinations: Mapping[DestinationKey, DestinationSettings] = field(default_factory=dict)

    @property
    def answers(self) -> bool:
        """Whether at least one destination is given new connections."""
        return any(d.weight > 0 for d in self.destinations.values())


@dataclass(frozen=True, slots=True, kw_only=True)
class Table:
    """The whole table.

    ``connections`` and ``traffic``, that of whole services in the kernel's own bytes, are counters:
    they do not make two tables different.
    """

    services: Mapping[ServiceKey, ServiceEntry] = field(default_factory=dict)
    connections: Mapping[tuple[ServiceKey, DestinationKey], Connections] = field(
        default_factory=dict, compare=False
    )
    traffic: Mapping[ServiceKey, bytes] = field(default_factory=dict, compare=False)

    @property
    def destination_count(self) -> int:
        """Number of destinations in all services."""
        return sum(len(entry.destinations) for entry in self.services.values())


# --- changes -------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class AddService:
    """``ipvsadm -A``."""

    service: ServiceKey
    settings: ServiceSettings

    def __str__(self) -> str:
        return f"-A {self.service} {_service_words(self.service, self.settings)}"


@dataclass(frozen=True, slots=True, kw_only=True)
class EditService:
    """``ipvsadm -E``: its destinations and connections stay."""

    service: ServiceKey
    settings: ServiceSettings

    def __str__(self) -> str:
        return f"-E {self.service} {_service_words(self.service, self.settings)}"


@dataclass(frozen=True, slots=True, kw_only=True)
class RemoveService:
    """``ipvsadm -D``: its destinations go with it."""

    service: ServiceKey

    def __str__(self) -> str:
        return f"-D {self.service}"


@dataclass(frozen=True, slots=True, kw_only=True)
class AddDestination:
    """``ipvsadm -a``."""

    service: ServiceKey
    destination: DestinationKey
    settings: DestinationSettings

    def __str__(self) -> str:
        return f"-a {self.service} -r {self.destination} {_destination_words(self.settings)}"


@dataclass(frozen=True, slots=True, kw_only=True)
class EditDestination:
    """``ipvsadm -e``."""

    service: ServiceKey
    destination: DestinationKey
    settings: DestinationSettings

    def __str__(self) -> str:
        return f"-e {self.service} -r {self.destination} {_destination_words(self.settings)}"


@dataclass(frozen=True, slots=True, kw_only=True)
class RemoveDestination:
    """``ipvsadm -d``: its connections end when their next packet arrives, or later."""

    service: ServiceKey
    destination: DestinationKey

    def __str__(self) -> str:
        return f"-d {self.service} -r {self.destination}"


Action = (
    AddService | EditService | RemoveService | AddDestination | EditDestination | RemoveDestination
)


class Refusal(enum.Enum):
    """Why the kernel carries out no part of an action that contradicts its table."""

    SERVICE_EXISTS = "service exists"
    NO_SERVICE = "no such service"
    DESTINATION_EXISTS = "destination exists"
    NO_DESTINATION = "no such destination"


class Draft:
    """A table that actions are applied to, with the kernel's rules about what may be applied."""

    def __init__(self, table: Table) -> None:
        self._services = dict(table.services)
        self._own: dict[ServiceKey, dict[DestinationKey, DestinationSettings]] = {}
        self._connections = table.connections
        self._traffic = table.traffic

    def table(self) -> Table:
        """Return the table as it is now. The draft must not be used any more."""
        return Table(services=self._services, connections=self._connections, traffic=self._traffic)

    def apply(self, action: Action) -> Refusal | None:
        """Carry out one action, or return why it changes nothing."""
        entry = self._services.get(action.service)
        if isinstance(action, AddService):
            if entry is not None:
                return Refusal.SERVICE_EXISTS
            self._services[action.service] = ServiceEntry(settings=action.settings)
            return None
        if entry is None:
            return Refusal.NO_SERVICE
        if isinstance(action, EditService):
            self._services[action.service] = ServiceEntry(
                settings=action.settings, destinations=entry.destinations
            )
        elif isinstance(action, RemoveService):
            del self._services[action.service]
            self._own.pop(action.service, None)
        else:
            return self._apply_to_destinations(action, entry)
        return None

    def _apply_to_destinations(
        self, action: AddDestination | EditDestination | RemoveDestination, entry: ServiceEntry
    ) -> Refusal | None:
        exists = action.destination in entry.destinations
        if isinstance(action, AddDestination):
            if exists:
                return Refusal.DESTINATION_EXISTS
        elif not exists:
            return Refusal.NO_DESTINATION
        destinations = self._own.get(action.service)
        if destinations is None:
            # Copied once per draft: filling a service with n entries must not cost n * n.
            destinations = self._own[action.service] = dict(entry.destinations)
            self._services[action.service] = ServiceEntry(
                settings=entry.settings, destinations=destinations
            )
        if isinstance(action, RemoveDestination):
            del destinations[action.destination]
        else:
            destinations[action.destination] = action.settings
        return None


def carried_out(table: Table, actions: Iterable[Action]) -> Table:
    """Return the table after these actions; those that contradict it change nothing."""
    draft = Draft(table)
    for action in actions:
        draft.apply(action)
    return draft.table()


# --- words ---------------------------------------------------------------------------------------


def endpoint_text(address: str, port: int) -> str:
    """``192.168.7.11:80`` or ``[fd00::11]:80``."""
    return f"[{address}]:{port}" if ":" in address else f"{address}:{port}"


@lru_cache(maxsize=65536)
def canonical_address(address: str) -> str:
    """Return the one spelling of an address that all keys use.

    Remembered, because each plan asks again for each of the configured addresses.

    Raises:
        ValueError: it is not an IPv4 or IPv6 address.

    """
    return str(ipaddress.ip_address(address))


def family_of(address: str) -> Family:
    """Return the family of a canonical address."""
    return Family.IPV6 if ":" in address else Family.IPV4


def _service_words(key: ServiceKey, settings: ServiceSettings) -> str:
    words = [f"-s {settings.scheduler}"]
    flags = [
        f"{settings.scheduler}-{word}"
        for bit, word in ((SERVICE_SCHED_FALLBACK, "fallback"), (SERVICE_SCHED_PORT, "port"))
        if settings.flags & bit
    ]
    if flags:
        words.append(f"-b {','.join(flags)}")
    if settings.flags & SERVICE_ONE_PACKET:
        words.append("-o")
    if settings.flags & SERVICE_PERSISTENT:
        words.append(f"-p {settings.timeout_s}")
        if key.family is Family.IPV6 and settings.netmask != IPV6_PREFIX_ALL:
            words.append(f"-M {settings.netmask}")
        elif key.family is Family.IPV4 and settings.netmask != IPV4_NETMASK_ALL:
            words.append(f"-M {ipaddress.IPv4Address(settings.netmask)}")
    if settings.engine:
        words.append(f"--pe {settings.engine}")
    return " ".join(words)


def _destination_words(settings: DestinationSettings) -> str:
    words = f"{_FORWARDING_OPTION[settings.forwarding]} -w {settings.weight}"
    if settings.upper_threshold or settings.lower_threshold:
        words += f" -x {settings.upper_threshold} -y {settings.lower_threshold}"
    if settings.tunnel != IPIP_ENDS:
        words += f" {_tunnel_words(settings.tunnel)}"
    return words


def _tunnel_words(tunnel: TunnelEnds) -> str:
    kind = tunnel.kind
    words = f"--tun-type {_TUNNEL_WORD.get(kind, str(kind))}"
    if tunnel.port:
        words += f" --tun-port {tunnel.port}"
    if tunnel.flags & TUNNEL_REMOTE_CHECKSUM:
        return f"{words} --tun-remcsum"
    return f"{words} --tun-csum" if tunnel.flags & TUNNEL_CHECKSUM else words
