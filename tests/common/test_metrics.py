"""IPVS tables in the text format of Prometheus: printed, served and written to a file."""

from __future__ import annotations

import re
import socket
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest
import structlog
from click.testing import CliRunner
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.parser import text_string_to_metric_families

from heartbus.cli.metrics import _Newest, _serving, _write
from heartbus.cli.metrics import metrics as command
from heartbus.events import IpvsState, Message, TableRealServer, TableService, Traffic
from heartbus.metrics import TableCollector
from heartbus.observer import ClusterView
from tests.common.samples import sample_envelope

NODE = sample_envelope("").node
SERVICE = 'director="linuxha1.linux-ha.org",virtual_service="tcp:10.0.0.1:80"'


@pytest.fixture(autouse=True)
def _logs_as_before() -> Iterator[None]:
    """The command turns logs down for the whole process."""
    before = structlog.get_config()
    yield
    structlog.configure(**before)


def traffic(number: int) -> Traffic:
    return Traffic(
        connections=number,
        packets_in=2 * number,
        packets_out=3 * number,
        bytes_in=2**53 * number,
        bytes_out=0,
    )


def state() -> IpvsState:
    server = TableRealServer(
        real_server="10.0.0.2:80",
        forwarding="gate",
        weight=5,
        active_connections=7,
        inactive_connections=8,
        persistent_connections=9,
        traffic=traffic(1),
    )
    sorry = TableRealServer(
        real_server="127.0.0.1:80",
        forwarding="gate",
        weight=1,
        active_connections=0,
        inactive_connections=0,
        sorry=True,
    )
    service = TableService(
        virtual_service="tcp:10.0.0.1:80",
        scheduler="rr",
        real_servers=(server, sorry),
        lost=True,
        traffic=traffic(4),
    )
    return IpvsState(services=(service,), digest="x", repairs=3, failures=("a", "b"))


def registry(*, real_servers: bool = True) -> CollectorRegistry:
    found = CollectorRegistry(auto_describe=False)
    found.register(TableCollector(lambda: ((NODE, state()),), real_servers=real_servers))
    return found


def test_counters_gauges_and_labels_are_what_prometheus_reads() -> None:
    text = generate_latest(registry()).decode()
    for line in (
        'heartbus_ipvs_repairs_total{director="linuxha1.linux-ha.org"} 3.0',
        'heartbus_ipvs_failures{director="linuxha1.linux-ha.org"} 2.0',
        f"heartbus_virtual_service_lost{{{SERVICE}}} 1.0",
        f"heartbus_virtual_service_real_servers{{{SERVICE}}} 1.0",
        f"heartbus_virtual_service_connections_total{{{SERVICE}}} 4.0",
        f'heartbus_real_server_weight{{director="{NODE}",real_server="10.0.0.2:80",'
        'virtual_service="tcp:10.0.0.1:80"} 5.0',
    ):
        name, _brace, rest = line.partition("{")
        labels, value = rest.rsplit("} ", 1)
        assert any(
            found.startswith(f"{name}{{")
            and set(re.findall(r'\w+="[^"]*"', found)) == set(re.findall(r'\w+="[^"]*"', labels))
            and found.endswith(f" {value}")
            for found in text.splitlines()
        ), line
    families = list(text_string_to_metric_families(text))
    assert {f.type for f in families} == {"counter", "gauge"}
    assert all(f.documentation for f in families)


def test_real_servers_can_be_left_out() -> None:
    text = generate_latest(registry(real_servers=False)).decode()
    assert "heartbus_virtual_service_connections_total" in text
    assert "real_server_weight" not in text


def test_a_director_that_is_silent_has_no_metrics_any_more() -> None:
    view, newest = ClusterView(), _Newest()
    view.see(Message(envelope=sample_envelope(IpvsState.kind), body=state()), now_s=100.0)
    newest.take(view, now_s=101.0)
    assert [node for node, _state in newest.tables()] == [NODE]
    newest.take(view, now_s=200.0)
    assert newest.tables() == ()


def test_it_is_served_over_http() -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    with (
        _serving(f"127.0.0.1:{port}", registry()),
        urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=10) as answer,
    ):
        assert "heartbus_ipvs_repairs_total" in answer.read().decode()


def test_a_file_is_replaced_at_once_and_nothing_is_left_beside_it(tmp_path: Path) -> None:
    output = tmp_path / "heartbus.prom"
    output.write_text("old")
    _write(output, registry())
    assert "heartbus_ipvs_repairs_total" in output.read_text()
    assert list(tmp_path.iterdir()) == [output]


@pytest.mark.parametrize("listen", ["127.0.0.1", "127.0.0.1:x", ":0", "127.0.0.1:70000"])
def test_a_bad_address_is_named(listen: str) -> None:
    result = CliRunner().invoke(command, ["--listen", listen])
    assert result.exit_code == 2
    assert "allowed is ADDRESS:PORT" in result.output


def test_a_port_that_is_taken_is_named() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        listen = f"127.0.0.1:{taken.getsockname()[1]}"
        result = CliRunner().invoke(command, ["--listen", listen])
    assert result.exit_code == 3
    assert "Address already in use" in result.output
