"""What Heartbeat shipped as scripts and needs none here; the programs beside it are of our own."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from heartbus.model import ScriptResource
from heartbus_vip.builtin import BuiltIns, source_routes
from heartbus_vip.resource import Said, ScriptEnd, ScriptResult, Verb
from tests.lab.network import Lab

FAKE_IPVSADM = """#!/bin/sh
# Keeps the daemons that run in files, and writes down how it is called.
cd "$(dirname "$0")"
case $1 in
-L) for r in master backup; do [ ! -e $r ] || echo "$r sync daemon (mcast=eth0, syncid=0)"; done;;
--start-daemon) echo "$@" >> trace; touch $2;;
--stop-daemon) echo "$@" >> trace; rm $2;;
esac
"""


class Stage:
    """Built-ins with a root of their own, and programs of our own on PATH."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.announced: list[tuple[str, str]] = []
        self.built_ins = BuiltIns(node="linuxha1", announce=self.announce, root=str(root))

    def announce(self, address: str, interface: str) -> str | None:
        self.announced.append((address, interface))
        return None if interface == "eth0" else f"{interface} is down"

    def program(self, name: str, text: str) -> None:
        path = self.root / "bin" / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)
        path.chmod(0o755)

    async def call(self, verb: Verb, name: str, *arguments: str) -> ScriptResult:
        resource = ScriptResource(script=name, arguments=arguments)
        return await self.built_ins.call(resource, verb, timeout_s=5.0)


def process_that_waits() -> subprocess.Popen[bytes]:
    # Below nohup(1) it would ignore SIGHUP, as whoever runs the tests does.
    return subprocess.Popen(["env", "--default-signal=HUP", "sleep", "60"])


@pytest.fixture
def stage(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Stage:
    monkeypatch.setenv("PATH", f"{tmp_path}/bin:/usr/bin:/bin")
    return Stage(tmp_path)


async def test_delay_waits_before_what_comes_after_it(stage: Stage) -> None:
    for verb, takes_s in ((Verb.START, 0.2), (Verb.STOP, 0.1), (Verb.STATUS, 0.0)):
        begins_s = time.monotonic()
        result = await stage.call(verb, "Delay", "0.2", "0.1")
        assert result.problem is None
        assert time.monotonic() - begins_s >= takes_s
    assert (await stage.call(Verb.STATUS, "Delay", "9")).said is Said.UNCLEAR


async def test_a_delay_is_bounded_by_the_time_of_a_script(stage: Stage) -> None:
    resource = ScriptResource(script="Delay", arguments=("60",))
    result = await stage.built_ins.call(resource, Verb.START, timeout_s=0.05)
    assert result.end is ScriptEnd.TIMED_OUT


async def test_mailto_sends_one_mail_when_the_group_comes_and_one_when_it_goes(
    stage: Stage,
) -> None:
    mailbox = stage.root / "mails"
    stage.program("sendmail", f'#!/bin/sh\necho "$@" >> {mailbox}; cat >> {mailbox}\n')
    for verb in (Verb.STATUS, Verb.START, Verb.STOP):
        assert (await stage.call(verb, "MailTo", "root@localhost,ops", "web")).problem is None
    mails = mailbox.read_text()
    assert mails.count("-i root@localhost ops\n") == 2
    assert "Subject: web: linuxha1 is taking over\n" in mails
    assert "Subject: web: linuxha1 is giving up\n" in mails


async def test_a_mail_that_cannot_be_sent_is_told_and_fails_nothing(stage: Stage) -> None:
    result = await stage.call(Verb.START, "MailTo", "root")
    assert result.problem is None
    assert "sendmail: No such file" in result.detail


async def test_sendarp_announces_on_start_only(stage: Stage) -> None:
    for verb in (Verb.STATUS, Verb.STOP, Verb.START):
        await stage.call(verb, "SendArp", "192.168.7.110/eth0")
    assert stage.announced == [("192.168.7.110", "eth0")]
    failed = await stage.call(Verb.START, "SendArp", "192.168.7.110/eth9")
    assert (failed.problem, failed.detail) == (None, "eth9 is down")


async def test_the_sync_daemons_are_swapped_and_swapped_back(stage: Stage) -> None:
    stage.program("ipvsadm", FAKE_IPVSADM)
    trace = stage.root / "bin" / "trace"
    words = ("LVSSyncDaemonSwap", "master", "eth1", "7")
    assert (await stage.call(Verb.STATUS, *words)).said is Said.STOPPED
    for verb, said in ((Verb.START, Said.RUNNING), (Verb.STOP, Said.STOPPED)):
        for _ in range(2):  # again changes nothing
            assert (await stage.call(verb, *words)).problem is None
        assert (await stage.call(Verb.STATUS, *words)).said is said
    assert trace.read_text().splitlines() == [
        "--start-daemon master --mcast-interface eth1 --syncid 7",
        "--stop-daemon master",
        "--start-daemon backup --mcast-interface eth1 --syncid 7",
    ]


async def test_a_takeover_does_not_fail_because_connections_are_not_synced(stage: Stage) -> None:
    stage.program("ipvsadm", "#!/bin/sh\necho no ip_vs here; exit 2\n")
    result = await stage.call(Verb.START, "LVSSyncDaemonSwap", "master")
    assert result.problem is None
    assert "no ip_vs here" in result.detail


async def test_xinetd_gets_its_service_enabled_and_disabled_and_is_told(stage: Stage) -> None:
    path = stage.root / "etc/xinetd.d/telnet"
    path.parent.mkdir(parents=True)
    text = "service telnet\n{\n\tdisable\t= yes\n\tuser = root\n}\n"
    path.write_text(text)
    path.chmod(0o640)
    (stage.root / "run").mkdir()
    xinetd = process_that_waits()
    (stage.root / "run/xinetd.pid").write_text(f"{xinetd.pid}\n")
    assert (await stage.call(Verb.STATUS, "Xinetd", "telnet")).said is Said.STOPPED
    assert (await stage.call(Verb.START, "Xinetd", "telnet")).problem is None
    assert xinetd.wait() == -signal.SIGHUP
    assert path.read_text() == text.replace("yes", "no")
    assert path.stat().st_mode & 0o777 == 0o640
    assert (await stage.call(Verb.STATUS, "Xinetd", "telnet")).said is Said.RUNNING


async def test_xinetd_that_does_not_run_is_a_failure(stage: Stage) -> None:
    path = stage.root / "etc/xinetd.d/telnet"
    path.parent.mkdir(parents=True)
    path.write_text("disable = yes\n")
    result = await stage.call(Verb.START, "Xinetd", "telnet")
    assert "xinetd does not run" in str(result.problem)
    missing = await stage.call(Verb.START, "Xinetd", "ftp")
    assert "No such file" in str(missing.problem)


@pytest.mark.parametrize(
    ("routes", "source", "changes"),
    [
        ([], "10.0.0.9", []),
        ([{"dst": "10.0.0.0/24", "dev": "eth0"}], "10.0.0.9", []),
        (
            [{"dst": "default", "gateway": "10.0.0.1", "dev": "eth0", "metric": 5}],
            "10.0.0.9",
            ["default via 10.0.0.1 dev eth0 metric 5 src 10.0.0.9"],
        ),
        (
            [
                {"dst": "default", "gateway": "10.0.0.1", "dev": "eth0", "prefsrc": "10.0.0.9"},
                {"dst": "default", "dev": "eth1", "prefsrc": "10.1.0.9"},
            ],
            None,
            ["default via 10.0.0.1 dev eth0"],
        ),
    ],
)
def test_default_routes_are_changed_and_only_ours_are_changed_back(
    routes: list[dict[str, object]], source: str | None, changes: list[str]
) -> None:
    assert [" ".join(words) for words in source_routes(routes, "10.0.0.9", source)] == changes


SOURCE_SCRIPT = """
import asyncio, sys
from heartbus.model import ScriptResource
from heartbus_vip.builtin import BuiltIns
from heartbus_vip.resource import Verb
async def main():
    built_ins = BuiltIns(node="a", announce=lambda a, i: None)
    resource = ScriptResource(script="IPsrcaddr", arguments=("192.0.2.9",))
    for verb in sys.argv[1:]:
        result = await built_ins.call(resource, Verb(verb), timeout_s=5.0)
        print(verb, result.said.value, result.problem)
asyncio.run(main())
"""


@pytest.mark.netns
def test_ipsrcaddr_makes_a_held_address_the_source_of_what_the_director_sends(lab: Lab) -> None:
    host, lan = lab.host("a"), lab.switch("lan")
    lab.attach(host, lan, "eth0", "192.0.2.1/24")
    host.ip("addr add 192.0.2.9/24 dev eth0")
    host.ip("route add default via 192.0.2.254")

    def source() -> str:
        out = host.run(["ip", "-j", "route", "get", "198.51.100.1"]).stdout
        return str(json.loads(out)[0]["prefsrc"])

    assert source() == "192.0.2.1"
    call = [sys.executable, "-c", SOURCE_SCRIPT]
    assert host.run([*call, "start", "status"]).stdout.endswith("status running None\n")
    assert source() == "192.0.2.9"
    host.run([*call, "stop"])
    assert source() == "192.0.2.1"
    assert "status stopped" in host.run([*call, "status"]).stdout
