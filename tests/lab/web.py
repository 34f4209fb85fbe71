"""Real web servers for the lab: nginx on a host, and what direct routing asks of a real server."""

from __future__ import annotations

import os
import shutil
import socket
from pathlib import Path
from typing import Final

from tests.lab.kernel import CHECKOUT
from tests.lab.network import Host, Process, wait_until

UNPACKED: Final = CHECKOUT / "build" / "lab" / "root"
TEST_PAGE: Final = "Test Page"  # what the classic www.cf expects at /.testpage
START_MAX_S: Final = 10.0

CONFIGURATION: Final = """\
daemon off;
master_process off;
pid {prefix}/nginx.pid;
error_log stderr notice;
events {{ worker_connections 1024; }}
http {{
    access_log {prefix}/access.log;
    client_body_temp_path {prefix}/temp;
    proxy_temp_path {prefix}/temp;
    fastcgi_temp_path {prefix}/temp;
    uwsgi_temp_path {prefix}/temp;
    scgi_temp_path {prefix}/temp;
    default_type text/html;
    server {{
        listen {address}:{port};
        root {prefix}/pages;
    }}
}}
"""


class WebServer:
    """nginx on one host; ``start`` after ``stop`` brings the same pages again."""

    def __init__(self, host: Host, *, page: str, address: str = "0.0.0.0", port: int = 80) -> None:
        self.host = host
        self.page = page
        self._address = address
        self._port = port
        self._prefix = host.directory / f"nginx-{port}"
        self._process: Process | None = None
        pages = self._prefix / "pages"
        pages.mkdir(parents=True)
        (self._prefix / "temp").mkdir()
        (pages / "index.html").write_text(f"{page}\n")
        (pages / ".testpage").write_text(f"{TEST_PAGE}\n")
        self._configuration = self._prefix / "nginx.conf"
        self._configuration.write_text(
            CONFIGURATION.format(prefix=self._prefix, address=address, port=port)
        )

    @property
    def process(self) -> Process:
        """The running nginx, to pause it or read its log."""
        assert self._process is not None, f"nginx of {self.host.name} is not started"
        return self._process

    @property
    def stopped(self) -> bool:
        """Whether it does not run now."""
        return self._process is None or self._process.returncode is not None

    def start(self) -> None:
        """Start it and wait until it listens.

        Raises:
            AssertionError: it ended instead; the message has its output.
            TimeoutError: it does not listen in time.

        """
        program, environment = nginx()
        self._process = self.host.start(
            [program, "-p", self._prefix, "-e", "stderr", "-c", self._configuration],
            environment=environment,
        )
        wait_until(self._listens, timeout_s=START_MAX_S, what=f"nginx of {self.host.name} listens")

    def stop(self) -> None:
        """Stop it at once: the port is closed, new connections are refused."""
        self.process.kill()

    def requests(self, path: str = "/") -> int:
        """Return how many requests for a path it has answered (checks ask for /.testpage)."""
        log = (self._prefix / "access.log").read_text()
        return sum(f'"GET {path} ' in line for line in log.splitlines())

    def _listens(self) -> bool:
        assert self.process.returncode is None, f"nginx ended:\n{self.process.output()}"
        address = "127.0.0.1" if self._address == "0.0.0.0" else self._address
        with self.host.call(socket.socket) as probe:
            return probe.connect_ex((address, self._port)) == 0


def nginx() -> tuple[Path, dict[str, str]]:
    """Return the program that make setup found or unpacked, and the environment that it needs.

    Raises:
        FileNotFoundError: there is none.

    """
    unpacked = UNPACKED / "usr" / "sbin" / "nginx"
    if unpacked.exists():
        libraries = [str(path) for path in UNPACKED.glob("usr/lib/*-linux-gnu*")]
        return unpacked, {"LD_LIBRARY_PATH": ":".join(libraries)} if libraries else {}
    installed = shutil.which("nginx", path=os.environ.get("PATH", os.defpath) + ":/usr/sbin")
    if installed is None:
        raise FileNotFoundError("no nginx: run make setup")
    return Path(installed), {}


def prepare_for_direct_routing(host: Host, vip: str) -> None:
    """Let a real server accept packets for the VIP without ever answering ARP for it."""
    host.sysctl("net.ipv4.conf.all.arp_ignore", 1)
    host.sysctl("net.ipv4.conf.all.arp_announce", 2)
    host.ip(f"addr add {vip}/32 dev lo")
