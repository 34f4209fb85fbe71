"""Real servers on loopback, and probes that ask them."""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import socket
import struct
import subprocess
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from heartbus.model import Endpoint
from heartbus_checker.probes import Conversation, ProbeResult
from heartbus_checker.probes.deadline import Deadlines
from heartbus_checker.probes.http import HttpRequest
from heartbus_checker.probes.pattern import ReceivePattern
from heartbus_checker.probes.stream import StreamProbe, Streams
from heartbus_checker.probes.tcp import ConnectOnly
from tests.common.ports import free_port

from .asking import Asker
from .servers import STARTERS, RealServers

REPOSITORY = Path(__file__).parents[2]
UNPACKED_NGINX = REPOSITORY / "build/lab/root/usr/sbin/nginx"

NGINX_CONF = """\
daemon off;
master_process off;
worker_processes 1;
error_log stderr warn;
pid {directory}/nginx.pid;
events {{ worker_connections 512; }}
http {{
    access_log off;
    client_body_temp_path {directory}/body;
    proxy_temp_path {directory}/proxy;
    fastcgi_temp_path {directory}/fastcgi;
    uwsgi_temp_path {directory}/uwsgi;
    scgi_temp_path {directory}/scgi;
    server {{
        listen unix:{directory}/started.sock;
        listen 127.0.0.1:{port};
        root {directory}/root;
        location /moved {{ return 301 http://example.net/; }}
        location /broken {{ return 503; }}
        location /host {{ return 200 "host=$http_host"; }}
    }}
}}
"""


class Prober:
    """Probes, each awaited for its result."""

    def __init__(self) -> None:
        loop = asyncio.get_running_loop()
        self.streams = Streams(loop)
        self.deadlines = Deadlines(loop, drain=self.streams.drain)

    async def converse(
        self, endpoint: Endpoint, conversation: Conversation, *, timeout_s: float
    ) -> ProbeResult:
        loop = asyncio.get_running_loop()
        result: asyncio.Future[ProbeResult] = loop.create_future()
        self.deadlines.begin(
            StreamProbe(self.streams, endpoint, lambda: conversation),
            timeout_s=timeout_s,
            finished=lambda outcome, _hung: result.set_result(outcome),
        )
        return await result

    async def http(
        self,
        endpoint: Endpoint,
        *,
        path: str = "/.testpage",
        receive: str | None = "Test Page",
        host: str | None = None,
        timeout_s: float = 5.0,
    ) -> ProbeResult:
        pattern = None if receive is None else ReceivePattern(receive)
        request = HttpRequest(endpoint=endpoint, request=path, receive=pattern, host=host)
        return await self.converse(endpoint, request.conversation(), timeout_s=timeout_s)

    async def connect(self, endpoint: Endpoint, *, timeout_s: float = 5.0) -> ProbeResult:
        return await self.converse(endpoint, ConnectOnly(endpoint), timeout_s=timeout_s)

    def close(self) -> None:
        self.deadlines.close()
        self.streams.close()


@pytest.fixture
async def prober() -> AsyncIterator[Prober]:
    made = Prober()
    yield made
    assert len(made.streams) == 0, "a probe left its socket open"
    made.close()


@dataclass(frozen=True, slots=True, kw_only=True)
class Nginx:
    """A running nginx; ``stop`` kills it."""

    endpoint: Endpoint
    server: subprocess.Popen[bytes]

    def stop(self) -> None:
        self.server.kill()
        self.server.wait()


@pytest.fixture
def nginx(tmp_path: Path) -> Iterator[Nginx]:
    """A real web server with the test page of the classic how-to."""
    binary = find_nginx()
    (tmp_path / "root").mkdir()
    (tmp_path / "root/.testpage").write_text("<h1>Test Page</h1>\n")
    (tmp_path / "root/big").write_bytes(b"x" * 3_000_000)
    port = free_port()
    config = tmp_path / "nginx.conf"
    config.write_text(NGINX_CONF.format(directory=tmp_path, port=port))
    with (tmp_path / "nginx.log").open("wb") as log:
        server = subprocess.Popen([binary, "-p", tmp_path, "-c", config], stderr=log)
    running = Nginx(endpoint=Endpoint(address="127.0.0.1", port=port), server=server)
    try:
        _wait_until_listening(running, tmp_path / "nginx.log")
        yield running
    finally:
        running.stop()


def find_nginx() -> Path:
    """Return nginx, unpacked by the set-up of the lab or installed; fail with what to do."""
    search = os.pathsep.join([os.environ.get("PATH", ""), "/usr/sbin"])
    found = shutil.which(UNPACKED_NGINX) or shutil.which("nginx", path=search)
    if found is None:
        pytest.fail(f"no nginx at {UNPACKED_NGINX} nor on PATH: run `make setup` first")
    return Path(found)


def _wait_until_listening(nginx: Nginx, log: Path) -> None:
    for _ in range(500):
        with socket.socket() as client:
            client.settimeout(0.02)
            # Reset on close: the tests look for connections that probes left in TIME_WAIT.
            client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            if client.connect_ex(("127.0.0.1", nginx.endpoint.port)) == 0:
                return
        try:
            nginx.server.wait(0.02)
        except subprocess.TimeoutExpired:
            continue
        break
    pytest.fail(f"nginx does not listen:\n{log.read_text()}")


@pytest.fixture
async def asker() -> AsyncIterator[Asker]:
    made = Asker()
    yield made
    assert len(made.streams) == 0, "a probe left its socket open"
    made.close()


@pytest.fixture(scope="session")
def real_servers() -> Iterator[RealServers]:
    """Real server software; everything is started when the first is asked for."""
    servers = RealServers(STARTERS)
    yield servers
    servers.close()


@pytest.fixture
def hanging() -> Iterator[list[int]]:
    """The ports of 200 loopback listeners that never answer."""
    with contextlib.ExitStack() as stack:
        listeners = [
            stack.enter_context(socket.create_server(("127.0.0.1", 0), backlog=64))
            for _ in range(200)
        ]
        yield [listener.getsockname()[1] for listener in listeners]
