"""What is published of addresses that somebody else took away and that were put back.

Sans-I/O. Each is told at once; of one that is taken away again and again, once in TOLD_EVERY_S with
how often it was.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from heartbus.events import VipRepaired, VipState
from heartbus.model import AddressResource, ResourceGroup

TOLD_EVERY_S: Final = 1.0


@dataclass(slots=True)
class _Told:
    last_s: float
    since: int = 0


class Repairs:
    """Counts the repairs of each address of these groups."""

    def __init__(self, node: str, groups: Iterable[ResourceGroup]) -> None:
        self._node = node
        self._group_of: dict[AddressResource, str] = {}
        self._told: dict[AddressResource, _Told] = {}
        self.use_groups(groups)

    def use_groups(self, groups: Iterable[ResourceGroup]) -> None:
        """Count those of these groups too; of one that is still being let go nothing is lost."""
        self._group_of.update({a: group.name for group in groups for a in group.addresses})

    def repaired(
        self, addresses: Iterable[AddressResource], state: VipState, *, now_s: float
    ) -> list[VipRepaired]:
        """Return what to publish after these were put back; ``state`` has the epochs."""
        epochs = {group.name: group.epoch for group in state.groups}
        events: list[VipRepaired] = []
        for address in addresses:
            told = self._told.get(address)
            if told is not None and now_s - told.last_s < TOLD_EVERY_S:
                told.since += 1
                continue
            group = self._group_of[address]
            times = 1 if told is None else told.since + 1
            self._told[address] = _Told(last_s=now_s)
            events.append(
                VipRepaired(
                    group=group,
                    director=self._node,
                    epoch=epochs.get(group, 0),
                    address=address.name,
                    times=times,
                )
            )
        return events
