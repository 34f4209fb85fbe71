"""What the holder wants done: frozen values that the shell carries out, in order.

Sans-I/O. An action with a ``step`` is answered with that number (``address_put``, ``put_stalled``,
``network_asked``, ``script_finished``, ``fence_ended``); the holder ignores answers to steps that
it has given up.
"""

from __future__ import annotations

from dataclasses import dataclass

from heartbus.events import VipAcquired, VipFailed, VipReleased
from heartbus.model import AddressResource, ScriptResource
from heartbus_vip.resource import Verb


@dataclass(frozen=True, slots=True, kw_only=True)
class PutAddress:
    """Add an address to the kernel, or refresh the one that is there. Answered.

    ``decided_s``: when the lease was looked at (monotonic); long after it nothing may be done.
    """

    group: str
    step: int
    address: AddressResource
    lifetime_s: int
    decided_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class AskNetwork:
    """Ask whether anybody has these addresses already, before they are put. Answered."""

    group: str
    step: int
    addresses: tuple[AddressResource, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class RemoveAddress:
    """Stop announcing an address and take it from the kernel."""

    group: str
    address: AddressResource


@dataclass(frozen=True, slots=True, kw_only=True)
class Announce:
    """Begin a burst of announcements."""

    address: AddressResource


@dataclass(frozen=True, slots=True, kw_only=True)
class CallScript:
    """Call a resource script. Answered."""

    group: str
    step: int
    script: ScriptResource
    verb: Verb


@dataclass(frozen=True, slots=True, kw_only=True)
class AbortScript:
    """End the running call of a group's script; its answer is no longer wanted."""

    group: str


@dataclass(frozen=True, slots=True, kw_only=True)
class FenceSelf:
    """Have this director turned off: a resource cannot be stopped here. Answered if that fails."""

    group: str
    step: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Tell:
    """Publish an event; ``cause`` is the id of the grant behind it."""

    event: VipAcquired | VipReleased | VipFailed
    cause: str | None


Action = (
    PutAddress | AskNetwork | RemoveAddress | Announce | CallScript | AbortScript | FenceSelf | Tell
)
