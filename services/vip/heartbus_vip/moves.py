"""Measures a handover on the clock of the director that gives: for how long nobody had the group.

Sans-I/O; times are monotonic seconds. The taker's first frame about the address tells when it has
it, our own removal when we have it no more. The difference is a gap, or, below 0, an overlap. It is
told once membership has said that this was a handover; the three come in any order.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from heartbus.events import VipMoved
from heartbus.model import ResourceGroup

EPISODE_S: Final = 0.5
"""Frames of the taker that are further apart belong to different occasions; a burst announces
every 0.2 s."""

GAP_MAX_S: Final = 10.0
OVERLAP_MAX_S: Final = 5.0
"""What is further apart is no handover: the offer of one lasts a second at most, and an address
that its holder is too busy to remove ends by itself, after 3 s with the defaults."""


@dataclass(slots=True)
class _Move:
    """``address``: the first one of the group, which stands for all of them."""

    group: str
    address: str
    ordered_s: float = -math.inf
    epoch: int = 0
    gone_s: float = -math.inf
    seen_s: float = math.inf
    last_s: float = -math.inf
    taker: str = ""


class Moves:
    """The groups that have addresses, on their way from ``node`` to another director."""

    def __init__(self, node: str, groups: Iterable[ResourceGroup]) -> None:
        self._node = node
        self._by_address: dict[str, _Move] = {}
        self._by_group: dict[str, _Move] = {}
        self.use_groups(groups)

    def use_groups(self, groups: Iterable[ResourceGroup]) -> None:
        """Follow these groups; one whose first address is another one begins anew."""
        before = self._by_address
        moves = []
        for group in groups:
            if group.addresses:
                first = group.addresses[0].address
                known = before.get(first)
                same = known is not None and known.group == group.name
                moves.append(known if same and known else _Move(group.name, first))
        self._by_address = {move.address: move for move in moves}
        self._by_group = {move.group: move for move in moves}

    def taken(self, address: str) -> None:
        """Note that we have an address ourselves from now on."""
        if (move := self._by_address.get(address)) is not None:
            move.gone_s = move.ordered_s = move.last_s = -math.inf
            move.seen_s = math.inf

    def handed_over(self, group: str, epoch: int, *, now_s: float) -> VipMoved | None:
        """Note that membership withdrew a group for another director to take it."""
        move = self._by_group.get(group)
        if move is None:
            return None
        move.ordered_s, move.epoch = now_s, epoch
        return self._measured(move)

    def removed(self, address: str, *, now_s: float) -> VipMoved | None:
        """Note that our kernel has an address no more."""
        move = self._by_address.get(address)
        if move is None:
            return None
        move.gone_s = now_s
        return self._measured(move)

    def seen(self, address: str, director: str, *, now_s: float) -> VipMoved | None:
        """Note a frame by which another director says that it has an address; when it came."""
        move = self._by_address.get(address)
        if move is None:
            return None
        if now_s - move.last_s > EPISODE_S:
            move.seen_s, move.taker = now_s, director
        move.last_s = now_s
        return self._measured(move)

    def _measured(self, move: _Move) -> VipMoved | None:
        gap_s = move.seen_s - move.gone_s
        same = abs(move.ordered_s - move.gone_s) <= GAP_MAX_S
        if not same or not -OVERLAP_MAX_S <= gap_s <= GAP_MAX_S:
            return None
        event = VipMoved(
            group=move.group,
            director=self._node,
            to=move.taker,
            epoch=move.epoch,
            gap_s=max(0.0, gap_s),
            overlap_s=max(0.0, -gap_s),
        )
        move.gone_s = move.ordered_s = -math.inf
        return event
