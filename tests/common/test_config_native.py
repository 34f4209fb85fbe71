"""The TOML form: each key sets what it says."""

from __future__ import annotations

from pathlib import Path

import pytest

from heartbus.model import (
    TIMER_PROFILES,
    AddressResource,
    AnnounceSettings,
    AuthMethod,
    BroadcastLink,
    BusSettings,
    Check,
    CheckService,
    CheckType,
    Endpoint,
    Failback,
    ForwardingMethod,
    HttpMethod,
    Membership,
    MulticastLink,
    PingNode,
    RealServer,
    SavedRulesResource,
    Scheduler,
    ScriptResource,
    SerialLink,
    SorryServer,
    Takeover,
    Timers,
    TransportProtocol,
    UnicastLink,
    VipSettings,
)
from tests.common.config_samples import CLASSIC, Files, directory, loaded
from tests.common.config_samples.native import BASE, WITNESS, read, remarks


def test_what_is_not_written_has_the_default(tmp_path: Path) -> None:
    cluster = read(tmp_path, BASE)
    membership = cluster.membership
    assert membership == Membership(
        timers=TIMER_PROFILES["lan"],
        links=(BroadcastLink(interface="eth1", port=694),),
        authentication=membership.authentication,
        failback=Failback.OFF,
    )
    assert membership.authentication.keys[0].method is AuthMethod.SHA256
    assert cluster.vip == VipSettings()
    assert cluster.bus == BusSettings()
    assert [(d.name, d.route_host) for d in cluster.directors] == [("a", "a"), ("b", "10.0.0.2")]


def test_a_quiet_file_is_met_with_silence(tmp_path: Path) -> None:
    assert remarks(tmp_path, BASE) == []


def test_a_witness_makes_a_majority_and_a_shorter_lease(tmp_path: Path) -> None:
    cluster = read(tmp_path, BASE + WITNESS)
    assert [(w.name, w.route_host) for w in cluster.witnesses] == [("w", "10.0.0.3")]
    assert cluster.has_majority
    assert [d.name for d in cluster.peers_of("a")] == ["b", "w"]
    assert cluster.membership.lease_s == 2.0
    slow = BASE.replace("[membership]", '[membership]\ntimers = "classic"')
    assert read(tmp_path, slow + WITNESS).membership.lease_s == 10.0, "five keepalives"
    assert remarks(tmp_path, BASE + WITNESS) == []


def test_takeover_is_fast_or_strict(tmp_path: Path) -> None:
    assert read(tmp_path, BASE).membership.takeover is Takeover.FAST
    strict = BASE.replace("[membership]", '[membership]\ntakeover = "strict"')
    assert read(tmp_path, strict).membership.takeover is Takeover.STRICT


MEMBERSHIP = """\
[membership]
timers = "classic"
keepalive = "75ms"
warntime = 0.15
deadtime = "2s"
failback = "on"
hopfudge = 0
lease = 1
restart_grace = 0
ping_nodes = ["10.0.0.9", "2001:DB8::9"]
deadping = "500ms"
[[membership.ping_groups]]
name = "routers"
members = ["r1.example.org", "10.0.0.8"]
[[membership.ping_groups]]
name = "six"
members = ["r1.example.org"]
ipv6 = true
[[membership.links]]
kind = "ucast"
interface = "eth0"
peer = "10.0.0.2"
port = 1694
[[membership.links]]
kind = "ucast6"
interface = "eth0"
peer = "b"
[[membership.links]]
kind = "mcast"
interface = "eth0"
group = "FF02::4:1"
port = 1695
ttl = 0
loop = true
[[membership.links]]
kind = "mcast"
interface = "eth1"
group = "239.0.0.1"
[[membership.links]]
kind = "serial"
device = "/dev/ttyS0"
baud = 9600
[membership.authentication]
signing_key = 2
[[membership.authentication.keys]]
id = 2
method = "sha256"
secret_file = "key"
"""


def test_membership(tmp_path: Path) -> None:
    text = '[[directors]]\nname = "a"\n' + MEMBERSHIP
    place = directory(tmp_path, {"heartbus.toml": text, "key": "s3cret\n"})
    membership = loaded(place).cluster.membership
    assert membership.timers == Timers(
        keepalive_s=0.075, warntime_s=0.15, deadtime_s=2.0, initdead_s=120.0
    )
    assert membership.failback is Failback.ON
    assert membership.hopfudge == 0
    assert (membership.lease_s, membership.restart_grace_s) == (1.0, 0.0)
    assert membership.ping_nodes == (
        PingNode(name="10.0.0.9", members=("10.0.0.9",)),
        PingNode(name="2001:db8::9", members=("2001:db8::9",)),
        PingNode(name="routers", members=("r1.example.org", "10.0.0.8")),
        PingNode(name="six", members=("r1.example.org",), ipv6=True),
    )
    assert membership.deadping_s == 0.5
    assert membership.links == (
        UnicastLink(interface="eth0", peer="10.0.0.2", port=1694),
        UnicastLink(interface="eth0", peer="b", ipv6=True),
        MulticastLink(interface="eth0", group="ff02::4:1", port=1695, ttl=0, loop=True),
        MulticastLink(interface="eth1", group="239.0.0.1", port=694, ttl=1, loop=False),
        SerialLink(device="/dev/ttyS0", baud=9600),
    )
    (key,) = membership.authentication.keys
    assert (key.id, key.secret) == (2, b"s3cret")


SERVICE = """\
[cluster]
resource_path = ["/opt/resource.d"]
[vip]
lifetime = 5
refresh = "500ms"
[vip.announce]
refresh = 0
[bus]
client_port = 14222
[[groups]]
name = "web"
preferred = "b"
resources = [
  { address = "10.0.0.1/24", broadcast = "10.0.0.255", interface = "eth0" },
  "IPaddr::10.0.0.3/24",
  { script = "Filesystem", arguments = ["/dev/sda1", "/mnt"] },
  "ipvsadm",
]
[[virtual_services]]
address = "10.0.0.1:443"
scheduler = "sh"
persistent = 60
netmask = "255.255.255.0"
fallback = { address = "10.0.0.9:80", method = "masq" }
group = "web"
[virtual_services.check]
service = "http"
port = 8080
request = "/up"
receive = "o[kK]"
virtualhost = "www"
http_method = "HEAD"
connect_timeout = "500ms"
interval = 2
rise = 2
fall = 3
[[virtual_services.real_servers]]
address = "10.0.0.11:80"
method = "masq"
weight = 0
receive = "mine"
[[virtual_services]]
address = "10.0.0.3:53"
protocol = "udp"
check = { type = "on" }
"""


def test_groups_and_services(tmp_path: Path) -> None:
    cluster = read(tmp_path, BASE + SERVICE)
    assert cluster.resource_path == ("/opt/resource.d",)
    assert cluster.vip == VipSettings(
        lifetime_s=5, refresh_s=0.5, announce=AnnounceSettings(refresh_s=0.0)
    )
    assert cluster.bus.client_port == 14222
    (group,) = cluster.groups
    assert (group.name, group.preferred) == ("web", "b")
    assert group.resources == (
        AddressResource(
            address="10.0.0.1", prefix_len=24, broadcast="10.0.0.255", interface="eth0"
        ),
        AddressResource(address="10.0.0.3", prefix_len=24),
        ScriptResource(script="Filesystem", arguments=("/dev/sda1", "/mnt")),
        SavedRulesResource(),
    )
    web, dns = cluster.virtual_services
    assert web.scheduler is Scheduler.SH
    assert (web.persistence_timeout_s, web.persistence_netmask) == (60, 24)
    assert web.sorry_server == SorryServer(
        endpoint=Endpoint(address="10.0.0.9", port=80), forwarding=ForwardingMethod.MASQ
    )
    assert web.check == Check(
        type=CheckType.NEGOTIATE,
        service=CheckService.HTTP,
        port=8080,
        request="/up",
        receive="o[kK]",
        virtualhost="www",
        http_method=HttpMethod.HEAD,
        connect_timeout_s=0.5,
        interval_s=2.0,
        rise=2,
        fall=3,
    )
    assert web.real_servers == (
        RealServer(
            endpoint=Endpoint(address="10.0.0.11", port=80),
            forwarding=ForwardingMethod.MASQ,
            weight=0,
            receive="mine",
        ),
    )
    assert (dns.protocol, dns.check.type) == (TransportProtocol.UDP, CheckType.ON)


@pytest.mark.parametrize(
    ("port", "type_", "service"),
    [
        (80, CheckType.NEGOTIATE, CheckService.HTTP),
        (25, CheckType.NEGOTIATE, CheckService.SMTP),
        (22, CheckType.CONNECT, CheckService.NONE),
    ],
)
def test_the_port_says_what_is_checked(
    tmp_path: Path, port: int, type_: CheckType, service: CheckService
) -> None:
    text = f'{BASE}[[virtual_services]]\naddress = "10.0.0.1:{port}"\n'
    (only,) = read(tmp_path, text).virtual_services
    assert (only.check.type, only.check.service) == (type_, service)


def test_a_group_may_name_files_of_the_old_form(tmp_path: Path) -> None:
    group = '[[groups]]\npreferred = "a"\nresources = ["192.168.7.110/24", "ldirectord::www"]\n'
    service = '[[virtual_services]]\naddress = "192.168.7.110:81"\n'
    files: Files = {"heartbus.toml": BASE + service + group, "www.cf": CLASSIC / "www.cf"}
    cluster = loaded(directory(tmp_path, files)).cluster
    assert [service.endpoint.port for service in cluster.virtual_services] == [81, 80]
    assert cluster.groups[0].name == "192.168.7.110/24"
    assert cluster.virtual_services[1].group == "192.168.7.110/24"
