"""Checks across directors and restarts: what the kernels' tables say, with all real processes."""

from __future__ import annotations

import json
import os
import signal
import time
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from heartbus.events import CheckerState, IpvsChanged, IpvsRepaired, ServiceStarted
from tests.lab.classic import (
    DIRECTORS,
    HEARTBUS,
    VIP,
    ClassicCluster,
    ClassicDirector,
    full_name,
)
from tests.lab.client import start_speaker
from tests.lab.kernel import CHECKOUT
from tests.lab.network import Host, Lab, wait_until
from tests.lab.observe import Observer
from tests.lab.running import ACTIVE, STANDBY, running

pytestmark = [pytest.mark.ipvs, pytest.mark.timeout(600)]

CHECKER = "heartbus-checker"
AGENT_COMMAND = "heartbus-ipvs-agent"
AGENT = "ipvs-agent"
SUPERVISOR = "heartbus-up"
PORT = 8080
"""Of the services that are checked through the VIP; each server says something there."""
VIP6 = "2001:db8:7::110"
PREFIX6 = "2001:db8:7::"
METHODS = {11: "gate", 12: "ipip", 13: "masq"}
HELD = '{ address = "192.168.7.110/24", broadcast = "192.168.7.255" },'
WAIT_MAX_S = 60.0
WATCHED_S = 6.0
"""Several intervals, and what a checker needs to come back."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Serving:
    """Both directors up, all real servers in both tables."""

    cluster: ClassicCluster
    observers: dict[str, Observer]

    @property
    def directors(self) -> dict[str, ClassicDirector]:
        return self.cluster.directors

    def entries(self, name: str) -> list[str]:
        """Return the real servers of the kernel's table, with weights."""
        lines = self.directors[name].host.run(["ipvsadm", "-Sn"]).stdout.splitlines()
        return sorted(line for line in lines if line.startswith(f"-a -t {VIP}:80 "))

    def through(self, name: str) -> dict[str, set[int]]:
        """Return by number which servers are there of what is checked through each VIP."""
        lines = self.directors[name].host.run(["ipvsadm", "-Sn"]).stdout.splitlines()
        return {
            vip: {
                number
                for number in METHODS
                for line in lines
                if line.startswith(f"-a -t {vip}:{PORT} -r {server.format(number)}:{PORT} ")
            }
            for vip, server in ((VIP, "192.168.7.{}"), (f"[{VIP6}]", f"[{PREFIX6}{{}}]"))
        }

    def reason(self, name: str, real_server: str) -> str:
        """Return why the checker of a director says what it says."""
        state = self.observers[name].view.state(full_name(name), CheckerState)
        assert state is not None
        (verdict,) = (v for v in state.verdicts if v.real_server == real_server)
        return verdict.reason

    def has(self, name: str, address: str) -> bool:
        return any(f"-r {address}:" in entry for entry in self.entries(name))

    def wait_until_in(self, address: str, *, of: tuple[str, ...], there: bool) -> None:
        wait_until(
            lambda: all(self.has(name, address) is there for name in of),
            timeout_s=WAIT_MAX_S,
            what=f"{address} is {'in' if there else 'out of'} the table of {', '.join(of)}",
        )


def configuration(cluster: ClassicCluster) -> Path:
    """One web service; down is what more than half say."""
    text = (CHECKOUT / "examples" / "heartbus.toml").read_text()
    text = text[: text.index("[[virtual_services]]")].replace('timers = "classic"', "")
    assert HELD in text
    text = text.replace(HELD, f'{HELD}\n  {{ address = "{VIP6}/64" }},')
    for name, (_lan, heartbeat) in DIRECTORS.items():  # the bus does not go the way of the checks
        text = text.replace(
            f'[[directors]]\nname = "{full_name(name)}"',
            f'[[directors]]\nname = "{full_name(name)}"\naddress = "{heartbeat}"',
        )
    servers = "".join(
        f'[[virtual_services.real_servers]]\naddress = "192.168.7.{n}:80"\n' for n in (11, 12, 13)
    )
    text += (
        '[checks]\ndecided_by = "majority"\n'
        f'[[virtual_services]]\naddress = "{VIP}:80"\nscheduler = "rr"\n'
        '[virtual_services.check]\nservice = "http"\nrequest = "/"\ninterval = 1\n'
        f"negotiate_timeout = 2\nfall = 2\n{servers}"
    )
    for vip, server in ((VIP, "192.168.7.{}"), (f"[{VIP6}]", f"[{PREFIX6}{{}}]")):
        text += (
            f'[[virtual_services]]\naddress = "{vip}:{PORT}"\nscheduler = "rr"\n'
            '[virtual_services.check]\ntype = "connect"\ninterval = 1\nconnect_timeout = 2\n'
            "through_vip = true\n"
        )
        for number, method in METHODS.items():
            text += (
                "[[virtual_services.real_servers]]\n"
                f'address = "{server.format(number)}:{PORT}"\nmethod = "{method}"\n'
            )
    config = cluster.lab.directory / "checking.toml"
    config.write_text(text)
    config.chmod(0o600)  # it has a secret
    return config


@pytest.fixture(scope="module")
def serving() -> Iterator[Serving]:
    with Lab() as lab:
        cluster = ClassicCluster(lab)
        for name, (lan, _heartbeat) in DIRECTORS.items():
            own = lan.rpartition(".")[2]
            cluster.directors[name].host.ip(f"addr add {PREFIX6}{own}/64 dev eth0 nodad")
        cluster.start_real_servers()
        for (number, method), server in zip(METHODS.items(), cluster.web.values(), strict=True):
            server.host.ip(f"addr add {PREFIX6}{number}/64 dev eth0 nodad")
            if method != "masq":
                set_up(server.host, method)
            start_speaker(server.host, PORT, server.host.name)
        with running(cluster, configuration(cluster)) as observers:
            yield Serving(cluster=cluster, observers=observers)


def set_up(host: Host, method: str) -> None:
    """Let a real server serve both addresses, as its administrator does it."""
    words: list[str | Path] = [HEARTBUS, "realserver", "setup", f"--{method}", VIP]
    words += [f"--{method}", VIP6, "--runtime-dir", host.directory / "run"]
    host.run(words)


def pid_of(director: ClassicDirector, command: str) -> int | None:
    pids = director.pids(command)
    assert len(pids) <= 1, f"{command} runs {len(pids)} times"
    return pids[0] if pids else None


def test_a_checker_killed_in_mid_round_changes_nothing_in_the_table(serving: Serving) -> None:
    """One server is silent, so that a check of it is always under way, and one was refused."""
    serving.cluster.web["rs1"].stop()
    serving.wait_until_in("192.168.7.11", of=(ACTIVE, STANDBY), there=False)
    web2 = serving.cluster.web["rs2"].host
    web2.pause()
    serving.wait_until_in("192.168.7.12", of=(ACTIVE, STANDBY), there=False)
    try:
        before = {name: serving.entries(name) for name in (ACTIVE, STANDBY)}
        heard = {name: len(o.events) for name, o in serving.observers.items()}
        for name in (ACTIVE, STANDBY):  # on both at once: no peer knows better
            killed = pid_of(serving.directors[name], CHECKER)
            assert killed is not None
            os.kill(killed, signal.SIGKILL)
        ends_s = time.monotonic() + WATCHED_S
        while time.monotonic() < ends_s:
            for name, entries in before.items():
                assert serving.entries(name) == entries
            time.sleep(0.1)  # the sampling period, bounded by WATCHED_S
        for name, observer in serving.observers.items():
            observer.wait_for(
                partial(_knows_all, observer, name),
                "the checker has decided again",
            )
            for event_class in (IpvsChanged, IpvsRepaired):
                assert observer.said(event_class, since=heard[name]) == []
            assert serving.entries(name) == before[name]
    finally:
        web2.resume()
        serving.cluster.web["rs1"].start()
    for address in ("192.168.7.11", "192.168.7.12"):
        serving.wait_until_in(address, of=(ACTIVE, STANDBY), there=True)


def _knows_all(observer: Observer, name: str) -> bool:
    state = observer.view.state(full_name(name), CheckerState)
    return state is not None and all(v.health != "unknown" for v in state.verdicts)


def test_a_director_whose_checker_is_silent_goes_by_the_other(serving: Serving) -> None:
    director = serving.directors[ACTIVE]
    paused = [pid_of(director, SUPERVISOR), pid_of(director, CHECKER)]
    for pid in paused:  # the supervisor too: it would replace a checker that hangs
        assert pid is not None
        os.kill(pid, signal.SIGSTOP)
    try:
        serving.cluster.web["rs3"].stop()
        serving.wait_until_in("192.168.7.13", of=(ACTIVE, STANDBY), there=False)
        serving.cluster.web["rs3"].start()
        serving.wait_until_in("192.168.7.13", of=(ACTIVE, STANDBY), there=True)
    finally:
        for pid in reversed(paused):
            assert pid is not None
            os.kill(pid, signal.SIGCONT)


def test_a_director_that_lost_its_way_to_the_servers_removes_nothing(serving: Serving) -> None:
    before = {name: serving.entries(name) for name in (ACTIVE, STANDBY)}
    observer = serving.observers[ACTIVE]
    way = serving.directors[STANDBY].host.links[0]
    way.cut()
    try:
        observer.wait_for(
            lambda: (
                (state := observer.view.state(full_name(STANDBY), CheckerState)) is not None
                and state.suspect is not None
            ),
            "the one that is cut off says that it is suspect",
        )
        assert {name: serving.entries(name) for name in before} == before
    finally:
        way.heal()
    observer.wait_for(
        lambda: (
            (state := observer.view.state(full_name(STANDBY), CheckerState)) is not None
            and state.suspect is None
            and all(v.health == "up" for v in state.verdicts)
        ),
        "it is believed again",
    )
    assert {name: serving.entries(name) for name in before} == before


def test_what_a_method_needs_on_a_real_server_is_seen_through_the_vip(serving: Serving) -> None:
    """Their own addresses answer, so that the web service keeps them; clients would reach nothing.

    Both families at once: gate without the VIP on the loopback, ipip with its tunnels down.
    """
    gate, ipip = (serving.cluster.web[name].host for name in ("rs1", "rs2"))
    both = (ACTIVE, STANDBY)
    every = set(METHODS)
    assert [serving.through(name) for name in both] == [{VIP: every, f"[{VIP6}]": every}] * 2
    gate.ip(f"addr del {VIP}/32 dev lo")
    gate.ip(f"addr del {VIP6}/128 dev lo")
    for tunnel in ("tunl0", "ip6tnl0"):
        ipip.ip(f"link set {tunnel} down")
    try:
        wait_until(
            lambda: all(serving.through(name) == {VIP: {13}, f"[{VIP6}]": {13}} for name in both),
            timeout_s=WAIT_MAX_S,
            what="gate and ipip servers leave the services that are checked through the VIP",
        )
        assert all(serving.has(name, f"192.168.7.{n}") for name in both for n in METHODS)
        for name in both:
            for vip, server in (
                (VIP, "192.168.7.11"),
                (VIP, "192.168.7.12"),
                (f"[{VIP6}]", f"{PREFIX6}11"),
                (f"[{VIP6}]", f"{PREFIX6}12"),
            ):
                shown = f"[{server}]" if ":" in server else server
                reason = serving.reason(name, f"{shown}:{PORT}")
                assert reason.startswith(f"connect to {vip}:{PORT} through {server}: "), reason
    finally:
        set_up(gate, "gate")
        set_up(ipip, "ipip")
    wait_until(
        lambda: [serving.through(name) for name in both] == [{VIP: every, f"[{VIP6}]": every}] * 2,
        timeout_s=WAIT_MAX_S,
        what="all of them are back",
    )


def test_maintenance_by_command_takes_a_server_out_on_every_director(serving: Serving) -> None:
    """Told on the standby; it outlives the agents, and status shows it, and who checks what."""
    address, standby = "192.168.7.12", serving.directors[STANDBY]
    both = (ACTIVE, STANDBY)
    full_names = sorted(map(full_name, both))
    said = standby.heartbus("maintenance", "on", address)
    try:
        for name in both:
            assert f"{full_name(name)}: {address} is in maintenance (2 entries)" in said
            assert not serving.has(name, address)
            assert serving.through(name)[VIP] == set(METHODS) - {12}
        observer = serving.observers[STANDBY]
        heard = len(observer.events)
        for name in both:
            killed = pid_of(serving.directors[name], AGENT_COMMAND)
            assert killed is not None
            os.kill(killed, signal.SIGKILL)
        observer.wait_for(lambda: _came_back(observer, heard) == set(map(full_name, both)), "both")
        for name in both:
            assert not serving.has(name, address)
        wait_until(
            lambda: checked_by(standby) == dict.fromkeys(map(full_name, both), full_names),
            timeout_s=WAIT_MAX_S,
            what="status on the standby shows, for both tables, that both directors check",
        )
    finally:
        standby.heartbus("maintenance", "off", address)
    serving.wait_until_in(address, of=both, there=True)


def checked_by(director: ClassicDirector) -> dict[str, list[str]]:
    """Return who checks the first web server, by the director whose table it is in."""
    # Its exit code says whether groups are held, which a busy machine may be late to tell.
    shown = director.host.run([HEARTBUS, "status", "--json"], check=False).stdout
    services = json.loads(shown)["virtual_services"] if shown else []
    tables: dict[str, Any] = next(
        (s["tables"] for s in services if s["name"] == f"tcp:{VIP}:80"), {}
    )
    return {node: sorted(entries[0]["checked_by"]) for node, entries in tables.items()}


def _came_back(observer: Observer, heard: int) -> set[str]:
    """Return where an agent has started since."""
    return {
        message.envelope.node
        for message in list(observer.events)[heard:]
        if isinstance(message.body, ServiceStarted) and message.envelope.service == AGENT
    }
