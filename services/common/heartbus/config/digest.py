"""A short fingerprint of a configuration: equal on two directors that run the same one.

Sans-I/O.
"""

from __future__ import annotations

import dataclasses
import hashlib
from typing import Final

import msgspec

from heartbus.model import Cluster, Fence, ResourceGroup, SavedRulesResource

DIGEST_HEX_DIGITS: Final = 16


def config_digest(cluster: Cluster) -> str:
    """Return 16 hex digits over everything that decides what directors do.

    Where the configuration was read from is left out; so is the text of keys and passwords, because
    the digest is published.
    """
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
    public = dataclasses.replace(
        cluster,
        source="",
        resource_path=(),
        membership=membership,
        groups=tuple(_without_paths(group) for group in cluster.groups),
    )
    document = msgspec.json.encode(public, order="deterministic")
    return hashlib.sha256(document).hexdigest()[:DIGEST_HEX_DIGITS]


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
