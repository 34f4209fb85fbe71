"""Directors whose bus has keys and certificates: everything works, and what is bad moves no VIP.

Real processes in network namespaces; the IPVS table is in memory. A witness votes.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import ssl
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from heartbus.bus_certificates import Pair as Certificate
from heartbus.bus_certificates import make_ca, make_certificate
from heartbus.bus_keys import new_seed, write_file
from heartbus.events import GroupGranted, IpvsOverrides, IpvsState, MembershipState, Message
from heartbus.model import Director
from tests.lab.network import Lab, Process, wait_until
from tests.lab.pairs import NAMES, VIP, VOTER, HeartbusPair
from tests.system.fault import Fault

pytestmark = [pytest.mark.netns, pytest.mark.timeout(180)]

ALL = (*NAMES, VOTER)
SERVER = "192.0.2.8"
SERVICE = f"""
[[virtual_services]]
address = "{VIP}:80"
check = {{ type = "connect", connect_timeout = 1 }}
real_servers = [{{ address = "{SERVER}:9" }}]
"""
INLINE = 'secret = "a-secret-of-sixteen-or-more"'
REFUSED = ("Publish Violation", "Subscription Violation")
"""What nats-server says of a user that does what it may not."""

DEADTIME_S = 0.3


class Secured:
    """The pair, and an agent on each director."""

    def __init__(self, pair: HeartbusPair) -> None:
        self.pair = pair
        self.agents: dict[str, Process] = {}
        for name in NAMES:
            host = pair.hosts[name]
            self.agents[name] = host.start(
                [
                    *(sys.executable, "-m", "tests.lab.agent"),
                    f"--config={pair.configs[name]}",
                    f"--node={name}",
                    f"--runtime-dir={host.directory / 'run'}",
                    f"--state-dir={host.directory / 'state'}",
                    f"--bus-keys={pair.keys[name]}",
                ]
            )

    def violations(self) -> list[str]:
        """Return what any nats-server has refused."""
        return [
            line
            for process in (*self.pair.processes.values(), *self.agents.values())
            for line in process.output().splitlines()
            if any(words in line for words in REFUSED)
        ]


@pytest.fixture(scope="module")
def secured() -> Iterator[Secured]:
    with Lab() as lab:
        pair = HeartbusPair(
            lab, "k", echo_period_s=0.01, voter=True, sections=SERVICE, secured=True
        )
        with pair:
            made = Secured(pair)
            wait_until(
                lambda: (
                    any(agent.returncode is not None for agent in made.agents.values())
                    or all("service.ready" in agent.output() for agent in made.agents.values())
                ),
                timeout_s=30.0,
                what="both agents run",
            )
            for agent in made.agents.values():
                assert agent.returncode is None, agent.output()
            pair.observers["one"].wait_for(
                lambda: all(
                    pair.observers["one"].view.state(n, IpvsState) is not None for n in NAMES
                ),
                "both agents are heard on the bus of one",
            )
            yield made


@pytest.fixture
def fault(secured: Secured) -> Iterator[Fault]:
    made = Fault(secured.pair)
    yield made
    made.mend()


# --- everything works ----------------------------------------------------------------------------


def test_a_director_that_is_cut_off_is_taken_over_from_and_the_story_is_told(
    fault: Fault,
) -> None:
    pair = fault.pair
    pair.links[fault.active].cut()
    fault.wait_until_held_by(fault.standby, within_s=15.0)
    pair.links[fault.active].heal()
    fault.settles_on(fault.standby)
    answer: dict[str, Any] = {}

    def told() -> bool:
        done = pair.heartbus(fault.standby, "why", "vip", "vip", "--json", check=False)
        answer.update(json.loads(done.stdout))
        return "node.dead" in [step["kind"] for step in answer["steps"]]

    wait_until(told, timeout_s=20.0, what="why knows of the death")
    assert answer["known"]


def test_an_operator_moves_the_groups_of_another_director(fault: Fault) -> None:
    pair = fault.pair
    done = pair.heartbus(fault.standby, "standby", f"--node={fault.active}", "--json")
    assert json.loads(done.stdout)["holders"] == {"vip": fault.standby}
    fault.settles_on(fault.standby)
    pair.heartbus(fault.standby, "takeover", f"--node={fault.active}")
    fault.settles_on(fault.active)


def test_an_operator_drains_a_real_server_on_all_directors(fault: Fault) -> None:
    pair = fault.pair
    said = pair.heartbus("two", "drain", SERVER).stdout
    for name in NAMES:
        assert f"{name}: {SERVER} is given no new connections" in said
        pair.observers[name].wait_for(
            lambda name=name: (  # type: ignore[misc]
                {m.envelope.node for m in _of_drain(pair, name)} == set(NAMES)
            ),
            "both agents told of it, on the bus of both",
        )
    pair.heartbus("one", "enable", SERVER)


def _of_drain(pair: HeartbusPair, name: str) -> list[Message]:
    return [
        m
        for m in list(pair.observers[name].events)
        if isinstance(m.body, IpvsOverrides) and SERVER in [o.server for o in m.body.overrides]
    ]


def test_an_operator_pushes_a_configuration_to_all(fault: Fault, tmp_path: Path) -> None:
    pair = fault.pair
    key = pair.configs["one"].with_name("push-key")
    write_file(key, "a-secret-of-sixteen-or-more", mode=0o600)
    text = pair.configs["one"].read_text().replace(INLINE, f'secret_file = "{key}"')
    new = tmp_path / "new.toml"
    new.write_text(text.replace(f"{SERVER}:9", f"{SERVER}:7"))
    done = pair.heartbus(
        "one", "config", "push", new, f"--config={pair.configs['one']}", check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    for name in ALL:
        assert f"{SERVER}:7" in pair.configs[name].read_text()
    fault.stays(for_s=0.1)


def test_a_reload_and_the_looks_of_an_observer(fault: Fault) -> None:
    pair = fault.pair
    pair.heartbus("one", "reload", f"--node={fault.standby}")
    shown = json.loads(pair.heartbus("two", "status", "--json", check=False).stdout)
    assert shown["groups"][0]["holder"] == fault.active
    assert pair.heartbus("two", "history", "--json").stdout
    fault.stays(for_s=0.1)


# --- what is bad ---------------------------------------------------------------------------------


def test_keys_are_changed_on_a_director_that_holds_the_vip(fault: Fault) -> None:
    pair = fault.pair
    name = fault.active
    keys = [f"--bus-keys={pair.keys[name]}"]
    supervisor = pair.pids(name, "heartbus-up")[0]
    before = {u: (pair.keys[name] / u / "seed").read_text() for u in ("vip", "membership")}
    since = len(pair.processes[name].output())

    def reload() -> None:
        seen = pair.processes[name].output().count("Reloaded server configuration")
        os.kill(supervisor, signal.SIGHUP)
        wait_until(
            lambda: pair.processes[name].output().count("Reloaded server configuration") > seen,
            timeout_s=20.0,
            what="nats-server has read its keys",
        )

    pair.heartbus(name, "bus", "rotate", "begin", *keys)
    reload()
    pair.heartbus(name, "bus", "rotate", "switch", *keys)
    wait_until(
        lambda: pair.processes[name].output()[since:].count('"event": "bus.key_changed"') >= 4,
        timeout_s=20.0,
        what="all services use their new keys",
    )
    pair.heartbus(name, "bus", "rotate", "end", *keys)
    reload()
    assert all((pair.keys[name] / u / "seed").read_text() != seed for u, seed in before.items())
    fault.stays(for_s=1.0)
    assert '"bus.disconnected"' not in pair.processes[name].output()[since:]


def test_without_usable_credentials_a_director_goes_on_alone(fault: Fault) -> None:
    """Every seed of the active director replaced by a stranger's, and all its services restarted
    but for those that hold the VIP; then they get no bus, and nothing moves."""
    pair = fault.pair
    name = fault.active
    seeds = {file: file.read_text() for file in pair.keys[name].glob("*/seed")}
    for file in seeds:
        write_file(file, new_seed() + "\n", mode=0o400)
    since = len(pair.processes[name].output())
    server = pair.pids(name, "nats-server")
    for pid in server:  # it comes back, and knows none of them
        os.kill(pid, signal.SIGKILL)
    wait_until(
        lambda: pair.processes[name].output()[since:].count('"bus.refused"') >= 4,
        timeout_s=20.0,
        what="all are refused",
    )
    fault.stays(for_s=2.0)
    for file, seed in seeds.items():
        write_file(file, seed, mode=0o400)
    pair.observers[name].wait_for(
        lambda: (
            (state := pair.observers[name].membership(name)) is not None
            and (
                pair.observers[name].view.age_s(name, MembershipState, now_s=time.monotonic()) or 9
            )
            < 2.0
            and state.settled
        ),
        "it is on the bus again",
    )
    fault.stays(for_s=0.1)


def test_an_expired_certificate_parts_the_buses_and_moves_no_vip(fault: Fault) -> None:
    pair = fault.pair
    name = fault.active
    route = pair.keys[name] / "route"
    good = {file: file.read_text() for file in route.iterdir()}
    ca = pair.keys[NAMES[0]] / "ca"
    authority = Certificate(
        certificate=(ca / "certificate.pem").read_text(), key=(ca / "key.pem").read_text()
    )
    number = ALL.index(name) + 1
    expired = make_certificate(
        authority,
        Director(name=name, address=f"192.0.2.{number}"),
        now_s=time.time() - 10 * 86400,
        days=1,
    )
    write_file(route / "key.pem", expired.key, mode=0o400)
    write_file(route / "certificate.pem", expired.certificate, mode=0o644)
    done = pair.heartbus(
        name, "bus", "check", f"--config={pair.configs[name]}", f"--node={name}", check=False
    )
    assert done.returncode == 1
    assert "has expired" in done.stderr
    since = {n: len(process.output()) for n, process in pair.processes.items()}
    heard = {n: len(o.events) for n, o in pair.observers.items()}
    for pid in pair.pids(name, "nats-server"):
        os.kill(pid, signal.SIGKILL)
    wait_until(
        lambda: all(
            "certificate has expired" in process.output()[since[n] :]
            for n, process in pair.processes.items()
            if n != name
        ),
        timeout_s=20.0,
        what="the others refuse it",
    )
    fault.stays(for_s=2.0)
    # Its own services are on its bus, and see the other directors by their heartbeats.
    own = pair.observers[name]
    own.wait_for(
        lambda: (own.view.age_s(name, MembershipState, now_s=time.monotonic()) or 9) < 1.5,
        "its own bus works",
    )
    state = own.membership(name)
    assert state is not None
    assert all(d.status == "alive" for d in state.directors)
    for file, text in good.items():
        write_file(file, text, mode=0o400 if file.name == "key.pem" else 0o644)
    os.kill(pair.pids(name, "heartbus-up")[0], signal.SIGHUP)
    other = pair.observers[fault.standby]
    other.wait_for(
        lambda: (other.view.age_s(name, MembershipState, now_s=time.monotonic()) or 9) < 1.5,
        "the buses meet again",
    )
    for n, observer in pair.observers.items():
        assert not observer.said(GroupGranted, since=heard[n])


def test_a_thief_of_an_observers_key_who_floods_and_does_not_read_moves_no_vip(
    fault: Fault, secured: Secured
) -> None:
    pair = fault.pair
    name = fault.active
    seed = (pair.keys[name] / "observer" / "seed").read_text().strip()
    thief = pair.hosts[name].start([sys.executable, "-m", "tests.system.thief", seed])
    wait_until(
        lambda: thief.returncode is not None or "flooding" in thief.output(),
        timeout_s=20.0,
        what="it floods",
    )
    assert thief.returncode is None, thief.output()
    fault.stays(for_s=3.0)
    thief.kill()
    assert any("thief" in line for line in secured.violations())


def test_strangers_on_the_bus_network_get_nothing_from_the_port_for_routes(
    fault: Fault, tmp_path: Path
) -> None:
    """Without a certificate of the CA: a plain route, a gigabyte, silence, and another CA's."""
    pair = fault.pair
    target = f"192.0.2.{ALL.index(fault.active) + 1}"

    def knock() -> bytes:
        said = b""
        lines = (b"PUB x %d\r\n" % 1024**3, b'CONNECT {"name":"evil"}\r\nPING\r\n', b"")
        for line in lines:
            with socket.create_connection((target, 6222), timeout=5) as stranger:
                stranger.sendall(line)
                stranger.settimeout(5)
                try:
                    while chunk := stranger.recv(4096):
                        said += chunk
                except OSError:
                    pass
        return said

    def knock_with(files: Path) -> bytes:
        context = ssl.create_default_context(cafile=str(files / "ca.pem"))
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
        context.load_cert_chain(files / "certificate.pem", files / "key.pem")
        with socket.create_connection((target, 6222), timeout=5) as plain:
            try:
                with context.wrap_socket(plain) as stranger:
                    return stranger.recv(65536)
            except OSError:
                return b""

    said = pair.client_host.call(knock)
    assert b"PONG" not in said
    other_ca = make_ca(now_s=time.time())
    forged = make_certificate(other_ca, Director(name=fault.standby), now_s=time.time(), days=1)
    for name, text in (
        ("ca.pem", other_ca.certificate),
        ("certificate.pem", forged.certificate),
        ("key.pem", forged.key),
    ):
        write_file(tmp_path / name, text, mode=0o600)
    assert pair.client_host.call(lambda: knock_with(tmp_path)) == b""
    # With the right certificate the server speaks: it is not the question that is wrong.
    ours = pair.keys[fault.standby] / "route"
    assert pair.client_host.call(lambda: knock_with(ours)).startswith(b"INFO")
    fault.stays(for_s=0.5)


def test_nothing_that_a_service_did_was_refused(secured: Secured) -> None:
    """Last: in all of the above no user of ours wanted what its rights do not cover."""
    ours = [line for line in secured.violations() if "thief" not in line]
    assert ours == []
    assert all(agent.returncode is None for agent in secured.agents.values())
