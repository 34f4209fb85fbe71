"""What is set for the whole of the kernel's IPVS: timeouts, sysctls, sync daemons."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Final, Protocol

from heartbus.model_ipvs import IpvsSettings
from heartbus_ipvs_agent import nlmsg, syncing, wire
from heartbus_ipvs_agent.accept_local import AcceptLocal
from heartbus_ipvs_agent.netlink import GenericNetlink, NetlinkError
from heartbus_ipvs_agent.syncing import DaemonAction, Running

SYSCTL_DIRECTORY: Final = Path("/proc/sys/net/ipv4/vs")


class WholeError(Exception):
    """Something that was configured is not so; the text says what and why."""


class Whole(Protocol):
    """The whole of IPVS; the kernel's, or a test's."""

    def settle(self, settings: IpvsSettings) -> tuple[str, ...]:
        """Set timeouts and sysctls; return what could not be set, in words."""
        ...

    def accept_local(self, *, wanted: bool) -> str | None:
        """Let answers come in that have an own address as source, or undo that.

        Returns why not in words, or None.
        """
        ...

    def daemons(self) -> Running:
        """Return the sync daemons that run.

        Raises:
            WholeError: the kernel does not say.

        """
        ...

    def carry_out(self, actions: Sequence[DaemonAction]) -> tuple[str | None, ...]:
        """Start and stop daemons in this order; return the failure of each in words, or None.

        Raises:
            WholeError: nothing can be sent.

        """
        ...


class KernelWhole:
    """``Whole`` over generic netlink and /proc; opens a socket for each call, which is rare."""

    def __init__(self, runtime_dir: Path) -> None:
        self._accept_local = AcceptLocal(runtime_dir)

    def settle(self, settings: IpvsSettings) -> tuple[str, ...]:
        """Set timeouts and sysctls; return what could not be set, in words."""
        problems = []
        body = syncing.encode_timeouts(settings)
        if body is not None:
            try:
                (number,) = self._send([body])
                if number:
                    problems.append(f"timeouts: {os.strerror(number)}")
            except WholeError as error:
                problems.append(f"timeouts: {error}")
        for name, value in settings.sysctls:
            path = SYSCTL_DIRECTORY / name
            try:
                if path.read_text().split() != value.split():
                    path.write_text(value)
            except OSError as error:
                problems.append(f"net.ipv4.vs.{name} = {value}: {error.strerror}")
        return tuple(problems)

    def accept_local(self, *, wanted: bool) -> str | None:
        """Let answers come in that have an own address as source, or undo that.

        Returns why not in words, or None.
        """
        return self._accept_local.settle(wanted=wanted)

    def daemons(self) -> Running:
        """Return the sync daemons that run.

        Raises:
            WholeError: the kernel does not say.

        """
        try:
            netlink = GenericNetlink(wire.FAMILY_NAME)
            try:
                return dict(map(syncing.decode, netlink.dump(syncing.dump_daemons())))
            finally:
                netlink.close()
        except (NetlinkError, nlmsg.WireError) as error:
            raise WholeError(f"sync daemons: {error}") from error

    def carry_out(self, actions: Sequence[DaemonAction]) -> tuple[str | None, ...]:
        """Start and stop daemons in this order; return the failure of each in words, or None.

        Raises:
            WholeError: nothing can be sent.

        """
        numbers = self._send([syncing.encode(action) for action in actions])
        return tuple(os.strerror(number) if number else None for number in numbers)

    @staticmethod
    def _send(bodies: Sequence[bytes]) -> list[int]:
        try:
            netlink = GenericNetlink(wire.FAMILY_NAME)
            try:
                return netlink.send(bodies)
            finally:
                netlink.close()
        except NetlinkError as error:
            raise WholeError(str(error)) from error
