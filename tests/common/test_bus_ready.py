"""``heartbus bus ready``: a unit of the bus is started once the bus answers, and failed if not."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest
from click.testing import CliRunner

from heartbus.cli.bus import bus
from tests.conftest import NatsServer

CONFIGURATION = """\
[[directors]]
name = "one"

[bus]
client_port = {port}

[membership.authentication]
signing_key = 1
keys = [{{ id = 1, method = "sha256", secret = "only for this test" }}]
"""


def asked(tmp_path: Path, port: int) -> tuple[int, str]:
    config = tmp_path / "heartbus.toml"
    config.write_text(CONFIGURATION.format(port=port))
    config.chmod(0o600)
    done = CliRunner().invoke(bus, ["ready", "--config", str(config), "--timeout", "0.2"])
    return done.exit_code, done.output


@pytest.mark.bus
def test_it_returns_once_a_nats_server_greets(tmp_path: Path, nats_server: NatsServer) -> None:
    assert asked(tmp_path, int(nats_server.url.rpartition(":")[2])) == (0, "")


def test_it_fails_where_nobody_listens(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    code, said = asked(tmp_path, port)
    assert code == 3
    assert f"no nats-server answers on 127.0.0.1 port {port} within 0.2 s" in said


def test_it_is_not_fooled_by_another_program_on_the_port(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        assert asked(tmp_path, silent.getsockname()[1])[0] == 3
