"""IPVS tables of directors as metrics, in the words of Prometheus.

No I/O. Names and units follow prometheus.io/docs/practices/naming; the label ``director`` says
whose kernel counted. Counters are the kernel's: they begin at 0 when an entry is made anew.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Final

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from heartbus.states import IpvsState, TableRealServer, TableService, Traffic

Tables = Sequence[tuple[str, IpvsState]]
"""Directors and their newest tables."""

_SERVICE: Final = ("director", "virtual_service")
_SERVER: Final = (*_SERVICE, "real_server")

_COUNTERS: Final[tuple[tuple[str, str, Callable[[Traffic], int]], ...]] = (
    ("connections", "Connections that were begun", lambda t: t.connections),
    ("packets_in", "Packets from clients", lambda t: t.packets_in),
    ("packets_out", "Packets to clients that came back this way", lambda t: t.packets_out),
    ("bytes_in", "Bytes from clients", lambda t: t.bytes_in),
    ("bytes_out", "Bytes to clients that came back this way", lambda t: t.bytes_out),
)
_GAUGES: Final[tuple[tuple[str, str, Callable[[TableRealServer], int]], ...]] = (
    ("weight", "Share of new connections; 0: none", lambda r: r.weight),
    ("connections_active", "Established connections", lambda r: r.active_connections),
    ("connections_inactive", "Others, and flows of UDP", lambda r: r.inactive_connections),
    ("connections_persistent", "Persistence templates", lambda r: r.persistent_connections),
)


class TableCollector(Collector):
    """Gives the tables that ``tables`` returns at the time; ``real_servers``: each of them too."""

    def __init__(self, tables: Callable[[], Tables], *, real_servers: bool) -> None:
        self._tables = tables
        self._real_servers = real_servers

    def collect(self) -> Iterator[Metric]:
        """Yield every metric; called by prometheus_client."""
        tables = self._tables()
        yield from _directors(tables)
        services = [(node, service) for node, state in tables for service in state.services]
        yield from _services(services)
        if self._real_servers:
            yield from _servers(services)


def _directors(tables: Tables) -> Iterator[Metric]:
    repairs = CounterMetricFamily(
        "heartbus_ipvs_repairs", "Looks that found the table changed by others", labels=["director"]
    )
    failures = GaugeMetricFamily(
        "heartbus_ipvs_failures", "What is not as wanted now", labels=["director"]
    )
    for node, state in tables:
        repairs.add_metric([node], state.repairs)
        failures.add_metric([node], len(state.failures))
    yield from (repairs, failures)


def _services(services: Iterable[tuple[str, TableService]]) -> Iterator[Metric]:
    lost = GaugeMetricFamily(
        "heartbus_virtual_service_lost", "1 while too little of it is up", labels=_SERVICE
    )
    up = GaugeMetricFamily(
        "heartbus_virtual_service_real_servers", "Those that are given connections", labels=_SERVICE
    )
    counters = [
        (CounterMetricFamily(f"heartbus_virtual_service_{name}", text, labels=_SERVICE), read)
        for name, text, read in _COUNTERS
    ]
    for node, service in services:
        labels = (node, service.virtual_service)
        lost.add_metric(labels, service.lost)
        answering = [r for r in service.real_servers if r.weight > 0 and not r.sorry]
        up.add_metric(labels, len(answering))
        if service.traffic is not None:
            for family, read in counters:
                family.add_metric(labels, read(service.traffic))
    yield from (lost, up, *(family for family, _read in counters))


def _servers(services: Iterable[tuple[str, TableService]]) -> Iterator[Metric]:
    gauges = [
        (GaugeMetricFamily(f"heartbus_real_server_{name}", text, labels=_SERVER), read)
        for name, text, read in _GAUGES
    ]
    counters = [
        (CounterMetricFamily(f"heartbus_real_server_{name}", text, labels=_SERVER), read)
        for name, text, read in _COUNTERS
    ]
    for node, service in services:
        for server in service.real_servers:
            labels = (node, service.virtual_service, server.real_server)
            for gauge, read_gauge in gauges:
                gauge.add_metric(labels, read_gauge(server))
            if server.traffic is not None:
                for counter, read in counters:
                    counter.add_metric(labels, read(server.traffic))
    yield from (gauge for gauge, _read in gauges)
    yield from (counter for counter, _read in counters)
