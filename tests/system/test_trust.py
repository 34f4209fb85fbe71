"""Whom directors believe: keys that change under way, floods from strangers, other files.

Real processes in network namespaces, without IPVS, watched from outside.
"""

from __future__ import annotations

import functools
import json
import random
import re
import signal
import socket
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final

import pytest

from heartbus import codec, subjects
from heartbus.config import load
from heartbus.config.digest import config_digest
from heartbus.events import (
    Event,
    GroupGranted,
    MembershipState,
    Message,
    NodeDead,
    NodeLate,
    NodeLeft,
    VipState,
)
from heartbus.model import Timers
from heartbus.observer import ClusterView
from tests.common.samples import sample_envelope
from tests.lab.network import Host, Lab, wait_until
from tests.lab.pairs import NAMES, HeartbusPair
from tests.system.fault import SLACK_S, Fault

pytestmark = [pytest.mark.netns, pytest.mark.timeout(120)]

HEARTBUS = Path(sys.prefix) / "bin" / "heartbus"
TIMERS = Timers(keepalive_s=0.075, warntime_s=0.6, deadtime_s=1.2, initdead_s=2.5)
"""Nobody is late because the machine is busy, and whoever is not believed is late soon."""

PORT: Final = 694
ROUND, ROUNDS_MAX = 6_000, 16
"""Datagrams of a flood: a starved machine may lose some, so rounds go on until enough were read."""

KEY_ONE = 'keys]]\nid = 1\nsecret = "a-secret-of-sixteen-or-more"\n'
KEY_TWO = 'keys]]\nid = 2\nsecret = "another-one-of-sixteen"\n'
SERVICE = (
    '[[virtual_services]]\naddress = "192.0.2.100:80"\n[virtual_services.check]\ntype = "off"\n'
    '[[virtual_services.real_servers]]\naddress = "192.0.2.11:80"\n'
)


@pytest.fixture(scope="module")
def pair() -> Iterator[HeartbusPair]:
    with Lab() as lab, HeartbusPair(lab, "t", timers=TIMERS, echo_period_s=0.01) as started:
        yield started


@pytest.fixture
def fault(pair: HeartbusPair) -> Iterator[Fault]:
    made = Fault(pair)
    yield made
    made.mend()


def state(pair: HeartbusPair, name: str) -> MembershipState | None:
    """Return the snapshot of a director's membership, heard on its own host."""
    return pair.observers[name].membership(name)


def happened(fault: Fault) -> list[object]:
    """Return what may not happen, as either bus told it."""
    bad: tuple[type[Event], ...] = (NodeLate, NodeDead, NodeLeft, GroupGranted)
    return [
        event
        for name, observer in fault.pair.observers.items()
        for kind in bad
        for event in observer.said(kind, since=fault.heard[name])
    ]


# --- keys ----------------------------------------------------------------------------------------


def reload(pair: HeartbusPair, name: str) -> None:
    """Tell a director to read its file anew; wait until its membership runs with it."""
    wanted = config_digest(load(str(pair.configs[name])).cluster)
    pair.processes[name].signal(signal.SIGHUP)
    pair.observers[name].wait_for(
        lambda: (s := state(pair, name)) is not None and s.config_digest == wanted,
        f"{name} runs with its new keys",
    )


def test_keys_change_in_three_steps_and_nobody_is_late(fault: Fault) -> None:
    pair = fault.pair
    first = pair.configs["one"].read_text()
    both = first.replace(KEY_ONE, KEY_ONE + "[[membership.authentication." + KEY_TWO)
    second_signs = both.replace("signing_key = 1", "signing_key = 2")
    only_second = second_signs.replace("[[membership.authentication." + KEY_ONE, "")
    dropped = {name: dict(s.dropped) for name in NAMES if (s := state(pair, name))}
    for text in (both, second_signs, only_second):
        for name in NAMES:
            pair.configs[name].write_text(text)
            reload(pair, name)
            fault.stays(
                for_s=1.5 * TIMERS.warntime_s
            )  # with one director a step ahead of the other
    assert happened(fault) == []
    for name in NAMES:
        now = state(pair, name)
        assert now is not None
        assert now.dropped == dropped[name], "a heartbeat was not believed"
        assert now.config_differences == ()

    # A membership that dies comes back with the new key, which is the only one that is believed.
    pair.signal_all(fault.standby, signal.SIGKILL, "heartbus-member")
    since = len(pair.observers[fault.active].events)
    wait_until(lambda: bool(pair.pids(fault.standby, "heartbus-member")), timeout_s=5.0, what="it")
    fault.settles_on(fault.active)
    assert not pair.observers[fault.active].said(NodeDead, since=since)
    assert "unknown-key" not in getattr(state(pair, fault.active), "dropped", {})
    buses_meet(pair)


def buses_meet(pair: HeartbusPair) -> None:
    """Wait until each bus brings fresh news of the other director: the routes use the key too."""
    begun_s = time.monotonic()
    for name in NAMES:
        view, other = pair.observers[name].view, pair.other(name)

        def is_fresh(view: ClusterView = view, other: str = other) -> bool:
            now_s = time.monotonic()
            age_s = view.age_s(other, MembershipState, now_s=now_s)
            return age_s is not None and age_s < now_s - begun_s

        pair.observers[name].wait_for(is_fresh, f"the bus of {name} brings news of {other}")


def test_a_file_that_cannot_be_used_changes_nothing(fault: Fault) -> None:
    config, process = fault.pair.configs[fault.active], fault.pair.processes[fault.active]
    text = config.read_text()
    config.write_text(re.sub("signing_key = .", "signing_key = 7", text))
    line = text[: text.index("signing_key")].count("\n") + 1
    process.signal(signal.SIGHUP)
    wait_until(
        lambda: any(
            f"{config}:{line}: membership.authentication.signing_key" in said
            for said in process.output().splitlines()
            if "reload.rejected" in said
        ),
        timeout_s=5.0,
        what="it says file and line",
    )
    fault.stays(for_s=TIMERS.deadtime_s)
    assert happened(fault) == []
    config.write_text(text)


# --- strangers -----------------------------------------------------------------------------------


def test_a_flood_of_any_datagrams_is_counted_and_changes_nothing(fault: Fault) -> None:
    pair = fault.pair
    stranger = pair.witness.link.host
    recorded = stranger.call(functools.partial(_record, 40))
    before = {name: s for name in NAMES if (s := state(pair, name))}
    counted = {name: sum(s.dropped.values()) for name, s in before.items()}
    lost = {name: kernel_drops(host) for name, host in pair.hosts.items()}
    said = {name: len(dropped_lines(pair, name)) for name in NAMES}
    begun_s = time.monotonic()

    sent, own, rng = 0, Counter[str](), random.Random(7)
    for _ in range(ROUNDS_MAX):
        more, of_these_own = stranger.call(functools.partial(_flood, recorded, rng))
        sent, own = sent + more, own + of_these_own
        for name in NAMES:
            # What a director has sent itself comes back from every network: it is passed over.
            expected = sent - own[name] + counted[name]

            def counts_all(name: str = name, expected: int = expected) -> bool:
                now = state(pair, name)
                unread = kernel_drops(pair.hosts[name]) - lost[name]
                return now is not None and sum(now.dropped.values()) + unread >= expected

            pair.observers[name].wait_for(counts_all, f"{name} has counted what came")
        if min(new_ones(pair, name) - counted[name] for name in NAMES) >= 20_000:
            break
    took_s = time.monotonic() - begun_s
    for name in NAMES:
        now = state(pair, name)
        assert now is not None
        assert 20_000 <= new_ones(pair, name) - counted[name] <= sent - own[name]
        assert {"alien", "version", "unknown-key", "forged", "malformed", "replayed"} <= set(
            now.dropped
        )
        # At most one line for each reason in ten seconds, whatever comes.
        lines = len(dropped_lines(pair, name)) - said[name]
        assert 1 <= lines <= len(now.dropped) * (1 + took_s / 10.0)
        assert now.groups[0].epoch == before[name].groups[0].epoch
        assert now.groups[0].holder == before[name].groups[0].holder
    fault.stays(for_s=1.0)
    assert happened(fault) == []


def new_ones(pair: HeartbusPair, name: str) -> int:
    """Return how many datagrams a director has not believed since its start."""
    now = state(pair, name)
    return sum(now.dropped.values()) if now is not None else 0


def dropped_lines(pair: HeartbusPair, name: str) -> list[str]:
    return re.findall(r"heartbeat\.dropped.*", pair.processes[name].output())


def kernel_drops(host: Host) -> int:
    """Return how many datagrams the kernel has thrown away for want of room, of port 694."""
    rows = host.call(Path("/proc/thread-self/net/udp").read_text).splitlines()[1:]
    return sum(
        int(words[-1]) for words in map(str.split, rows) if words[1].endswith(f":{PORT:04X}")
    )


def _broadcast() -> socket.socket:
    opened = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    opened.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)
    opened.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    opened.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, b"eth0")
    return opened


def _record(count: int) -> list[bytes]:
    """Return heartbeats as everybody on the network hears them."""
    with _broadcast() as ears:
        ears.bind(("", PORT))
        ears.settimeout(5.0)
        return [ears.recv(65536) for _ in range(count)]


def _flood(recorded: list[bytes], rng: random.Random) -> tuple[int, Counter[str]]:
    """Send datagrams of every kind that is not believed, to everybody.

    Return how many, and how many of these each director had sent itself.
    """

    def garbage() -> bytes:
        return rng.randbytes(rng.randrange(0, 1500))

    def huge() -> bytes:
        return rng.choice((b"", recorded[0][:3])) + rng.randbytes(rng.randrange(1500, 60_000))

    def begun() -> bytes:  # the head of a heartbeat, then anything
        whole = rng.choice(recorded)
        return whole[: rng.randrange(2, len(whole))] + garbage()

    def truncated() -> bytes:
        whole = rng.choice(recorded)
        return whole[: rng.randrange(len(whole))]

    def forged() -> bytes:
        changed = bytearray(rng.choice(recorded))
        changed[rng.randrange(len(changed))] ^= rng.randrange(1, 256)
        return bytes(changed)

    def replayed() -> bytes:
        again = rng.choice(recorded)
        own[again[34 : 34 + again[33]].decode()] += 1
        return again

    kinds: list[Callable[[], bytes]] = [garbage, begun, truncated, forged, replayed]
    sent, own = 0, Counter[str]()
    with _broadcast() as mouth:
        next_s = time.monotonic()
        while sent < ROUND:
            for _ in range(50):
                datagram = huge() if sent % 200 == 0 else rng.choice(kinds)()
                mouth.sendto(datagram, ("255.255.255.255", PORT))
                sent += 1
            next_s += 0.01  # five thousand a second: what a busy network could do by accident
            time.sleep(max(0.0, next_s - time.monotonic()))
    return sent, own


def test_garbage_on_the_bus_ends_no_process_and_changes_nothing(fault: Fault) -> None:
    """On every subject that the services listen to: no map, no message, half a message."""
    pair = fault.pair
    pids = {name: pair.pids(name) for name in NAMES}
    message = codec.encode(
        Message(envelope=sample_envelope("state.vip"), body=VipState(groups=(), stopping=True))
    )
    rubbish = (
        b"",
        b"\xc1",
        b"\x93\x01\x02\x03",
        b"\x80",
        message[:-3],
        message + b"\0",
        b"x" * 9000,
    )
    wanted = [
        subject
        for node in NAMES
        for service in ("membership", "vip", "checker")
        for subject in (
            subjects.state(node, service),
            *(subjects.command(node, service, verb) for verb in ("state", "standby", "takeover")),
        )
    ]
    for host in (pair.hosts[name] for name in NAMES):
        host.call(functools.partial(_publish, wanted, rubbish))
    fault.stays(for_s=TIMERS.deadtime_s)
    assert happened(fault) == []
    assert {name: pair.pids(name) for name in NAMES} == pids
    for name in NAMES:
        lines = [x for x in pair.processes[name].output().splitlines() if "bus.dropped" in x]
        assert {"membership", "vip"} <= {json.loads(line)["service"] for line in lines}


def _publish(wanted: list[str], rubbish: tuple[bytes, ...]) -> None:
    """Publish all of it on all subjects, and wait until the server has taken it."""
    with socket.create_connection(("127.0.0.1", 4222), timeout=5.0) as bus:
        bus.sendall(b'CONNECT {"verbose":false}\r\n')
        for subject in wanted:
            for payload in rubbish:
                bus.sendall(b"PUB %s %d\r\n%s\r\n" % (subject.encode(), len(payload), payload))
        bus.sendall(b"PING\r\n")
        heard = b""
        while b"PONG" not in heard:
            heard += bus.recv(4096)
            assert b"-ERR" not in heard, heard


# --- other files ---------------------------------------------------------------------------------


def alarms(pair: HeartbusPair, name: str) -> list[dict[str, Any]]:
    """Return the alarms as an administrator on this director sees them."""
    shown = pair.hosts[name].run([HEARTBUS, "status", "--json"], check=False)
    found: list[dict[str, Any]] = json.loads(shown.stdout)["alarms"]
    return found


def test_other_files_are_an_alarm_on_both_directors_and_no_reason_to_move(fault: Fault) -> None:
    pair, standby = fault.pair, fault.standby
    text = pair.configs[standby].read_text()
    pair.configs[standby].write_text(text + SERVICE)
    restart(pair, standby)
    for name in NAMES:
        pair.observers[name].wait_for(
            lambda: (s := state(pair, name)) is not None and bool(s.config_differences),  # noqa: B023
            f"{name} says that the other one runs with other files",
        )
    for name in NAMES:
        seen = {(a["seen_by"], a["director"], *a["differs"]) for a in alarms(pair, name)}
        what = "virtual services"
        assert seen == {("one", "two", what), ("two", "one", what)}
    text_shown = pair.hosts[standby].run([HEARTBUS, "status"], check=False).stdout
    assert "virtual services differ between" in " ".join(text_shown.split())
    active = pair.hosts[fault.active]
    refused = active.run([HEARTBUS, "standby", "--node", fault.active], check=False)
    assert refused.returncode == 1
    assert "its configuration differs from that of" in refused.stderr
    assert "(virtual services); --force moves it" in refused.stderr

    pair.configs[standby].write_text(text)
    restart(pair, standby)
    pair.observers[fault.active].wait_for(
        lambda: (s := state(pair, fault.active)) is not None and not s.config_differences,
        "they agree again",
    )
    fault.settles_on(fault.active)
    assert fault.moves() == []
    assert alarms(pair, standby) == []


def restart(pair: HeartbusPair, name: str) -> None:
    pair.terminate(name)
    assert pair.processes[name].wait(timeout_s=15.0 + SLACK_S) == 0
    pair.start(name)
