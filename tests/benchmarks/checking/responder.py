"""A web server that costs little: answers every request with 300 bytes, counts connections.

``python -m tests.benchmarks.checking.responder PORT``: prints the count so far for each line on its
standard input. Connections of TCP checks are counted too.
"""

from __future__ import annotations

import os
import select
import socket
import sys

BODY = b"<h1>Test Page</h1>\n" + b"x" * 281
ANSWER = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\nConnection: close\r\n\r\n" % len(BODY) + BODY


def main() -> None:
    listener = socket.create_server(("0.0.0.0", int(sys.argv[1])), backlog=4096)
    listener.setblocking(False)
    epoll = select.epoll()
    epoll.register(listener, select.EPOLLIN)
    epoll.register(0, select.EPOLLIN)
    clients: dict[int, socket.socket] = {}
    accepted = 0
    print("ready", flush=True)  # noqa: T201  # its one way to speak
    while True:
        for descriptor, _ in epoll.poll():
            if descriptor == 0:
                if not os.read(0, 100):
                    return
                print(accepted, flush=True)  # noqa: T201  # see above
            elif descriptor == listener.fileno():
                for _ in range(256):
                    try:
                        client, _address = listener.accept()
                    except OSError:
                        break
                    accepted += 1
                    client.setblocking(False)
                    clients[client.fileno()] = client
                    epoll.register(client, select.EPOLLIN)
            else:
                client = clients.pop(descriptor)
                try:
                    if client.recv(4096):
                        client.send(ANSWER)
                except OSError:
                    pass
                client.close()


if __name__ == "__main__":
    main()
