"""Stores and brokers."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from tests.common.ports import free_ports

from .launching import (
    LOGIN,
    PASSWORD,
    Package,
    RealServer,
    RealServers,
    give_away,
    launch,
    run,
)

MEMCACHED: Final = Package("memcached", "/usr/bin/memcached", "a memcached check asks a real one")
MOSQUITTO: Final = Package("mosquitto", "/usr/sbin/mosquitto", "an MQTT check asks a real broker")
REDIS: Final = Package("redis-tools", "/usr/bin/redis-check-rdb", "a Redis check asks a real one")


def start_redis(_servers: RealServers, server: RealServer) -> RealServer:
    root, environment = REDIS.unpacked()
    (server.ports["redis"],) = free_ports(1)
    words: list[str | Path] = [
        "redis-server",
        "--port",
        str(server.ports["redis"]),
        "--bind",
        "127.0.0.1",
    ]
    words += ["--save", "", "--dir", str(server.directory), "--requirepass", PASSWORD]
    # The server and its tools are one program, told apart by its name.
    (server.directory / "redis-server").symlink_to(root / "usr/bin/redis-check-rdb")
    return launch(server, [server.directory / "redis-server", *words[1:]], environment)


def start_memcached(_servers: RealServers, server: RealServer) -> RealServer:
    root, environment = MEMCACHED.unpacked()
    (server.ports["memcached"],) = free_ports(1)
    words: list[str | Path] = [
        root / "usr/bin/memcached",
        "-l",
        "127.0.0.1",
        "-p",
        str(server.ports["memcached"]),
    ]
    return launch(server, words, environment)


def start_mosquitto(_servers: RealServers, server: RealServer) -> RealServer:
    root, environment = MOSQUITTO.unpacked()
    (server.ports["mqtt"],) = free_ports(1)
    directory = server.directory
    give_away(server)
    words: list[str | Path] = [
        root / "usr/bin/mosquitto_passwd",
        "-b",
        "-c",
        directory / "users",
        LOGIN,
        PASSWORD,
    ]
    run(words, environment, cwd=directory)
    (directory / "conf").write_text(
        f"listener {server.ports['mqtt']} 127.0.0.1\nallow_anonymous false\n"
        f"password_file {directory}/users\n"
    )
    return launch(server, [root / "usr/sbin/mosquitto", "-c", directory / "conf"], environment)
