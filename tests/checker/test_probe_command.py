"""heartbus probe, as a command, against real servers."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from .servers import PASSWORD, RealServers

HEARTBUS = Path(sys.prefix) / "bin" / "heartbus"


@pytest.fixture
def config(tmp_path: Path, real_servers: RealServers) -> Path:
    web = real_servers.get("nginx").endpoint("http")
    cache = real_servers.get("redis").endpoint("redis")
    path = tmp_path / "heartbus.toml"
    path.write_text(f"""
[[directors]]
name = "one"

[membership.authentication]
signing_key = 1
keys = [{{ id = 1, method = "sha256", secret = "s" }}]

[[virtual_services]]
address = "192.0.2.110:80"
check = {{ service = "http", request = "/.testpage", receive = "Test Page" }}
real_servers = [{{ address = "{web}", method = "masq" }}]

[[virtual_services]]
address = "192.0.2.110:6379"
check = {{ service = "redis", password = "{PASSWORD}" }}
real_servers = [{{ address = "{cache}", method = "masq" }}]

[[virtual_services]]
address = "192.0.2.110:81"
check = {{ type = "on" }}
real_servers = [{{ address = "192.0.2.1:81" }}]
""")
    path.chmod(0o600)
    return path


def probe(config: Path, *words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [HEARTBUS, "probe", "--config", config, *words],
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )


def test_each_step_is_shown_with_its_time(config: Path, real_servers: RealServers) -> None:
    endpoint = real_servers.get("nginx").endpoint("http")
    done = probe(config, str(endpoint))
    assert done.returncode == 0, done.stderr
    first, second, *steps = done.stdout.splitlines()
    assert first == f"{endpoint} for tcp:192.0.2.110:80"
    assert second.strip().startswith("http: GET /.testpage must match 'Test Page', within 30 s")
    said = [step.split(" ms  ")[1] for step in steps]
    assert said[0] == "connected"
    assert said[1].startswith("sent ")
    assert "'GET /.testpage HTTP/1.1" in said[1]
    assert said[2].startswith("received ")
    assert said[-1].startswith("passed: GET /.testpage: 200 OK, as expected after ")


def test_a_password_is_never_shown(config: Path, real_servers: RealServers) -> None:
    done = probe(config, str(real_servers.get("redis").endpoint("redis")))
    assert done.returncode == 0, done.stdout
    assert "AUTH" in done.stdout
    assert PASSWORD not in done.stdout
    assert "(not shown)" in done.stdout


def test_scripts_get_json_and_an_exit_code(config: Path, real_servers: RealServers) -> None:
    endpoint = real_servers.get("nginx").endpoint("http")
    config.write_text(config.read_text().replace("Test Page", "Other"))
    done = probe(config, str(endpoint), "--json")
    assert done.returncode == 1
    (only,) = json.loads(done.stdout)
    assert (only["passed"], only["conclusive"]) == (False, True)
    assert only["virtual_services"] == ["tcp:192.0.2.110:80"]
    assert "without 'Other'" in only["reason"]
    assert only["steps"][-1]["at_s"] >= only["steps"][0]["at_s"] >= 0


def test_what_is_not_probed_is_said(config: Path, real_servers: RealServers) -> None:
    web = real_servers.get("nginx").endpoint("http")
    done = probe(config, "192.0.2.9:80")
    assert done.returncode == 2
    assert "'192.0.2.9:80' is no real server that is checked; allowed is " in done.stderr
    assert str(web) in done.stderr
    done = probe(config, "192.0.2.1:81")
    assert done.returncode == 2
    assert "192.0.2.1:81 is not probed: checktype=on: up without a check" in done.stderr
