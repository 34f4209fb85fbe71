"""Whether the tables of two directors treat new connections alike, service by service.

Sans-I/O. Two checkers never decide at the same moment, so tables differ for a while after each
verdict; only what differs in DIFFERS_TELLINGS tellings of a peer in a row is told, once, and once
more when it is over.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from heartbus.events import IpvsDiffers

DIFFERS_TELLINGS: Final = 4
PEERS_MAX: Final = 16


class Agreement:
    """What peers told of their tables, compared with ours."""

    def __init__(self) -> None:
        self._counts: dict[str, dict[str, int]] = {}

    def peer_told(
        self, node: str, theirs: Mapping[str, str], ours: Mapping[str, str]
    ) -> list[IpvsDiffers]:
        """Compare a peer's digests with ours; return what to tell.

        A service that one of the two does not have differs: clients find it on one director only.
        """
        if node not in self._counts and len(self._counts) >= PEERS_MAX:
            return []
        before = self._counts.get(node, {})
        different = {
            name for name in ours.keys() | theirs.keys() if ours.get(name) != theirs.get(name)
        }
        # Names come from the network: no more of them are remembered than we have ourselves.
        different = set(sorted(different)[: len(ours) + 1])
        now = {name: min(before.get(name, 0) + 1, DIFFERS_TELLINGS) for name in different}
        self._counts[node] = now
        news = [
            IpvsDiffers(director=node, virtual_service=name)
            for name in sorted(now)
            if now[name] == DIFFERS_TELLINGS > before.get(name, 0)
        ]
        news += [
            IpvsDiffers(director=node, virtual_service=name, agreed=True)
            for name in sorted(before.keys() - now.keys())
            if before[name] == DIFFERS_TELLINGS
        ]
        return news

    @property
    def standing(self) -> tuple[str, ...]:
        """What differs for long, in words."""
        return tuple(
            f"{name}: the table of {node} differs"
            for node, counts in sorted(self._counts.items())
            for name, count in sorted(counts.items())
            if count == DIFFERS_TELLINGS
        )
