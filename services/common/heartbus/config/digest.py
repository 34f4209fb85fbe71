"""A short fingerprint of a configuration: equal on two directors that run the same one.

And one of each of its parts, by which two directors can tell in words what they differ in.
Sans-I/O.
"""

from __future__ import annotations

import dataclasses
import hashlib
from typing import Final

import msgspec

from heartbus.model import Cluster, Fence, ResourceGroup, SavedRulesResource, VirtualService

DIGEST_HEX_DIGITS: Final = 16

PARTS: Final = (
    "directors",
    "timers",
    "links",
    "keys",
    "takeover rules",
    "ping nodes",
    "watchdog, fences and programs",
    "vip settings",
    "resource groups",
    "virtual services",
    "other settings",
)
"""What a configuration consists of, for people, in the order of the wire: only add at the end."""

PART_BYTES: Final = 2
"""Of the digest of a part: two that differ look alike once in 65,536 times, and only the words
suffer then, because that anything differs is told by the digest of the whole."""

_OTHER: Final = "other settings"
_CLUSTER_PARTS: Final = {
    "directors": "directors",
    "witnesses": "directors",
    "vip": "vip settings",
    "groups": "resource groups",
    "virtual_services": "virtual services",
}
_MEMBERSHIP_PARTS: Final = {
    "timers": "timers",
    "links": "links",
    "hopfudge": "links",
    "authentication": "keys",
    "failback": "takeover rules",
    "takeover": "takeover rules",
    "lease_s": "takeover rules",
    "restart_grace_s": "takeover rules",
    "ping_nodes": "ping nodes",
    "deadping_s": "ping nodes",
    "watchdog": "watchdog, fences and programs",
    "fences": "watchdog, fences and programs",
    "clients": "watchdog, fences and programs",
    "realtime": "watchdog, fences and programs",
    "rtprio": "watchdog, fences and programs",
}


def config_digest(cluster: Cluster) -> str:
    """Return 16 hex digits over everything that decides what directors do.

    Where the configuration was read from is left out; so is the text of keys and passwords, because
    the digest is published.
    """
    return _sha256(_public(cluster)).hex()[:DIGEST_HEX_DIGITS]


def part_digests(cluster: Cluster) -> bytes:
    """Return PART_BYTES for each of PARTS, over the same as ``config_digest``.

    A setting that no part is named for counts as one of the others.
    """
    public = _public(cluster)
    parts: dict[str, dict[str, object]] = {part: {} for part in PARTS}
    for field in dataclasses.fields(public):
        if field.name != "membership":
            part = _CLUSTER_PARTS.get(field.name, _OTHER)
            parts[part][field.name] = getattr(public, field.name)
    for field in dataclasses.fields(public.membership):
        part = _MEMBERSHIP_PARTS.get(field.name, _OTHER)
        parts[part][field.name] = getattr(public.membership, field.name)
    return b"".join(_sha256(parts[part])[:PART_BYTES] for part in PARTS)


def differing_parts(ours: bytes, theirs: bytes) -> tuple[str, ...]:
    """Return the PARTS in which two ``part_digests`` differ; a shorter one is compared as far."""
    shared = min(len(ours), len(theirs))
    return tuple(
        part
        for part, at in zip(PARTS, range(0, shared, PART_BYTES), strict=False)
        if ours[at : at + PART_BYTES] != theirs[at : at + PART_BYTES]
    )


def _sha256(content: object) -> bytes:
    return hashlib.sha256(msgspec.json.encode(content, order="deterministic")).digest()


def _public(cluster: Cluster) -> Cluster:
    authentication = dataclasses.replace(
        cluster.membership.authentication,
        keys=tuple(
            dataclasses.replace(key, secret=b"") for key in cluster.membership.authentication.keys
        ),
    )
    membership = dataclasses.replace(
        cluster.membership,
        authentication=authentication,
        fences=tuple(_without_secrets(fence) for fence in cluster.membership.fences),
    )
    return dataclasses.replace(
        cluster,
        source="",
        directors_at="",
        resource_path=(),
        membership=membership,
        groups=tuple(_without_paths(group) for group in cluster.groups),
        virtual_services=tuple(_without_passwords(s) for s in cluster.virtual_services),
    )


def _without_passwords(service: VirtualService) -> VirtualService:
    if not service.check.password and not service.check.secret:
        return service
    check = dataclasses.replace(service.check, password="", secret="")
    return dataclasses.replace(service, check=check)


def _without_secrets(fence: Fence) -> Fence:
    options = tuple(
        dataclasses.replace(option, value="") if option.secret else option
        for option in fence.options
    )
    return dataclasses.replace(fence, options=options)


def _without_paths(group: ResourceGroup) -> ResourceGroup:
    """Leave out where saved rules were found: two distributions keep them in different places."""
    resources = tuple(
        SavedRulesResource() if isinstance(resource, SavedRulesResource) else resource
        for resource in group.resources
    )
    return dataclasses.replace(group, resources=resources)
