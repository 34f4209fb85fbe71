"""What must not be asked of an old kernel, because it would do something else; see ``kernel_age``.

Sans-I/O.
"""

from __future__ import annotations

from heartbus.kernel_age import (
    MIXED_FAMILIES_SINCE,
    TUNNEL_TYPES_SINCE,
    Version,
    since_words,
)
from heartbus_ipvs_agent.entries import (
    IPIP_ENDS,
    Action,
    AddDestination,
    EditDestination,
    RemoveDestination,
    family_of,
)


def beyond(action: Action, age: Version | None) -> str | None:
    """Return why a kernel of this age cannot carry out an action; None: it can, or nobody knows."""
    if age is None or age >= TUNNEL_TYPES_SINCE:
        return None
    if isinstance(action, AddDestination | EditDestination | RemoveDestination):
        mixed = family_of(action.destination.address) is not action.service.family
        if mixed and age < MIXED_FAMILIES_SINCE:
            return (
                f"another family than that of the service takes {since_words(MIXED_FAMILIES_SINCE)}"
            )
    if isinstance(action, AddDestination | EditDestination) and action.settings.tunnel != IPIP_ENDS:
        return f"a tunnel of this type takes {since_words(TUNNEL_TYPES_SINCE)}"
    return None
