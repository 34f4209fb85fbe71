"""The two ends of ``test_traffic``: a real server that says who it is, and a client that asks.

serve NAME PORT…       answers TCP, UDP and SCTP on these ports of every address with NAME
ask                    reads a JSON list of [transport, address, port, count] and writes one of
                       lists of names; "" where nobody answered. Each question is a new flow. Of
                       transport sip it is a message of SIP, and two in a row are of one call.
"""

from __future__ import annotations

import json
import selectors
import socket
import sys

ANSWER_S = 3.0
KINDS = {
    "tcp": (socket.SOCK_STREAM, socket.IPPROTO_TCP),
    "udp": (socket.SOCK_DGRAM, socket.IPPROTO_UDP),
    "sctp": (socket.SOCK_STREAM, socket.IPPROTO_SCTP),
}


def serve(name: str, ports: list[int]) -> None:
    selector = selectors.DefaultSelector()
    for port in ports:
        for family in (socket.AF_INET, socket.AF_INET6):
            for transport, (kind, protocol) in KINDS.items():
                sock = socket.socket(family, kind, protocol)
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                if family == socket.AF_INET6:
                    sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
                sock.bind(("::" if family == socket.AF_INET6 else "0.0.0.0", port))
                if transport != "udp":
                    sock.listen(64)
                elif family == socket.AF_INET6:
                    sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_RECVPKTINFO, 1)
                else:
                    sock.setsockopt(socket.IPPROTO_IP, IP_PKTINFO, 1)
                selector.register(sock, selectors.EVENT_READ, transport)
    sys.stdout.write("ready\n")
    sys.stdout.flush()
    while True:
        for found, _events in selector.select():
            assert isinstance(found.fileobj, socket.socket)
            sock = found.fileobj
            if found.data == "udp":
                _answer(sock, name.encode())
            else:
                connection, _client = sock.accept()
                with connection:
                    connection.sendall(name.encode())


def _answer(sock: socket.socket, name: bytes) -> None:
    """Answer one datagram from the address that it was sent to."""
    _data, ancillary, _flags, client = sock.recvmsg(100, 256)
    ((_level, _kind, info),) = ancillary
    if sock.family == socket.AF_INET6:
        whence = (socket.IPPROTO_IPV6, socket.IPV6_PKTINFO, info[:16] + bytes(4))
    else:
        whence = (socket.IPPROTO_IP, IP_PKTINFO, bytes(4) + info[8:12] + bytes(4))
    sock.sendmsg([name], [whence], 0, client)


IP_PKTINFO = 8


SIP = "OPTIONS sip:b@{address} SIP/2.0\r\nCall-ID: {call}@192.0.2.50\r\nContent-Length: 0\r\n\r\n"


def ask(transport: str, address: str, port: int, number: int) -> str:
    said = b"who?"
    if transport == "sip":
        transport, said = "udp", SIP.format(address=address, call=f"call{number // 2}").encode()
    kind, protocol = KINDS[transport]
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with socket.socket(family, kind, protocol) as sock:
        sock.settimeout(ANSWER_S)
        try:
            sock.connect((address, port))
            if transport == "udp":
                sock.send(said)
            return sock.recv(100).decode()
        except OSError:
            return ""


if __name__ == "__main__":
    if sys.argv[1] == "serve":
        serve(sys.argv[2], [int(port) for port in sys.argv[3:]])
    else:
        questions = json.load(sys.stdin)
        json.dump([[ask(t, a, p, i) for i in range(n)] for t, a, p, n in questions], sys.stdout)
