"""One generic netlink socket to the kernel: family number, dumps, many changes in one buffer.

Every request is answered before ``send`` returns (the kernel works on netlink messages in the
sender's context), so a call lasts as long as the kernel's work and no longer.
"""

from __future__ import annotations

import errno
import os
import socket
import struct
from collections.abc import Sequence
from typing import Final

from heartbus_ipvs_agent import nlmsg
from heartbus_ipvs_agent.nlmsg import Nlmsg, WireError

NETLINK_GENERIC: Final = 16
SOL_NETLINK: Final = 270
NETLINK_CAP_ACK: Final = 10
SO_RCVBUFFORCE: Final = 33

BATCH_BYTES_MAX: Final = 64 * 1024
"""One ``send``; well below the default send buffer (net.core.wmem_default, 208 KiB)."""

RECEIVE_BUFFER_BYTES: Final = 4 * 1024 * 1024
ACK_BUFFER_BYTES: Final = 1280
"""What one waiting acknowledgement takes of the receive buffer (sk_buff truesize), rounded up."""

RECEIVE_BYTES: Final = 256 * 1024
"""More than any datagram of the kernel (a dump fills at most 32 KiB at a time)."""

ANSWER_TIMEOUT_S: Final = 5
DUMP_ATTEMPTS_MAX: Final = 3
ANSWER_LOST: Final = errno.ENOBUFS


class NetlinkError(Exception):
    """The kernel refused a request, or its answer makes no sense. ``number``: errno, 0 if none."""

    def __init__(self, what: str, number: int) -> None:
        self.number = number
        super().__init__(f"{what}: {os.strerror(number)}" if number else what)


class GenericNetlink:
    """A socket that speaks to one generic netlink family, in the current network namespace.

    Raises:
        NetlinkError: the family is unknown (ENOENT), or netlink is not available.

    """

    def __init__(self, family: str) -> None:
        self._family = family
        self._sequence = 0
        try:
            self._socket = socket.socket(
                socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, NETLINK_GENERIC
            )
            self._socket.bind((0, 0))
            self._socket.setsockopt(SOL_NETLINK, NETLINK_CAP_ACK, 1)
            self._socket.setsockopt(
                socket.SOL_SOCKET, socket.SO_RCVTIMEO, struct.pack("ll", ANSWER_TIMEOUT_S, 0)
            )
        except OSError as error:
            raise NetlinkError("cannot open a netlink socket", error.errno or 0) from error
        self._acks_max = self._enlarge_receive_buffer() // ACK_BUFFER_BYTES
        try:
            self._family_number = self._ask_family_number()
        except NetlinkError:
            self.close()
            raise

    def close(self) -> None:
        """Close the socket."""
        self._socket.close()

    def dump(self, body: bytes) -> list[bytes]:
        """Return the bodies of all answers to a dump request.

        Raises:
            NetlinkError: the kernel refused it, or kept changing while it was read.

        """
        for _attempt in range(DUMP_ATTEMPTS_MAX):
            found = self._dump_once(body)
            if found is not None:
                return found
        raise NetlinkError("the table changed during each attempt to read it", 0)

    def send(self, bodies: Sequence[bytes]) -> list[int]:
        """Send many requests in as few buffers as possible; return the errno of each, 0 for done.

        ENOBUFS: the kernel's answer was lost, nobody knows.
        """
        results: list[int] = []
        batch: list[bytes] = []
        size = 0
        for body in bodies:
            length = nlmsg.HEADER_BYTES + len(body)
            if batch and (size + length > BATCH_BYTES_MAX or len(batch) >= self._acks_max):
                results += self._send_batch(batch)
                batch, size = [], 0
            batch.append(body)
            size += length
        if batch:
            results += self._send_batch(batch)
        return results

    def _send_batch(self, bodies: Sequence[bytes]) -> list[int]:
        first = (self._sequence + 1) & 0xFFFFFFFF
        flags = nlmsg.NLM_F_REQUEST | nlmsg.NLM_F_ACK
        self._transmit(b"".join(self._message(self._family_number, flags, b) for b in bodies))
        results = [ANSWER_LOST] * len(bodies)
        missing = len(bodies)
        while missing:
            try:
                messages = self._receive(socket.MSG_DONTWAIT)
            except NetlinkError as error:
                if error.number == errno.ENOBUFS:
                    continue  # said once; what did fit is still there
                if error.number == errno.EAGAIN:
                    break
                raise
            for answer in messages:
                position = (answer.sequence - first) & 0xFFFFFFFF
                if answer.type == nlmsg.NLMSG_ERROR and position < len(results):
                    results[position] = _error_number(answer)
                    missing -= 1
        return results

    def _dump_once(self, body: bytes) -> list[bytes] | None:
        flags = nlmsg.NLM_F_REQUEST | nlmsg.NLM_F_DUMP
        self._transmit(self._message(self._family_number, flags, body))
        found: list[bytes] = []
        interrupted = False
        while True:
            for answer in self._receive():
                if answer.sequence != self._sequence:
                    continue
                interrupted |= bool(answer.flags & nlmsg.NLM_F_DUMP_INTR)
                if answer.type in (nlmsg.NLMSG_ERROR, nlmsg.NLMSG_DONE):
                    number = _error_number(answer) if answer.body else 0
                    if number:
                        raise NetlinkError(f"cannot read the {self._family} table", number)
                    return None if interrupted else found
                if answer.type == self._family_number:
                    found.append(answer.body)

    def _ask_family_number(self) -> int:
        request = nlmsg.family_request(self._family)
        self._transmit(self._message(nlmsg.GENL_ID_CTRL, nlmsg.NLM_F_REQUEST, request))
        while True:
            for answer in self._receive():
                if answer.sequence != self._sequence:
                    continue
                if answer.type == nlmsg.NLMSG_ERROR:
                    number = _error_number(answer)
                    raise NetlinkError(f"no generic netlink family {self._family}", number)
                try:
                    return nlmsg.family_number(answer.body)
                except WireError as error:
                    raise NetlinkError(f"family {self._family}: {error}", 0) from error

    def _message(self, kind: int, flags: int, body: bytes) -> bytes:
        self._sequence = (self._sequence + 1) & 0xFFFFFFFF
        return nlmsg.message(type=kind, flags=flags, sequence=self._sequence, body=body)

    def _transmit(self, data: bytes) -> None:
        try:
            self._socket.send(data)
        except OSError as error:
            raise NetlinkError("cannot send to the kernel", error.errno or 0) from error

    def _receive(self, receive_flags: int = 0) -> list[Nlmsg]:
        try:
            data, _ancillary, flags, sender = self._socket.recvmsg(RECEIVE_BYTES, 0, receive_flags)
        except OSError as error:
            raise NetlinkError("no answer from the kernel", error.errno or 0) from error
        if flags & socket.MSG_TRUNC:
            raise NetlinkError(f"an answer of more than {RECEIVE_BYTES} bytes", 0)
        if sender[0] != 0:
            return []  # another process wrote to our socket
        try:
            return nlmsg.split(data)
        except WireError as error:
            raise NetlinkError(f"unreadable answer: {error}", 0) from error

    def _enlarge_receive_buffer(self) -> int:
        """Return the size that we got; forcing needs CAP_NET_ADMIN outside of user namespaces."""
        for option in (SO_RCVBUFFORCE, socket.SO_RCVBUF):
            try:
                self._socket.setsockopt(socket.SOL_SOCKET, option, RECEIVE_BUFFER_BYTES)
                break
            except PermissionError:
                continue
        return self._socket.getsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF)


def _error_number(answer: Nlmsg) -> int:
    try:
        return nlmsg.error_number(answer.body)
    except WireError as error:
        raise NetlinkError(f"unreadable answer: {error}", 0) from error
