"""Lets answers in that come from a VIP which is local, while checks need it, and takes that back.

Answers of gate and ipip servers to checks through the VIP have an own address of the director that
holds it as their source; the kernel drops them unless ``net.ipv4.conf.all.accept_local`` is set
(ip-sysctl.rst). A note in the runtime directory says that it was us: what an administrator has set
stays, and one of us that was killed is followed by one that knows. A boot undoes both.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

from heartbus.probe_marks import ACCEPT_LOCAL_NOTE

SETTING: Final = Path("/proc/sys/net/ipv4/conf/all/accept_local")
NAME: Final = "net.ipv4.conf.all.accept_local"


class AcceptLocal:
    """The setting, and the note of what we did to it."""

    def __init__(self, runtime_dir: Path, *, setting: Path = SETTING) -> None:
        self._note = runtime_dir / ACCEPT_LOCAL_NOTE
        self._setting = setting

    def settle(self, *, wanted: bool) -> str | None:
        """Let answers in, or undo what we did; return why not in words, or None."""
        try:
            if wanted:
                self._let_in()
            else:
                self._take_back()
        except OSError as error:
            return f"{NAME} = {int(wanted)}: {error.strerror}"
        return None

    def _let_in(self) -> None:
        if self._is_set():
            return  # by us before, or by somebody who wants it so
        # The note first: whoever finds the setting must know that it was us. A new one each time,
        # so that the checker can tell that there was a gap.
        self._note.unlink(missing_ok=True)
        self._note.touch()
        self._setting.write_text("1")

    def _take_back(self) -> None:
        if not self._note.exists():
            return
        if self._is_set():
            self._setting.write_text("0")
        self._note.unlink()

    def _is_set(self) -> bool:
        return self._setting.read_text().strip() == "1"
