"""Who has stolen the key of an observer: asks all it can, and reads nothing.

python -m tests.system.thief SEED
"""

from __future__ import annotations

import asyncio
import sys

import nats


async def main(seed: str) -> None:
    """Flood until killed."""

    async def ignore(_error: Exception) -> None:
        pass

    clients = [
        await nats.connect(
            "nats://127.0.0.1:4222",
            name="thief",
            nkeys_seed_str=seed,
            inbox_prefix="_INBOX.observer",
            error_cb=ignore,
            allow_reconnect=True,
            max_reconnect_attempts=-1,
            reconnect_time_wait=0.1,
        )
        for _ in range(4)
    ]
    for client in clients[:2]:  # these never read
        await client.subscribe(">")
        await client.subscribe("state.>")
        client._transport._io_writer.transport.pause_reading()
    print("flooding", flush=True)  # noqa: T201
    while True:
        for client in clients[2:]:
            for service in ("recorder", "membership", "vip"):
                try:
                    await client.publish(f"query.one.{service}.events", b"x" * 10_000)
                    await client.publish(f"command.one.{service}.state", b"x" * 10_000)
                except Exception:
                    await asyncio.sleep(0.01)
        await asyncio.sleep(0)


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1]))
