"""The classic cluster: two directors, three real servers and a client, as its files describe it.

client .50      rs1 .11   rs2 .12   rs3 .13      ping1 .1  ping2 .2 (the gateway)
   |               |         |         |             |
===+===============+=========+=========+=============+=== lan, 192.168.7.0/24
            |                     |
      eth0 .101              eth0 .102               VIP 192.168.7.110 on one of them
       linuxha1               linuxha2
      eth1 .1                eth1 .2
            |                     |
============+=====================+========== heartbeat, 10.0.0.0/24
"""

from __future__ import annotations

import shutil
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from tests.lab import addresses
from tests.lab.kernel import CHECKOUT
from tests.lab.network import Host, Lab, Process, wait_until
from tests.lab.web import WebServer, prepare_for_direct_routing

EXAMPLES: Final = CHECKOUT / "examples" / "classic"
RESOURCE_SCRIPTS: Final = Path(__file__).with_name("resource.d")
SAVED_RULES: Final = Path(__file__).with_name("ipvsadm.rules")
HEARTBUS: Final = Path(sys.prefix) / "bin" / "heartbus"

VIP: Final = "192.168.7.110"
VIP_PREFIX_LEN: Final = 24
HTTP_PORT: Final = 80
TELNET_PORT: Final = 23
CLIENT_ADDRESS: Final = "192.168.7.50"
DIRECTORS: Final = {
    "linuxha1": ("192.168.7.101", "10.0.0.1"),
    "linuxha2": ("192.168.7.102", "10.0.0.2"),
}
REAL_SERVERS: Final = {"rs1": "192.168.7.11", "rs2": "192.168.7.12", "rs3": "192.168.7.13"}
PING_NODES: Final = {"ping1": "192.168.7.1", "ping2": "192.168.7.2"}
SORRY_PAGE: Final = "sorry, none of the real servers answers"

ACCEPTANCE_TESTS: Final = {
    1: "haresources.1-ha",
    2: "haresources.2-ha-lvs",
    3: "haresources.3-ha-lvs-checks",
}
DIRECTOR_START_MAX_S: Final = 120.0
DIRECTOR_STOP_MAX_S: Final = 120.0
VIP_MAX_S: Final = 60.0
LOG_END_LINES: Final = 30


def full_name(short: str) -> str:
    """Return the name of a machine as the classic files have it."""
    return f"{short}.linux-ha.org"


@dataclass(slots=True, kw_only=True)
class ClassicDirector:
    """One director: its host and, while it runs, its ``heartbus up``."""

    name: str
    host: Host
    running: Process | None = field(default=None)

    @property
    def runtime_dir(self) -> Path:
        """Where its leases are."""
        return self.host.directory / "run"

    @property
    def state_dir(self) -> Path:
        """Where its epochs are."""
        return self.host.directory / "state"

    @property
    def log(self) -> Path:
        """What all its processes print."""
        return self.host.directory / "heartbus.log"

    def log_end(self) -> str:
        """Return the last lines of the log."""
        lines = self.log.read_text(errors="replace").splitlines() if self.log.exists() else []
        return "\n".join(lines[-LOG_END_LINES:])

    def start(self, config: Path, *, timers: str | None = "lan") -> Process:
        """Start ``heartbus up`` and return at once; ``timers`` None: those of the file."""
        self.running = self.host.start(
            [
                HEARTBUS,
                "up",
                "--config",
                config,
                "--node",
                full_name(self.name),
                *(["--timers", timers] if timers else []),
                "--runtime-dir",
                self.runtime_dir,
                "--state-dir",
                self.state_dir,
            ],
            log=self.log,
            environment={"HEARTBUS_LAB_DIRECTORY": str(self.host.directory)},
        )
        return self.running

    def stop(self) -> int:
        """Stop it in order and return its exit code."""
        assert self.running is not None
        return self.running.stop(timeout_s=DIRECTOR_STOP_MAX_S)

    def heartbus(self, *arguments: str) -> str:
        """Return what the ``heartbus`` command prints on this director."""
        return self.host.run([HEARTBUS, *arguments]).stdout

    @property
    def holds_vip(self) -> bool:
        """Whether the VIP is local here."""
        return addresses.holds(self.host, VIP)

    def table(self) -> str:
        """Return the IPVS table as ``ipvsadm -Ln`` prints it."""
        return self.host.run(["ipvsadm", "-Ln"]).stdout

    def pids(self, command: str) -> list[int]:
        """Return the processes of this director whose name in ps begins like that."""
        found = []
        for pid in self.host.pids():
            try:
                name = Path(f"/proc/{pid}/comm").read_text().strip()
            except (FileNotFoundError, ProcessLookupError):
                continue
            if name == command[:15]:
                found.append(pid)
        return found


class ClassicCluster:
    """The machines of the picture above, inside a lab; nothing of heartbus runs yet."""

    def __init__(self, lab: Lab) -> None:
        self.lab = lab
        lan, heartbeat = lab.switch("lan"), lab.switch("heartbeat")
        self.directors: dict[str, ClassicDirector] = {}
        for name, (lan_address, heartbeat_address) in DIRECTORS.items():
            lab.name(lan_address, full_name(name), name)
            host = lab.host(name, hostname=full_name(name))
            lab.attach(host, lan, "eth0", f"{lan_address}/24")
            lab.attach(host, heartbeat, "eth1", f"{heartbeat_address}/24")
            self.directors[name] = ClassicDirector(name=name, host=host)
        self.client = lab.host("client")
        lab.attach(self.client, lan, "eth0", f"{CLIENT_ADDRESS}/24")
        self.gateway = lab.host("gateway")
        lab.attach(self.gateway, lan, "eth0", *(f"{a}/24" for a in PING_NODES.values()))
        for name, address in PING_NODES.items():
            lab.name(address, full_name(name))
        self.web: dict[str, WebServer] = {}
        for name, address in REAL_SERVERS.items():
            lab.name(address, full_name(name), name)
            host = lab.host(name, hostname=full_name(name))
            lab.attach(host, lan, "eth0", f"{address}/24")
            self.web[name] = WebServer(host, page=f"page of {name}")
        self.sorry: dict[str, WebServer] = {}

    def start_real_servers(self) -> None:
        """Start the three web servers, each with the VIP on its loopback for direct routing."""
        for server in self.web.values():
            prepare_for_direct_routing(server.host, VIP)
            server.start()

    def start_sorry_servers(self) -> None:
        """Start on each director the web server that the files name as fallback (port 80)."""
        for name, director in self.directors.items():
            self.sorry[name] = WebServer(director.host, page=SORRY_PAGE)
            self.sorry[name].start()

    def configuration(self, acceptance_test: int | None = None) -> Path:
        """Return a configuration directory: the classic files, with the haresources of one test.

        Without a test it is the classic haresources itself. Beside it lies what the machine of an
        administrator has: resource scripts, and the rules that ``ipvsadm --save`` wrote.
        """
        suffix = "" if acceptance_test is None else f"-{acceptance_test}"
        directory = self.lab.directory / f"ha.d{suffix}"
        directory.mkdir(exist_ok=True)
        for name in ("ha.cf", "haresources", "authkeys", "www.cf", "mail.cf"):
            shutil.copy(EXAMPLES / name, directory / name)
        if acceptance_test is not None:
            chosen = EXAMPLES / "tests" / ACCEPTANCE_TESTS[acceptance_test]
            shutil.copy(chosen, directory / "haresources")
        (directory / "authkeys").chmod(0o600)
        shutil.copy(SAVED_RULES, directory / "ipvsadm.rules")
        shutil.copytree(RESOURCE_SCRIPTS, directory / "resource.d", dirs_exist_ok=True)
        return directory

    def start_directors(self, config: Path, *, timers: str | None = "lan") -> None:
        """Start ``heartbus up`` on both, the second when all services of the first are ready.

        So the preferred director is the active one however long a busy machine takes to start
        the other; with failback off the first to be ready would stay.
        """
        for director in self.directors.values():
            begins = director.log.stat().st_size if director.log.exists() else 0
            process = director.start(config, timers=timers)

            def is_ready(process: Process = process, begins: int = begins) -> bool:
                assert process.returncode is None, process.output()[begins:]
                return "director.ready" in process.output()[begins:]

            wait_until(
                is_ready,
                timeout_s=DIRECTOR_START_MAX_S,
                what=f"{director.name} is ready",
                period_s=0.1,
            )

    def stop_directors(self) -> dict[str, int]:
        """Stop those that run, the standby first, and return their exit codes."""
        running = [d for d in self.directors.values() if d.running and d.running.returncode is None]
        return {d.name: d.stop() for d in sorted(running, key=lambda d: d.holds_vip)}

    def vip_holders(self) -> list[str]:
        """Return the names of the directors that hold the VIP and whose LAN cable is whole."""
        return [d.name for d in self.directors.values() if d.holds_vip and d.host.links[0].whole]

    def wait_for_vip(self, director: str, *, timeout_s: float = VIP_MAX_S) -> float:
        """Return how many seconds it took until this director alone held the VIP.

        Raises:
            AssertionError: its ``heartbus up`` has ended; the message has the end of its log.
            TimeoutError: it does not within ``timeout_s``.

        """
        awaited = self.directors[director]

        def holds_alone() -> bool:
            ended = awaited.running is not None and awaited.running.returncode is not None
            assert not ended, f"{director} ended:\n{awaited.log_end()}"
            return self.vip_holders() == [director]

        return wait_until(
            holds_alone,
            timeout_s=timeout_s,
            what=f"{director} alone holds {VIP}",
        )
