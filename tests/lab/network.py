"""Machines, switches and cables, made of namespaces, bridges and veth pairs of one kernel.

    with Lab() as lab:
        lan = lab.switch("lan")
        alice, bob = lab.host("alice"), lab.host("bob")
        cable = lab.attach(alice, lan, "eth0", "192.0.2.1/24")
        lab.attach(bob, lan, "eth0", "192.0.2.2/24")
        bob.run(["ping", "-c1", "alice"])
        cable.cut()

Nothing of it is in the namespaces of the machine, and leaving the block removes all of it.
Needs root.
"""

from __future__ import annotations

import contextlib
import functools
import itertools
import os
import re
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Final, Self, TypeVar

from tests.lab import bridge_port, namespaces
from tests.lab.namespaces import Namespaces

T = TypeVar("T")

NAME_PREFIX: Final = "heartbus"
RUN_TIMEOUT_S: Final = 30.0
SWITCH_ROOM: Final = "switches"

_host_numbers = itertools.count(1)  # several labs of one process must not collide


class CommandError(Exception):
    """A command inside a host failed; the message has its output."""


class Process:
    """A program that runs in a host, in a session of its own; its output is in ``log``."""

    def __init__(self, popen: subprocess.Popen[bytes], *, argv: Sequence[str], log: Path) -> None:
        self._popen = popen
        self.argv = tuple(argv)
        self.log = log

    @property
    def pid(self) -> int:
        """Its process id outside of the host (it is the same inside)."""
        return self._popen.pid

    @property
    def returncode(self) -> int | None:
        """Exit code, minus the signal that killed it, or None while it runs."""
        return self._popen.poll()

    def output(self) -> str:
        """Return what it has printed so far, standard output and error together."""
        return self.log.read_text(errors="replace")

    def kill(self) -> None:
        """SIGKILL to this process alone, not to its children; waits until it is gone."""
        self._popen.kill()
        self._popen.wait()

    def stop(self, *, timeout_s: float = 10.0) -> int:
        """SIGTERM, then wait; return the exit code.

        Raises:
            subprocess.TimeoutExpired: it still runs after ``timeout_s``.

        """
        self._popen.terminate()
        return self._popen.wait(timeout_s)

    def signal(self, number: signal.Signals) -> None:
        """Send a signal to this process alone."""
        self._popen.send_signal(number)

    def pause(self) -> None:
        """SIGSTOP to its process group."""
        os.killpg(self.pid, signal.SIGSTOP)

    def resume(self) -> None:
        """SIGCONT to its process group."""
        os.killpg(self.pid, signal.SIGCONT)

    def wait(self, *, timeout_s: float) -> int:
        """Return the exit code once it has ended.

        Raises:
            subprocess.TimeoutExpired: it still runs after ``timeout_s``.

        """
        return self._popen.wait(timeout_s)

    def reap(self) -> None:
        """Wait for a process that was killed together with its host."""
        self._popen.wait()


class Host:
    """A machine: network, host name and /etc/hosts of its own; the rest is shared."""

    def __init__(self, name: str, inside: Namespaces, directory: Path) -> None:
        self.name = name
        self.directory = directory
        self.links: list[Link] = []
        self._inside = inside
        self._started: list[Process] = []
        self._log_numbers = itertools.count(1)

    def __repr__(self) -> str:
        return f"Host({self.name!r})"

    @property
    def namespace(self) -> str:
        """Its name for ``ip netns exec``."""
        return self._inside.name

    @property
    def net_path(self) -> str:
        """A path of its network namespace that works inside every other host too."""
        return f"/proc/{os.getpid()}/fd/{self._inside.net}"

    def call(self, function: Callable[[], T]) -> T:
        """Return ``function()``, called inside this host by a thread (sockets, /proc/sys/net)."""
        return self._inside.call(function)

    def start(
        self,
        argv: Sequence[str | Path],
        *,
        log: Path | None = None,
        environment: Mapping[str, str] | None = None,
        stdin: int = subprocess.DEVNULL,
    ) -> Process:
        """Start a program and return at once; ``environment`` is added to ours."""
        command = [str(word) for word in argv]
        if log is None:
            stem = f"{Path(command[0]).name}-{next(self._log_numbers)}"
            log = self.directory / f"{stem}.log"
        cwd = Path.cwd()

        def popen() -> subprocess.Popen[bytes]:
            with log.open("ab") as output:
                return subprocess.Popen(
                    command,
                    stdin=stdin,
                    stdout=output,
                    stderr=output,
                    cwd=cwd,
                    env={**os.environ, **(environment or {})},
                    start_new_session=True,
                )

        process = Process(self.call(popen), argv=command, log=log)
        self._started.append(process)
        return process

    def run(
        self,
        argv: Sequence[str | Path],
        *,
        timeout_s: float = RUN_TIMEOUT_S,
        check: bool = True,
        stdin: str | None = None,
    ) -> subprocess.CompletedProcess[str]:
        """Run a program to its end and return its output.

        Raises:
            CommandError: its exit code is not 0 and ``check`` is set.

        """
        command = [str(word) for word in argv]
        cwd = Path.cwd()

        def to_its_end() -> subprocess.CompletedProcess[str]:
            return subprocess.run(
                command,
                input=stdin,
                stdin=subprocess.DEVNULL if stdin is None else None,
                capture_output=True,
                text=True,
                timeout=timeout_s,
                check=False,
                cwd=cwd,
                start_new_session=True,
            )

        done = self.call(to_its_end)
        if check and done.returncode != 0:
            raise CommandError(
                f"{self.name}: {' '.join(command)}: exit code {done.returncode}\n"
                f"{done.stdout}{done.stderr}"
            )
        return done

    def ip(self, *commands: str) -> None:
        """Carry out ``ip`` commands, in one batch: ``host.ip("link set eth0 up")``."""
        self.run(["ip", "-batch", "-"], stdin="".join(f"{line}\n" for line in commands))

    def sysctl(self, name: str, value: str | int) -> None:
        """Set a network parameter of this host: ``net.ipv4.ip_forward``.

        As in sysctl(8), an interface whose name has a dot is written with slashes.
        """
        path = Path("/proc/sys") / (name if "/" in name else name.replace(".", "/"))
        self.call(functools.partial(path.write_text, str(value)))

    def pids(self) -> list[int]:
        """Return every process that runs here."""
        return self._inside.pids()

    def pause(self) -> None:
        """Stop every process, as when a virtual machine is paused; its kernel goes on."""
        self._signal_all(signal.SIGSTOP)

    def resume(self) -> None:
        """Let every process go on."""
        self._signal_all(signal.SIGCONT)

    def crash(self) -> None:
        """Lose every cable at once and then every process, as when the power fails.

        The processes are stopped for good, not killed: taking a dead one apart costs the lab's
        only processor time that a survivor on another machine would have. ``bury`` does that.
        """
        set_links(self.links, whole=False)
        self._signal_all(signal.SIGSTOP)

    def bury(self) -> None:
        """Kill what a crash has stopped. The addresses stay configured, but nobody is there."""
        while self.pids():
            self._signal_all(signal.SIGKILL)
            self._reap()

    def remove(self) -> None:
        """Kill everything and let go of the namespaces."""
        self._inside.remove()
        self._reap()

    def _reap(self) -> None:
        for process in self._started:
            process.reap()
        self._started.clear()

    def _signal_all(self, number: signal.Signals) -> None:
        for pid in self.pids():
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, number)


class Switch:
    """An Ethernet switch: a bridge without spanning tree or multicast snooping."""

    def __init__(self, name: str, room: Host) -> None:
        self.name = name
        self._room = room
        room.ip(
            f"link add {name} type bridge stp_state 0 forward_delay 0 mcast_snooping 0",
            f"link set {name} up",
        )

    def set_ports(self, ports: Sequence[str], *, forwarding: bool) -> None:
        """Let packets through some ports pass or vanish, all of them at the same moment.

        The far end sees no loss of carrier. A port's state is one assignment in the kernel;
        taking the port off the bridge would wait for the whole machine (RCU), some seconds in
        the lab kernel.
        """
        state = bridge_port.FORWARDING if forwarding else bridge_port.DISABLED
        orders = {bridge_port.STATE: state}
        self._room.call(lambda: bridge_port.order(ports, orders))

    def set_carrier(self, port: str, *, up: bool) -> None:
        """Let the far end of a port lose its carrier, or have it again."""
        self._room.ip(f"link set {port} {'up' if up else 'down'}")

    def set_port_one_way(self, port: str, *, hears: bool, is_heard: bool) -> None:
        """Let packets from a port, or packets to it, vanish; the other way they pass."""
        orders = bridge_port.one_way(hears=hears, is_heard=is_heard)
        self._room.call(lambda: bridge_port.order([port], orders))


class Link:
    """The cable between an interface of a host and a switch."""

    def __init__(self, *, host: Host, switch: Switch, interface: str, port: str, mac: str) -> None:
        self.host = host
        self.switch = switch
        self.interface = interface
        self.mac = mac
        self.port = port
        self.whole = True

    def cut(self) -> None:
        """Let every packet vanish, both ways, from now on; idempotent."""
        set_links([self], whole=False)

    def cut_one_way(self, *, hears: bool) -> None:
        """Let packets vanish one way: the host ``hears`` and is not heard, or the reverse."""
        self.switch.set_port_one_way(self.port, hears=hears, is_heard=not hears)

    def pull(self) -> None:
        """Take the plug out: the host's interface loses its carrier."""
        self.switch.set_carrier(self.port, up=False)

    def plug_in(self) -> None:
        """Put the plug in again."""
        self.switch.set_carrier(self.port, up=True)

    def heal(self) -> None:
        """Let packets pass again; idempotent."""
        set_links([self], whole=True)
        self.switch.set_port_one_way(self.port, hears=True, is_heard=True)


def set_links(links: Sequence[Link], *, whole: bool) -> None:
    """Cut or heal several cables at the same moment; all switches are in one room."""
    if links:
        links[0].switch.set_ports([link.port for link in links], forwarding=whole)
    for link in links:
        link.whole = whole


class Lab:
    """Everything that one test or demo builds; leaving the block removes it all.

    ``directory`` holds logs and files of the hosts; without one a temporary directory is used and
    removed at the end.
    """

    def __init__(self, *, directory: Path | None = None) -> None:
        self._given_directory = directory
        self._hosts: dict[str, Host] = {}
        self._names: dict[str, str] = {}
        self.links: list[Link] = []

    def __enter__(self) -> Self:
        remove_left_overs()
        if self._given_directory is None:
            self.directory = Path(tempfile.mkdtemp(prefix=f"{_own_prefix()}-"))
        else:
            self.directory = self._given_directory
            self.directory.mkdir(parents=True, exist_ok=True)
        self._hosts_file = self.directory / "hosts"
        self._write_names()
        self._room: Host | None = None
        return self

    def __exit__(
        self,
        _kind: type[BaseException] | None,
        _error: BaseException | None,
        _traceback: TracebackType | None,
    ) -> None:
        with contextlib.ExitStack() as stack:
            if self._given_directory is None:
                stack.callback(shutil.rmtree, self.directory, ignore_errors=True)
            for host in (*self._hosts.values(), self._room):
                if host is not None:
                    stack.callback(host.remove)

    @property
    def hosts(self) -> dict[str, Host]:
        """The hosts by name."""
        return dict(self._hosts)

    def host(self, name: str, *, hostname: str | None = None) -> Host:
        """Make a host; ``hostname`` is what ``uname -n`` says inside, by default its name."""
        if name in self._hosts:
            raise ValueError(f"there is a host {name} already")
        created = self._make_host(name, hostname or name)
        self._hosts[name] = created
        return created

    def switch(self, name: str) -> Switch:
        """Make a switch; its name has at most 15 characters (that of a network device)."""
        if self._room is None:
            self._room = self._make_host(SWITCH_ROOM, SWITCH_ROOM)
            self._room.sysctl("net.ipv6.conf.default.disable_ipv6", 1)
        return Switch(name, self._room)

    def attach(
        self, host: Host, switch: Switch, interface: str, *addresses: str, mtu: int = 1500
    ) -> Link:
        """Lay a cable from a new interface of a host to a switch.

        ``addresses`` with prefix length: ``192.168.7.50/24``.
        """
        assert self._room is not None
        number = len(self.links) + 1
        port, mac = f"port{number}", f"02:68:62:00:{number >> 8:02x}:{number & 255:02x}"
        self._room.ip(
            f"link add {port} mtu {mtu} type veth peer name {interface} mtu {mtu} "
            f"address {mac} netns {host.net_path}",
            f"link set {port} master {switch.name} up",
        )
        host.ip(
            *(
                f"addr add {address} dev {interface}"
                + (" nodad" if ":" in address else " broadcast +")
                for address in addresses
            ),
            f"link set {interface} up",
        )
        link = Link(host=host, switch=switch, interface=interface, port=port, mac=mac)
        host.links.append(link)
        self.links.append(link)
        return link

    def name(self, address: str, *names: str) -> None:
        """Let every host resolve these names to this address (/etc/hosts)."""
        self._names.update(dict.fromkeys(names, address))
        self._write_names()

    def host_of_mac(self, mac: str) -> Host | None:
        """Return the host that has the interface with this MAC address, or None."""
        return next((link.host for link in self.links if link.mac == mac), None)

    def address_of(self, name: str) -> str:
        """Return the address that the hosts resolve a name to."""
        return self._names[name]

    def _write_names(self) -> None:
        lines = ["127.0.0.1 localhost", "::1 localhost"]
        lines += [f"{address} {name}" for name, address in self._names.items()]
        # In place: the hosts have this very file mounted.
        self._hosts_file.write_text("".join(f"{line}\n" for line in lines))

    def _make_host(self, name: str, hostname: str) -> Host:
        full_name = f"{_own_prefix()}-{next(_host_numbers)}-{name}"
        inside = namespaces.create(
            full_name, hostname=hostname, binds={self._hosts_file: Path("/etc/hosts")}
        )
        directory = self.directory / name
        with namespaces.removed_on_error(inside):
            directory.mkdir(exist_ok=True)
            created = Host(name, inside, directory)
            created.sysctl("net.ipv6.conf.default.accept_dad", 0)
            created.ip("link set lo up")
        return created


def remove_left_overs() -> list[str]:
    """Remove what runs that were killed have left, and nothing else; return the names."""
    removed = [name for name in namespaces.names() if _owner_is_gone(name)]
    for name in removed:
        namespaces.remove_left_over(name)
    for directory in Path(tempfile.gettempdir()).glob(f"{NAME_PREFIX}-*"):
        if _owner_is_gone(directory.name):
            shutil.rmtree(directory, ignore_errors=True)
    return removed


def _own_prefix() -> str:
    """Begin of the names of what this process makes: process id and when it started."""
    owner = os.getpid()
    return f"{NAME_PREFIX}-{owner}-{namespaces.started_ticks(owner)}"


def _owner_is_gone(name: str) -> bool:
    """Whether a process of ours that runs no more made what has this name."""
    found = re.match(rf"{NAME_PREFIX}-(\d+)-(\d+)-", name)
    return found is not None and namespaces.started_ticks(int(found[1])) != int(found[2])


def wait_until(
    condition: Callable[[], bool], *, timeout_s: float, what: str, period_s: float = 0.02
) -> float:
    """Return how many seconds it took until ``condition()`` held.

    Raises:
        TimeoutError: it did not within ``timeout_s``; the message names ``what``.

    """
    started_s = time.monotonic()
    while not condition():
        if time.monotonic() - started_s > timeout_s:
            raise TimeoutError(f"after {timeout_s:g} s still not: {what}")
        time.sleep(period_s)
    return time.monotonic() - started_s
