"""What real server software needs: a package, a directory, a port, a start and an end.

All are started at once, the first time that one is asked for; each belongs to the whole session.
They run from Debian's packages, unpacked, on loopback ports, without privilege.
"""

from __future__ import annotations

import atexit
import os
import shutil
import signal
import socket
import ssl
import struct
import subprocess
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final

import trustme

from heartbus.model import Endpoint
from tests.lab.kernel import CHECKOUT
from tests.lab.peers import SETUP

START_S_MAX: Final = 60.0
UNPRIVILEGED: Final = ("setpriv", "--reuid=65534", "--regid=65534", "--clear-groups")
LOGIN, PASSWORD, SECRET = "checker", "letmein7", "shared-secret"


@dataclass(slots=True)
class RealServer:
    """One running program; ``ports`` by what is spoken there."""

    name: str
    directory: Path
    ports: dict[str, int] = field(default_factory=dict)
    process: subprocess.Popen[bytes] | None = None

    def endpoint(self, spoken: str = "") -> Endpoint:
        return Endpoint(address="127.0.0.1", port=self.ports[spoken or self.name])


@dataclass(frozen=True, slots=True)
class Package:
    """A package, a program of it, what is unpacked beside it, and why."""

    name: str
    program: str
    why: str
    more: tuple[str, ...] = ()

    def unpacked(self) -> tuple[Path, dict[str, str]]:
        """Return the root of the package, and the environment that its programs need."""
        done = subprocess.run(
            [SETUP, self.name, self.program, self.why, *self.more],
            stdout=subprocess.PIPE,
            text=True,
            check=True,
        )
        root, libraries = CHECKOUT / "build" / "lab" / self.name, done.stdout.strip()
        if not _nobody_reaches(root):
            copied = Path(tempfile.mkdtemp(prefix="heartbus-package-"))
            atexit.register(shutil.rmtree, copied, ignore_errors=True)
            copied.chmod(0o755)
            shutil.copytree(root, copied / self.name, symlinks=True)
            libraries = libraries.replace(str(root), str(copied / self.name))
            root = copied / self.name
        return root, {**os.environ, "LD_LIBRARY_PATH": libraries}


def _nobody_reaches(path: Path) -> bool:
    """Whether the programs can be read by whom they run as: a home of root's is often closed."""
    if os.geteuid() != 0:
        return True
    return subprocess.run([*UNPRIVILEGED, "test", "-r", path], check=False).returncode == 0


Starter = Callable[["RealServers", RealServer], RealServer]


class RealServers:
    """Starts and stops them; ``get`` waits until one answers."""

    def __init__(self, starters: Mapping[str, Starter]) -> None:
        self._starters = starters
        # Not below pytest's directory: that one is closed to others, and some of these programs
        # refuse to run as root.
        self._directory = Path(tempfile.mkdtemp(prefix="heartbus-servers-"))
        self._directory.chmod(0o755)
        self._exit = ExitStack()
        self._exit.callback(shutil.rmtree, self._directory, ignore_errors=True)
        self._started: dict[str, Future[RealServer]] = {}
        self._alone: list[RealServer] = []
        self.authority = trustme.CA()
        self.authority_file = self._directory / "ca.pem"
        self.authority.cert_pem.write_to_path(str(self.authority_file))

    def get(self, name: str) -> RealServer:
        if not self._started:
            pool = self._exit.enter_context(ThreadPoolExecutor(max_workers=len(self._starters)))
            for each, start in self._starters.items():
                self._started[each] = pool.submit(self._start, each, start)
        return self._started[name].result(timeout=START_S_MAX)

    def alone(self, name: str, start: Starter) -> RealServer:
        """Start one that is not among those that all tests share."""
        self._alone.append(self._start(name, start))
        return self._alone[-1]

    def close(self) -> None:
        for server in self._alone:
            stop(server)
        for future in self._started.values():
            if not future.exception(timeout=START_S_MAX):
                stop(future.result())
        self._exit.close()

    def server_context(self, *names: str, expired: bool = False) -> ssl.SSLContext:
        """Return what a server of these names serves TLS with; ALPN offers HTTP/2."""
        with tempfile.TemporaryDirectory() as name:
            self.certificate(Path(name), *names, expired=expired)
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(Path(name) / "cert.pem", Path(name) / "key.pem")
        context.set_alpn_protocols(["h2"])
        return context

    def certificate(self, directory: Path, *names: str, expired: bool = False) -> None:
        """Write cert.pem and key.pem for these names."""
        until = datetime.now(UTC) + timedelta(days=-2 if expired else 2)
        issued = self.authority.issue_cert(
            *names, not_before=until - timedelta(days=10), not_after=until
        )
        chain = b"".join(pem.bytes() for pem in issued.cert_chain_pems)
        (directory / "cert.pem").write_bytes(chain)
        (directory / "key.pem").write_bytes(issued.private_key_pem.bytes())

    def _start(self, name: str, start: Starter) -> RealServer:
        directory = self._directory / name
        directory.mkdir()
        server = start(self, RealServer(name, directory))
        if server.process is not None:
            _wait(server)
        return server


def launch(
    server: RealServer,
    words: Sequence[str | Path],
    environment: dict[str, str],
    *,
    before: Sequence[str | Path] = (),
) -> RealServer:
    """Start the program of a server, as nobody where we are root; ``before``: what starts it."""
    as_nobody = UNPRIVILEGED if os.geteuid() == 0 else ()
    give_away(server)
    with (server.directory / "log").open("wb") as log:
        server.process = subprocess.Popen(
            [*map(str, before), *as_nobody, *map(str, words)],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            env=environment,
            cwd=server.directory,
            start_new_session=True,
        )
    return server


def give_away(server: RealServer) -> None:
    """Let the program write in its directory."""
    if os.geteuid() == 0:
        for path in [server.directory, *server.directory.rglob("*")]:
            os.chown(path, 65534, 65534)


def run(words: Sequence[str | Path], environment: dict[str, str], *, cwd: Path) -> None:
    """Run a program to its end, as nobody where we are root."""
    as_nobody = UNPRIVILEGED if os.geteuid() == 0 else ()
    done = subprocess.run(
        [*as_nobody, *map(str, words)], env=environment, cwd=cwd, capture_output=True, check=False
    )
    if done.returncode:
        raise RuntimeError(f"{words[0]}: {(done.stderr + done.stdout).decode()[-2000:]}")


def stop(server: RealServer) -> None:
    if server.process is not None and server.process.poll() is None:
        os.killpg(server.process.pid, signal.SIGKILL)
        server.process.wait()


UDP_ONLY: Final = frozenset({"radius"})


def _wait(server: RealServer) -> None:
    deadline_s = time.monotonic() + START_S_MAX
    for spoken, port in server.ports.items():
        while not (_is_bound(port) if spoken in UDP_ONLY else _listens(port)):
            assert server.process is not None
            if server.process.poll() is not None or time.monotonic() > deadline_s:
                log = (server.directory / "log").read_text(errors="replace")
                raise RuntimeError(f"{server.name} does not listen on {port}:\n{log[-3000:]}")
            time.sleep(0.02)


def _listens(port: int) -> bool:
    with socket.socket() as client:
        client.settimeout(0.2)
        client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        return client.connect_ex(("127.0.0.1", port)) == 0


def _is_bound(port: int) -> bool:
    table = Path("/proc/self/net/udp").read_text()
    return f":{port:04X} " in table
