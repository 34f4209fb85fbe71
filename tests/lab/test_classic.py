"""The classic cluster's machines, before heartbus runs on them."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.lab.classic import (
    DIRECTORS,
    RESOURCE_SCRIPTS,
    SORRY_PAGE,
    VIP,
    ClassicCluster,
    full_name,
)
from tests.lab.client import ContinuousClient
from tests.lab.network import Lab, wait_until

pytestmark = pytest.mark.netns

ANSWER_MAX_S = 20.0


def test_the_machines_are_as_the_files_say(lab: Lab) -> None:
    cluster = ClassicCluster(lab)
    cluster.start_real_servers()
    cluster.start_sorry_servers()
    for name, (_, heartbeat_address) in DIRECTORS.items():
        host = cluster.directors[name].host
        assert host.run(["uname", "-n"]).stdout == f"{full_name(name)}\n"
        assert heartbeat_address in host.run(["ip", "-br", "addr", "show", "eth1"]).stdout
    for name, web in cluster.web.items():
        with ContinuousClient(cluster.client, lab.address_of(full_name(name))) as asking:
            asking.wait_for(1, since_s=0.0, timeout_s=ANSWER_MAX_S)
            assert set(asking.pages()) == {web.page}
    assert cluster.vip_holders() == []
    cluster.directors["linuxha2"].host.ip(f"addr add {VIP}/24 dev eth0")
    assert cluster.vip_holders() == ["linuxha2"]
    with ContinuousClient(cluster.client, VIP) as asking:
        asking.wait_for(1, since_s=0.0, timeout_s=ANSWER_MAX_S)
        assert set(asking.pages()) == {SORRY_PAGE}


def test_the_telnet_script_starts_and_stops_what_says_the_name_of_its_machine(lab: Lab) -> None:
    host = lab.host("linuxha1", hostname=full_name("linuxha1"))
    script = RESOURCE_SCRIPTS / "telnet"
    call: list[str | Path] = ["env", f"HEARTBUS_LAB_DIRECTORY={host.directory}", script]
    assert host.run([*call, "status"], check=False).returncode == 3
    for _ in range(2):
        host.run([*call, "start"])
    with ContinuousClient(host, "127.0.0.1", 23) as asking:
        asking.wait_for(2, since_s=0.0, timeout_s=ANSWER_MAX_S)
        assert set(asking.pages()) == {full_name("linuxha1")}
    assert host.run([*call, "status"]).stdout == "telnet is running\n"
    for _ in range(2):
        host.run([*call, "stop"])
    wait_until(lambda: host.pids() == [], timeout_s=ANSWER_MAX_S, what="telnet has ended")


def test_a_configuration_is_the_example_with_the_haresources_of_one_test(lab: Lab) -> None:
    cluster = ClassicCluster(lab)
    plain, first = cluster.configuration(), cluster.configuration(1)
    assert "ldirectord::www.cf" in (plain / "haresources").read_text()
    assert (first / "haresources").read_text().split()[-1] == "telnet"
    assert (first / "authkeys").stat().st_mode & 0o777 == 0o600
    assert (first / "resource.d" / "telnet").stat().st_mode & 0o111
