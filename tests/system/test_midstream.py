"""What a kernel does with a connection that another director began: the table of docs/addresses.md.

The kernels alone, without heartbus: connections are opened through one director, half their request
sent or all of it, the addresses are moved by hand, and the connections go on. In the lab kernel.

    client .50                          gate .11 .12
        |                                    |
    ====+=======+===============+============+==========  192.0.2.0/24      VIP .100
             one .1          two .2
                |               |
    ============+===============+======+================  10.8.0.0/24       gateway .254
                                 masq .11 .12
"""

from __future__ import annotations

import contextlib
import fcntl
import functools
import select
import socket
import sys
import termios
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import pytest

from tests.lab.network import Host, Lab, wait_until

pytestmark = [pytest.mark.ipvs, pytest.mark.timeout(180)]

VIP: Final = "192.0.2.100"
GATEWAY: Final = "10.8.0.254"
ADDRESSES: Final = ((VIP, "eth0"), (GATEWAY, "eth1"))
PORT: Final = 80
FLAGS: Final = {"mh": ["mh-port"], "sh": ["sh-port"]}
CONNECTIONS: Final = 24
ANSWER_MAX_S: Final = 3.0
"""For what no kernel answers: longer than TCP takes to send something for the third time."""

OPENED_MAX_S: Final = 60.0
KNOWN_MAX_S: Final = 30.0
ANSWER: Final = b"answer"
QUESTION: Final = b"half of it, and the rest\n"


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """How connections are forwarded, and who speaks first after the move.

    ``survive``: whether all of them do; if not, none need to, and some do not.
    """

    method: str
    scheduler: str
    sloppy: bool = False
    sync: bool = False
    server_speaks: bool = False
    survive: bool

    def __str__(self) -> str:
        words = [self.method, self.scheduler]
        words += ["sloppy"] * self.sloppy + ["sync"] * self.sync
        return "-".join([*words, "server" if self.server_speaks else "client"])


CASES: Final = (
    Case(method="gate", scheduler="mh", sloppy=True, survive=True),
    Case(method="gate", scheduler="mh", sloppy=True, server_speaks=True, survive=True),
    Case(method="gate", scheduler="sh", sloppy=True, survive=True),
    Case(method="gate", scheduler="mh", survive=False),
    Case(method="gate", scheduler="rr", sloppy=True, survive=False),
    Case(method="gate", scheduler="rr", sync=True, survive=True),
    Case(method="masq", scheduler="mh", sloppy=True, survive=True),
    Case(method="masq", scheduler="mh", sloppy=True, server_speaks=True, survive=False),
    Case(method="masq", scheduler="rr", sync=True, server_speaks=True, survive=True),
)


class Stage:
    """The machines of the picture; ``one`` holds the addresses until they are moved."""

    def __init__(self, lab: Lab) -> None:
        lan, inside = lab.switch("lan"), lab.switch("inside")
        self.client = lab.host("client")
        lab.attach(self.client, lan, "eth0", "192.0.2.50/24")
        self.directors = [lab.host(name) for name in ("one", "two")]
        for number, director in enumerate(self.directors, 1):
            lab.attach(director, lan, "eth0", f"192.0.2.{number}/24")
            lab.attach(director, inside, "eth1", f"10.8.0.{number}/24")
            director.sysctl("net.ipv4.ip_forward", 1)
        self.servers: dict[str, list[Host]] = {"gate": [], "masq": []}
        self.listening: dict[Host, socket.socket] = {}
        self.holder: Host | None = None
        for number in (11, 12):
            gate, masq = lab.host(f"gate{number}"), lab.host(f"masq{number}")
            lab.attach(gate, lan, "eth0", f"192.0.2.{number}/24")
            gate.sysctl("net.ipv4.conf.all.arp_ignore", 1)
            gate.sysctl("net.ipv4.conf.all.arp_announce", 2)
            gate.ip(f"addr add {VIP}/32 dev lo")
            lab.attach(masq, inside, "eth0", f"10.8.0.{number}/24")
            masq.ip(f"route add default via {GATEWAY}")
            for host, method in ((gate, "gate"), (masq, "masq")):
                self.servers[method].append(host)
                listen = functools.partial(socket.create_server, ("", PORT), backlog=CONNECTIONS)
                self.listening[host] = host.call(listen)

    def prepare(self, case: Case) -> None:
        """Give both directors the same table, and the first one the addresses."""
        scheduler = " -b ".join([case.scheduler, *FLAGS.get(case.scheduler, [])])
        network, how = {"gate": ("192.0.2", "-g"), "masq": ("10.8.0", "-m")}[case.method]
        rules = f"-A -t {VIP}:{PORT} -s {scheduler}\n"
        for number in (11, 12):
            rules += f"-a -t {VIP}:{PORT} -r {network}.{number}:{PORT} {how}\n"
        for director, role in zip(self.directors, ("master", "backup"), strict=True):
            director.run(["ipvsadm", "-C"])
            director.run(["ipvsadm", "-R"], stdin=rules)
            director.sysctl("net.ipv4.vs.sloppy_tcp", int(case.sloppy))
            if case.sync:
                director.run(["ipvsadm", "--start-daemon", role, "--mcast-interface", "eth1"])
        self.hold(self.directors[0], case.method)

    def hold(self, director: Host, method: str) -> None:
        """Move both addresses; nobody believes any longer that the other one has them."""
        if self.holder is not director:
            if self.holder is not None:
                self.holder.ip(*(f"addr del {a}/24 dev {nic}" for a, nic in ADDRESSES))
            director.ip(*(f"addr add {a}/24 dev {nic}" for a, nic in ADDRESSES))
            self.holder = director
        for host in (self.client, *(self.servers[method] if method == "masq" else ())):
            host.run(["ip", "neigh", "flush", "all"])

    def knows(self, count: int) -> bool:
        """Whether the second director knows so many open connections."""
        read = Path("/proc/thread-self/net/ip_vs_conn").read_text
        return self.directors[1].call(read).count("ESTABLISHED") == count

    def end_sync(self) -> None:
        """Stop both sync daemons, as the death of the first director would."""
        for director, role in zip(self.directors, ("master", "backup"), strict=True):
            director.run(["ipvsadm", "--stop-daemon", role])

    def accepted(self, method: str, count: int) -> Iterator[socket.socket]:
        """Yield connections that a real server has accepted."""
        listening = [self.listening[host] for host in self.servers[method]]
        for _ in range(count):
            ready, _, _ = select.select(listening, [], [], ANSWER_MAX_S)
            assert ready, "a connection reached no real server"
            yield ready[0].accept()[0]


@pytest.fixture(scope="module")
def stage() -> Iterator[Stage]:
    with Lab() as lab:
        made = Stage(lab)
        yield made
        for listening in made.listening.values():
            listening.close()


@pytest.mark.parametrize("case", CASES, ids=str)
def test_connections_that_a_move_finds_half_way(stage: Stage, case: Case) -> None:
    stage.prepare(case)
    with contextlib.ExitStack() as stack:
        begun = 10 if not case.server_speaks else len(QUESTION)
        clients = stage.client.call(functools.partial(_opened, 20_000 + 100 * CASES.index(case)))
        for opened in clients:
            stack.callback(opened.close)
            opened.sendall(QUESTION[:begun])
        servers = list(stage.accepted(case.method, CONNECTIONS))
        for accepted in servers:
            stack.callback(accepted.close)
            accepted.settimeout(ANSWER_MAX_S)
            assert accepted.recv(begun, socket.MSG_WAITALL) == QUESTION[:begun]
        # Or a client would send again after the move, and so tell the other director of itself.
        wait_until(
            lambda: not any(map(_unacknowledged, clients)), timeout_s=10.0, what="all is said"
        )
        if case.sync:
            all_known = functools.partial(stage.knows, CONNECTIONS)
            wait_until(all_known, timeout_s=KNOWN_MAX_S, what="all are known")
            stage.end_sync()
        stage.hold(stage.directors[1], case.method)
        # In another order than they began: a scheduler that counts chooses otherwise.
        clients.append(clients.pop(0))
        outcomes = _asked_on(clients, servers, QUESTION[begun:])
    if case.survive:
        assert outcomes == {"answered": CONNECTIONS}
    else:
        assert outcomes["answered"] < CONNECTIONS, outcomes


def _opened(first_port: int) -> list[socket.socket]:
    """Open connections from ports that no other case has: a director may still know those."""
    return [
        socket.create_connection(
            (VIP, PORT), OPENED_MAX_S, source_address=("", first_port + number)
        )
        for number in range(CONNECTIONS)
    ]


def _unacknowledged(sending: socket.socket) -> int:
    """Return how many bytes a socket may have to send again."""
    answer = fcntl.ioctl(sending, termios.TIOCOUTQ, bytes(4))
    return int.from_bytes(answer, sys.byteorder)


def _asked_on(
    clients: list[socket.socket], servers: list[socket.socket], rest: bytes
) -> Counter[str]:
    """Let clients send the rest if there is any, then the servers answer; count what comes of it.

    Nothing is silent before ANSWER_MAX_S have passed without a word to anybody.
    """
    for client in clients:
        with contextlib.suppress(OSError):
            client.sendall(rest)
    if not rest:
        for server in servers:
            with contextlib.suppress(OSError):
                server.sendall(ANSWER)
    outcomes: Counter[str] = Counter()
    waiting = {*clients, *(servers if rest else ())}
    while ready := select.select(waiting, [], [], ANSWER_MAX_S)[0]:
        for speaking in ready:
            waiting.discard(speaking)
            try:
                heard = speaking.recv(64)
                if speaking in servers and heard == rest:
                    speaking.sendall(ANSWER)
            except OSError:
                heard = b"reset"
            if speaking in clients:
                outcomes["answered" if heard == ANSWER else "reset"] += 1
    outcomes["silent"] += len(waiting & {*clients})
    return +outcomes
