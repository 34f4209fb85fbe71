"""Checks across directors and restarts: what the kernels' tables say, with all real processes."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import pytest

from heartbus.events import CheckerState, IpvsChanged, IpvsRepaired
from tests.lab.classic import DIRECTORS, VIP, ClassicCluster, ClassicDirector, full_name
from tests.lab.client import start_echo_server
from tests.lab.kernel import CHECKOUT
from tests.lab.network import Lab, wait_until
from tests.lab.observe import Observer
from tests.lab.running import ACTIVE, STANDBY, running

pytestmark = [pytest.mark.ipvs, pytest.mark.timeout(600)]

CHECKER = "heartbus-checker"
SUPERVISOR = "heartbus-up"
ECHO_PORT = 7
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

    def answers(self, name: str, address: str) -> bool:
        """Return whether a real server of the service that is checked through the VIP is there."""
        lines = self.directors[name].host.run(["ipvsadm", "-Sn"]).stdout.splitlines()
        return any(
            line.startswith(f"-a -t {VIP}:{ECHO_PORT} -r {address}:{ECHO_PORT} ") for line in lines
        )

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
        f'[[virtual_services]]\naddress = "{VIP}:{ECHO_PORT}"\nscheduler = "rr"\n'
        '[virtual_services.check]\ntype = "connect"\ninterval = 1\nconnect_timeout = 2\n'
        "through_vip = true\n"
    )
    for number, method in ((11, "gate"), (12, "gate"), (13, "masq")):
        text += (
            "[[virtual_services.real_servers]]\n"
            f'address = "192.168.7.{number}:{ECHO_PORT}"\nmethod = "{method}"\n'
        )
    config = cluster.lab.directory / "checking.toml"
    config.write_text(text)
    config.chmod(0o600)  # it has a secret
    return config


@pytest.fixture(scope="module")
def serving() -> Iterator[Serving]:
    with Lab() as lab:
        cluster = ClassicCluster(lab)
        cluster.start_real_servers()
        for server in cluster.web.values():
            start_echo_server(server.host, ECHO_PORT)
        with running(cluster, configuration(cluster)) as observers:
            yield Serving(cluster=cluster, observers=observers)


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


def test_a_real_server_without_the_vip_on_its_loopback_is_found_through_the_vip(
    serving: Serving,
) -> None:
    """Its own address answers, so that the web service keeps it; clients would reach nothing."""
    address, host = "192.168.7.11", serving.cluster.web["rs1"].host
    both = (ACTIVE, STANDBY)
    assert all(serving.answers(name, f"192.168.7.{n}") for name in both for n in (11, 12, 13))
    host.run(["ip", "address", "del", f"{VIP}/32", "dev", "lo"])
    try:
        wait_until(
            lambda: not any(serving.answers(name, address) for name in both),
            timeout_s=WAIT_MAX_S,
            what=f"{address} leaves the service that is checked through the VIP",
        )
        assert all(serving.has(name, address) for name in both)
        assert all(serving.answers(name, f"192.168.7.{n}") for name in both for n in (12, 13))
        state = serving.observers[ACTIVE].view.state(full_name(ACTIVE), CheckerState)
        assert state is not None
        (reason,) = (v.reason for v in state.verdicts if v.real_server == f"{address}:{ECHO_PORT}")
        assert reason.startswith(f"connect to {VIP}:{ECHO_PORT} through {address}: no answer")
    finally:
        host.run(["ip", "address", "add", f"{VIP}/32", "dev", "lo"])
    wait_until(
        lambda: all(serving.answers(name, address) for name in both),
        timeout_s=WAIT_MAX_S,
        what=f"{address} is back",
    )
