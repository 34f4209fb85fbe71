"""The sample files of the classic how-to load, and each of their oddities is named."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from heartbus.config import ConfigError, Level, load
from heartbus.model import (
    AddressResource,
    Authentication,
    AuthKey,
    AuthMethod,
    BroadcastLink,
    Check,
    CheckedServicesResource,
    CheckService,
    CheckType,
    Cluster,
    Director,
    Endpoint,
    Failback,
    ForwardingMethod,
    Membership,
    PingNode,
    RealServer,
    ReloadSettings,
    ResourceGroup,
    SavedRulesResource,
    Scheduler,
    ScriptResource,
    SerialLink,
    SorryServer,
    SupervisedClient,
    Timers,
    TransportProtocol,
    VirtualService,
)
from tests.common.config_samples import (
    AS_PRINTED,
    CLASSIC,
    EXAMPLES,
    QUIET,
    classic_files,
    directory,
    loaded,
    remarks,
    said,
)

GROUP = "IPaddr::192.168.7.110/24/192.168.7.255"
VIP = AddressResource(address="192.168.7.110", prefix_len=24, broadcast="192.168.7.255")


def reals(port: int) -> tuple[RealServer, ...]:
    return tuple(
        RealServer(
            endpoint=Endpoint(address=f"192.168.7.{host}", port=port),
            forwarding=ForwardingMethod.GATE,
        )
        for host in (11, 12, 13)
    )


WWW = VirtualService(
    protocol=TransportProtocol.TCP,
    endpoint=Endpoint(address="192.168.7.110", port=80),
    scheduler=Scheduler.RR,
    real_servers=reals(80),
    sorry_server=SorryServer(endpoint=Endpoint(address="127.0.0.1", port=80)),
    check=Check(
        type=CheckType.NEGOTIATE,
        service=CheckService.HTTP,
        request="/.testpage",
        receive="Test Page",
        connect_timeout_s=3.0,
        negotiate_timeout_s=3.0,
        interval_s=1.0,
    ),
    quiescent=True,
    group=GROUP,
)
MAIL = VirtualService(
    protocol=TransportProtocol.TCP,
    endpoint=Endpoint(address="192.168.7.110", port=25),
    scheduler=Scheduler.WLC,
    real_servers=reals(25),
    check=Check(
        type=CheckType.NEGOTIATE,
        service=CheckService.SMTP,
        connect_timeout_s=3.0,
        negotiate_timeout_s=3.0,
        interval_s=1.0,
    ),
    quiescent=True,
    group=GROUP,
)
CLUSTER = Cluster(
    directors=(Director(name="linuxha1.linux-ha.org"), Director(name="linuxha2.linux-ha.org")),
    membership=Membership(
        timers=Timers(keepalive_s=2.0, warntime_s=10.0, deadtime_s=30.0, initdead_s=120.0),
        links=(SerialLink(device="/dev/ttyS0"), BroadcastLink(interface="eth1")),
        authentication=Authentication(
            signing_key=1,
            keys=(AuthKey(id=1, method=AuthMethod.SHA1, secret=b"key-for-sha1-any-text-you-want"),),
        ),
        failback=Failback.OFF,
        ping_nodes=(
            PingNode(name="ping1.linux-ha.org", members=("ping1.linux-ha.org",)),
            PingNode(name="ping2.linux-ha.org", members=("ping2.linux-ha.org",)),
        ),
        watchdog="/dev/watchdog",
        clients=(
            SupervisedClient(user="hacluster", command="/usr/lib/heartbeat/ccm"),
            SupervisedClient(user="hacluster", command="/usr/lib/heartbeat/ipfail"),
        ),
    ),
    groups=(
        ResourceGroup(
            name=GROUP,
            preferred="linuxha1.linux-ha.org",
            resources=(
                VIP,
                SavedRulesResource(),
                CheckedServicesResource(file="www.cf"),
                CheckedServicesResource(file="mail.cf"),
            ),
        ),
    ),
    virtual_services=(WWW, MAIL),
    reload=ReloadSettings(autoreload=True),
)


def comparable(cluster: Cluster) -> Cluster:
    """Drop what says only where the files were."""
    return dataclasses.replace(cluster, source="", resource_path=())


NO_REAL_TIME = (
    "note ha.cf: realtime: not given: off (Heartbeat: on); heartbus notices when it was not"
    " scheduled in time, and a real-time process can starve all others"
)
HA_CF_REMARKS = [
    NO_REAL_TIME,
    "warning ha.cf:9: baud: below the serial of line 1, where Heartbeat ignores it; here 19200"
    " counts for every serial",
    "warning ha.cf:10: udpport: below the bcast and ucast of line 3, where Heartbeat ignores it;"
    " here 694 counts for every bcast and ucast",
    "warning ha.cf:11: nice_failback: taken as in Heartbeat 1.0: groups stay where they are"
    " (auto_failback off); Heartbeat 1.2 to 3 did the opposite",
]
WEAK_KEY = "warning authkeys:2: 1: sha1 is weak; sha256 is recommended"


CLEANSTOP = (
    "cleanstop: not given: no, a stop leaves the table and its connections; for ldirectord it is"
    " yes, its stop empties the table, as cleanstop=yes does here"
)


def no_rules(place: Path, line: int = 1) -> str:
    root = place.parent / "no-such-root"
    return (
        f"note haresources:{line}: ipvsadm: no saved rules, so nothing to restore; looked for"
        f" ipvsadm.rules, conf/ipvsadm.rules, {root}/etc/ipvsadm.rules,"
        f" {root}/etc/sysconfig/ipvsadm"
    )


def test_the_classic_samples_load_as_written(tmp_path: Path) -> None:
    place = directory(tmp_path, classic_files())
    result = loaded(place)
    assert comparable(result.cluster) == comparable(CLUSTER)
    assert result.cluster.source == str(place)
    assert result.cluster.resource_path == (
        f"{place}/resource.d",
        "/etc/ha.d/resource.d",
        "/etc/init.d",
        "/etc/rc.d/init.d",
    )
    assert said(result.diagnostics, place) == [
        *HA_CF_REMARKS,
        "note ha.cf:14: respawn: ccm is built into heartbus; it is not started",
        "note ha.cf:15: respawn: ipfail is built into heartbus; it is not started",
        WEAK_KEY,
        no_rules(place),
        f"note www.cf:9: {CLEANSTOP}",
        f"note mail.cf:6: {CLEANSTOP}",
    ]


def test_the_samples_as_printed_load_into_the_same_cluster(tmp_path: Path) -> None:
    names = ("ha.cf", "haresources", "www.cf", "mail.cf")
    files = {name: AS_PRINTED / name for name in names}
    place = directory(tmp_path, {**files, "authkeys": AS_PRINTED / "authkeys.md5-misprinted"})
    result = loaded(place)
    key = AuthKey(id=1, method=AuthMethod.SHA1, secret=b"key-for-md5-any-text-you-want")
    authentication = Authentication(signing_key=1, keys=(key,))
    membership = dataclasses.replace(CLUSTER.membership, authentication=authentication)
    wanted = dataclasses.replace(CLUSTER, membership=membership)
    assert comparable(result.cluster) == comparable(wanted)
    assert said(result.diagnostics, place) == [
        *HA_CF_REMARKS,
        "warning ha.cf:14: respawn: 'userid cmd' stands for a user and a command; left out"
        " (Heartbeat refuses it)",
        "note ha.cf:15: respawn: ccm is built into heartbus; it is not started",
        "note ha.cf:16: respawn: ipfail is built into heartbus; it is not started",
        "warning ha.cf:17: ping: '....' is no host; left out (Heartbeat refuses it)",
        WEAK_KEY,
        "warning haresources:1: linuxha1: short for the node linuxha1.linux-ha.org of ha.cf;"
        " Heartbeat refuses short names",
        no_rules(place),
        "warning haresources:1: ldirectord::www: found as www.cf; ldirectord itself adds no .cf",
        "warning haresources:1: ldirectord::mail: found as mail.cf; ldirectord itself adds no .cf",
        f"note www.cf:9: {CLEANSTOP}",
        "warning www.cf:10: real: lines 10 to 20 are not indented; ldirectord refuses that, here"
        " they belong to the virtual= of line 9",
        f"note mail.cf:6: {CLEANSTOP}",
    ]


@pytest.mark.parametrize(
    ("sample", "resources", "services", "words"),
    [
        (
            "haresources.1-ha",
            (VIP, ScriptResource(script="telnet")),
            (),
            "warning haresources:1: telnet: no program of this name here; tried"
            " resource.d/telnet (no such file), ",
        ),
        (
            "haresources.2-ha-lvs",
            (VIP, SavedRulesResource()),
            (),
            "note www.cf: not loaded: no group of haresources names it (ldirectord::www.cf)",
        ),
        (
            "haresources.3-ha-lvs-checks",
            (VIP, SavedRulesResource(), CheckedServicesResource(file="www.cf")),
            (WWW,),
            "note mail.cf: not loaded: no group of haresources names it (ldirectord::mail.cf)",
        ),
    ],
)
def test_the_haresources_of_the_acceptance_tests_load(
    tmp_path: Path,
    sample: str,
    resources: tuple[object, ...],
    services: tuple[VirtualService, ...],
    words: str,
) -> None:
    files = {**classic_files(), "haresources": CLASSIC / "tests" / sample}
    place = directory(tmp_path, files)
    result = loaded(place)
    (group,) = result.cluster.groups
    assert (group.name, group.preferred) == (GROUP, "linuxha1.linux-ha.org")
    assert group.resources == resources
    assert result.cluster.virtual_services == services
    assert any(line.startswith(words) for line in said(result.diagnostics, place))


@pytest.mark.parametrize(
    ("name", "method", "words"),
    [
        ("authkeys.md5", AuthMethod.MD5, "md5 is weak; sha256 is recommended"),
        (
            "authkeys.crc",
            AuthMethod.CRC,
            "crc proves nothing: anybody can forge heartbeats; sha256 is recommended",
        ),
    ],
)
def test_the_other_keys_load_with_a_warning(
    tmp_path: Path, name: str, method: AuthMethod, words: str
) -> None:
    result = loaded(directory(tmp_path, {**classic_files(), "authkeys": CLASSIC / name}))
    (key,) = result.cluster.membership.authentication.keys
    assert key.method is method
    assert words in [d.message for d in result.diagnostics]


def test_the_toml_example_is_the_classic_cluster(tmp_path: Path) -> None:
    place = directory(tmp_path, {"heartbus.toml": EXAMPLES / "heartbus.toml"})
    native = loaded(place).cluster
    (group,) = CLUSTER.groups
    # The TOML form has its services in the same file, so it names no files of services.
    group = dataclasses.replace(group, resources=(VIP,))
    assert comparable(native) == comparable(dataclasses.replace(CLUSTER, groups=(group,)))


def test_a_quiet_configuration_is_met_with_silence(tmp_path: Path) -> None:
    assert remarks(tmp_path, QUIET) == []


def test_saved_rules_give_unchecked_services_of_the_group(tmp_path: Path) -> None:
    rules = (
        "-A -t 192.168.7.110:80 -s rr\n"
        "-a -t 192.168.7.110:80 -r 192.168.7.11:80 -g -w 1\n"
        "-a -t 192.168.7.110:80 -r 192.168.7.12:80 -g -w 2\n"
    )
    haresources = CLASSIC / "tests" / "haresources.2-ha-lvs"
    files = {**classic_files(), "haresources": haresources, "ipvsadm.rules": rules}
    place = directory(tmp_path, files)
    cluster = loaded(place).cluster
    (service,) = cluster.virtual_services
    assert service.check.type is CheckType.ON
    assert service.group == GROUP
    assert service.scheduler is Scheduler.RR
    assert [(r.name, r.weight) for r in service.real_servers] == [
        ("192.168.7.11:80", 1),
        ("192.168.7.12:80", 2),
    ]
    assert cluster.groups[0].resources[1] == SavedRulesResource(file=f"{place}/ipvsadm.rules")


def test_saved_rules_are_looked_for_in_the_system_too(tmp_path: Path) -> None:
    root = tmp_path / "no-such-root"
    system = root / "etc" / "sysconfig" / "ipvsadm"
    system.parent.mkdir(parents=True)
    system.write_text("-A -t 192.168.7.110:80 -s rr\n")
    cluster = loaded(directory(tmp_path, classic_files())).cluster
    assert SavedRulesResource(file=str(system)) in cluster.groups[0].resources


def test_a_checked_service_wins_over_the_saved_rule(tmp_path: Path) -> None:
    rules = "-A -t 192.168.7.110:80 -s wlc\n-A -t 192.168.7.110:21 -s wlc\n"
    place = directory(tmp_path, {**classic_files(), "ipvsadm.rules": rules})
    result = loaded(place)
    names = [str(service.name) for service in result.cluster.virtual_services]
    assert names == ["tcp:192.168.7.110:21", "tcp:192.168.7.110:80", "tcp:192.168.7.110:25"]
    assert WWW in result.cluster.virtual_services
    assert (
        "note ipvsadm.rules:1: -A: tcp:192.168.7.110:80 is taken from www.cf:9, which checks it"
    ) in said(result.diagnostics, place)


def test_files_are_found_in_conf(tmp_path: Path) -> None:
    files = {f"conf/{name}": path for name, path in classic_files().items()}
    assert comparable(loaded(directory(tmp_path, files)).cluster) == comparable(CLUSTER)


def test_a_file_of_two_groups_is_loaded_once(tmp_path: Path) -> None:
    haresources = (
        "linuxha1 192.168.7.110/24 ldirectord::www.cf\nlinuxha2 192.168.7.111/24 ldirectord::www\n"
    )
    files = {**QUIET, "haresources": haresources, "www.cf": CLASSIC / "www.cf"}
    place = directory(tmp_path, files)
    result = loaded(place)
    assert len(result.cluster.virtual_services) == 1
    assert (
        "warning haresources:2: ldirectord::www: www.cf belongs to the group 192.168.7.110/24"
        " already; not loaded twice"
    ) in said(result.diagnostics, place)


def test_a_script_that_is_there_is_met_with_silence(tmp_path: Path) -> None:
    files = {**QUIET, "haresources": "linuxha1 telnet", "resource.d/telnet": "#!/bin/sh\n"}
    place = directory(tmp_path, files)
    (place / "resource.d" / "telnet").chmod(0o700)
    assert loaded(place).diagnostics == ()


def test_readable_keys_are_refused(tmp_path: Path) -> None:
    place = directory(tmp_path, QUIET)
    (place / "authkeys").chmod(0o640)
    with pytest.raises(ConfigError) as refused:
        loaded(place)
    assert said(refused.value.diagnostics, place) == [
        "error authkeys: mode 640: group or others may read the secrets; allowed is 600:"
        " chmod 600 authkeys"
    ]


@pytest.mark.parametrize("missing", ["haresources", "authkeys"])
def test_a_missing_file_is_refused(tmp_path: Path, missing: str) -> None:
    files = {name: text for name, text in QUIET.items() if name != missing}
    place = directory(tmp_path, files)
    with pytest.raises(ConfigError) as refused:
        loaded(place)
    assert f"{place}/{missing}: missing; looked in {place} and {place}/conf" in str(refused.value)


def test_an_unusual_spelling_of_a_file_name_is_found(tmp_path: Path) -> None:
    files = {"ha.cf": QUIET["ha.cf"], "haresources": QUIET["haresources"]}
    words = remarks(tmp_path, {**files, "Authkeys": QUIET["authkeys"]})
    assert words == ["warning Authkeys: taken as authkeys; Heartbeat does not find this spelling"]


def test_nothing_at_the_path_is_refused(tmp_path: Path) -> None:
    for path, words in (
        (str(tmp_path / "absent"), "cannot be read: No such file or directory"),
        (str(tmp_path), "no configuration here; allowed is a directory with ha.cf"),
        ("\0", "cannot be read: not a possible file name"),
        ("/dev/null", "not a regular file"),
    ):
        with pytest.raises(ConfigError) as refused:
            load(path)
        assert words in str(refused.value)
        assert all(d.level is Level.ERROR for d in refused.value.diagnostics)


def test_a_huge_file_is_refused(tmp_path: Path) -> None:
    place = directory(tmp_path, QUIET)
    with (place / "ha.cf").open("ab") as file:
        file.truncate(16 * 1024 * 1024 + 1)
    with pytest.raises(ConfigError, match="larger than 16 MiB"):
        loaded(place)


def test_every_error_of_every_file_is_said_at_once(tmp_path: Path) -> None:
    files = {
        "ha.cf": "bcast eth1\nkeepalve 2\nnode a b\n",
        "authkeys": "auth 1\n1 sha9 x\n",
        "haresources": "c 192.168.7.110/24 ldirectord::www.cf\n",
        "www.cf": "virtual=192.168.7.110:80\n\treal=192.168.7.11:80 GATE\n",
    }
    with pytest.raises(ConfigError) as refused:
        loaded(place := directory(tmp_path, files))
    assert str(refused.value).replace(f"{place}/", "").split("\n") == [
        "ha.cf:2: keepalve: no directive of ha.cf; did you mean keepalive?",
        "authkeys:2: 1: 'sha9' is no method; allowed is crc, md5, sha1, sha256;"
        " did you mean sha1 or sha256?",
        "haresources:1: c: 'c' is no node of ha.cf; allowed is a, b",
        "www.cf:2: real: 'GATE' is not allowed; allowed is gate, masq or ipip",
    ]
