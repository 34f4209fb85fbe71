"""Decides whether our own view of the real servers can be believed, beside those of our peers.

Sans-I/O. A checker that sees most real servers down has probably lost its own network. While peers
see up most of what they know of those, our vantage is suspect: it says so in its snapshot, and
nobody removes anything on its word. With nobody to ask we are believed: the servers
may really be down. Where each real server is checked by one director alone nobody knows ours; then
peers that see most of theirs up are evidence enough to let them look at ours (``shares``).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Final

from heartbus.events import Health, Verdict

from .peers import Key

DOWN_MIN: Final = 2
"""One server that is down says nothing about us."""
DOWN_SHARE: Final = 0.5
"""More than this share down is most of the world."""


def suspicion(
    own: Iterable[tuple[Key, Health]], peers: Mapping[str, Mapping[Key, Verdict]]
) -> str | None:
    """Return in words why we are not to be believed; None while we are.

    ``own``: what we check ourselves; ``peers``: what those say that count, by name.
    """
    decided = [(key, health) for key, health in own if health is not Health.UNKNOWN]
    down = [key for key, health in decided if health is Health.DOWN]
    if not _most_down(len(down), len(decided)):
        return None
    seen_up, agreed, who = 0, 0, set[str]()
    for key in down:
        words = {node: verdicts[key].health for node, verdicts in peers.items() if key in verdicts}
        if Health.DOWN in words.values():
            agreed += 1
        elif up := [node for node, health in words.items() if health is Health.UP]:
            seen_up += 1
            who.update(up)
    here = f"{len(down)} of {len(decided)} real servers are down from here"
    if seen_up >= DOWN_MIN and seen_up > DOWN_SHARE * (seen_up + agreed):
        return f"{here}, but {_named(who)} {seen_up} of them up"
    if agreed:
        return None
    for node, verdicts in peers.items():
        known = [v.health for v in verdicts.values() if v.health is not Health.UNKNOWN]
        ups = known.count(Health.UP)
        if len(known) >= DOWN_MIN and ups > DOWN_SHARE * len(known):
            return f"{here}, but {_named({node})} {ups} of {len(known)} others up"
    return None


def _most_down(down: int, decided: int) -> bool:
    return down >= DOWN_MIN and down > DOWN_SHARE * decided


def _named(nodes: set[str]) -> str:
    *most, last = sorted(nodes)
    return f"{', '.join(most)} and {last} see" if most else f"{last} sees"
