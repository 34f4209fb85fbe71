"""Who holds an address, and who answers for it: read from the kernel, asked on the wire."""

from __future__ import annotations

import json
import socket
import struct
import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from tests.lab.network import Host

FOREVER_S: Final = 0xFFFFFFFF  # INFINITY_LIFE_TIME of linux/if_addr.h
ETH_P_ARP: Final = 0x0806
ARP_REQUEST: Final = 1
ARP_REPLY: Final = 2
BROADCAST: Final = b"\xff" * 6
ARP_LAYOUT: Final = struct.Struct("!HHBBH6s4s6s4s")  # RFC 826, Ethernet and IPv4


@dataclass(frozen=True, slots=True, kw_only=True)
class HeldAddress:
    """An address as the kernel has it; ``valid_s`` None: it stays for ever."""

    interface: str
    address: str
    prefix_len: int
    broadcast: str | None
    valid_s: int | None


def of(host: Host) -> list[HeldAddress]:
    """Return all addresses of a host, in the order of ``ip addr``."""
    found = []
    for device in json.loads(host.run(["ip", "-j", "addr"]).stdout):
        for info in device.get("addr_info", []):
            valid_s = info.get("valid_life_time", FOREVER_S)
            found.append(
                HeldAddress(
                    interface=device["ifname"],
                    address=info["local"],
                    prefix_len=info["prefixlen"],
                    broadcast=info.get("broadcast"),
                    valid_s=None if valid_s == FOREVER_S else valid_s,
                )
            )
    return found


def holds(host: Host, address: str) -> bool:
    """Return whether an address is local to a host, on whatever interface; cheap, no program.

    For a real server of direct routing that is so all the time: the VIP is on its loopback.
    """
    family = socket.AF_INET6 if ":" in address else socket.AF_INET

    def bindable() -> bool:
        with socket.socket(family, socket.SOCK_DGRAM) as probe:
            try:
                probe.bind((address, 0))
            except OSError:
                return False
            return True

    return host.call(bindable)


def holders(hosts: Iterable[Host], address: str) -> list[str]:
    """Return the names of the hosts that hold an address."""
    return [host.name for host in hosts if holds(host, address)]


def neighbour(host: Host, address: str) -> str | None:
    """Return the MAC address that a host believes to be behind an IPv4 address, or None."""
    for line in host.call(Path("/proc/thread-self/net/arp").read_text).splitlines()[1:]:
        found, _, flags, mac, *_ = line.split()
        if found == address and int(flags, 16) & 2:  # ATF_COM: complete
            return mac
    return None


def arp_answers(host: Host, address: str, *, interface: str, wait_s: float = 0.5) -> list[str]:
    """Ask on the wire who has an IPv4 address; return the MAC addresses that answer in time.

    More than one means that two machines hold it. The request is a probe (RFC 5227, from
    0.0.0.0): it changes nobody's neighbour table.
    """

    def ask() -> list[str]:
        answers: list[str] = []
        wanted = socket.inet_aton(address)
        with socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(ETH_P_ARP)) as wire:
            wire.bind((interface, ETH_P_ARP))
            own_mac = wire.getsockname()[4]
            request = ARP_LAYOUT.pack(
                1, 0x0800, 6, 4, ARP_REQUEST, own_mac, bytes(4), bytes(6), wanted
            )
            wire.send(BROADCAST + own_mac + struct.pack("!H", ETH_P_ARP) + request)
            deadline_s = time.monotonic() + wait_s
            while (left_s := deadline_s - time.monotonic()) > 0:
                wire.settimeout(left_s)
                try:
                    frame = wire.recv(128)
                except TimeoutError:
                    break
                _, _, _, _, operation, mac, sender, *_ = ARP_LAYOUT.unpack_from(frame, 14)
                if operation == ARP_REPLY and sender == wanted:
                    answers.append(mac.hex(":"))
        return answers

    return host.call(ask)


def arp_answer(host: Host, address: str, *, interface: str, wait_s: float = 0.5) -> str | None:
    """Return the one MAC address that answers for an IPv4 address, or None.

    Raises:
        AssertionError: several machines answer.

    """
    answers = sorted(set(arp_answers(host, address, interface=interface, wait_s=wait_s)))
    assert len(answers) < 2, f"{address} is answered for by {', '.join(answers)}"
    return answers[0] if answers else None
