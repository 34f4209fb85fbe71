"""The systemd units start what the package installs, and say how they are watched."""

from __future__ import annotations

import configparser
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
UNITS = ROOT / "deploy" / "systemd"
SERVICES = ("membership", "vip", "checker", "ipvs-agent")


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
    command = parser["Service"]["ExecStart"].split()
    assert command == ["/usr/bin/env", f"heartbus-{service}"]
    assert command[1] in scripts()


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
