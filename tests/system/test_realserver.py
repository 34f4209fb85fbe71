"""``heartbus realserver``: ARP as a neighbour sees it, IPVS as a client does."""

from __future__ import annotations

import functools
import json
import socket
from pathlib import Path

import pytest

from tests.lab import addresses
from tests.lab.classic import HEARTBUS
from tests.lab.client import ContinuousClient
from tests.lab.network import Host, Lab, wait_until
from tests.lab.web import WebServer

VIP, VIP6 = "192.0.2.100", "2001:db8::100"


def command(host: Host, *words: str, runtime: Path) -> tuple[int, str]:
    argv: list[str | Path] = [HEARTBUS, "realserver", *words, f"--runtime-dir={runtime}"]
    done = host.run(argv, check=False)
    return done.returncode, done.stdout + done.stderr


def answered(asking: Host, address: str) -> str | None:
    """Return the MAC address that answers ARP for an address, None if nobody does."""
    asking.run(["ip", "neigh", "flush", "to", address], check=False)

    def ask() -> bool:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
            probe.sendto(b"", (address, 9))
        return True

    asking.call(ask)
    states: set[str] = set()

    def decided() -> bool:
        shown = asking.run(["ip", "-j", "neigh", "show", "to", address]).stdout or "[]"
        states.clear()
        states.update(state for entry in json.loads(shown) for state in entry.get("state", []))
        return bool(states & {"REACHABLE", "FAILED", "STALE", "DELAY"})

    wait_until(decided, timeout_s=10.0, what=f"{address} is answered for, or not")
    return addresses.neighbour(asking, address) if "FAILED" not in states else None


@pytest.mark.netns
def test_nobody_is_answered_by_arp_for_an_address_that_is_served(lab: Lab, tmp_path: Path) -> None:
    lan = lab.switch("lan")
    server, neighbour = lab.host("server"), lab.host("neighbour")
    cable = lab.attach(server, lan, "eth0", "192.0.2.11/24")
    lab.attach(neighbour, lan, "eth0", "192.0.2.50/24")
    run = functools.partial(command, server, runtime=tmp_path)

    server.ip(f"addr add {VIP}/32 dev lo")
    assert answered(neighbour, VIP) == cable.mac, "as the kernel does by itself"
    code, said = run("check", "--gate", VIP)
    assert code == 1
    assert "arp_ignore" in said
    server.ip(f"addr del {VIP}/32 dev lo")

    code, said = run("setup", "--gate", VIP, "--gate", VIP6)
    assert (code, said.splitlines()[-1]) == (
        0,
        f"this machine serves {VIP} (gate, lo), {VIP6} (gate, lo)",
    )
    assert answered(neighbour, VIP) is None
    assert addresses.holds(server, VIP)
    assert run("check", "--gate", VIP)[0] == 0
    assert run("setup", "--gate", VIP, "--gate", VIP6, "--dry-run") == (0, "nothing to do\n")

    code, said = run("remove", "--unit-dir", str(tmp_path))
    assert code == 0
    assert f"removed {VIP}/32 from lo" in said
    assert "arp_ignore back to 0" in said
    assert not addresses.holds(server, VIP)
    assert not addresses.holds(server, VIP6)
    assert run("remove", "--unit-dir", str(tmp_path)) == (0, "nothing was set up here\n")


@pytest.mark.netns
def test_remove_leaves_what_was_there_before(lab: Lab, tmp_path: Path) -> None:
    server = lab.host("server")
    server.ip(f"addr add {VIP}/32 dev lo")
    run = functools.partial(command, server, runtime=tmp_path)
    assert run("setup", "--gate", VIP)[0] == 0
    assert run("remove", "--unit-dir", str(tmp_path))[0] == 0
    assert addresses.holds(server, VIP)


@pytest.mark.netns
@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--gate", "192.0.2.300"], "'192.0.2.300' is no IP address"),
        (["--gate", "192.0.2.1/24"], "without a prefix length"),
        (["--gate", "127.0.0.1"], "cannot be the address of a virtual service"),
        (["--gate", VIP, "--ipip", VIP], "it is one of both"),
        ([], "Say --gate ADDRESS or --ipip ADDRESS"),
        (["--config", "CONFIG"], "no virtual service has a real server of this machine"),
        (["--config", "nowhere"], "nowhere"),
    ],
)
def test_what_cannot_be_meant_is_refused_and_changes_nothing(
    lab: Lab, tmp_path: Path, words: list[str], said: str
) -> None:
    server, runtime, config = lab.host("server"), tmp_path / "run", tmp_path / "heartbus.toml"
    config.write_bytes(Path("examples/heartbus.toml").read_bytes())
    config.chmod(0o600)
    words = [str(config) if word == "CONFIG" else word for word in words]
    code, told = command(server, "setup", *words, runtime=runtime)
    assert code == 2
    assert said in told
    assert not runtime.exists()


@pytest.mark.ipvs
@pytest.mark.netns
@pytest.mark.timeout(180)
@pytest.mark.parametrize("method", ["gate", "ipip"])
def test_a_client_is_served_by_a_machine_that_was_set_up(
    lab: Lab, tmp_path: Path, method: str
) -> None:
    lan = lab.switch("lan")
    client, director, server = lab.host("client"), lab.host("director"), lab.host("server")
    lab.attach(client, lan, "eth0", "192.0.2.50/24")
    lab.attach(director, lan, "eth0", "192.0.2.1/24")
    lab.attach(server, lan, "eth0", "192.0.2.11/24")
    director.ip(f"addr add {VIP}/32 dev eth0")
    director.run(["ipvsadm", "-A", "-t", f"{VIP}:80", "-s", "rr"])
    flag = {"gate": "-g", "ipip": "-i"}[method]
    director.run(["ipvsadm", "-a", "-t", f"{VIP}:80", "-r", "192.0.2.11:80", flag])
    WebServer(server, page="served").start()
    with ContinuousClient(client, VIP, period_s=0.2) as asking:
        asking.wait_for(0, since_s=0.0, timeout_s=1.0)
        code, told = command(server, "setup", f"--{method}", VIP, runtime=tmp_path)
        assert code == 0, told
        asking.wait_for(3, since_s=0.0, timeout_s=30.0)
        assert set(asking.pages()) == {"served"}
    assert answered(client, VIP) is not None, "by the director"
