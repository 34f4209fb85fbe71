"""Tell the service manager how we are: the datagrams of sd_notify(3), nothing else."""

from __future__ import annotations

import os
import socket

from heartbus.log import logger


class Notifier:
    """Sends to the socket that NOTIFY_SOCKET names; does nothing where there is none."""

    def __init__(self) -> None:
        address = os.environ.get("NOTIFY_SOCKET", "")
        self._address = "\0" + address[1:] if address.startswith("@") else address
        self._warned = False

    @property
    def watchdog_period_s(self) -> float | None:
        """How often WATCHDOG=1 is due (half of WATCHDOG_USEC), None if nobody watches."""
        try:
            period_s = int(os.environ.get("WATCHDOG_USEC", "")) / 2e6
        except ValueError:
            return None
        return period_s if period_s > 0 else None

    def ready(self) -> None:
        """We do our work now."""
        self._send("READY=1")

    def stopping(self) -> None:
        """We are on our way out."""
        self._send("STOPPING=1")

    def alive(self) -> None:
        """Our event loop turns."""
        self._send("WATCHDOG=1")

    def cannot_run(self, problem: str) -> None:
        """Say in one line why we end; ``systemctl status`` shows it."""
        self._send("STATUS=" + problem.replace("\n", "; "))

    def _send(self, state: str) -> None:
        if not self._address:
            return
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK) as sock:
                sock.sendto(state.encode(), self._address)
        except OSError as error:
            if not self._warned:
                self._warned = True
                logger().warning("notify.failed", address=self._address, error=str(error))
