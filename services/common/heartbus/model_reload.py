"""When a running director reads its files anew, and whom it tells; re-exported by ``model``."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class ReloadSettings:
    """``autoreload``: take changed files up without being told (ldirectord ``autoreload``).

    ``callback``: a program that is run with the names of the changed files after they were taken
    up (ldirectord ``callback``); None: none is.
    """

    autoreload: bool = False
    callback: str | None = None
