"""What the kernel's IPVS can do, from every form of configuration, and what is refused."""

from __future__ import annotations

from pathlib import Path

import pytest

from heartbus.config import ipvsadm_rules
from heartbus.config.report import Report
from heartbus.config.show import render
from heartbus.model import (
    IpvsSettings,
    SchedulerFlag,
    SyncDaemon,
    TransportProtocol,
    TunnelType,
    VirtualService,
)
from tests.common.config_samples.native import BASE, read, remarks
from tests.common.test_config_convert import same

SAVED = """\
-A -f 3 -6 -s mh -b mh-port,mh-fallback -p 300 -M 64
-a -f 3 -6 -r [fd00::11]:0 -i -w 1 --tun-type gue --tun-port 6080 --tun-remcsum
-A --sctp-service 10.0.0.1:5000 -s twos
-a --sctp-service 10.0.0.1:5000 -r 10.0.0.2:5000 -m -w 3 -x 100 -y 50
-A -u 10.0.0.1:5060 -s rr -p 60 --pe sip
-A -u 10.0.0.1:53 -s rr -o
"""


def saved(text: str) -> list[VirtualService]:
    report = Report()
    services = ipvsadm_rules.parse(text, "saved", "group", report)
    assert report.diagnostics() == ()
    return [setting.value for setting in services]


def test_all_that_ipvsadm_saves_is_read() -> None:
    marked, sctp, sip, dns = saved(SAVED)
    assert marked.name == "fwm6:3"
    assert marked.scheduler_flags == (SchedulerFlag.MH_PORT, SchedulerFlag.MH_FALLBACK)
    assert (marked.persistence_timeout_s, marked.persistence_netmask) == (300, 64)
    (gue,) = marked.real_servers
    assert (gue.tunnel.type, gue.tunnel.port, gue.tunnel.checksum) == (
        TunnelType.GUE,
        6080,
        "remote",
    )
    assert sctp.protocol is TransportProtocol.SCTP
    (limited,) = sctp.real_servers
    assert (limited.upper_threshold, limited.lower_threshold) == (100, 50)
    assert sip.persistence_engine == "sip"
    assert dns.one_packet


SERVICE = '[[virtual_services]]\naddress = "10.0.0.1:80"\n'
MARKED = "[[virtual_services]]\nfwmark = 3\n"


def server(more: str) -> str:
    return f"real_servers = [{{ {more} }}]\n"


def test_all_of_it_in_the_toml_form(tmp_path: Path) -> None:
    text = (
        MARKED
        + 'family = "ipv6"\nscheduler = "sh"\nscheduler_flags = ["sh-port"]\n'
        + 'persistent = 300\nnetmask = "64"\nfallback = { address = "fd00::9" }\n'
        + server(
            'address = "fd00::11", method = "ipip", upper_threshold = 9, lower_threshold = 3,'
            ' tunnel = { type = "gre", checksum = "full" }'
        )
        + '[[virtual_services]]\naddress = "10.0.0.1:5060"\nprotocol = "udp"\npersistent = 60\n'
        + 'persistence_engine = "sip"\n'
        + '[[virtual_services]]\naddress = "10.0.0.1:53"\nprotocol = "udp"\none_packet = true\n'
    )
    cluster = read(tmp_path, BASE + text)
    marked, sip, dns = cluster.virtual_services
    assert (marked.name, sip.name, dns.name) == ("fwm6:3", "udp:10.0.0.1:5060", "udp:10.0.0.1:53")
    assert marked.protocol is TransportProtocol.FWM
    assert marked.persistence_netmask == 64
    assert marked.real_servers[0].endpoint.port == 0
    assert sip.persistence_engine == "sip"
    assert dns.one_packet
    assert same(cluster, tmp_path) == cluster
    shown = render(cluster, as_json=False)
    for words in (
        "scheduler       sh sh-port",
        "persistent      300 s for each /64",
        "60 s for each /32 and sip",
        "tunnel gre checksum full connections up to 9, again below 3",
        "one packet      each is scheduled by itself",
    ):
        assert words in shown


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (MARKED + 'address = "10.0.0.1:80"\n', "beside fwmark; allowed is one of the two"),
        (MARKED + 'protocol = "tcp"\n', "fwm goes with fwmark = NUMBER"),
        (
            "[[virtual_services]]\nfwmark = 0\n",
            "0 is not allowed; allowed is a whole number from 1",
        ),
        (SERVICE.replace(":80", ":0"), "port 0 (every port) without persistent"),
        (SERVICE + 'scheduler_flags = ["mh-port"]\n', "mh-port is none of scheduler wrr"),
        (SERVICE + "one_packet = true\n", "a tcp service has connections; allowed is udp or fwm"),
        (SERVICE + 'persistent = 5\nnetmask = "64"\n', "/64 is not allowed; allowed is 1 to 32"),
        (SERVICE + 'persistent = 5\npersistence_engine = "sip"\n', "sip reads UDP packets only"),
        (
            SERVICE + server('address = "[fd00::1]:80"'),
            "is not of the family of the service (IPv4), and gate cannot change it",
        ),
        (
            SERVICE + server('address = "10.0.0.2:80", lower_threshold = 2, upper_threshold = 1'),
            "2 is above upper_threshold (1)",
        ),
        (
            SERVICE + server('address = "10.0.0.2:80", tunnel = { type = "gue", port = 1 }'),
            "with method gate; allowed is method ipip",
        ),
        (
            SERVICE + server('address = "10.0.0.2:80", method = "ipip", tunnel = { type = "gue" }'),
            "gue without port",
        ),
        (
            MARKED + 'check = { type = "connect" }\n' + server('address = "10.0.0.2"'),
            "10.0.0.2: no port to check",
        ),
    ],
)
def test_what_the_kernel_would_refuse_is_refused_first(
    tmp_path: Path, text: str, words: str
) -> None:
    (remark, *_others) = remarks(tmp_path, BASE + text)
    assert remark.startswith("error heartbus.toml:")
    assert words in remark


WHOLE = """\
[ipvs.timeouts]
tcp = 900
udp = 60
[ipvs.sync]
interface = "eth1"
sync_id = 7
group = "224.0.0.90"
[ipvs.sysctls]
expire_nodest_conn = 1
sync_threshold = "3 50"
"""


def test_what_is_set_for_the_whole_of_ipvs(tmp_path: Path) -> None:
    cluster = read(tmp_path, BASE + WHOLE)
    assert cluster.ipvs == IpvsSettings(
        timeout_tcp_s=900,
        timeout_udp_s=60,
        sync=SyncDaemon(interface="eth1", sync_id=7, group="224.0.0.90"),
        sysctls=(("expire_nodest_conn", "1"), ("sync_threshold", "3 50")),
    )
    assert same(cluster, tmp_path) == cluster


@pytest.mark.parametrize(
    ("text", "level", "words"),
    [
        ("[ipvs.sync]\nsync_id = 1\n", "error", "missing; this key is needed"),
        (
            '[ipvs.sync]\ninterface = "e"\ngroup = "10.0.0.1"\n',
            "error",
            "allowed is a multicast group",
        ),
        ("[ipvs.sysctls]\nsloppy = 1\n", "error", "no sysctl of net.ipv4.vs; allowed is one of"),
        ('[ipvs.sysctls]\nsloppy_tcp = "a"\n', "error", "allowed is a whole number, or two"),
        ("[ipvs.sysctls]\nconn_reuse_mode = 0\n", "warning", "to the old server, drained or not"),
        (
            WHOLE + SERVICE + server('address = "[fd00::2]:80", method = "ipip"'),
            "error",
            "the sync daemon carries no such connections",
        ),
    ],
)
def test_what_is_wrong_or_risky_about_the_whole_is_said(
    tmp_path: Path, text: str, level: str, words: str
) -> None:
    (remark, *_others) = remarks(tmp_path, BASE + text)
    assert remark.startswith(f"{level} heartbus.toml:")
    assert words in remark
