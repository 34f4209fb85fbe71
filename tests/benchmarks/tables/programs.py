"""heartbus, Debian's keepalived and ldirectord as whole programs over one kernel's IPVS table."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from tests.common.nats import NatsServer
from tests.lab import peers

VIP: Final = "192.0.2.110"
NODE: Final = "bench"
STOP_S: Final = 10.0

_TOML_HEAD: Final = f"""
[[directors]]
name = "{NODE}"

[membership.authentication]
signing_key = 1
keys = [{{ id = 1, method = "sha256", secret = "bench" }}]
"""


@dataclass(slots=True, kw_only=True)
class Server:
    """A real server of a configuration."""

    address: str
    port: int = 80
    weight: int = 1


@dataclass(slots=True, kw_only=True)
class Service:
    """A virtual service; ``checked``: by HTTP, every second, one failure is enough."""

    address: str = VIP
    servers: Sequence[Server]
    checked: bool = False


def heartbus_text(services: Sequence[Service]) -> str:
    """Return the configuration for heartbus."""
    text = [_TOML_HEAD]
    for service in services:
        check = (
            '{ service = "http", request = "/", receive = "Test Page", interval = 1 }'
            if service.checked
            else '{ type = "on" }'
        )
        servers = "".join(
            f'  {{ address = "{s.address}:{s.port}", method = "masq", weight = {s.weight} }},\n'
            for s in service.servers
        )
        text.append(
            f'[[virtual_services]]\naddress = "{service.address}:80"\nscheduler = "rr"\n'
            f"check = {check}\nreal_servers = [\n{servers}]\n"
        )
    return "\n".join(text)


def keepalived_text(services: Sequence[Service]) -> str:
    """Return the same for keepalived; its default would be to ask three times more."""
    check = (
        "HTTP_GET { url { path / status_code 200 }\nconnect_timeout 3\nretry 1\n"
        "delay_before_retry 1 }"
    )
    text = ["global_defs { router_id bench }"]
    for service in services:
        servers = "".join(
            f"real_server {s.address} {s.port} {{ weight {s.weight}\n"
            f"{check if service.checked else ''} }}\n"
            for s in service.servers
        )
        text.append(
            f"virtual_server {service.address} 80 {{\ndelay_loop 1\nlvs_sched rr\nlvs_method NAT\n"
            f"protocol TCP\n{servers}}}"
        )
    return "\n".join(text) + "\n"


def ldirectord_text(services: Sequence[Service]) -> str:
    """Return the same for ldirectord."""
    text = ["checktimeout=3\nnegotiatetimeout=3\ncheckinterval=1\nsupervised=yes\nquiescent=no\n"]
    for service in services:
        servers = "".join(f"\treal={s.address}:{s.port} masq {s.weight}\n" for s in service.servers)
        text.append(
            f"virtual={service.address}:80\n{servers}\tscheduler=rr\n\tprotocol=tcp\n"
            '\tservice=http\n\trequest="/"\n\treceive="Test Page"\n'
        )
    return "".join(text)


@dataclass(slots=True, kw_only=True)
class Running:
    """A program, or what belongs together, with the file that it reads."""

    path: Path
    processes: list[subprocess.Popen[bytes]] = field(default_factory=list)
    nats_url: str = ""

    def start(self, *words: str | Path, **environment: str) -> None:
        """Start one more process of it."""
        with (self.path.parent / "log").open("ab") as log:
            self.processes.append(
                subprocess.Popen(
                    [str(word) for word in words],
                    env={**os.environ, **environment},
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=log,
                    start_new_session=True,
                )
            )

    def reload(self, text: str) -> None:
        """Give it another file and tell it so."""
        self.path.write_text(text)
        for process in self.processes:
            process.send_signal(signal.SIGHUP)

    def check(self) -> None:
        """Raise SystemExit with the end of the log if any of it has ended."""
        if any(process.poll() is not None for process in self.processes):
            log = (self.path.parent / "log").read_text(errors="replace")
            raise SystemExit(f"{self.path.name}: its program has ended:\n{log[-3000:]}")


@contextlib.contextmanager
def _place(name: str, text: str) -> Iterator[Running]:
    with tempfile.TemporaryDirectory(prefix="heartbus-bench-") as directory:
        path = Path(directory) / name
        path.write_text(text)
        path.chmod(0o600)
        running = Running(path=path)
        try:
            yield running
        finally:
            for process in running.processes:
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(process.pid, signal.SIGKILL)
                process.wait(STOP_S)


@contextlib.contextmanager
def heartbus(text: str, *, services: Sequence[str] = ("ipvs-agent",)) -> Iterator[Running]:
    """Run these services of one director beside a nats-server."""
    with _place("heartbus.toml", text) as running, NatsServer(running.path.parent) as nats:
        running.nats_url = nats.url
        for service in services:
            running.start(
                Path(sys.executable).with_name(f"heartbus-{service}"),
                *("--config", running.path, "--node", NODE, "--nats", nats.url),
                HEARTBUS_RUNTIME_DIR=str(running.path.parent),
                HEARTBUS_STATE_DIR=str(running.path.parent),
            )
        yield running


@contextlib.contextmanager
def keepalived(text: str) -> Iterator[Running]:
    """Run keepalived's checkers, which look after the table."""
    unpacked = peers.keepalived()
    with _place("keepalived.conf", text) as running:
        at = running.path.parent
        running.start(
            *(unpacked.path, "-C", "-n", "-l", "-f", running.path),
            *("-p", at / "pid", "-c", at / "checkers"),
            LD_LIBRARY_PATH=unpacked.library_path,
        )
        yield running


@contextlib.contextmanager
def ldirectord(text: str) -> Iterator[Running]:
    """Run ldirectord in the foreground, with the real ipvsadm."""
    unpacked = peers.ldirectord()
    with _place("ldirectord.cf", text) as running:
        running.start(
            *("perl", unpacked.path, running.path, "start"),
            PERL5LIB=peers.perl_path(unpacked),
        )
        yield running
