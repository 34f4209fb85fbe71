"""A real nats-server on loopback that a test can kill, pause and bring back on the same port."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from types import TracebackType
from typing import Any

from tests.common.ports import free_port


async def arrived(client: Any) -> None:
    """Return once the server has taken what a plain client of nats-py published or subscribed.

    One flush is not enough: its ping is written at once and so overtakes what is pending, which
    the client's flusher writes in the next turn of the loop. The second one's ping comes after it.
    """
    await client.flush()
    await client.flush()


class NatsServer:
    """One server; ``start`` returns when it accepts connections.

    ``config``: a configuration file, whose port is overridden.
    """

    def __init__(self, directory: Path, *, config: Path | None = None) -> None:
        self.port = free_port()
        self._directory = directory
        self._words = [] if config is None else ["-c", str(config)]
        self._popen: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"nats://127.0.0.1:{self.port}"

    def __enter__(self) -> NatsServer:
        self.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.kill()

    def start(self) -> None:
        program = Path(sys.executable).with_name("nats-server")
        log = self.log.open("ab")
        with log:
            self._popen = subprocess.Popen(
                [str(program), *self._words, "-a", "127.0.0.1", "-p", str(self.port)],
                stdout=log,
                stderr=log,
            )
        deadline_s = time.monotonic() + 10
        while True:
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", self.port)) == 0:
                    return
            if self._popen.poll() is not None or time.monotonic() > deadline_s:
                raise RuntimeError(self.said())
            time.sleep(0.01)  # polling for a listener; bounded by the deadline above

    @property
    def log(self) -> Path:
        return self._directory / "nats.log"

    def said(self) -> str:
        return self.log.read_text()

    def reload(self) -> None:
        """Read the configuration anew; returns when that is done."""
        before = self.said().count("Reloaded server configuration")
        self._signal(signal.SIGHUP)
        deadline_s = time.monotonic() + 10
        while self.said().count("Reloaded server configuration") == before:
            if time.monotonic() > deadline_s:
                raise RuntimeError(self.said())
            time.sleep(0.01)  # polling its log; bounded by the deadline above

    def kill(self) -> None:
        if self._popen is not None:
            self._popen.kill()
            self._popen.wait()
            self._popen = None

    def pause(self) -> None:
        self._signal(signal.SIGSTOP)

    def resume(self) -> None:
        self._signal(signal.SIGCONT)

    def _signal(self, number: signal.Signals) -> None:
        if self._popen is None:
            raise RuntimeError("the server is not running")
        os.kill(self._popen.pid, number)
