"""The model in the words of the TOML form: plain dicts and lists, from which it can be read again.

Sans-I/O. A field is a key of the same name without its unit, unless ``_KEYS`` names another one, so
that a new field of the model is written, compared and shown without a line here.
"""

from __future__ import annotations

import dataclasses
import enum
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final

from heartbus.config.report import Path
from heartbus.guards import Fence, FenceOption
from heartbus.model import (
    AddressResource,
    AuthKey,
    BroadcastLink,
    Check,
    CheckedServicesResource,
    Cluster,
    Endpoint,
    HeartbeatLink,
    IpvsSettings,
    Membership,
    MulticastLink,
    Page,
    PingNode,
    RealServer,
    SavedRulesResource,
    SerialLink,
    SorryServer,
    Timers,
    Tls,
    UnicastLink,
    VirtualService,
)

IPV4_BITS: Final = 32

Document = dict[str, Any]

_KEYS: Final[Mapping[tuple[type, str], str]] = {
    (VirtualService, "endpoint"): "address",
    (VirtualService, "sorry_server"): "fallback",
    (VirtualService, "persistence_timeout_s"): "persistent",
    (VirtualService, "persistence_netmask"): "netmask",
    (RealServer, "endpoint"): "address",
    (RealServer, "forwarding"): "method",
    (SorryServer, "endpoint"): "address",
    (SorryServer, "forwarding"): "method",
    (CheckedServicesResource, "file"): "services",
    (SavedRulesResource, "file"): "saved_rules",
}

_ALWAYS: Final = frozenset(
    {
        (Timers, "keepalive_s"),
        (Timers, "warntime_s"),
        (Timers, "deadtime_s"),
        (Timers, "initdead_s"),
        (Membership, "lease_s"),
        (VirtualService, "protocol"),
        (Check, "type"),
        (Check, "service"),
        (Check, "request"),
        (AuthKey, "method"),
        (Tls, "verify"),
        (SorryServer, "forwarding"),
        (SavedRulesResource, "file"),
    }
)
"""Written also at the default of the field: what is not written follows from other keys."""

_LINK_KINDS: Final[Mapping[type[HeartbeatLink], str]] = {
    BroadcastLink: "bcast",
    UnicastLink: "ucast",
    MulticastLink: "mcast",
    SerialLink: "serial",
}


def document(cluster: Cluster, *, whole: bool) -> Document:
    """Return the configuration as the TOML form has it, secrets included.

    ``whole``: with every default; else what is not written reads as the same model.
    """
    writer = _Writer(whole=whole)
    result: Document = {}
    general = writer.fields(cluster.reload)
    if whole or cluster.resource_path != Cluster.__dataclass_fields__["resource_path"].default:
        general["resource_path"] = list(cluster.resource_path)
    if general:
        result["cluster"] = general
    for key, value in writer.fields(
        cluster, leave_out=("resource_path", "reload", "source", "directors_at")
    ).items():
        if value not in ([], {}) or whole:
            result[key] = value
    return result


class _Writer:
    """Writes values; knows whether defaults are written too."""

    def __init__(self, *, whole: bool) -> None:
        self._whole = whole

    def fields(self, thing: Any, *, leave_out: tuple[str, ...] = ()) -> Document:
        """Return the fields of one dataclass under their keys."""
        result: Document = {}
        kind = type(thing)
        for field in dataclasses.fields(thing):
            value = getattr(thing, field.name)
            if field.name in leave_out or value is None:
                continue
            if not self._whole and (kind, field.name) not in _ALWAYS and value == _default(field):
                continue
            key = _KEYS.get((kind, field.name), field.name.removesuffix("_s"))
            result[key] = self.value(value, (kind, field.name))
        return result

    def value(self, value: Any, of: tuple[type, str]) -> Any:
        """Return one value as TOML has it."""
        if of == (VirtualService, "persistence_netmask"):
            return _dotted_quad(value) if value <= IPV4_BITS else str(value)
        if of in ((Check, "statuses"), (Page, "statuses")):
            return [str(low) if low == high else f"{low}-{high}" for low, high in value]
        if of == (Fence, "options"):
            return {option.name: option.value for option in value}
        if isinstance(value, enum.Enum):
            return str(value)
        if isinstance(value, bytes):
            return value.decode("utf-8", "surrogateescape")
        if isinstance(value, float) and value.is_integer():
            return int(value)
        if isinstance(value, tuple):
            return [self.value(item, of) for item in value]
        if dataclasses.is_dataclass(value):
            return self.thing(value)
        return value

    def thing(self, value: Any) -> Any:
        """Return one part of the model, in its own form where it has one."""
        special = _SPECIAL.get(type(value))
        return special(self, value) if special is not None else self.fields(value)

    def membership(self, membership: Membership) -> Document:
        """Return [membership]: the times are keys of it, ping nodes are of two kinds."""
        result = self.fields(membership.timers)
        result |= self.fields(membership, leave_out=("timers", "ping_nodes"))
        plain = 0
        for node in membership.ping_nodes:
            if node != PingNode(name=node.name, members=(node.name,)):
                break
            plain += 1
        # From the first group on all are groups: the order of ping nodes is that of the file.
        names = [node.name for node in membership.ping_nodes[:plain]]
        groups = [self.fields(node) for node in membership.ping_nodes[plain:]]
        if names or self._whole:
            result["ping_nodes"] = names
        if groups:
            result["ping_groups"] = groups
        return result

    def virtual_service(self, service: VirtualService) -> Document:
        """Return one of [[virtual_services]]: a firewall mark has a family and no address."""
        ipv6 = ":" in service.endpoint.address
        apart = ("endpoint", "policy") if service.fwmark else ("policy",)
        result = self.fields(service, leave_out=apart) | self.fields(service.policy)
        if service.fwmark and (ipv6 or self._whole):
            result["family"] = "ipv6" if ipv6 else "ipv4"
        if ipv6 and service.persistence_netmask is not None:
            result["netmask"] = str(service.persistence_netmask)
        return result

    def ipvs(self, settings: IpvsSettings) -> Document:
        """Return [ipvs]: timeouts and sysctls are tables of their own."""
        result: Document = {}
        plain = ("timeout_tcp_s", "timeout_tcpfin_s", "timeout_udp_s", "sync", "sysctls")
        result |= self.fields(settings, leave_out=plain)
        timeouts = {
            "tcp": settings.timeout_tcp_s,
            "tcpfin": settings.timeout_tcpfin_s,
            "udp": settings.timeout_udp_s,
        }
        if written := {name: seconds for name, seconds in timeouts.items() if seconds}:
            result["timeouts"] = written
        if settings.sync is not None:
            sync = self.fields(settings.sync)
            result["sync"] = {key: value for key, value in sync.items() if value not in (0, "")}
        if settings.sysctls:
            result["sysctls"] = dict(settings.sysctls)
        return result

    def link(self, link: HeartbeatLink) -> Document:
        """Return one of [[membership.links]]."""
        kind = _LINK_KINDS[type(link)]
        if isinstance(link, UnicastLink) and link.ipv6:
            kind = "ucast6"
        leave_out = ("ipv6",) if isinstance(link, UnicastLink) else ()
        return {"kind": kind, **self.fields(link, leave_out=leave_out)}

    def address(self, resource: AddressResource) -> Document:
        """Return an address as a table: its prefix length is part of its text."""
        rest = self.fields(resource, leave_out=("address", "prefix_len"))
        return {"address": f"{resource.address}/{resource.prefix_len}", **rest}

    def saved_rules(self, resource: SavedRulesResource) -> Document:
        """Return saved rules by the file that they were read from."""
        return {"saved_rules": resource.file or ""}


_SPECIAL: Final[Mapping[type, Callable[[_Writer, Any], Any]]] = {
    Endpoint: lambda _writer, endpoint: str(endpoint),
    Membership: _Writer.membership,
    VirtualService: _Writer.virtual_service,
    IpvsSettings: _Writer.ipvs,
    BroadcastLink: _Writer.link,
    UnicastLink: _Writer.link,
    MulticastLink: _Writer.link,
    SerialLink: _Writer.link,
    AddressResource: _Writer.address,
    SavedRulesResource: _Writer.saved_rules,
}


def _default(field: dataclasses.Field[Any]) -> Any:
    if field.default is not dataclasses.MISSING:
        return field.default
    if field.default_factory is not dataclasses.MISSING:
        return field.default_factory()
    return dataclasses.MISSING


def _dotted_quad(length: int) -> str:
    mask = (0xFFFFFFFF << (32 - length)) & 0xFFFFFFFF
    return ".".join(str(mask >> shift & 0xFF) for shift in (24, 16, 8, 0))


def is_secret(path: Path) -> bool:
    """Return whether the value at this path of a document is never shown."""
    words = [part for part in path if isinstance(part, str)]
    if words[:2] == ["membership", "fences"] and "options" in words:
        return FenceOption(name=words[-1], value="").secret
    return words[-1] in ("secret", "password")


def leaves(document: Document) -> Iterator[tuple[Path, Any]]:
    """Yield the path and the value of everything that is no table, in order."""
    yield from _leaves((), document)


def _leaves(path: Path, value: Any) -> Iterator[tuple[Path, Any]]:
    if isinstance(value, dict):
        for key, inner in value.items():
            yield from _leaves((*path, key), inner)
    elif isinstance(value, list) and value and isinstance(value[0], dict):
        for index, inner in enumerate(value):
            yield from _leaves((*path, index), inner)
    else:
        yield path, value
