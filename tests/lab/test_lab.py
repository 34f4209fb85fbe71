"""The lab itself: what its machines, cables and faults promise."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import textwrap
import threading
from pathlib import Path

import pytest

from tests.lab import addresses, namespaces
from tests.lab.network import CommandError, Host, Lab, Link, remove_left_overs, wait_until

pytestmark = pytest.mark.netns

PORT = 7
ANSWER_MAX_S = 5.0


def two_hosts(lab: Lab) -> tuple[Host, Host, Link]:
    lan = lab.switch("lan")
    alice, bob = lab.host("alice"), lab.host("bob")
    lab.attach(alice, lan, "eth0", "192.0.2.1/24")
    cable = lab.attach(bob, lan, "eth0", "192.0.2.2/24", "2001:db8::2/64")
    lab.name("192.0.2.2", "bob.example.org", "bob")
    return alice, bob, cable


def hears(source: Host, target: Host, *, wait_s: float) -> bool:
    """Whether a UDP datagram from source reaches target within ``wait_s``."""
    with (
        target.call(lambda: socket.socket(socket.AF_INET, socket.SOCK_DGRAM)) as listener,
        source.call(lambda: socket.socket(socket.AF_INET, socket.SOCK_DGRAM)) as speaker,
    ):
        listener.bind(("0.0.0.0", PORT))
        listener.settimeout(wait_s)
        speaker.sendto(b"hello", ("192.0.2.2", PORT))
        try:
            return listener.recv(16) == b"hello"
        except TimeoutError:
            return False


def test_hosts_hear_each_other_until_the_cable_is_cut_and_again_when_healed(lab: Lab) -> None:
    alice, bob, cable = two_hosts(lab)
    assert hears(alice, bob, wait_s=ANSWER_MAX_S)
    cable.cut()
    assert not hears(alice, bob, wait_s=0.2)
    assert carrier(bob) == "1", "a cut is further down the wire: no loss of carrier"
    cable.heal()
    assert hears(alice, bob, wait_s=ANSWER_MAX_S)


def test_a_host_has_none_of_the_serial_lines_of_this_machine(lab: Lab) -> None:
    alice = lab.host("alice")
    devices = alice.call(lambda: [path.stat().st_rdev for path in Path("/dev").glob("ttyS*")])
    assert len(devices) == len(list(Path("/dev").glob("ttyS*")))
    assert set(devices) <= {os.stat("/dev/null").st_rdev}


def test_a_cable_cut_one_way_lets_the_other_way_pass(lab: Lab) -> None:
    alice, bob, cable = two_hosts(lab)
    back = next(link for link in lab.links if link.host is alice)
    # Static neighbours: ARP needs both ways and is not what is asked here.
    alice.ip(f"neigh add 192.0.2.2 lladdr {cable.mac} dev eth0 nud permanent")
    assert hears(alice, bob, wait_s=ANSWER_MAX_S)
    for link, hears_itself in ((cable, False), (back, True)):
        link.cut_one_way(hears=hears_itself)
        assert not hears(alice, bob, wait_s=0.2)
        link.heal()
        assert hears(alice, bob, wait_s=ANSWER_MAX_S)
    for link, hears_itself in ((cable, True), (back, False)):
        link.cut_one_way(hears=hears_itself)
        assert hears(alice, bob, wait_s=ANSWER_MAX_S)
        link.heal()


def carrier(host: Host) -> str:
    return host.call(lambda: Path("/sys/class/net/eth0/carrier").read_text().strip())


def test_a_connection_survives_a_cut_that_heals(lab: Lab) -> None:
    alice, bob, cable = two_hosts(lab)
    listener = bob.call(lambda: socket.create_server(("192.0.2.2", PORT)))
    with listener:
        near = alice.call(lambda: socket.create_connection(("192.0.2.2", PORT), ANSWER_MAX_S))
        far, _ = listener.accept()
        with near, far:
            cable.cut()
            near.sendall(b"sent while cut")
            cable.heal()
            far.settimeout(ANSWER_MAX_S)
            assert far.recv(64) == b"sent while cut"


def test_every_host_has_its_name_and_resolves_those_of_the_others(lab: Lab) -> None:
    alice, _, _ = two_hosts(lab)
    script = "import socket as s; print(s.gethostname(), s.gethostbyname('bob.example.org'))"
    assert alice.run([sys.executable, "-S", "-c", script]).stdout == "alice 192.0.2.2\n"
    with pytest.raises(OSError, match=r"not known|resolution"):
        socket.gethostbyname("bob.example.org")


def test_nothing_of_the_lab_is_seen_by_the_machine(lab: Lab) -> None:
    before = set(os.listdir("/sys/class/net"))
    name = socket.gethostname()
    two_hosts(lab)
    assert set(os.listdir("/sys/class/net")) == before
    assert socket.gethostname() == name


def test_addresses_of_a_host_are_read_as_the_kernel_has_them(lab: Lab) -> None:
    alice, bob, cable = two_hosts(lab)
    bob.ip("addr add 192.0.2.110/24 dev eth0 valid_lft 60 preferred_lft 60")
    held = {a.address: a for a in addresses.of(bob)}
    assert held["192.0.2.110"].valid_s == pytest.approx(60, abs=2)
    assert held["192.0.2.2"].valid_s is None
    assert addresses.holds(bob, "192.0.2.110")
    assert addresses.holds(bob, "2001:db8::2")
    assert not addresses.holds(alice, "192.0.2.110")
    assert addresses.holders([alice, bob], "192.0.2.110") == ["bob"]
    assert addresses.arp_answer(alice, "192.0.2.110", interface="eth0") == cable.mac
    assert lab.host_of_mac(cable.mac) is bob


def test_a_paused_process_does_nothing_until_it_is_resumed(lab: Lab) -> None:
    alice = lab.host("alice")
    script = "import time\nwhile True: print('tick', flush=True); time.sleep(0.01)"
    ticker = alice.start([sys.executable, "-S", "-c", script])
    wait_until(lambda: "tick" in ticker.output(), timeout_s=ANSWER_MAX_S, what="first tick")
    ticker.pause()
    wait_until(lambda: state(ticker.pid) == "T", timeout_s=ANSWER_MAX_S, what="process stopped")
    printed = len(ticker.output())
    with pytest.raises(TimeoutError):
        wait_until(lambda: len(ticker.output()) > printed, timeout_s=0.2, what="a tick")
    ticker.resume()
    wait_until(lambda: len(ticker.output()) > printed, timeout_s=ANSWER_MAX_S, what="a tick")
    assert ticker.returncode is None


def state(pid: int) -> str:
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]


def test_crash_ends_everything_at_once_and_cuts_all_cables(lab: Lab) -> None:
    alice, bob, cable = two_hosts(lab)
    started = bob.start(["sh", "-c", "trap '' TERM INT; setsid sleep 60 & exec sleep 60"])
    wait_until(lambda: len(bob.pids()) == 2, timeout_s=ANSWER_MAX_S, what="two processes")
    bob.crash()
    assert not cable.whole
    assert not hears(alice, bob, wait_s=0.2)
    assert {state(pid) for pid in bob.pids()} == {"T"}
    bob.bury()
    assert bob.pids() == []
    assert started.returncode == -9


def test_a_failed_command_is_told_with_host_and_output(lab: Lab) -> None:
    with pytest.raises(CommandError, match=r"(?s)alice: sh -c .*exit code 3.*no such thing"):
        lab.host("alice").run(["sh", "-c", "echo no such thing >&2; exit 3"])


def test_a_network_parameter_is_that_of_the_host_only(lab: Lab) -> None:
    path = Path("/proc/sys/net/ipv4/conf/all/arp_announce")
    before = path.read_text()
    alice = lab.host("alice")
    alice.sysctl("net.ipv4.conf.all.arp_announce", 2)
    assert alice.call(path.read_text) == "2\n"
    assert path.read_text() == before


@pytest.mark.parametrize("fails", [False, True], ids=["normal end", "exception"])
def test_nothing_is_left_behind(fails: bool) -> None:
    pids: list[int] = []
    made: list[str] = []

    def use() -> Path:
        with Lab() as lab:
            alice, bob, _ = two_hosts(lab)
            bob.start(["sh", "-c", "sleep 600 & setsid sleep 600 & wait"])
            wait_until(lambda: len(bob.pids()) == 3, timeout_s=ANSWER_MAX_S, what="three")
            pids.extend(bob.pids())
            made.extend((alice.namespace, bob.namespace))
            assert set(made) <= set(namespaces.names())
            if fails:
                raise ZeroDivisionError(lab.directory)
        return lab.directory

    if fails:
        with pytest.raises(ZeroDivisionError) as caught:
            use()
        directory = Path(caught.value.args[0])
    else:
        directory = use()
    mine = [n for n in namespaces.names() if n.startswith(f"heartbus-{os.getpid()}-")]
    assert mine == []
    assert not [pid for pid in pids if Path(f"/proc/{pid}/ns/net").exists()]
    assert not directory.exists()


def test_two_labs_do_not_meet() -> None:
    with Lab() as one, Lab() as other:
        for lab in (one, other):
            two_hosts(lab)
        assert hears(one.hosts["alice"], one.hosts["bob"], wait_s=ANSWER_MAX_S)
        assert not hears(one.hosts["alice"], other.hosts["bob"], wait_s=0.2)


def test_two_threads_may_use_one_lab(lab: Lab) -> None:
    alice, bob, _ = two_hosts(lab)
    seen: dict[str, set[str]] = {"alice": set(), "bob": set()}

    def look(host: Host) -> None:
        for _ in range(50):
            seen[host.name].add(host.call(socket.gethostname))

    threads = [threading.Thread(target=look, args=(host,)) for host in (alice, bob)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert seen == {"alice": {"alice"}, "bob": {"bob"}}


def test_what_a_killed_run_left_is_removed_and_what_runs_is_not(lab: Lab) -> None:
    alice = lab.host("alice")
    script = textwrap.dedent("""
        import os, signal
        from tests.lab.network import Lab
        lab = Lab().__enter__()
        host = lab.host("orphan")
        print(host.namespace, host.start(["sleep", "60"]).pid, lab.directory, flush=True)
        os.kill(os.getpid(), signal.SIGKILL)
    """)
    killed = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=False
    )
    name, pid, directory = killed.stdout.split()
    assert name in namespaces.names()
    assert Path(f"/proc/{pid}/ns/net").exists()
    assert name in remove_left_overs()
    assert name not in namespaces.names()
    assert alice.namespace in namespaces.names()
    assert not Path(f"/proc/{pid}/ns/net").exists()
    assert not Path(directory).exists()
    assert lab.directory.exists()
