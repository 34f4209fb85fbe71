"""A nats-server with keys, configured as that of a director, and clients of each of its users."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, Final

import nats
from click.testing import CliRunner, Result

from heartbus import subjects
from heartbus.bus import NatsBus
from heartbus.bus_keys import Key
from heartbus.cli.__main__ import heartbus
from heartbus.config import load
from heartbus.model import Cluster
from heartbus.rights import PEOPLE, SERVICE_OF, Role
from tests.common.nats import NatsServer

NODE: Final = "lb-a"
PEER: Final = "lb-b.example"
WITNESS: Final = "judge"
TOML: Final = f"""
[[directors]]
name = "{NODE}"
address = "127.0.0.11"
[[directors]]
name = "{PEER}"
address = "127.0.0.12"
[[witnesses]]
name = "{WITNESS}"
address = "127.0.0.13"
[[membership.links]]
kind = "bcast"
interface = "lo"
[membership.authentication]
signing_key = 1
[[membership.authentication.keys]]
id = 1
secret = "a-secret-of-sixteen-or-more"
"""


class Director:
    """The files of one director below ``directory``: configuration, keys, nats-server.conf."""

    def __init__(self, directory: Path, node: str = NODE, *, toml: str = TOML) -> None:
        self.node = node
        self.directory = directory / node
        self.directory.mkdir()
        self.config = self.directory / "heartbus.toml"
        self.config.touch(mode=0o600)
        self.config.write_text(toml)
        self.keys = self.directory / "bus"
        self.conf = self.directory / "nats-server.conf"

    @property
    def cluster(self) -> Cluster:
        return load(str(self.config)).cluster

    def run(self, *words: str, configured: bool = True) -> Result:
        """Run ``heartbus bus ...`` for this director."""
        options = [f"--bus-keys={self.keys}"]
        if configured:
            options += [f"--config={self.config}", f"--node={self.node}"]
        return CliRunner().invoke(heartbus, ["bus", *words, *options])

    def init(self, *words: str) -> Result:
        done = self.run("init", *words)
        assert done.exit_code == 0, done.output
        return done

    def write(self) -> Result:
        done = self.run("config", f"--output={self.conf}")
        assert done.exit_code == 0, done.output
        return done

    def user_of(self, role: Role) -> str:
        return role.value if role in PEOPLE else SERVICE_OF[role]

    def seed(self, user: str) -> str:
        return (self.keys / user / "seed").read_text().strip()

    def bus(self, url: str, role: Role, *, name: str = "test") -> NatsBus:
        """Return a bus client as a service of this director, or somebody on it, has one."""
        user = self.user_of(role)
        return NatsBus(
            url=url,
            node="observer" if role in PEOPLE else self.node,
            service=name if role in PEOPLE else user,
            incarnation=time.time_ns(),
            key=Key(self.keys, user),
        )


def secured(directory: Path, node: str = NODE) -> tuple[Director, NatsServer]:
    """Return a director with keys and its nats-server, which is not started yet."""
    director = Director(directory, node)
    director.init()
    director.write()
    return director, NatsServer(director.directory, config=director.conf)


@contextlib.asynccontextmanager
async def running(bus: NatsBus) -> AsyncIterator[NatsBus]:
    """Run a bus client; it is connected."""
    connected = asyncio.Event()
    bus.on_connection(lambda there: connected.set() if there else connected.clear())
    task = asyncio.create_task(bus.run())
    try:
        async with asyncio.timeout(15):
            await connected.wait()
        yield bus
    finally:
        task.cancel()
        await asyncio.wait({task})


class Plain:
    """A client of nats-py with the key of one user, which does what ours never would."""

    def __init__(self, client: Any, denied: list[str]) -> None:
        self.client = client
        self._denied = denied
        """What the server refused, in its words, which are in lower case."""

    async def refusals(self) -> list[str]:
        """Return what was refused of all that was sent until now."""
        # The server answers in order; nats-py's first ping overtakes what waits to be written.
        await self.client.flush(timeout=10)
        await self.client.flush(timeout=10)
        return list(self._denied)

    async def may_publish(self, subject: str, payload: bytes = b"") -> bool:
        await self.client.publish(subject, payload)
        wanted = f'publish to "{subject.lower()}"'
        return not any(wanted in said for said in await self.refusals())

    async def may_subscribe(self, subject: str) -> bool:
        await self.client.subscribe(subject)
        wanted = f'subscription to "{subject.lower()}"'
        return not any(wanted in said for said in await self.refusals())


@contextlib.asynccontextmanager
async def plain(url: str, director: Director, user: str) -> AsyncIterator[Plain]:
    denied: list[str] = []

    async def on_error(error: Exception) -> None:
        denied.append(str(error).lower())

    place = user if user.partition("-")[0] in PEOPLE else (
        f"{subjects.node_token(director.node)}.{user}"
    )  # fmt: skip
    client = await nats.connect(
        url,
        nkeys_seed_str=director.seed(user),
        inbox_prefix=f"_INBOX.{place}",
        error_cb=on_error,
        allow_reconnect=False,
    )
    try:
        yield Plain(client, denied)
    finally:
        with contextlib.suppress(Exception):
            await client.close()
