"""The units start what the package installs, watched and sandboxed; containers do as they do."""

from __future__ import annotations

import configparser
import re
import subprocess
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
UNITS = ROOT / "deploy" / "systemd"
CONTAINERS = ROOT / "deploy" / "container"
SERVICES = ("membership", "vip", "checker", "ipvs-agent")
SANDBOXED = ("bus", "membership", "checker", "ipvs-agent", "recorder")
EXPOSURE_MAX = 2.0
EXPOSURE_WITH_NET_ADMIN_MAX = 2.5


def unit(name: str) -> configparser.ConfigParser:
    parser = configparser.ConfigParser(strict=False, interpolation=None)
    parser.optionxform = str  # type: ignore[assignment,method-assign]  # systemd keys have case
    parser.read_string((UNITS / name).read_text())
    return parser


def scripts() -> set[str]:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    return set(project["scripts"])


@pytest.mark.parametrize("service", SERVICES)
def test_each_service_has_a_unit_that_starts_its_command(service: str) -> None:
    parser = unit(f"heartbus-{service}.service")
    command = parser["Service"]["ExecStart"]
    assert command == f"heartbus-{service}"
    assert command in scripts()


@pytest.mark.parametrize("service", SERVICES)
def test_each_service_is_watched_and_back_before_a_vip_expires(service: str) -> None:
    section = unit(f"heartbus-{service}.service")["Service"]
    assert section["Type"] == "notify"
    assert section["WatchdogSec"] == "15s"
    assert (section["Restart"], section["RestartSec"]) == ("always", "100ms")


@pytest.mark.parametrize("service", SERVICES)
def test_a_bus_that_restarts_takes_no_service_along(service: str) -> None:
    section = unit(f"heartbus-{service}.service")["Unit"]
    assert "heartbus-bus.service" in section["After"]
    assert not {"Requires", "BindsTo"} & set(section)


@pytest.mark.parametrize(
    ("service", "capabilities"),
    [
        ("membership", "CAP_NET_RAW CAP_NET_BIND_SERVICE"),
        ("checker", "CAP_NET_RAW"),
        ("ipvs-agent", "CAP_NET_ADMIN"),
    ],
)
def test_a_service_has_no_privilege_that_it_does_not_need(service: str, capabilities: str) -> None:
    section = unit(f"heartbus-{service}.service")["Service"]
    assert section["CapabilityBoundingSet"] == section["AmbientCapabilities"] == capabilities
    assert section["User"] == "heartbus"
    assert section["NoNewPrivileges"] == "yes"


def test_every_unit_belongs_to_the_target() -> None:
    for path in UNITS.glob("*.service"):
        parser = unit(path.name)
        assert parser["Unit"]["PartOf"] == "heartbus.target", path.name
        assert parser["Install"]["WantedBy"] == "heartbus.target", path.name


def exposure(path: Path) -> float:
    """Return what systemd-analyze thinks of a file, with nothing of this machine: 0 is best."""
    command = ["systemd-analyze", "security", "--offline=true", "--no-pager", str(path)]
    said = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    found = re.search(r"exposure level for \S+: ([0-9.]+)", said)
    assert found is not None, said
    return float(found[1])


@pytest.mark.parametrize("service", SANDBOXED)
def test_systemd_finds_little_that_a_service_could_do_beside_its_work(service: str) -> None:
    assert exposure(UNITS / f"heartbus-{service}.service") <= EXPOSURE_MAX


def test_without_resource_scripts_vip_has_a_sandbox_too(tmp_path: Path) -> None:
    drop_in = (ROOT / "deploy/examples/heartbus-vip-sandbox.conf").read_text()
    joined = tmp_path / "joined.service"
    joined.write_text((UNITS / "heartbus-vip.service").read_text() + drop_in)
    assert exposure(joined) <= EXPOSURE_WITH_NET_ADMIN_MAX


@pytest.mark.parametrize("service", ["membership", "vip", "ipvs-agent"])
def test_a_restart_moves_nothing_and_empties_nothing(service: str) -> None:
    # What these do when they are asked to stop is right for a stop alone.
    assert unit(f"heartbus-{service}.service")["Service"]["RestartKillSignal"] == "SIGKILL"


def test_what_resource_scripts_started_is_not_killed_with_vip() -> None:
    assert unit("heartbus-vip.service")["Service"]["KillMode"] == "process"


def test_the_agent_may_set_what_is_configured_of_the_kernel() -> None:
    section = unit("heartbus-ipvs-agent.service")["Service"]
    assert "ProtectKernelTunables" not in section  # it would make /proc/sys/net/ipv4/vs read-only


@pytest.mark.parametrize("service", ["membership", "checker", "ipvs-agent", "recorder"])
def test_a_service_sees_its_own_key_of_the_bus_alone(service: str) -> None:
    section = unit(f"heartbus-{service}.service")["Service"]
    assert section["TemporaryFileSystem"] == "/etc/heartbus/bus:ro"
    assert section["BindReadOnlyPaths"] == f"-/etc/heartbus/bus/{service}"


@pytest.mark.parametrize("service", SANDBOXED)
def test_a_container_has_the_capabilities_of_its_unit_and_no_more(service: str) -> None:
    ours = unit(f"heartbus-{service}.service")["Service"]["CapabilityBoundingSet"].split()
    quadlet = configparser.ConfigParser(strict=False, interpolation=None)
    quadlet.optionxform = str  # type: ignore[assignment,method-assign]
    quadlet.read_string((CONTAINERS / f"quadlet/heartbus-{service}.container").read_text())
    section = quadlet["Container"]
    assert section["DropCapability"] == "ALL"
    assert section.get("AddCapability", "").split() == ours
    composed = (CONTAINERS / "compose.yaml").read_text()
    entry = re.search(rf"^  {service}:\n((?:    .*\n)+)", composed, re.MULTILINE)
    assert entry is not None
    added = re.search(r"cap_add: \[(.*)\]", entry[1])
    assert [f"CAP_{c.strip()}" for c in added[1].split(",")] == ours if added else not ours
    assert re.search(
        rf"^FROM heartbus AS {service}$", (CONTAINERS / "Containerfile").read_text(), re.M
    )
