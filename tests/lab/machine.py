"""Machines with a kernel and a systemd of their own, for what only a booted Debian shows.

Each is a User-Mode Linux that boots a Debian (``debian.py``) inside a host of the lab, which is
its network card: the cables of that host are its cables. What it writes goes to a disk of its own,
which outlives it: cut its power, and it boots again as a machine does.
"""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import select
import shlex
import shutil
import signal
import subprocess
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from tests.lab.debian import run_here
from tests.lab.kernel import CHECKOUT
from tests.lab.network import CommandError, Host, Lab, Link, Switch, set_links

BOOT: Final = Path(__file__).with_name("boot.sh")
AGENT: Final = Path(__file__).with_name("machine_agent.py")
MODULES: Final = Path("/usr/lib/uml/modules")
MEMORY: Final = "400M"
DISK_BYTES: Final = 512 << 20
BOOT_MAX_S: Final = 90.0
RUN_MAX_S: Final = 60.0
OFF_MAX_S: Final = 30.0

# A Debian starts these by itself; here they would only take time.
NOT_WANTED: Final = (
    "apt-daily-upgrade.timer",
    "apt-daily.timer",
    "dpkg-db-backup.timer",
    "e2scrub_all.timer",
    "e2scrub_reap.service",
    "fstrim.timer",
    "getty.target",
    "proc-sys-fs-binfmt_misc.automount",
    "systemd-binfmt.service",
    "systemd-logind.service",
    "systemd-network-generator.service",
    "systemd-pstore.service",
    "systemd-random-seed.service",
    "systemd-update-utmp.service",
    "systemd-update-utmp-runlevel.service",
)

AGENT_UNIT: Final = """\
[Unit]
Description=what the lab asks
DefaultDependencies=no
After=systemd-tmpfiles-setup-dev.service
[Service]
ExecStart=/usr/bin/python3 -IS /usr/local/sbin/lab-agent
StandardError=journal
[Install]
WantedBy=sysinit.target
"""

NETWORK_UNIT: Final = """\
[Unit]
Description=addresses of the lab
DefaultDependencies=no
Wants=network-pre.target network.target
After=network-pre.target systemd-sysctl.service
Before=network.target network-online.target
[Service]
Type=oneshot
RemainAfterExit=yes
ExecStart=/sbin/ip -batch /etc/lab-network
[Install]
WantedBy=multi-user.target
"""


class Machine:
    """One of them; ``files``: path in it -> content, laid over the Debian at every boot.

    What begins with #! may be run, a unit whose content is None is masked. ``secrets`` are readable
    to the user heartbus alone.
    """

    def __init__(
        self,
        lab: Lab,
        switch: Switch,
        base: Path,
        *,
        name: str,
        hostname: str,
        address: str,
        files: Mapping[str, str | None] | None = None,
        secrets: Mapping[str, str] | None = None,
    ) -> None:
        self.name = name
        self.host: Host = lab.host(name)
        self.link: Link = lab.attach(self.host, switch, "eth0")
        # The bridge takes what is addressed to the cable's own end for itself.
        self.mac = self.link.mac.replace("02:68", "02:69", 1)
        self.host.sysctl("net.ipv6.conf.all.disable_ipv6", 1)
        self.host.ip(
            "tuntap add mode tap name tap0",
            "link add br0 type bridge stp_state 0 forward_delay 0 mcast_snooping 0",
            "link set eth0 master br0",
            "link set tap0 master br0 up",
            "link set br0 up",
        )
        self._base = base
        self._disk = self.host.directory / "disk"
        with self._disk.open("wb") as disk:
            disk.truncate(DISK_BYTES)
        run_here(["mke2fs", "-q", "-t", "ext4", "-O", "^has_journal", "-F", str(self._disk)])
        self._files = self.host.directory / "files"
        network = ["link set lo up", f"addr add {address} dev eth0 broadcast +", "link set eth0 up"]
        self._lay(
            {
                "/etc/hostname": f"{hostname}\n",
                "/etc/lab-network": "".join(f"{line}\n" for line in network),
                "/etc/systemd/system/lab-network.service": NETWORK_UNIT,
                "/etc/systemd/system/lab-agent.service": AGENT_UNIT,
                "/usr/local/sbin/lab-agent": AGENT.read_text(),
                **{f"/etc/systemd/system/{unit}": None for unit in NOT_WANTED},
                **(files or {}),
            }
        )
        for path, content in (secrets or {}).items():
            self._lay({path: content})
            (self._files / path.lstrip("/")).chmod(0o600)
            os.chown(self._files / path.lstrip("/"), _number_of(base, "heartbus"), 0)
        for unit, target in (("network", "multi-user"), ("agent", "sysinit")):
            wants = self._files / f"etc/systemd/system/{target}.target.wants"
            wants.mkdir(exist_ok=True)
            (wants / f"lab-{unit}.service").symlink_to(f"../lab-{unit}.service")
        self._kernel: subprocess.Popen[bytes] | None = None
        self._to = self._from = -1
        self._numbers = itertools.count(1)

    @property
    def console(self) -> Path:
        """What kernel and systemd say on the console."""
        return self.host.directory / "console.log"

    def start(self) -> None:
        """Switch it on and return at once."""
        assert self._kernel is None, f"{self.name} runs"
        set_links([self.link], whole=True)
        linux = shutil.which("linux.uml")
        assert linux is not None, "no linux.uml: run make setup"
        [modules] = MODULES.iterdir()
        to_read, self._to = os.pipe()
        self._from, from_write = os.pipe()
        argv = [
            linux,
            f"mem={MEMORY}",
            f"ubd0={self._disk}",
            "rootfstype=hostfs",
            "rootflags=/",
            "ro",
            "quiet",
            "random.trust_cpu=on",
            f'init="{BOOT}"',
            f'LAB_BASE="{self._base}"',
            f'LAB_FILES="{self._files}"',
            f'LAB_MODULES="{modules}"',
            f"eth0=tuntap,tap0,{self.mac}",
            "con=null",
            "con0=null,fd:1",
            "ssl=null",
            f"ssl0=fd:{to_read},fd:{from_write}",
            "systemd.show_status=no",
            "systemd.log_target=journal",
        ]
        environment = {"PATH": os.environ["PATH"] + ":/usr/sbin:/sbin", "TMPDIR": "/dev/shm"}

        def popen() -> subprocess.Popen[bytes]:
            with self.console.open("ab") as console:
                return subprocess.Popen(
                    argv,
                    stdin=subprocess.DEVNULL,
                    stdout=console,
                    stderr=console,
                    cwd=CHECKOUT,
                    env=environment | {"HOME": str(self.host.directory)},
                    pass_fds=(to_read, from_write),
                    start_new_session=True,
                )

        self._kernel = self.host.call(popen)
        os.close(to_read)
        os.close(from_write)

    def wait_until_booted(self) -> None:
        """Return once it does what it is asked.

        Raises:
            AssertionError: it does not in time; the message has the end of its console.

        """
        assert self._answer(BOOT_MAX_S) == {"ready": True}

    def run(
        self, *argv: str, check: bool = True, stdin: str = "", timeout_s: float = RUN_MAX_S
    ) -> subprocess.CompletedProcess[str]:
        """Run a command in it, as root, to its end.

        Raises:
            CommandError: its exit code is not 0 and ``check`` is set, or it did not end in time.

        """
        number = next(self._numbers)
        order = {"number": number, "argv": argv, "stdin": stdin, "timeout_s": timeout_s}
        os.write(self._to, json.dumps(order).encode() + b"\n")
        answer = self._answer(timeout_s + RUN_MAX_S)
        assert answer["number"] == number, answer
        code = answer["code"]
        if code is None or (check and code != 0):
            raise CommandError(
                f"{self.name}: {shlex.join(argv)}: exit code {code}\n{answer['output']}"
            )
        return subprocess.CompletedProcess(argv, code, answer["output"])

    def said(self, *argv: str, check: bool = True) -> str:
        """Return what a command prints in it."""
        return self.run(*argv, check=check).stdout

    def cut_power(self) -> None:
        """End it at once; what it had not written to its disk is lost."""
        set_links([self.link], whole=False)
        self._kill()

    def switch_off(self) -> None:
        """Let it shut down in order.

        Raises:
            subprocess.TimeoutExpired: it does not end in time.

        """
        assert self._kernel is not None
        self.run("systemctl", "poweroff", "--no-block")
        self._kernel.wait(OFF_MAX_S)
        self._kill()

    def _kill(self) -> None:
        if self._kernel is None:
            return
        # Its processes run as processes of this machine; no other is in this host.
        for pid in self.host.pids():
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        self._kernel.wait()
        self._kernel = None
        os.close(self._to)
        os.close(self._from)

    def close(self) -> None:
        """End it, whatever it does."""
        self._kill()

    def _answer(self, timeout_s: float) -> dict[str, Any]:
        text, deadline_s = b"", time.monotonic() + timeout_s
        while not text.endswith(b"\n"):
            left_s = deadline_s - time.monotonic()
            ready = left_s > 0 and select.select([self._from], [], [], left_s)[0]
            chunk = os.read(self._from, 1 << 16) if ready else b""
            if not chunk:
                end = "\n".join(self.console.read_text(errors="replace").splitlines()[-30:])
                what = "ended" if ready else f"has not answered for {timeout_s:g} s"
                raise AssertionError(f"{self.name} {what}; its console:\n{end}\n{text!r}")
            text += chunk
        answer: dict[str, Any] = json.loads(text)
        return answer

    def _lay(self, files: Mapping[str, str | None]) -> None:
        for name, content in files.items():
            path = self._files / name.lstrip("/")
            path.parent.mkdir(parents=True, exist_ok=True)
            if content is None:
                path.symlink_to("/dev/null")
            else:
                path.write_text(content)
                path.chmod(0o755 if content.startswith("#!") else 0o644)


def _number_of(base: Path, user: str) -> int:
    """Return the number that a Debian has given to a user."""
    lines = (base / "etc/passwd").read_text().splitlines()
    return next(int(line.split(":")[2]) for line in lines if line.startswith(f"{user}:"))
