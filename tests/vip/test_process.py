"""The real process in a host of the lab: real kernel, real scripts, real signals, no bus.

The lease file is all that it hears here, as when nats-server is dead.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import struct
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.lab import addresses
from tests.lab.addresses import HeldAddress
from tests.lab.network import Host, Lab, Process

pytestmark = pytest.mark.netns

NODE = "linuxha1.linux-ha.org"
VIP = "192.168.7.110"
GROUP = "www"
LIFETIME_S = 3
KERNEL_LATE_S = 0.6
"""The kernel rounds the times at which it looks for ended addresses; up to 0.44 s were measured."""
START_MAX_S = 20.0
BOOT_ID = Path("/proc/sys/kernel/random/boot_id").read_text().strip()


class Director:
    """A host with heartbus-vip, and the test in the part of membership."""

    def __init__(self, lab: Lab, directory: Path) -> None:
        self.lan = lab.switch("lan")
        self.host = lab.host(NODE)
        self.link = lab.attach(self.host, self.lan, "eth0", "192.168.7.1/24")
        self.runtime_dir = directory / "run"
        self.script_dir = directory / "resource.d"
        self.trace = directory / "trace"
        for path in (self.runtime_dir, self.script_dir):
            path.mkdir()
        self.trace.touch()
        self.config = directory / "heartbus.toml"
        self.configure(f'"{VIP}/24"')

    def configure(self, *resources: str, settings: str = "", group: str = GROUP) -> None:
        self.config.touch(mode=0o600)  # it has a secret
        self.config.write_text(
            f"""
[cluster]
resource_path = ["{self.script_dir}"]
[[directors]]
name = "{NODE}"
[membership]
[[membership.links]]
kind = "bcast"
interface = "eth0"
[membership.authentication]
signing_key = 1
[[membership.authentication.keys]]
id = 1
secret = "a-secret-of-sixteen-or-more"
[vip]
{settings}
[[groups]]
name = "{group}"
preferred = "{NODE}"
resources = [{", ".join(resources)}]
"""
        )

    def script(self, name: str, body: str = "") -> None:
        """A resource script that keeps a trace and a state, with ``body`` before its work."""
        path = self.script_dir / name
        path.write_text(
            f"""#!/bin/sh
echo {name} "$@" >> {self.trace}
held={self.script_dir}/{name}.held
for verb; do :; done
{body}
case $verb in
start) touch $held;;
stop) rm -f $held;;
status) [ -e $held ] && echo running || echo stopped;;
esac
"""
        )
        path.chmod(0o755)

    def traced(self) -> list[str]:
        return self.trace.read_text().splitlines()

    def lease(self, *, epoch: int = 1, for_s: float = 30.0, ask_first: bool = False) -> None:
        """Grant the group, as membership would write it."""
        lease = {
            "group": GROUP,
            "epoch": epoch,
            "deadline_monotonic_s": time.monotonic() + for_s,
            "cause": "c",
            "ask_first": ask_first,
        }
        self._write([lease])

    def revoke(self) -> None:
        self._write([])

    def _write(self, leases: list[dict[str, object]]) -> None:
        document = {
            "schema": 1,
            "boot_id": BOOT_ID,
            "written_monotonic_s": time.monotonic(),
            "leases": leases,
        }
        draft = self.runtime_dir / "draft"
        draft.write_text(json.dumps(document))
        draft.rename(self.runtime_dir / "leases.json")

    def start(self, *, wrapped: tuple[str, ...] = ()) -> Process:
        command = (sys.executable, "-m", "heartbus_vip", "--config", self.config, "--node", NODE)
        directories = ("--runtime-dir", self.runtime_dir, "--state-dir", self.runtime_dir)
        return self.host.start([*wrapped, *command, *directories])

    def vip(self) -> HeldAddress | None:
        found = [a for a in addresses.of(self.host) if a.address == VIP]
        assert len(found) <= 1
        return found[0] if found else None

    def holds(self) -> bool:
        return addresses.holds(self.host, VIP)


@pytest.fixture
def director(lab: Lab, tmp_path: Path) -> Director:
    return Director(lab, tmp_path)


def wait_for(
    condition: Callable[[], bool], *, within_s: float = START_MAX_S, of: Process | None = None
) -> float:
    """Return how long it took, in seconds."""
    start_s = time.monotonic()
    while not condition():
        waited_s = time.monotonic() - start_s
        said = of.output() if of is not None else ""
        assert waited_s < within_s, f"not within {within_s} s; the process said:\n{said}"
        assert of is None or of.returncode is None, said
        time.sleep(0.005)
    return time.monotonic() - start_s


def lines(process: Process, event: str) -> list[dict[str, object]]:
    """Return its log lines of one kind: an event's kind, or the name of a line."""
    parsed = [json.loads(line) for line in process.output().splitlines() if line.startswith("{")]
    return [line for line in parsed if event in (line.get("kind"), line["event"])]


def logged(process: Process, event: str) -> Callable[[], bool]:
    return lambda: bool(lines(process, event))


# --- addresses -----------------------------------------------------------------------------------


def test_a_lease_is_held_with_mask_broadcast_and_a_finite_lifetime(director: Director) -> None:
    director.lease()
    process = director.start()
    wait_for(director.holds, of=process)
    held = director.vip()
    assert held is not None
    assert (held.interface, held.prefix_len, held.broadcast) == ("eth0", 24, "192.168.7.255")
    assert held.valid_s in (LIFETIME_S, LIFETIME_S - 1)


def test_the_address_stays_much_longer_than_its_lifetime_without_a_gap(director: Director) -> None:
    director.lease()
    process = director.start()
    wait_for(director.holds, of=process)
    until_s = time.monotonic() + LIFETIME_S + 2.0
    samples = [director.holds()]
    while time.monotonic() < until_s:
        samples.append(director.holds())
        time.sleep(0.01)
    assert all(samples)


def test_a_lease_is_acted_on_when_it_is_written_not_at_the_next_refresh(
    director: Director,
) -> None:
    director.configure(f'"{VIP}/24"', settings="lifetime = 60\nrefresh = 20")
    process = director.start()
    wait_for(logged(process, "service.ready"), of=process)
    director.lease()
    wait_for(director.holds, within_s=5.0, of=process)
    director.revoke()
    wait_for(lambda: not director.holds(), within_s=5.0, of=process)


def test_a_revoked_lease_ends_the_address_at_the_next_tick(director: Director) -> None:
    director.lease()
    process = director.start()
    wait_for(director.holds, of=process)
    director.revoke()
    wait_for(lambda: not director.holds(), within_s=1.0, of=process)
    wait_for(logged(process, "vip.released"), of=process)


def test_an_expired_lease_ends_the_address_when_membership_is_silent(director: Director) -> None:
    process = director.start()
    wait_for(logged(process, "service.ready"), of=process)
    director.lease(for_s=2.0)
    granted_s = time.monotonic()
    wait_for(director.holds, of=process)
    wait_for(lambda: not director.holds(), of=process)
    assert time.monotonic() - granted_s < 2.5
    wait_for(logged(process, "vip.released"), of=process)


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSTOP])
def test_a_dead_or_hung_process_loses_the_address_within_the_lifetime(
    director: Director, number: signal.Signals
) -> None:
    director.lease()
    process = director.start()
    wait_for(director.holds, of=process)
    os.kill(process.pid, number)
    assert wait_for(lambda: not director.holds()) < LIFETIME_S + KERNEL_LATE_S


@pytest.mark.parametrize("lost", ["revoked", "expired"])
def test_whoever_wakes_without_a_lease_never_touches_the_address(
    director: Director, lost: str
) -> None:
    process = director.start()
    wait_for(logged(process, "service.ready"), of=process)
    director.lease(for_s=2.0 if lost == "expired" else 30.0)
    wait_for(director.holds, of=process)
    os.kill(process.pid, signal.SIGSTOP)
    if lost == "revoked":
        director.revoke()
    wait_for(lambda: not director.holds())
    watch = director.host.start(["ip", "-o", "monitor", "address"])
    see(director, watch, "10.0.0.77")
    os.kill(process.pid, signal.SIGCONT)
    wait_for(logged(process, "vip.released"), of=process)
    see(director, watch, "10.0.0.78")  # whatever happened before this was seen too
    assert VIP not in watch.output()


def see(director: Director, watch: Process, address: str) -> None:
    """Change something until the monitor shows it."""

    def seen() -> bool:
        director.host.ip(f"addr replace {address}/32 dev lo")
        return address in watch.output()

    wait_for(seen, of=watch)


def test_a_killed_process_adopts_its_address_without_a_gap(director: Director) -> None:
    # In the lab kernel a process starts in 5 s, not in 0.5 s as natively.
    director.configure(f'"{VIP}/24"', settings="lifetime = 12")
    director.lease()
    first = director.start()
    wait_for(director.holds, of=first)
    first.kill()
    time.sleep(1.5)  # so that a refresh by the next life can be told from the last one of this
    second = director.start()
    while not lines(second, "vip.acquired"):
        assert director.holds()
        assert second.returncode is None, second.output()
        time.sleep(0.005)
    held = director.vip()
    assert held is not None
    assert held.valid_s in (11, 12)
    assert not lines(second, "address.removed")
    assert not lines(second, "address.repaired")


def test_an_address_removed_by_hand_comes_back_at_the_next_tick(director: Director) -> None:
    director.lease()
    process = director.start()
    wait_for(director.holds, of=process)
    director.host.ip(f"addr del {VIP}/24 dev eth0")
    assert wait_for(director.holds, of=process) < 1.0
    wait_for(logged(process, "address.repaired"), of=process)


def test_an_address_that_cannot_be_put_back_fails_its_group(director: Director) -> None:
    director.lease()
    process = director.start()
    wait_for(director.holds, of=process)
    director.host.ip("link del eth0")
    took_s = wait_for(logged(process, "vip.failed"), of=process)
    assert LIFETIME_S - 0.3 < took_s < LIFETIME_S + 2.0
    (failed,) = lines(process, "vip.failed")
    assert f"{VIP}/24: no interface has a route to it" in str(failed["data"])


@pytest.mark.parametrize("lifetime", ["", " valid_lft 60 preferred_lft 60"])
def test_an_address_without_a_lease_goes_only_when_membership_spoke(
    director: Director, lifetime: str
) -> None:
    director.host.ip(f"addr add {VIP}/24 dev eth0{lifetime}")
    process = director.start()
    wait_for(logged(process, "service.ready"), of=process)
    time.sleep(1.0)  # four ticks in which it must not act
    assert director.holds()
    director.revoke()
    wait_for(logged(process, "address.removed"), of=process)
    assert not director.holds()
    assert bool(lines(process, "address.foreign")) is (lifetime == "")


def test_a_clean_stop_releases_before_it_ends(director: Director) -> None:
    director.lease()
    process = director.start()
    wait_for(director.holds, of=process)
    assert process.stop() == 0
    assert not director.holds()
    assert lines(process, "vip.released")


# --- announcements -------------------------------------------------------------------------------


class Capture:
    """ARP frames about the VIP, as a neighbour gets them: (time, operation, MAC)."""

    def __init__(self, host: Host) -> None:
        self.frames: list[tuple[float, int, str]] = []
        self._socket = host.call(
            lambda: socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(0x0806))
        )
        self._socket.settimeout(0.1)
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._listen)
        self._thread.start()

    def close(self) -> None:
        self._ended.set()
        self._thread.join()
        self._socket.close()

    def _listen(self) -> None:
        while not self._ended.is_set():
            try:
                frame = self._socket.recv(2048)
            except TimeoutError:
                continue
            (operation,) = struct.unpack_from("!H", frame, 20)
            if frame[28:32] == socket.inet_aton(VIP) == frame[38:42]:
                self.frames.append((time.monotonic(), operation, frame[22:28].hex(":")))


@pytest.fixture
def client(lab: Lab, director: Director) -> Host:
    host = lab.host("client")
    lab.attach(host, director.lan, "eth0", "192.168.7.9/24")
    return host


@pytest.fixture
def capture(client: Host) -> Iterator[Capture]:
    created = Capture(client)
    yield created
    created.close()


def test_a_burst_of_announcements_reaches_the_neighbours(
    director: Director, client: Host, capture: Capture
) -> None:
    client.ip(f"neigh add {VIP} lladdr 02:00:00:00:00:99 dev eth0 nud stale")
    director.configure(f'"{VIP}/24"', settings="announce = { burst = 4, spacing = 0.1 }")
    director.lease()
    process = director.start()
    wait_for(lambda: len(capture.frames) >= 4, of=process)
    time.sleep(0.3)  # a fifth one would come in this time
    assert [operation for _, operation, _ in capture.frames] == [1, 2, 1, 2]
    assert {mac for _, _, mac in capture.frames} == {director.link.mac}
    assert addresses.neighbour(client, VIP) == director.link.mac


def test_a_higher_epoch_announces_again_at_once(director: Director, capture: Capture) -> None:
    director.configure(f'"{VIP}/24"', settings="announce = { burst = 1, again = 0, refresh = 0 }")
    director.lease()
    process = director.start()
    wait_for(lambda: len(capture.frames) == 1, of=process)
    director.lease(epoch=2)
    wait_for(lambda: len(capture.frames) == 2, within_s=1.0, of=process)
    assert len(lines(process, "vip.acquired")) == 1


def test_refresh_and_announcements_go_on_while_a_script_hangs(
    director: Director, capture: Capture
) -> None:
    director.script("slow", '[ "$verb" = start ] && sleep 1000')
    director.configure(f'"{VIP}/24"', '"slow"', settings="announce = { burst = 30, spacing = 0.1 }")
    director.lease()
    process = director.start()
    wait_for(lambda: len(capture.frames) == 30, of=process)
    spacings = [b[0] - a[0] for a, b in zip(capture.frames, capture.frames[1:], strict=False)]
    assert director.holds()
    assert sum(spacings) / len(spacings) < 0.2
    assert director.traced() == ["slow status", "slow start"]


# --- scripts -------------------------------------------------------------------------------------


def test_scripts_start_left_to_right_and_stop_right_to_left(director: Director) -> None:
    for name in ("one", "two"):
        director.script(
            name, f'ip -o addr | grep -q {VIP} && echo "  with VIP" >> {director.trace}'
        )
    director.configure('"one::a::b"', f'"{VIP}/24"', '"two"')
    director.lease()
    process = director.start()
    wait_for(logged(process, "vip.acquired"), of=process)
    assert director.traced() == [
        *("one a b status", "one a b start"),
        *("two status", "  with VIP", "two start", "  with VIP"),
    ]
    director.trace.write_text("")
    assert process.stop() == 0
    assert director.traced() == ["two stop", "  with VIP", "one a b stop"]


def test_a_killed_process_finds_its_scripts_running_and_starts_none_again(
    director: Director,
) -> None:
    director.script("one")
    director.configure(f'"{VIP}/24"', '"one"')
    director.lease()
    first = director.start()
    wait_for(logged(first, "vip.acquired"), of=first)
    first.kill()
    second = director.start()
    wait_for(logged(second, "vip.acquired"), of=second)
    assert director.traced() == ["one status", "one start", "one status"]


def test_scripts_of_an_earlier_life_are_stopped_if_the_lease_is_gone(director: Director) -> None:
    director.script("one")
    director.configure('"one"')  # no address that would show it
    director.lease()
    first = director.start()
    wait_for(logged(first, "vip.acquired"), of=first)
    first.kill()
    director.revoke()
    second = director.start()
    wait_for(logged(second, "vip.released"), of=second)
    assert director.traced() == ["one status", "one start", "one stop"]


def test_a_script_that_fails_to_start_stops_the_whole_group(director: Director) -> None:
    director.script("one")
    director.script("bad", '[ "$verb" = start ] && { echo no disk; exit 1; }')
    director.configure(f'"{VIP}/24"', '"one"', '"bad"')
    director.lease()
    process = director.start()
    wait_for(logged(process, "vip.failed"), of=process)
    wait_for(lambda: not director.holds(), of=process)
    wait_for(lambda: director.traced()[-1] == "one stop", of=process)
    assert director.traced()[-2:] == ["bad stop", "one stop"]
    (failure,) = lines(process, "vip.failed")
    assert failure["data"] == {
        "group": GROUP,
        "director": NODE,
        "epoch": 1,
        "resource": "bad",
        "reason": "start: exit code 1; it said: no disk",
    }
    assert not lines(process, "vip.acquired")


def test_a_script_that_hangs_is_ended_and_the_group_stopped(director: Director) -> None:
    director.script("slow", '[ "$verb" = start ] && sleep 1000')
    director.configure(f'"{VIP}/24"', '"slow"', settings="script_timeout = 0.5")
    director.lease()
    process = director.start()
    wait_for(logged(process, "vip.failed"), of=process)
    wait_for(lambda: not director.holds(), of=process)
    assert "timed out" in str(lines(process, "vip.failed")[0]["data"])
    wait_for(lambda: director.host.pids() == [process.pid], of=process)


def test_a_hanging_stop_does_not_keep_the_address_beyond_its_lifetime(director: Director) -> None:
    director.script("slow", '[ "$verb" = stop ] && sleep 1000')
    director.configure(f'"{VIP}/24"', '"slow"')
    director.lease()
    process = director.start()
    wait_for(logged(process, "vip.acquired"), of=process)
    director.revoke()
    took_s = wait_for(lambda: not director.holds(), of=process)
    assert took_s < LIFETIME_S + 0.3 + 0.25  # the news are read at the next tick
    assert director.traced()[-1] == "slow stop"


def test_a_hanging_stop_bounds_a_clean_stop(director: Director) -> None:
    director.script("slow", '[ "$verb" = stop ] && sleep 1000')
    director.configure(f'"{VIP}/24"', '"slow"', settings="script_timeout = 1")
    director.lease()
    process = director.start()
    wait_for(logged(process, "vip.acquired"), of=process)
    start_s = time.monotonic()
    assert process.stop() == 0
    assert time.monotonic() - start_s < 3.5
    assert not director.holds()
    assert director.host.pids() == []


def test_a_revoked_lease_cancels_a_running_start_and_stops_after_its_end(
    director: Director,
) -> None:
    clean_up = f"sleep 0.2; echo cleaned up >> {director.trace}; exit 1"
    director.script(
        "slow",
        f"""if [ "$verb" = start ]; then
    trap '{clean_up}' TERM
    echo waits >> {director.trace}
    sleep 1000 & wait
fi""",
    )
    director.configure('"slow"', f'"{VIP}/24"')
    director.lease()
    process = director.start()
    wait_for(lambda: director.traced()[-1:] == ["waits"], of=process)
    director.revoke()
    wait_for(logged(process, "vip.released"), of=process)
    assert director.traced()[3:] == ["cleaned up", "slow stop"]
    assert director.host.pids() == [process.pid]


def test_a_missing_script_is_said_once_with_what_was_tried(director: Director) -> None:
    director.configure(f'"{VIP}/24"', '"nowhere"')
    director.lease()
    process = director.start()
    wait_for(logged(process, "vip.acquired"), of=process)
    assert process.stop() == 0
    (warning,) = lines(process, "script.missing")
    assert f"{director.script_dir}/nowhere (no such file)" in str(warning["tried"])


# --- what is missing on the machine --------------------------------------------------------------


def test_no_route_to_the_address_is_told_and_no_crash(director: Director) -> None:
    director.configure('"203.0.113.5/32"')
    director.lease()
    process = director.start()
    wait_for(logged(process, "vip.failed"), of=process)
    assert "no interface has a route to it" in str(lines(process, "vip.failed")[0]["data"])
    assert process.stop() == 0


@pytest.mark.parametrize(
    ("capability", "word"),
    [("net_admin", "CAP_NET_ADMIN is missing"), ("net_raw", "CAP_NET_RAW is missing")],
)
def test_a_missing_privilege_is_one_clear_line_and_exit_code_3(
    director: Director, capability: str, word: str
) -> None:
    director.lease()
    process = director.start(
        wrapped=("setpriv", f"--bounding-set=-{capability}", f"--inh-caps=-{capability}")
    )
    assert process.wait(timeout_s=START_MAX_S) == 3
    printed = [line for line in process.output().splitlines() if not line.startswith("{")]
    assert len(printed) == 1
    assert word in printed[0]
    assert not director.holds()
