"""The images: built as a user builds them, run as quadlets and compose file say."""

from __future__ import annotations

import configparser
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest

from tests.lab import addresses, debian
from tests.lab.debian import run_here
from tests.lab.kernel import CHECKOUT
from tests.lab.network import Host, Lab, wait_until
from tests.lab.web import WebServer

pytestmark = [pytest.mark.machines, pytest.mark.timeout(300)]

CONTAINER: Final = CHECKOUT / "deploy" / "container"
COMPOSE: Final = Path(sys.prefix) / "bin" / "podman-compose"
QUADLETS: Final = CONTAINER / "quadlet"
VIP: Final = "192.0.2.100"
UID: Final = 694

# linux/capability.h
CAPABILITIES: Final = {"CAP_NET_BIND_SERVICE": 10, "CAP_NET_ADMIN": 12, "CAP_NET_RAW": 13}

SERVICES: Final = ("bus", "membership", "vip", "checker", "recorder")
"""Those that need no IPVS, which this kernel may lack; the others say so."""

CONFIGURATION: Final = f"""\
[[directors]]
name = "one"
address = "192.0.2.1"

[[directors]]
name = "two"
address = "192.0.2.2"

[membership]
initdead = 1

[[membership.links]]
kind = "bcast"
interface = "eth0"

[membership.authentication]
signing_key = 1

[[membership.authentication.keys]]
id = 1
method = "sha256"
secret = "only for this test"

[[groups]]
name = "web"
preferred = "one"
resources = [{{ address = "{VIP}/24" }}]

[[virtual_services]]
address = "{VIP}:80"
group = "web"
check = {{ type = "ping", interval = 1 }}
real_servers = [{{ address = "192.0.2.11:80" }}]
"""

# The limits are those of whoever runs the tests, who may not be allowed to raise them.
ENGINE: Final = """\
[containers]
default_ulimits = ["nofile=1024:1024", "nproc=1000:1000"]
[engine]
runtime = "runc"
cgroup_manager = "cgroupfs"
events_logger = "file"
"""


class Podman:
    """podman with images and containers of its own."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        (directory / "containers.conf").write_text(ENGINE)
        storage = f'[storage]\ndriver = "overlay"\ngraphroot = "{directory}/root"\n'
        (directory / "storage.conf").write_text(f'{storage}runroot = "{directory}/run"\n')
        self.environment = (
            f"CONTAINERS_CONF={directory}/containers.conf",
            f"CONTAINERS_STORAGE_CONF={directory}/storage.conf",
        )

    def command(self, *words: str, program: str = "podman") -> list[str]:
        return ["env", *self.environment, program, *words]

    def here(self, *words: str) -> str:
        return run_here(self.command(*words))

    def on(self, host: Host, *words: str, program: str = "podman", **environment: str) -> str:
        """Return what it says; the network of the host of its containers is that of the lab's.

        All else is this machine's, cgroups above all.
        """
        inside = ["nsenter", f"--net=/run/netns/{host.namespace}", "env"]
        inside += [f"{name}={text}" for name, text in environment.items()]
        return run_here([*inside, *self.command(*words, program=program)])

    def logs(self, name: str) -> str:
        """Return what a container has said, of both its streams."""
        return run_here(self.command("logs", "--tail=20", name))

    def remove(self) -> None:
        self.here("rm", "--all", "--force", "--time=0")
        shutil.rmtree(self._directory)


def quadlet(name: str) -> configparser.ConfigParser:
    parser = configparser.ConfigParser(strict=True, interpolation=None)
    parser.optionxform = str  # type: ignore[assignment,method-assign]  # systemd keys have case
    lines = (QUADLETS / name).read_text().splitlines()  # several of a key: see volumes()
    parser.read_string("\n".join(line for line in lines if not line.startswith("Volume=")))
    return parser


def arguments(service: str, *, etc: Path) -> list[str]:
    """Return what quadlet (podman-systemd.unit(5)) makes of a file, as words for podman run."""
    section = dict(quadlet(f"heartbus-{service}.container")["Container"])
    words = ["run", "--detach", f"--name={section.pop('ContainerName')}"]
    words += [f"--network={section.pop('Network')}", f"--user={section.pop('User')}"]
    words += [f"--cap-drop={section.pop('DropCapability').lower()}"]
    words += [f"--cap-add={name.lower()}" for name in section.pop("AddCapability", "").split()]
    assert section.pop("NoNewPrivileges") == section.pop("ReadOnly") == "true"
    words += ["--security-opt=no-new-privileges", "--read-only"]
    assert section.pop("Notify", "true") == "true"
    words += [f"--env-file={section.pop('EnvironmentFile').replace('/etc', str(etc), 1)}"]
    words += [f"--volume={volume}" for volume in volumes(service, etc=etc)]
    words.append(section.pop("Image"))
    assert not section, f"keys that this test does not know: {section}"
    return words


def volumes(service: str, *, etc: Path) -> list[str]:
    text = (QUADLETS / f"heartbus-{service}.container").read_text()
    found = []
    for line in text.splitlines():
        if line.startswith("Volume="):
            source, _, rest = line.removeprefix("Volume=").partition(":")
            if source.endswith(".volume"):
                source = quadlet(source)["Volume"]["VolumeName"]
            found.append(f"{source.replace('/etc', str(etc), 1)}:{rest}")
    return found


@pytest.fixture(scope="module")
def podman(package: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Podman]:
    """All images, on a base that is a Debian from debootstrap: no registry is asked."""
    made = Podman(tmp_path_factory.mktemp("podman"))
    try:
        archive = ["tar", "-C", str(debian.base().root), "-c", "."]
        with subprocess.Popen(archive, stdout=subprocess.PIPE) as packing:
            subprocess.run(
                made.command("import", "--quiet", "-", "localhost/base"),
                stdin=packing.stdout,
                check=True,
                capture_output=True,
            )
        for service in (*SERVICES, "ipvs-agent", "director"):
            made.here(
                *("build", "--quiet", "--build-arg=BASE=localhost/base"),
                *(f"--file={CONTAINER}/Containerfile", f"--target={service}"),
                *(f"--tag=localhost/heartbus-{service}", str(CHECKOUT)),
            )
        yield made
    finally:
        made.remove()


@pytest.fixture
def etc(tmp_path: Path) -> Path:
    """What the host has of /etc."""
    directory = tmp_path / "etc"
    (directory / "heartbus").mkdir(parents=True)
    config = directory / "heartbus" / "heartbus.toml"
    config.write_text(CONFIGURATION)
    config.chmod(0o600)
    shutil.chown(config, UID, UID)
    (directory / "default").mkdir()
    (directory / "default" / "heartbus").write_text("HEARTBUS_NODE=one\n")
    return directory


def director(lab: Lab) -> Host:
    lan = lab.switch("lan")
    one, web, client = lab.host("one"), lab.host("web"), lab.host("client")
    for number, host in ((1, one), (11, web), (50, client)):
        lab.attach(host, lan, "eth0", f"192.0.2.{number}/24")
    WebServer(web, page="served").start()
    return one


def serves(podman: Podman, lab: Lab, one: Host, names: dict[str, str]) -> None:
    """Wait until a director of containers holds its VIP, and tells it and what it has checked."""

    def held() -> bool:
        client = lab.hosts["client"]
        return addresses.arp_answer(client, VIP, interface="eth0", wait_s=0.2) == one.links[0].mac

    def checked() -> bool:
        asked = podman.command("exec", names["recorder"], "heartbus", "history", "--json")
        done = subprocess.run(asked, capture_output=True, text=True, check=False)
        return "vip.acquired" in done.stdout and "realserver.up" in done.stdout

    try:
        wait_until(held, timeout_s=30.0, what="the containers hold the VIP")
        wait_until(checked, timeout_s=30.0, what="they tell what happened", period_s=0.5)
    except TimeoutError as error:
        logs = [podman.logs(name) for name in names.values()]
        raise AssertionError("\n".join([str(error), *logs])) from error


def privileges(podman: Podman, name: str) -> dict[str, str]:
    """Return what the kernel says of the first process of a container."""
    pid = podman.here("inspect", "--format={{.State.Pid}}", name).strip()
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return dict(line.split(":\t", 1) for line in lines)


@pytest.mark.parametrize("how", ["quadlets", "compose"])
def test_containers_are_a_director(podman: Podman, lab: Lab, etc: Path, how: str) -> None:
    one = director(lab)
    if how == "quadlets":
        for service in SERVICES:
            podman.on(one, *arguments(service, etc=etc))
    else:
        words = ("--project-name", "heartbus", "up", "--detach", *SERVICES)
        file = f"--file={CONTAINER}/compose.yaml"
        podman.on(one, file, *words, program=str(COMPOSE), HEARTBUS_ETC=str(etc))
    names = {
        service: f"heartbus-{service}" if how == "quadlets" else f"heartbus_{service}_1"
        for service in SERVICES
    }
    try:
        serves(podman, lab, one, names)
        for service, name in names.items():
            found = privileges(podman, name)
            granted = quadlet(f"heartbus-{service}.container")["Container"].get("AddCapability", "")
            mask = sum(1 << CAPABILITIES[capability] for capability in granted.split())
            for of in ("CapEff", "CapPrm", "CapBnd", "CapAmb"):
                assert int(found[of], 16) == mask, (service, of, found[of])
            assert found["Uid"].split() == [str(UID)] * 4
            assert found["NoNewPrivs"] == "1"
    finally:
        podman.here("rm", "--all", "--force", "--time=5")
        podman.here("volume", "rm", "--all", "--force")


@pytest.mark.parametrize(
    ("service", "ready"), [("ipvs-agent", "service.ready"), ("director", "director.ready")]
)
def test_what_needs_ipvs_works_or_says_that_this_kernel_has_none(
    podman: Podman, lab: Lab, etc: Path, service: str, ready: str
) -> None:
    words = arguments(service, etc=etc)
    name = f"heartbus-{service}"
    try:
        podman.on(director(lab), *words)
        if Path("/proc/net/ip_vs").exists():
            wait_until(
                lambda: ready in podman.logs(name), timeout_s=30.0, what=f"{service} is ready"
            )
        else:
            assert podman.here("wait", name).strip() == "3"
            assert "ip_vs" in podman.logs(name)
    finally:
        podman.here("rm", "--all", "--force", "--time=5")
        podman.here("volume", "rm", "--all", "--force")
