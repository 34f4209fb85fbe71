"""Echo servers and many open connections through a virtual service, in one network namespace."""

from __future__ import annotations

import multiprocessing
import resource
import selectors
import socket
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from multiprocessing.connection import Connection

ANSWER_S = 10.0


def addresses(*texts: str) -> None:
    """Give this host more addresses."""
    for text in texts:
        subprocess.run(["ip", "addr", "add", f"{text}/32", "dev", "lo"], check=True)


@contextmanager
def echo_servers(*at: tuple[str, int]) -> Iterator[None]:
    """Answer over TCP and UDP at these addresses with what came and who answers."""
    ours, theirs = multiprocessing.Pipe()
    process = multiprocessing.get_context("fork").Process(target=_serve, args=(at, theirs))
    process.start()
    assert ours.recv() == "ready"
    try:
        yield
    finally:
        process.kill()
        process.join()


def _serve(at: Sequence[tuple[str, int]], ready: Connection) -> None:
    _many_files()
    selector = selectors.DefaultSelector()
    for address in at:
        listener = socket.create_server(address, backlog=2000)
        selector.register(listener, selectors.EVENT_READ, ("accept", address[0]))
        datagrams = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        datagrams.bind(address)
        selector.register(datagrams, selectors.EVENT_READ, ("datagram", address[0]))
    ready.send("ready")
    while True:
        for selected, _events in selector.select():
            sock, (what, name) = selected.fileobj, selected.data
            assert isinstance(sock, socket.socket)
            if what == "accept":
                selector.register(sock.accept()[0], selectors.EVENT_READ, ("stream", name))
            elif what == "datagram":
                _data, client = sock.recvfrom(100)
                sock.sendto(name.encode(), client)
            elif _received(sock):
                sock.sendall(name.encode())
            else:
                selector.unregister(sock)
                sock.close()


def _received(sock: socket.socket) -> bytes:
    """Return what came; nothing at an end, which may be a reset: checks end like that."""
    try:
        return sock.recv(100)
    except ConnectionResetError:
        return b""


class Clients:
    """Open connections to one virtual service."""

    def __init__(self, address: tuple[str, int], count: int) -> None:
        _many_files()
        self.open = [socket.create_connection(address, timeout=ANSWER_S) for _ in range(count)]

    def answered(self) -> list[str]:
        """Ask over every connection; return who answered, "" for a lost connection."""
        return [self._ask(client) for client in self.open]

    def close(self, server: str | None = None) -> None:
        """Close those that this server answers, or all."""
        for client in list(self.open):
            if server is None or self._ask(client) == server:
                client.close()
                self.open.remove(client)

    @staticmethod
    def _ask(client: socket.socket) -> str:
        try:
            client.sendall(b"x")
            return client.recv(100).decode()
        except OSError:
            return ""


def ask_by_udp(client: socket.socket) -> str:
    """Return who answers one datagram, "" if nobody does in a second."""
    client.settimeout(1.0)
    try:
        client.send(b"x")
        return client.recv(100).decode()
    except OSError:
        return ""


def _many_files() -> None:
    _soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
