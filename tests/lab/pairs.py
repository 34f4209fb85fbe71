"""Two directors, a client and a neighbour on one switch, run by heartbus or by keepalived.

    client .9 (echo every ms)   neighbour .8 (asks by ARP)   one .1   two .2      VIP .100
        |                            |                         |        |
    ====+============================+=========================+========+====  192.0.2.0/24

No IPVS: it is the address that moves. A pair can be driven without knowing which program runs it.
"""

from __future__ import annotations

import abc
import contextlib
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Final, Self

from heartbus.bus_keys import KEYS_VARIABLE
from heartbus.events import DirectorStatus, HoldStatus, MembershipState, VipState
from heartbus.model import TIMER_PROFILES, Timers
from tests.lab import peers
from tests.lab.echoes import PERIOD_S as ECHO_PERIOD_S
from tests.lab.echoes import EchoClient
from tests.lab.network import Host, Lab, Link, Process, wait_until
from tests.lab.observe import Observer
from tests.lab.witness import Witness

HEARTBUS: Final = Path(sys.prefix) / "bin" / "heartbus"
VIP: Final = "192.0.2.100"
NAMES: Final = ("one", "two")
VOTER: Final = "three"
START_MAX_S: Final = 30.0
SETTLE_MAX_S: Final = 30.0
STOP_MAX_S: Final = 30.0

PRIORITIES: Final = {"one": 254, "two": 253}
"""The higher the priority of the backup, the closer keepalived comes to three adverts."""

DETECTION_ADVERTS: Final = 3 + (256 - PRIORITIES["two"]) / 256
"""RFC 5798, 6.1: Master_Down_Interval is 3 adverts and the skew of the backup's priority."""


class Pair(abc.ABC):
    """Both directors and who looks at them; enter it to start them, leave it to stop watching.

    ``detection_s``: silence after which the standby takes over; ``period_s``: between two signs
    of life.
    """

    program: str

    def __init__(
        self, lab: Lab, label: str, *, detection_s: float, period_s: float, echo_period_s: float
    ) -> None:
        self.label, self.detection_s, self.period_s = label, detection_s, period_s
        self.lan = lan = lab.switch(f"lan-{label}"[:15])
        self.hosts = {name: lab.host(f"{label}-{name}", hostname=name) for name in NAMES}
        self.links = {
            name: lab.attach(host, lan, "eth0", f"192.0.2.{number}/24")
            for number, (name, host) in enumerate(self.hosts.items(), 1)
        }
        self._client = lab.host(f"{label}-client")
        lab.attach(self._client, lan, "eth0", "192.0.2.9/24")
        neighbour = lab.host(f"{label}-neighbour")
        # Answers to its questions must not reach the client's neighbour table.
        asks_over = lab.attach(neighbour, lan, "eth0", "192.0.2.8/24")
        self.witness = Witness(list(self.hosts.values()), VIP, link=asks_over)
        self.client = EchoClient(self._client, VIP, period_s=echo_period_s)
        self.processes: dict[str, Process] = {}
        self._stack = contextlib.ExitStack()

    def __enter__(self) -> Self:
        with contextlib.ExitStack() as stack:
            stack.enter_context(self.witness)
            self._prepare(stack)
            self._start_both()
            wait_until(lambda: self.holder() == NAMES[0], timeout_s=START_MAX_S, what="a start")
            stack.enter_context(self.client)
            self._stack = stack.pop_all()
        return self

    def __exit__(
        self,
        _kind: type[BaseException] | None,
        _error: BaseException | None,
        _traceback: TracebackType | None,
    ) -> None:
        self._stack.close()

    @property
    def client_host(self) -> Host:
        """Where the client is; other clients may run there too."""
        return self._client

    # --- what a trial does -----------------------------------------------------------------------

    def holder(self) -> str | None:
        """Return the one director whose kernel has the VIP, None if there is none, or two."""
        found = self.witness.holders()
        return found[0].rpartition("-")[2] if len(found) == 1 else None

    def other(self, name: str) -> str:
        """Return the other director."""
        return NAMES[1 - NAMES.index(name)]

    def settle(self) -> str:
        """Wait until one director holds the VIP, the other could take it; return the first.

        Raises:
            TimeoutError: not so within SETTLE_MAX_S.

        """

        def settled() -> bool:
            name = self.holder()
            answered_s = self.client.last_answer_s()
            return (
                name is not None
                and answered_s is not None
                and time.monotonic() - answered_s < 0.2
                and time.monotonic() - self.witness.changed_s > 2 * self.period_s
                and self._stands_by(self.other(name))
            )

        wait_until(settled, timeout_s=SETTLE_MAX_S, what=f"{self.label} is settled")
        name = self.holder()
        assert name is not None, f"{self.label}: the VIP moved by itself"
        return name

    def pids(self, name: str, command: str | None = None) -> list[int]:
        """Return the processes of a director; ``command``: those whose name in ps is this."""
        found = []
        for pid in self.hosts[name].pids():
            with contextlib.suppress(OSError):
                comm = Path(f"/proc/{pid}/comm").read_text().strip()
                if command in (None, comm):
                    found.append(pid)
        return found

    def signal_all(
        self, name: str, number: signal.Signals, command: str | None = None
    ) -> list[int]:
        """Send a signal to all processes of a director, or to those of one name."""
        pids = self.pids(name, command)
        assert pids, f"{self.label}: no process {command or ''} on {name}"
        for pid in pids:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, number)
        return pids

    def terminate(self, name: str) -> None:
        """Ask a director to stop in order, and return at once."""
        os.kill(self.processes[name].pid, signal.SIGTERM)

    def clear(self, name: str) -> None:
        """Kill what runs on a director and take the VIP away, as a boot of the machine would."""
        host = self.hosts[name]
        wait_until(lambda: not _killed(host), timeout_s=STOP_MAX_S, what=f"{host} is empty")
        self.processes[name].reap()
        host.run(["ip", "addr", "del", f"{VIP}/24", "dev", "eth0"], check=False)
        self.links[name].heal()

    def forget_neighbour(self) -> None:
        """Let the client ask anew who has the VIP."""
        self._client.run(["ip", "neigh", "flush", "to", VIP])

    def stop(self) -> None:
        """Kill both directors; what they held goes with their kernels' addresses."""
        for name in NAMES:
            self.clear(name)

    def restart(self) -> None:
        """Begin anew, whatever state both directors are in."""
        self.stop()
        self._start_both()
        wait_until(lambda: self.holder() == NAMES[0], timeout_s=START_MAX_S, what="a start")

    @abc.abstractmethod
    def start(self, name: str) -> None:
        """Start a director; returns once it can take over or has the VIP."""

    # --- what differs ----------------------------------------------------------------------------

    @abc.abstractmethod
    def _prepare(self, stack: contextlib.ExitStack) -> None:
        """Write configurations and start what watches."""

    @abc.abstractmethod
    def _start_both(self) -> None:
        """Start both; the first of NAMES gets the VIP."""

    @abc.abstractmethod
    def _stands_by(self, name: str) -> bool:
        """Whether a director that does not hold the VIP would take it now."""


def _killed(host: Host) -> list[int]:
    pids = host.pids()
    for pid in pids:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    return pids


class HeartbusPair(Pair):
    """Two directors of heartbus. ``observers`` hear their buses, ``configs`` are their files."""

    program = "heartbus"

    def __init__(
        self,
        lab: Lab,
        label: str,
        *,
        timers: Timers | None = None,
        echo_period_s: float = ECHO_PERIOD_S,
        environment: Mapping[str, str] | None = None,
        settings: str = "",
        sections: str = "",
        own_cable: bool = False,
        voter: bool = False,
        also: Sequence[str] = (),
        secured: bool = False,
    ) -> None:
        """``secured``: their buses have keys, and certificates between them.

        ``also``: resources beside the VIP, in the same group.

        ``timers`` None: those of a configuration that says nothing about them.

        ``settings``: lines for the section [membership]. ``sections``: more of them.
        ``own_cable``: heartbeats have a network of their own, ``heartbeat_links``.
        ``voter``: a third host, a witness that runs membership alone and votes.
        """
        times = timers or TIMER_PROFILES["lan"]
        super().__init__(
            lab,
            label,
            detection_s=times.deadtime_s,
            period_s=times.keepalive_s,
            echo_period_s=echo_period_s,
        )
        self.heartbeat_links: list[Link] = []
        if own_cable:
            switch = lab.switch(f"beats-{label}"[:15])
            self.heartbeat_links = [
                lab.attach(host, switch, "eth1", f"198.51.100.{number}/24")
                for number, host in enumerate(self.hosts.values(), 1)
            ]
        over = "eth1" if own_cable else "eth0"
        self._text = _heartbus_toml(timers, settings, over=over, voter=voter, also=also) + sections
        self._environment = environment
        if voter:
            self.hosts[VOTER] = lab.host(f"{label}-{VOTER}", hostname=VOTER)
            self.links[VOTER] = lab.attach(self.hosts[VOTER], self.lan, "eth0", "192.0.2.3/24")
        self.configs = {name: lab.directory / f"{label}-{name}.toml" for name in self.hosts}
        self.keys = {n: host.directory / "bus" for n, host in self.hosts.items() if secured}
        self.observers = {
            name: Observer(host, keys=self.keys.get(name)) for name, host in self.hosts.items()
        }

    def _prepare(self, stack: contextlib.ExitStack) -> None:
        for config in self.configs.values():
            config.touch(mode=0o600)
            config.write_text(self._text)
        if self.keys:
            self._make_keys()
        for observer in self.observers.values():
            stack.enter_context(observer)

    def _make_keys(self) -> None:
        """As operations.md has it: the CA on the first director, keys on each."""
        first = self.keys[NAMES[0]]
        for name, keys in self.keys.items():
            ca = ["--ca"] if name == NAMES[0] else []
            if name != NAMES[0]:
                shutil.copytree(first / "for" / name / "route", keys / "route")
            self.heartbus(
                name, "bus", "init", f"--config={self.configs[name]}", f"--node={name}", *ca
            )

    def heartbus(
        self, name: str, *words: str | Path, check: bool = True
    ) -> subprocess.CompletedProcess[str]:
        """Run the command on a director, with the keys of its bus."""
        keys = self.keys.get(name)
        secured = [] if keys is None else ["env", f"{KEYS_VARIABLE}={keys}"]
        return self.hosts[name].run([*secured, HEARTBUS, *words], check=check, timeout_s=120)

    def _start_both(self) -> None:
        for name in self.hosts:  # together: one alone waits for the others for initdead
            self._launch(name)
        for name in self.hosts:
            self._wait_until_ready(name)

    def start(self, name: str) -> None:
        self._launch(name)
        self._wait_until_ready(name)

    def _launch(self, name: str) -> None:
        host = self.hosts[name]
        self.processes[name] = host.start(
            [
                *(sys.executable, "-m", "tests.lab.director"),
                f"--config={self.configs[name]}",
                f"--node={name}",
                f"--runtime-dir={host.directory / 'run'}",
                f"--state-dir={host.directory / 'state'}",
                *([f"--bus-keys={self.keys[name]}"] if self.keys else []),
            ],
            environment=self._environment,
        )

    def _wait_until_ready(self, name: str) -> None:
        process = self.processes[name]
        wait_until(
            lambda: process.returncode is not None or "director.ready" in process.output(),
            timeout_s=START_MAX_S,
            what=f"{self.hosts[name]} is ready",
        )
        assert process.returncode is None, process.output()

    def _stands_by(self, name: str) -> bool:
        """Both are heard, both are ready, and the active one knows it of this one."""
        for observer_of, subject in ((self.other(name), name), (name, self.other(name))):
            state = self.observers[observer_of].view.state(observer_of, MembershipState)
            if state is None or not state.settled or state.groups[0].holder != self.other(name):
                return False
            if not all(
                (d.ready or d.witness)
                and (d.name not in (subject, VOTER) or d.status is DirectorStatus.ALIVE)
                for d in state.directors
            ):
                return False
        held = self.observers[name].view.state(name, VipState)
        return held is not None and held.groups[0].status is HoldStatus.RELEASED


def _heartbus_toml(
    timers: Timers | None, settings: str, *, over: str, voter: bool, also: Sequence[str]
) -> str:
    resources = ", ".join(f'"{resource}"' for resource in (f"{VIP}/24", *also))
    times = "" if timers is None else (
        f"keepalive = {timers.keepalive_s:.6g}\nwarntime = {timers.warntime_s:.6g}\n"
        f"deadtime = {timers.deadtime_s:.6g}\ninitdead = {timers.initdead_s:.6g}\n"
    )  # fmt: skip
    directors = "".join(
        f'[[directors]]\nname = "{name}"\naddress = "192.0.2.{number}"\n'
        for number, name in enumerate(NAMES, 1)
    )
    witness = f'[[witnesses]]\nname = "{VOTER}"\naddress = "192.0.2.3"\n' if voter else ""
    return (
        f"{directors}{witness}[membership]\n{times}{settings}"
        f'[[membership.links]]\nkind = "bcast"\ninterface = "{over}"\n'
        "[membership.authentication]\nsigning_key = 1\n"
        '[[membership.authentication.keys]]\nid = 1\nsecret = "a-secret-of-sixteen-or-more"\n'
        f'[[groups]]\nname = "vip"\npreferred = "{NAMES[0]}"\nresources = [{resources}]\n'
    )


class KeepalivedPair(Pair):
    """Two directors of Debian's keepalived, VRRPv3 without preemption.

    ``advert_s``: a multiple of 10 ms, as VRRPv3 sends it.
    """

    program = "keepalived"

    def __init__(
        self, lab: Lab, label: str, *, advert_s: float, echo_period_s: float = ECHO_PERIOD_S
    ) -> None:
        super().__init__(
            lab,
            label,
            detection_s=DETECTION_ADVERTS * advert_s,
            period_s=advert_s,
            echo_period_s=echo_period_s,
        )
        self._keepalived = peers.keepalived()

    def _prepare(self, stack: contextlib.ExitStack) -> None:
        for name, host in self.hosts.items():
            (host.directory / "keepalived.conf").write_text(
                f"global_defs {{\n  router_id {name}\n  vrrp_version 3\n}}\n"
                "vrrp_instance vip {\n  interface eth0\n  state BACKUP\n  virtual_router_id 51\n"
                f"  priority {PRIORITIES[name]}\n  advert_int {self.period_s:g}\n  nopreempt\n"
                f"  virtual_ipaddress {{\n    {VIP}/24 dev eth0\n  }}\n}}\n"
            )

    def _start_both(self) -> None:
        for name in NAMES:
            self.start(name)

    def start(self, name: str) -> None:
        directory = self.hosts[name].directory
        for left in directory.glob("*.pid"):  # of a killed one; another process may have the number
            left.unlink()
        self.processes[name] = process = self.hosts[name].start(
            [
                *(self._keepalived.path, "--dont-fork", "--log-console", "--vrrp"),
                f"--use-file={directory / 'keepalived.conf'}",
                f"--pid={directory / 'parent.pid'}",
                f"--vrrp_pid={directory / 'vrrp.pid'}",
            ],
            environment={"LD_LIBRARY_PATH": self._keepalived.library_path},
        )
        wait_until(
            lambda: process.returncode is not None or "BACKUP STATE" in process.output(),
            timeout_s=START_MAX_S,
            what=f"keepalived on {self.hosts[name]} is ready",
        )
        assert process.returncode is None, process.output()
        if self.holder() is None:
            self.witness.wait_for([self.hosts[name].name], timeout_s=START_MAX_S)

    def _stands_by(self, name: str) -> bool:
        """Whether that is the last that it said of its state."""
        said = self.processes[name].output().rpartition("Entering ")[2]
        return said.startswith("BACKUP")
