"""Tells once when a link cannot be used, and once when it can again.

Shell: one log line for each change.
"""

from __future__ import annotations

from collections.abc import Sequence

import structlog

from heartbus_membership.links import POINTS_AT_US
from heartbus_membership.snapshot import LinkCondition


class LinkRemarks:
    """Remembers what was told of each link."""

    def __init__(self, log: structlog.typing.FilteringBoundLogger) -> None:
        self._log = log
        self._problems: dict[str, str | None] = {}

    def tell(self, links: Sequence[LinkCondition]) -> None:
        """Tell what is new in the conditions of all links."""
        for link in links:
            if link.problem != self._problems.get(link.name):
                self._problems[link.name] = link.problem
                if link.problem in (None, POINTS_AT_US):
                    self._log.info("link.usable", link=link.name, problem=link.problem)
                else:
                    self._log.warning("link.unusable", link=link.name, problem=link.problem)
