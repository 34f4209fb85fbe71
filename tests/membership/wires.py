"""Two network namespaces joined by Ethernet cables, for the tests of links."""

from __future__ import annotations

import contextlib
import ctypes
import os
import subprocess
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Final, TypeVar

T = TypeVar("T")

CLONE_NEWNET: Final = 0x40000000  # linux/sched.h


def ip(*words: str) -> None:
    """Run ip(8)."""
    subprocess.run(["ip", *words], check=True, capture_output=True, text=True)


@dataclass(slots=True)
class Wires:
    """Namespaces a and b; cable N is ethN in both.

    On cable 1 a is 10.93.1.1, fe80::1 and fd93:1::1, b has the same with a 2.
    """

    a: str
    b: str

    def cable(self, number: int) -> None:
        """Join a and b by one more cable."""
        name = f"eth{number}"
        ip("link", "add", name, "netns", self.a, "type", "veth", "peer", name, "netns", self.b)
        for host, netns in enumerate((self.a, self.b), start=1):
            self.set(netns, f"net.ipv6.conf.{name}.keep_addr_on_down", 1)
            ip("-n", netns, "link", "set", name, "addrgenmode", "none")
            ip("-n", netns, "link", "set", name, "up")
            for address in self.addresses(number, host):
                self.add(netns, name, address)

    @staticmethod
    def addresses(number: int, host: int) -> tuple[str, ...]:
        """Return the addresses of a (1) or b (2) on a cable."""
        return f"10.93.{number}.{host}/24", f"fe80::{host}/64", f"fd93:{number}::{host}/64"

    @staticmethod
    def add(netns: str, name: str, address: str) -> None:
        """Give an interface an address; one of IPv6 counts at once."""
        nodad = ["nodad"] if ":" in address else []
        ip("-n", netns, "addr", "add", address, "dev", name, *nodad)

    @staticmethod
    def set(netns: str, key: str, value: int) -> None:
        """Set a variable of the kernel in a namespace."""
        path = f"/proc/sys/{key.replace('.', '/')}"  # not every machine has sysctl(8)
        command = ["ip", "netns", "exec", netns, "sh", "-c", f"echo {value} >{path}"]
        subprocess.run(command, check=True, capture_output=True, text=True)

    def cut(self, number: int) -> None:
        """Let a cable carry nothing."""
        ip("-n", self.b, "link", "set", f"eth{number}", "down")

    def heal(self, number: int) -> None:
        """Let it carry again."""
        self.up(self.b, number)

    def up(self, netns: str, number: int) -> None:
        """Set one end up; its link-local address went with the down (the kernel makes its own)."""
        name = f"eth{number}"
        ip("-n", netns, "link", "set", name, "up")
        self.add(netns, name, self.addresses(number, 1 if netns == self.a else 2)[1])


@contextlib.contextmanager
def made_wires() -> Iterator[Wires]:
    """Give two namespaces without a cable; they vanish with the block."""
    made = Wires(*(f"hbm{os.getpid()}{name}" for name in "ab"))
    try:
        for netns in (made.a, made.b):
            ip("netns", "add", netns)
            ip("-n", netns, "link", "set", "lo", "up")
        yield made
    finally:
        for netns in (made.a, made.b):
            subprocess.run(["ip", "netns", "del", netns], check=False, capture_output=True)


@contextlib.contextmanager
def entered(netns: str) -> Iterator[None]:
    """Run the body in a namespace; this thread and what it starts are in it."""
    home = os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
    try:
        _enter(netns)
        yield
    finally:
        back = ctypes.CDLL(None).setns(home, CLONE_NEWNET)
        os.close(home)
        assert back == 0


def inside(netns: str, function: Callable[[], T]) -> T:
    """Return ``function()``, called in a namespace; sockets that it opens stay there."""
    result: list[T] = []

    def call() -> None:
        _enter(netns)
        result.append(function())

    thread = threading.Thread(target=call)
    thread.start()
    thread.join()
    return result[0]


def _enter(netns: str) -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    descriptor = os.open(f"/run/netns/{netns}", os.O_RDONLY | os.O_CLOEXEC)
    try:
        if libc.setns(descriptor, CLONE_NEWNET) != 0:
            raise OSError(ctypes.get_errno(), f"cannot enter {netns}")
    finally:
        os.close(descriptor)
