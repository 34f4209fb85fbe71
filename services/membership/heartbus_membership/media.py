"""All configured links of this host as one."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence

from heartbus.model import Cluster, SerialLink
from heartbus_membership.links import Links, Medium, Received
from heartbus_membership.relay import first_hops
from heartbus_membership.serial_links import SerialLinks
from heartbus_membership.snapshot import LinkCondition
from heartbus_membership.udp_links import UdpLinks


def links_of(cluster: Cluster) -> Links:
    """Return the links of a configuration, not open yet."""
    settings = cluster.membership
    hops = first_hops(directors=len(cluster.directors), hopfudge=settings.hopfudge)
    return AllLinks(
        [link.name for link in settings.links],
        networks=UdpLinks([x for x in settings.links if not isinstance(x, SerialLink)]),
        lines=SerialLinks([x for x in settings.links if isinstance(x, SerialLink)], hops=hops),
    )


class AllLinks:
    """The configured links of this host, in the order of the configuration."""

    def __init__(self, names: Sequence[str], *, networks: Medium, lines: Links) -> None:
        self._names = names
        self._lines = lines
        self._media: tuple[Medium, ...] = (networks, lines)

    def open(self, readable: Callable[[], None]) -> None:
        """Open what can be opened; ``readable`` is called when datagrams wait.

        Raises:
            MachineError: a privilege is missing or a port is taken.

        """
        for medium in self._media:
            medium.open(readable)

    def send(self, datagram: bytes) -> None:
        """Send one datagram of ours on every usable link; never raises, never waits."""
        for medium in self._media:
            medium.send(datagram)

    def relay(self, datagram: bytes, *, origin: str, heard_on: str, hops: int) -> None:
        """Pass a datagram of another director on to the serial lines it did not come over."""
        self._lines.relay(datagram, origin=origin, heard_on=heard_on, hops=hops)

    def drain(self) -> list[Received]:
        """Return what has arrived; never waits."""
        return [received for medium in self._media for received in medium.drain()]

    async def repair(self) -> None:
        """Try again what failed; call it about every second."""
        for medium in self._media:
            await medium.repair()

    def conditions(self) -> tuple[LinkCondition, ...]:
        """Return the condition of each configured link."""
        found = {link.name: link for medium in self._media for link in medium.conditions()}
        return tuple(found[name] for name in self._names)

    def dropped(self) -> Mapping[str, int]:
        """Return counts of what was lost below the datagrams, by reason."""
        counts: Counter[str] = Counter()
        for medium in self._media:
            counts.update(medium.dropped())
        return counts

    def close(self) -> None:
        """Close all sockets and devices."""
        for medium in self._media:
            medium.close()
