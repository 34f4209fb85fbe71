"""Serial links over real pseudo-terminals: traffic, noise, lines that are stuck, taken or gone."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import fcntl
import os
import resource
import sys
import termios
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest
import uvloop

from heartbus.model import SerialLink
from heartbus_membership import serial_links
from heartbus_membership.links import Received
from heartbus_membership.media import links_of
from heartbus_membership.serial_frames import Frame, encode
from heartbus_membership.serial_links import NOISE_FRAMES_MIN, SPEEDS, SerialLinks
from tests.membership.cables import Cable
from tests.membership.fakes import bench, cluster_of, until

DATAGRAM_BYTES = 100
TIOCGEXCL = 0x80045440  # asm-generic/ioctls.h


@dataclass
class Host:
    """The lines of one director and what came over them."""

    lines: SerialLinks
    heard: list[Received] = field(default_factory=list)

    def open(self) -> None:
        self.lines.open(lambda: self.heard.extend(self.lines.drain()))

    def datagrams(self) -> list[bytes]:
        return [received.datagram for received in self.heard]

    @property
    def problem(self) -> str | None:
        return self.lines.conditions()[0].problem


def host(*devices: Path, baud: int = 9600, hops: int = 3) -> Host:
    return Host(SerialLinks([SerialLink(device=str(d), baud=baud) for d in devices], hops=hops))


def datagram(number: int) -> bytes:
    return f"HB {number}".encode().ljust(DATAGRAM_BYTES, b"\0")


@pytest.fixture
async def cable(tmp_path: Path) -> AsyncIterator[Cable]:
    made = Cable(tmp_path / "ttyA", tmp_path / "ttyB")
    made.open()
    yield made
    made.close()


@contextlib.contextmanager
def opened(*hosts: Host) -> Iterator[None]:
    for one in hosts:
        one.open()
    try:
        yield
    finally:
        for one in hosts:
            one.lines.close()


@pytest.fixture
async def pair(cable: Cable) -> AsyncIterator[tuple[Host, Host]]:
    a, b = host(cable.a.device), host(cable.b.device)
    with opened(a, b):
        yield a, b


async def test_traffic_both_ways(cable: Cable, pair: tuple[Host, Host]) -> None:
    a, b = pair
    a.lines.send(datagram(1))
    b.lines.send(datagram(2))
    await until(lambda: bool(a.heard and b.heard))
    name = f"serial:{cable.b.device}"
    assert b.heard == [
        Received(datagram=datagram(1), link=name, source=str(cable.b.device), hops=3)
    ]
    assert a.datagrams() == [datagram(2)]
    assert [(c.name, c.usable, c.problem) for c in b.lines.conditions()] == [(name, True, None)]
    assert b.lines.dropped() == {}


@pytest.mark.parametrize("baud", SPEEDS)
async def test_the_line_is_set_raw_with_its_speed(cable: Cable, baud: int) -> None:
    with opened(host(cable.a.device, baud=baud)):
        iflag, oflag, cflag, lflag, *speeds, _ = termios.tcgetattr(cable.a.slave)
    assert (iflag, oflag, lflag) == (termios.IGNBRK, 0, 0)
    assert speeds == [SPEEDS[baud]] * 2
    unwanted = termios.PARENB | termios.CSTOPB | termios.CRTSCTS | termios.HUPCL
    assert cflag & (termios.CSIZE | unwanted) == termios.CS8
    assert cflag & termios.CLOCAL
    assert cflag & termios.CREAD


async def test_every_byte_gets_through(pair: tuple[Host, Host]) -> None:
    a, b = pair
    a.lines.send(bytes(range(256)) * 5)
    await until(lambda: bool(b.heard))
    assert b.datagrams() == [bytes(range(256)) * 5]


async def test_torn_frames_are_put_together(cable: Cable, pair: tuple[Host, Host]) -> None:
    a, b = pair
    held = bytearray()

    def keep(content: bytes) -> bytes:
        held.extend(content)
        return b""

    cable.carry = keep
    a.lines.send(datagram(1))
    await until(lambda: held.count(0) == 2)
    for position in range(len(held)):
        cable.inject(cable.b, bytes(held[position : position + 1]))
        await asyncio.sleep(0)
    await until(lambda: b.datagrams() == [datagram(1)])


async def test_noise_costs_the_frames_it_hits_and_no_more(
    cable: Cable, pair: tuple[Host, Host]
) -> None:
    a, b = pair
    cable.inject(cable.b, b"\xff\x7f\x55" * 40)
    a.lines.send(datagram(1))
    await until(lambda: b.datagrams() == [datagram(1)])
    assert b.lines.dropped()["line-noise"] == 1

    cable.carry = lambda content: content.replace(b"HB", b"HX")
    a.lines.send(datagram(2))
    await until(lambda: b.lines.dropped()["line-noise"] == 2)
    cable.carry = bytes
    a.lines.send(datagram(3))
    await until(lambda: b.datagrams() == [datagram(1), datagram(3)])


async def test_nothing_but_noise_is_a_problem_until_a_heartbeat_comes(
    cable: Cable, pair: tuple[Host, Host]
) -> None:
    a, b = pair
    cable.inject(cable.b, b"\x80\xfe\0" * NOISE_FRAMES_MIN)
    await until(lambda: b.problem == "only noise arrives; is the other end set to 9600 baud?")
    assert b.lines.conditions()[0].usable
    a.lines.send(datagram(1))
    await until(lambda: b.problem is None)


@pytest.mark.parametrize("noise", [b"\x55" * 4096, b"\x55\0" * 2048, bytes(4096)])
async def test_a_flood_of_garbage_takes_no_memory(
    cable: Cable, pair: tuple[Host, Host], noise: bytes
) -> None:
    a, b = pair
    before_kb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    sent = 0
    while sent < 12_000_000:
        sent += cable.inject(cable.b, noise)
        await asyncio.sleep(0)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before_kb < 4000
    assert b.heard == []
    a.lines.send(datagram(1))
    await until(lambda: b.datagrams() == [datagram(1)])


async def test_a_line_that_does_not_read_blocks_nobody_and_gets_the_newest_later(
    cable: Cable, pair: tuple[Host, Host]
) -> None:
    a, b = pair
    cable.stop_reading(cable.a)
    last = 3000
    for number in range(last + 1):  # more than the terminal holds
        a.lines.send(datagram(number))
    behind = a.lines.dropped()["line-behind"]
    assert behind > 100
    assert a.problem == "the line is behind: heartbeats are dropped"
    asyncio.get_running_loop().add_reader(cable.a.master, cable._carry, cable.a)
    await until(lambda: b.datagrams()[-1:] == [datagram(last)])
    assert len(b.heard) == last + 1 - behind
    assert b.lines.dropped()["line-noise"] == 0


async def test_little_is_handed_to_the_kernel_ahead_of_the_line(
    pair: tuple[Host, Host], monkeypatch: pytest.MonkeyPatch
) -> None:
    a, b = pair
    queued = [1000]  # a terminal has no queue of its own: this one drains at 9600 baud, all at once
    monkeypatch.setattr(serial_links, "_queued_bytes", lambda _fd: queued[0])
    for number in range(3):
        a.lines.send(datagram(number))
    queued[0] = 0
    waited_s = await until(lambda: bool(b.heard))
    assert waited_s > 0.7
    assert b.datagrams() == [datagram(2)]
    assert a.lines.dropped()["line-behind"] == 2


async def test_a_device_that_comes_back_begins_with_a_whole_frame(cable: Cable) -> None:
    a = host(cable.a.device)
    with opened(a):
        cable.stop_reading(cable.a)
        for number in range(3000):
            a.lines.send(datagram(number))
        cable.unplug(cable.a)
        await until(lambda: not a.lines.conditions()[0].usable)
        cable.plug(cable.a)
        cable.stop_reading(cable.a)
        await a.lines.repair()
        a.lines.send(datagram(1))
        assert os.read(cable.a.master, 4096) == encode(Frame(datagram=datagram(1), hops=3))


async def test_of_each_director_one_heartbeat_waits(cable: Cable) -> None:
    a, b = host(cable.a.device), host(cable.b.device)
    with opened(a, b):
        cable.stop_reading(cable.a)
        for number in range(3000):
            for origin in ("x", "y"):
                a.lines.relay(
                    origin.encode() + datagram(number), origin=origin, heard_on="other", hops=2
                )
        asyncio.get_running_loop().add_reader(cable.a.master, cable._carry, cable.a)
        wanted = {b"x" + datagram(2999), b"y" + datagram(2999)}
        await until(lambda: set(b.datagrams()[-2:]) == wanted)
        assert {received.hops for received in b.heard} == {2}


async def test_what_is_passed_on_does_not_go_back_where_it_came_from(
    cable: Cable, tmp_path: Path
) -> None:
    other = Cable(tmp_path / "ttyC", tmp_path / "ttyD")
    other.open()
    middle = host(cable.b.device, other.a.device)
    left, right = host(cable.a.device), host(other.b.device)
    with contextlib.closing(other), opened(middle, left, right):
        name = f"serial:{cable.b.device}"
        middle.lines.relay(datagram(1), origin="a", heard_on=name, hops=2)
        await until(lambda: [r.hops for r in right.heard] == [2])
        middle.lines.send(datagram(2))
        await until(lambda: bool(left.heard) and len(right.heard) == 2)
        assert left.datagrams() == [datagram(2)]


def test_lines_run_on_uvloop_as_well(tmp_path: Path) -> None:
    """Services do, and it has its own way with devices that hang up."""
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(test_a_device_that_is_absent_comes_goes_and_comes_back(tmp_path))


async def test_a_device_that_is_absent_comes_goes_and_comes_back(tmp_path: Path) -> None:
    cable = Cable(tmp_path / "ttyA", tmp_path / "ttyB")
    a, b = host(cable.a.device), host(cable.b.device)
    with contextlib.closing(cable), opened(a, b):
        absent = f"{cable.a.device}: No such file or directory"
        assert a.problem == absent
        assert not a.lines.conditions()[0].usable
        a.lines.send(datagram(0))  # goes nowhere, and not later either
        for number in (1, 2):
            cable.open()
            await a.lines.repair()
            await b.lines.repair()
            assert a.problem is None is b.problem
            a.lines.send(datagram(number))
            b.lines.send(datagram(number))
            await until(lambda n=number: a.datagrams()[-1:] == b.datagrams()[-1:] == [datagram(n)])
            cable.close()
            await until(lambda: a.problem is not None and b.problem is not None)
            assert a.problem in (
                f"{cable.a.device}: Input/output error",
                f"{cable.a.device}: hung up",
            )
            a.lines.send(datagram(9))
            await a.lines.repair()
            assert a.problem == absent
    assert a.datagrams() == [datagram(1), datagram(2)]


async def test_a_device_that_is_taken_is_a_problem_until_it_is_free(cable: Cable) -> None:
    first, second = host(cable.a.device), host(cable.a.device)
    with opened(first):
        second.open()
        taken = f"{cable.a.device}: Device or resource busy; another program uses it"
        assert second.problem == taken
        await second.lines.repair()
        assert second.problem == taken
    await second.lines.repair()
    assert second.problem is None
    second.lines.close()


async def test_others_cannot_open_our_device(cable: Cable) -> None:
    with opened(host(cable.a.device)):
        answer = fcntl.ioctl(cable.a.slave, TIOCGEXCL, bytes(4))
        assert int.from_bytes(answer, sys.byteorder) == 1


@pytest.mark.parametrize(
    ("content", "words"),
    [(b"", "Inappropriate ioctl for device; it is no serial device"), (None, "Is a directory")],
)
async def test_what_is_no_serial_device_is_a_problem(
    tmp_path: Path, content: bytes | None, words: str
) -> None:
    device = tmp_path / "file"
    if content is None:
        device.mkdir()
    else:
        device.write_bytes(content)
    one = host(device)
    with opened(one):
        assert one.problem == f"{device}: {words}"


async def test_a_chain_of_three_directors_over_nothing_but_lines(tmp_path: Path) -> None:
    """b is in the middle: a and c hear each other through it, and it does not hear itself."""
    left = Cable(tmp_path / "ttyA", tmp_path / "ttyB")
    right = Cable(tmp_path / "ttyC", tmp_path / "ttyD")
    left.open()
    right.open()
    devices = {
        "a": [left.a.device],
        "b": [left.b.device, right.a.device],
        "c": [right.b.device],
    }
    async with bench(tmp_path) as table:
        for name, paths in devices.items():
            cluster = cluster_of("a", "b", "c")
            links = tuple(SerialLink(device=str(path), baud=115200) for path in paths)
            membership = dataclasses.replace(cluster.membership, links=links)
            cluster = dataclasses.replace(cluster, membership=membership)
            table.start(name, cluster, links=links_of(cluster))

        def heard() -> dict[str, list[str]]:
            states = {one.name: one.service.snapshot() for one in table.directors}
            return {name: ["".join(x.heard) for x in state.links] for name, state in states.items()}

        await until(lambda: heard() == {"a": ["bc"], "b": ["a", "c"], "c": ["ab"]})
        right.is_cut = True
        await until(lambda: heard() == {"a": ["b"], "b": ["a", ""], "c": [""]})
    left.close()
    right.close()


async def test_the_last_words_are_out_when_the_line_is_closed(cable: Cable) -> None:
    a, b = host(cable.a.device), host(cable.b.device)
    with opened(b):
        with opened(a):
            for number in range(3):
                a.lines.send(datagram(number))
        await until(lambda: b.datagrams() == [datagram(0), datagram(1), datagram(2)])


async def test_a_line_that_is_stuck_holds_up_the_end_for_half_a_second(cable: Cable) -> None:
    a = host(cable.a.device)
    loop = asyncio.get_running_loop()
    with opened(a):
        cable.stop_reading(cable.a)
        for number in range(3000):
            a.lines.send(datagram(number))
        begun_s = loop.time()
    assert 0.4 < loop.time() - begun_s < 2.0
