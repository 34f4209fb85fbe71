"""Read, and where it must be set, what the kernel lets be said of each interface (/proc/sys/net).

Those of the network namespace that we run in. What cannot be read counts as the kernel's default:
an interface that has just gone is no reason to fail.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Final

_IPV4: Final = Path("/proc/sys/net/ipv4/conf")
_IPV6: Final = Path("/proc/sys/net/ipv6/conf")


def promote_secondaries(interface: str) -> str | None:
    """See that removing the first address of a subnet leaves its others; return what is wrong.

    Without it the kernel removes them along (net/ipv4/devinet.c, __inet_del_ifa), also when the
    lifetime of the first one ends.
    """
    try:
        for name in ("all", interface):
            if (_IPV4 / name / "promote_secondaries").read_text().strip() != "0":
                return None
        (_IPV4 / interface / "promote_secondaries").write_text("1\n")
    except OSError as error:
        return (
            f"cannot set net.ipv4.conf.{interface}.promote_secondaries=1 ({error.strerror}): when "
            "the first address of a subnet goes, the kernel removes its others too; set it yourself"
        )
    return None


def answers_for_other_interfaces(interface: str) -> bool:
    """Whether ARP on this interface is answered for addresses that only another interface has.

    Not with arp_ignore 1 or above; of ``all`` and the interface the higher value counts
    (Documentation/networking/ip-sysctl.rst).
    """
    return max(_numbers(_IPV4, interface, "arp_ignore"), default=0) == 0


def forwards_ipv6(interface: str) -> bool:
    """Whether this host is a router of IPv6 on an interface."""
    return _number(_IPV6 / interface / "forwarding") > 0


def ipv6_off(interface: str) -> bool:
    """Whether an interface can have no address of IPv6."""
    return not (_IPV6 / interface).exists() or _number(_IPV6 / interface / "disable_ipv6") > 0


def _numbers(family: Path, interface: str, name: str) -> Iterator[int]:
    for of in ("all", interface):
        yield _number(family / of / name)


def _number(path: Path) -> int:
    try:
        return int(path.read_text())
    except (OSError, ValueError):
        return 0
