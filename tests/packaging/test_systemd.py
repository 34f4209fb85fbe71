"""The package under the systemd of booted machines: two directors, a real server, a power cut."""

from __future__ import annotations

import contextlib
import json
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

import pytest

from tests.lab import addresses
from tests.lab.client import ContinuousClient
from tests.lab.debian import Debian
from tests.lab.kernel import CHECKOUT
from tests.lab.machine import Machine
from tests.lab.network import Host, Lab, wait_until
from tests.lab.web import WebServer, prepare_for_direct_routing

pytestmark = [pytest.mark.machines, pytest.mark.timeout(300)]

VIP: Final = "192.0.2.100"
ROUTED: Final = "192.0.2.102"
TUNNELLED: Final = "192.0.2.101"
SERVICES: Final = ("membership", "vip", "checker", "ipvs-agent", "recorder")
UNITS: Final = tuple(f"heartbus-{service}.service" for service in ("bus", *SERVICES))
DIRECTORS: Final = {"one": "192.0.2.1", "two": "192.0.2.2"}
REAL_SERVER: Final = "192.0.2.12"

# Starting Python takes seconds in these machines: whoever restarts has more time than by default.
CONFIGURATION: Final = f"""\
[[directors]]
name = "one"
address = "{DIRECTORS["one"]}"

[[directors]]
name = "two"
address = "{DIRECTORS["two"]}"

[membership]
keepalive = "250ms"
warntime = 1
deadtime = 2
initdead = 60
failback = "off"
restart_grace = 30

[[membership.links]]
kind = "bcast"
interface = "eth0"

[membership.authentication]
signing_key = 1

[[membership.authentication.keys]]
id = 1
method = "sha256"
secret = "only for this test"

[vip]
lifetime = 30

[[groups]]
name = "web"
preferred = "one"
resources = [
  {{ address = "{VIP}/24" }},
  {{ address = "{ROUTED}/24" }},
  {{ address = "{TUNNELLED}/24" }},
]

[[groups]]
name = "daemon"
preferred = "one"
resources = ["daemon"]

[ipvs.sysctls]
conn_reuse_mode = 0

[[virtual_services]]
address = "{VIP}:80"
group = "web"
check = {{ type = "connect", interval = 1 }}
real_servers = [{{ address = "192.0.2.11:80" }}]

[[virtual_services]]
address = "{ROUTED}:80"
group = "web"
check = {{ type = "connect", interval = 1 }}
real_servers = [{{ address = "{REAL_SERVER}:80", method = "gate" }}]

[[virtual_services]]
address = "{TUNNELLED}:80"
group = "web"
check = {{ type = "connect", interval = 1 }}
real_servers = [{{ address = "{REAL_SERVER}:80", method = "ipip" }}]
"""

# The sandbox of units that start no program of others.
SANDBOXED: Final = ("/etc/systemd/system/heartbus-vip.service.d/sandbox.conf",)

# A service as Heartbeat started them: it forks, and knows itself whether it runs.
RESOURCE_SCRIPT: Final = """\
#!/bin/sh
file=/run/daemon.pid
case $1 in
start) setsid sleep 10000 >/dev/null 2>&1 </dev/null & echo $! >$file ;;
stop) [ ! -e $file ] || { kill $(cat $file); rm $file; } ;;
status) [ -e $file ] && kill -0 $(cat $file) && echo running || echo stopped ;;
esac
"""

WEB_UNIT: Final = """\
[Service]
ExecStart=/usr/bin/python3 -m http.server 80 --directory /srv
[Install]
WantedBy=multi-user.target
"""


@dataclass(frozen=True, slots=True)
class Cluster:
    """Two directors, a real server that is a booted machine, one that is not, and a client."""

    one: Machine
    two: Machine
    server: Machine
    client: Host


@pytest.fixture(scope="module")
def cluster(installed: Debian) -> Iterator[Cluster]:
    with Lab() as lab, contextlib.ExitStack() as stack:
        lan = lab.switch("lan")
        client, web = lab.host("client"), lab.host("web")
        lab.attach(client, lan, "eth0", "192.0.2.50/24")
        lab.attach(web, lan, "eth0", "192.0.2.11/24")
        prepare_for_direct_routing(web, VIP)
        WebServer(web, page="of the web server").start()
        sandbox = (CHECKOUT / "deploy/examples/heartbus-vip-sandbox.conf").read_text()
        directors = [
            Machine(
                lab,
                lan,
                installed.root,
                name=name,
                hostname=name,
                address=f"{address}/24",
                files={
                    "/etc/ha.d/resource.d/daemon": RESOURCE_SCRIPT,
                    **(dict.fromkeys(SANDBOXED, sandbox) if name == "two" else {}),
                },
                secrets={"/etc/heartbus/heartbus.toml": CONFIGURATION},
            )
            for name, address in DIRECTORS.items()
        ]
        server = Machine(
            lab,
            lan,
            installed.root,
            name="server",
            hostname="server",
            address=f"{REAL_SERVER}/24",
            files={
                "/etc/systemd/system/heartbus.target": None,
                "/etc/systemd/system/web.service": WEB_UNIT,
                "/srv/index.html": "of the booted machine\n",
            },
        )
        machines = [*directors, server]
        for machine in machines:
            stack.callback(machine.close)
            machine.start()
        for machine in machines:
            machine.wait_until_booted()
        one, two = directors
        yield Cluster(one, two, server, client)


def active(machine: Machine) -> bool:
    shown = machine.said("systemctl", "is-active", *UNITS, "heartbus.target", check=False)
    return set(shown.split()) == {"active"}


def pids(machine: Machine) -> dict[str, int]:
    shown = machine.said("systemctl", "show", "--property=MainPID", "--value", *UNITS)
    return dict(zip(UNITS, map(int, shown.split()), strict=True))


def wait_for_directors(cluster: Cluster) -> None:
    for director in (cluster.one, cluster.two):
        wait_until(
            lambda director=director: active(director),  # type: ignore[misc]
            timeout_s=90.0,
            period_s=1.0,
            what=f"all units of {director.name} are active",
        )


def answered_by(client: Host, address: str) -> str | None:
    return addresses.arp_answer(client, address, interface="eth0", wait_s=0.3)


def wait_for_vip(cluster: Cluster, holder: Machine, *, timeout_s: float) -> None:
    wait_until(
        lambda: answered_by(cluster.client, VIP) == holder.mac,
        timeout_s=timeout_s,
        what=f"{holder.name} answers for the VIP",
    )


def test_systemd_has_nothing_to_say_of_the_units(installed: Debian) -> None:
    units = [f"/lib/systemd/system/{unit}" for unit in (*UNITS, "heartbus.target")]
    assert installed.said("systemd-analyze", "verify", "--man=no", *units) == ""


def test_a_director_is_active_once_its_services_work(cluster: Cluster) -> None:
    wait_for_directors(cluster)
    wait_for_vip(cluster, cluster.one, timeout_s=30.0)
    for director in (cluster.one, cluster.two):
        shown = director.said(
            "systemctl", "show", "--property=Id,Type,WatchdogUSec,NRestarts,StatusErrno", *UNITS
        )
        for service in SERVICES:
            block = next(b for b in shown.split("\n\n") if f"heartbus-{service}.service" in b)
            assert "Type=notify" in block
            assert "WatchdogUSec=15s" in block
        assert shown.count("NRestarts=0") == len(UNITS), shown
    with ContinuousClient(cluster.client, VIP, period_s=0.1) as asking:
        asking.wait_for(5, since_s=0.0, timeout_s=30.0)
        assert set(asking.pages()) == {"of the web server"}


def test_what_is_configured_of_the_kernel_is_set_from_the_sandbox(cluster: Cluster) -> None:
    name = "net.ipv4.vs.conn_reuse_mode"  # 1 by itself, and in no fragment
    assert cluster.one.said("cat", "/proc/sys/" + name.replace(".", "/")) == "0\n"
    # Of the fragment of the package.
    assert cluster.one.said("cat", "/proc/sys/net/ipv4/conf/all/promote_secondaries") == "1\n"


def test_the_journal_knows_service_and_priority(cluster: Cluster) -> None:
    lines = cluster.one.said(
        "journalctl", "--unit=heartbus-checker", "--output=json", "--no-pager", "--boot"
    )
    entries = [json.loads(line) for line in lines.splitlines()]
    ours = [e for e in entries if e["SYSLOG_IDENTIFIER"] == "heartbus-checker"]
    ready = [e for e in ours if json.loads(e["MESSAGE"])["event"] == "service.ready"]
    assert [e["PRIORITY"] for e in ready] == ["6"]


def test_a_service_sees_of_the_keys_of_the_bus_its_own_alone(cluster: Cluster) -> None:
    one, running = cluster.one, pids(cluster.one)
    one.run("heartbus", "bus", "init")  # while they run: they need not be started again
    for service in ("membership", "checker", "ipvs-agent", "recorder"):
        inside = ("nsenter", f"--target={running[f'heartbus-{service}.service']}", "--mount")
        # Root may read everything: what is not shown is not there.
        seen = one.said(*inside, "find", "/etc/heartbus/bus", "-type", "f", "-name", "seed")
        assert seen.split() == [f"/etc/heartbus/bus/{service}/seed"]
    one.run("systemctl", "reload", "heartbus-bus.service")
    wait_until(
        lambda: one.run("heartbus", "status", check=False).returncode == 0,
        timeout_s=30.0,
        period_s=1.0,
        what="the bus lets in who has a key",
    )
    assert pids(one) == running


def test_an_upgrade_restarts_every_service_and_no_client_notices(cluster: Cluster) -> None:
    one, before = cluster.one, pids(cluster.one)
    wait_until(
        lambda: one.run("test", "-s", "/run/daemon.pid", check=False).returncode == 0,
        timeout_s=30.0,
        period_s=0.5,
        what="the resource script has started its daemon",
    )
    daemon = one.said("cat", "/run/daemon.pid")
    with ContinuousClient(cluster.client, VIP, period_s=0.1, timeout_s=5.0) as asking:
        asking.wait_for(5, since_s=0.0, timeout_s=30.0)
        one.run("/var/lib/dpkg/info/heartbus.postinst", "configure", "0.0.1", timeout_s=120.0)
        wait_until(lambda: active(one), timeout_s=60.0, period_s=1.0, what="all are active again")
        upgraded_s = time.monotonic()
        asking.wait_for(5, since_s=upgraded_s, timeout_s=30.0)
        attempts = asking.attempts()
    after = pids(one)
    assert not [unit for unit in UNITS if before[unit] == after[unit]]
    assert [a.error for a in attempts if not a.ok] == []
    # What a resource script started is not vip's to end.
    assert one.said("cat", "/run/daemon.pid") == daemon
    assert one.said("cat", f"/proc/{daemon.strip()}/comm") == "sleep\n"
    assert answered_by(cluster.client, VIP) == one.mac


def test_any_one_unit_is_restarted_and_no_client_notices(cluster: Cluster) -> None:
    one = cluster.one
    with ContinuousClient(cluster.client, VIP, period_s=0.1, timeout_s=5.0) as asking:
        asking.wait_for(5, since_s=0.0, timeout_s=30.0)
        for unit in UNITS:
            before = pids(one)
            one.run("systemctl", "restart", unit, timeout_s=120.0)
            wait_until(
                lambda: active(one), timeout_s=60.0, period_s=1.0, what=f"all but {unit} and it"
            )
            after = pids(one)
            assert [u for u in UNITS if before[u] != after[u]] == [unit]
        asking.wait_for(5, since_s=time.monotonic(), timeout_s=30.0)
        attempts = asking.attempts()
    assert [a.error for a in attempts if not a.ok] == []
    assert answered_by(cluster.client, VIP) == one.mac


def test_a_service_that_hangs_is_started_again_by_the_watchdog(cluster: Cluster) -> None:
    unit = "heartbus-checker.service"
    drop_in = f"/run/systemd/system/{unit}.d"
    one = cluster.one
    one.run("mkdir", "-p", drop_in)
    one.run("tee", f"{drop_in}/soon.conf", stdin="[Service]\nWatchdogSec=5s\n")
    one.run("systemctl", "daemon-reload")
    one.run("systemctl", "restart", unit)
    hanging = pids(one)[unit]
    one.run("systemctl", "kill", "--signal=STOP", unit)
    wait_until(
        lambda: pids(one)[unit] not in (0, hanging) and active(one),
        timeout_s=60.0,
        period_s=0.5,
        what="the checker works again",
    )
    assert "Watchdog timeout" in one.said("journalctl", f"--unit={unit}", "--boot", "--no-pager")
    assert answered_by(cluster.client, VIP) == one.mac


def test_a_real_server_is_one_again_after_a_boot(cluster: Cluster) -> None:
    server = cluster.server
    words = ("--gate", ROUTED, "--ipip", TUNNELLED)
    server.run("systemctl", "enable", "--now", "web.service")
    assert server.run("heartbus", "realserver", "check", *words, check=False).returncode == 1
    server.run("heartbus", "realserver", "setup", "--persistent", *words)
    server.switch_off()
    server.start()
    server.wait_until_booted()
    server.run("systemctl", "start", "heartbus-realserver.service")  # waits for the one of the boot
    assert "this machine serves" in server.said("heartbus", "realserver", "check", *words)
    for address in (ROUTED, TUNNELLED):
        assert answered_by(cluster.client, address) == cluster.one.mac
        with ContinuousClient(cluster.client, address, period_s=0.2) as asking:
            asking.wait_for(3, since_s=0.0, timeout_s=60.0)
            assert set(asking.pages()) == {"of the booted machine"}
    server.run("heartbus", "realserver", "remove")
    shown = server.said("ip", "-brief", "address")
    assert ROUTED not in shown
    assert TUNNELLED not in shown
    enabled = server.run("systemctl", "is-enabled", "heartbus-realserver.service", check=False)
    assert enabled.returncode != 0


def test_the_power_of_the_active_director_is_cut(cluster: Cluster) -> None:
    with ContinuousClient(cluster.client, VIP, period_s=0.1) as asking:
        asking.wait_for(5, since_s=0.0, timeout_s=30.0)
        cut_s = time.monotonic()
        cluster.one.cut_power()
        wait_for_vip(cluster, cluster.two, timeout_s=30.0)
        asking.wait_for(5, since_s=cut_s, timeout_s=30.0)
    cluster.one.start()
    cluster.one.wait_until_booted()
    wait_for_directors(cluster)
    # Nothing of its disk was lost that matters: it knows that it may not have them.
    assert answered_by(cluster.client, VIP) == cluster.two.mac
