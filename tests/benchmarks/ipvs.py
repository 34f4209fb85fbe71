"""Changes of the kernel's IPVS table: how many a second, how soon after a verdict, at what size.

``make bench-ipvs``. Runs in the lab kernel, beside ``ipvsadm --restore``, keepalived and ldirectord
in the same run. System calls cost more there than on hardware and a process start much more, so the
ratio counts, and the times are upper bounds. "In the agent" a verdict travels through the codec and
a bus in memory; elsewhere whole programs are watched from outside (``tables/``): nats-server and
the agent, with the checker too from a failed check on.
"""

from __future__ import annotations

import argparse
import json
import pickle
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Final

from heartbus import log
from heartbus.events import Health, RealServerDown, RealServerUp
from heartbus.log import logger
from heartbus.model import (
    Endpoint,
    ForwardingMethod,
    RealServer,
    RealServerName,
    TransportProtocol,
    VirtualService,
    VirtualServiceName,
)
from heartbus.testing import MemoryHub
from heartbus_ipvs_agent.desired import wanted_table
from heartbus_ipvs_agent.entries import Action, Table
from heartbus_ipvs_agent.managed import ManagedServices
from heartbus_ipvs_agent.override_file import OverrideFile
from heartbus_ipvs_agent.plan import plan
from heartbus_ipvs_agent.service import IpvsAgent
from heartbus_ipvs_agent.table import KernelTable, Outcome, open_kernel_table
from heartbus_ipvs_agent.whole import KernelWhole
from tests.benchmarks.tables import programs, reactions
from tests.benchmarks.tables.programs import Running, Server, Service
from tests.ipvs_agent.builders import cluster
from tests.ipvs_agent.namespace import fresh_network_namespace
from tests.lab import peers

SERVICES: Final = 2000
SERVERS_PER_SERVICE: Final = 20
RESTORED: Final = 4000
"""Entries of the comparison with ipvsadm --restore."""
VERDICTS: Final = 200
FAILED_CHECKS: Final = 15
SIZE: Final = f"{SERVICES} services, {SERVICES * SERVERS_PER_SERVICE} real servers"
REPLAN_S: Final = 0.25
VERDICT_S: Final = 0.005
REPORT: Final = Path("build/bench/ipvs.json").resolve()

Row = dict[str, object]


def services(count: int, servers: int) -> list[VirtualService]:
    return [
        VirtualService(
            protocol=TransportProtocol.TCP,
            endpoint=Endpoint(address=f"10.100.{n // 250}.{n % 250 + 1}", port=80),
            quiescent=True,
            real_servers=tuple(
                RealServer(
                    endpoint=Endpoint(address=f"10.{m}.{n // 250}.{n % 250 + 1}", port=80),
                    forwarding=ForwardingMethod.GATE,
                )
                for m in range(1, servers + 1)
            ),
        )
        for n in range(count)
    ]


def up(wanted: Sequence[VirtualService]) -> dict[tuple[VirtualServiceName, RealServerName], Health]:
    return {(s.name, real.name): Health.UP for s in wanted for real in s.real_servers}


def timed(run: Callable[[], object]) -> float:
    started_s = time.perf_counter()
    run()
    return time.perf_counter() - started_s


def row(
    name: str,
    unit: str,
    ours: Sequence[float],
    *,
    peers: Sequence[float] = (),
    peer_name: str = "",
    reach: float | None = None,
    more_is_better: bool = False,
) -> Row:
    """Return one row of the report: medians, and how far the runs lie apart."""
    middle = statistics.median(ours)
    peer = statistics.median(peers) if peers else reach
    better = peer is None or (middle >= peer if more_is_better else middle <= peer)
    return {
        "name": name,
        "unit": unit,
        "heartbus": middle,
        "peer": peer,
        "peer_name": peer_name or ("to reach" if reach is not None else ""),
        "ratio": None if not peer else middle / peer,
        "better": better,
        "n": len(ours),
        "spread": max(ours) - min(ours),
    }


def changes_per_second(table: KernelTable, rounds: int) -> Row:
    """Fill an empty table, in turns with ipvsadm --restore."""
    wanted_services = services(RESTORED // SERVERS_PER_SERVICE, SERVERS_PER_SERVICE)
    wanted = wanted_table(wanted_services, verdicts=up(wanted_services), observed=Table())
    actions = plan(wanted=wanted, observed=Table())
    text = "".join(f"{action}\n" for action in actions)
    ours, peers = [], []
    for _ in range(rounds):
        subprocess.run(["ipvsadm", "--clear"], check=True)
        took_s = timed(
            lambda: subprocess.run(["ipvsadm", "--restore"], input=text, text=True, check=True)
        )
        peers.append(len(actions) / took_s)
        assert table.dump() == wanted
        subprocess.run(["ipvsadm", "--clear"], check=True)
        ours.append(len(actions) / timed(lambda: _apply(table, actions)))
        assert table.dump() == wanted
    subprocess.run(["ipvsadm", "--clear"], check=True)
    return row(
        "IPVS changes",
        "1/s",
        ours,
        peers=peers,
        peer_name="ipvsadm --restore",
        more_is_better=True,
    )


def unchanged_replan(rounds: int) -> Row:
    """All decisions and the whole comparison, where the kernel has what is wanted.

    Natively and in CPU time: it needs no kernel, and one on a busy machine counts what others take.
    """
    configured = services(SERVICES, SERVERS_PER_SERVICE)
    verdicts = up(configured)
    wanted = wanted_table(configured, verdicts=verdicts, observed=Table())
    observed: Table = pickle.loads(pickle.dumps(wanted))  # a dump shares no object with us

    def replan() -> None:
        again = wanted_table(configured, verdicts=verdicts, observed=observed)
        assert plan(wanted=again, observed=observed) == ()

    took = []
    for _ in range(rounds):
        started_s = time.process_time()
        replan()
        took.append(time.process_time() - started_s)
    return row(f"{SIZE}: unchanged re-plan, CPU time, natively", "s", took, reach=REPLAN_S)


def at_scale(table: KernelTable, rounds: int) -> list[Row]:
    """2,000 services with 40,000 real servers."""
    configured = services(SERVICES, SERVERS_PER_SERVICE)
    verdicts = up(configured)

    def replan(observed: Table) -> tuple[Action, ...]:
        wanted = wanted_table(configured, verdicts=verdicts, observed=observed)
        return plan(wanted=wanted, observed=observed)

    actions = replan(Table())
    fill_s = timed(lambda: _apply(table, actions))
    observed = table.dump()
    assert replan(observed) == ()
    dumps = [timed(table.dump) for _ in range(rounds)]
    first = configured[0]
    verdicts[first.name, first.real_servers[0].name] = Health.DOWN
    changes = replan(observed)
    assert len(changes) == 1
    one = [timed(lambda: _apply(table, replan(observed))) for _ in range(rounds)]
    subprocess.run(["ipvsadm", "--clear"], check=True)
    return [
        row(f"{SIZE}: first fill", "s", [fill_s]),
        row(f"{SIZE}: reading the kernel's table", "s", dumps),
        row(f"{SIZE}: one change, whole re-plan", "s", one),
    ]


class Stamped:
    """The kernel's table, and when it was changed last: what the agent tells comes after that."""

    def __init__(self, table: KernelTable) -> None:
        self._table = table
        self.changed_s = 0.0

    def dump(self) -> Table:
        return self._table.dump()

    def apply(self, actions: Sequence[Action]) -> tuple[Outcome, ...]:
        outcomes = self._table.apply(actions)
        self.changed_s = time.perf_counter()
        return outcomes


def verdict_to_kernel(table: KernelTable, directory: Path) -> list[Row]:
    """One verdict at a time, up and down in turns."""
    configured = services(100, SERVERS_PER_SERVICE)
    hub = MemoryHub()
    bus = hub.bus(node="linuxha1", service="ipvs-agent", clock=time.monotonic)
    checker = hub.bus(node="linuxha1", service="checker", clock=time.monotonic)
    stamped = Stamped(table)
    agent = IpvsAgent(
        node="linuxha1",
        cluster=cluster(*configured),
        bus=bus,
        table=stamped,
        managed=ManagedServices(directory),
        overrides=OverrideFile(directory),
        whole=KernelWhole(directory),
        clock=time.monotonic,
        log=logger(),
    )
    agent.start()

    def say(body: RealServerUp | RealServerDown) -> None:
        checker.publish(body)
        messages = []
        while (message := agent.inbox.get_nowait()) is not None:
            messages.append(message)
        agent.messages_received(messages)

    took: list[float] = []
    for n in range(VERDICTS):
        service = configured[n // 2 % len(configured)]
        kind = RealServerDown if n % 2 else RealServerUp
        body = kind(
            virtual_service=service.name,
            real_server=service.real_servers[0].name,
            reason="benchmark",
        )
        started_s = time.perf_counter()
        say(body)
        assert stamped.changed_s > started_s
        took.append(stamped.changed_s - started_s)
    took.sort()
    return [
        row("verdict to kernel change in the agent, p50", "s", [percentile(took, 50)]),
        row(
            "verdict to kernel change in the agent, p99",
            "s",
            [percentile(took, 99)],
            reach=VERDICT_S,
        ),
    ]


def percentile(took: Sequence[float], share: int) -> float:
    """Return the value that this share of them, in percent, does not exceed."""
    return sorted(took)[min(len(took) * share // 100, len(took) - 1)]


def many(weight: int) -> list[Service]:
    """As many entries as are restored, each with this weight."""
    return [
        Service(
            address=f"10.100.0.{n + 1}",
            servers=[
                Server(address=f"10.{m}.0.{n + 1}", weight=weight)
                for m in range(1, SERVERS_PER_SERVICE + 1)
            ],
        )
        for n in range(RESTORED // SERVERS_PER_SERVICE)
    ]


def reloaded(rounds: int) -> Row:
    """Whole programs take up a file in which every weight is another one."""
    with fresh_network_namespace(), programs.keepalived(programs.keepalived_text(many(1))) as one:
        peers_ = reactions.reloads(one, programs.keepalived_text, many, rounds)
    with fresh_network_namespace(), programs.heartbus(programs.heartbus_text(many(1))) as one:
        ours = reactions.reloads(one, programs.heartbus_text, many, rounds)
    return row(
        f"reload that changes {RESTORED} entries, changes",
        "1/s",
        ours,
        peers=peers_,
        peer_name="keepalived",
        more_is_better=True,
    )


def reacted(trials: int) -> list[Row]:
    """From a failed check to the kernel's table, of each program; and from a verdict on the bus."""

    def measured(start: Callable[[list[Service]], AbstractContextManager[Running]]) -> list[float]:
        with (
            fresh_network_namespace(),
            reactions.checked_service() as (web, services),
            start(services) as running,
        ):
            return reactions.failed_checks(running, web, trials)

    ours = measured(
        lambda services: programs.heartbus(
            programs.heartbus_text(services), services=("checker", "ipvs-agent")
        )
    )
    others = {
        "keepalived": measured(lambda s: programs.keepalived(programs.keepalived_text(s))),
        "ldirectord": measured(lambda s: programs.ldirectord(programs.ldirectord_text(s))),
    }
    with fresh_network_namespace(), reactions.checked_service() as (web, services):
        text = programs.heartbus_text(services)
        with programs.heartbus(text) as running:
            spoken = reactions.verdicts(running, web.servers[0], VERDICTS)
    rows = [
        row(f"verdict on the bus to kernel change, {name}", "s", [percentile(spoken, share)])
        for name, share in (("p50", 50), ("p99", 99))
    ]
    for peer, theirs in others.items():
        for name, share in (("p50", 50), ("p99", 99)):
            line = row(
                f"failed check to kernel change, {name}, beside {peer}",
                "s",
                [percentile(ours, share)],
                peers=[percentile(theirs, share)],
                peer_name=peer,
            )
            rows.append({**line, "n": trials, "spread": max(ours) - min(ours)})
    return rows


def _apply(table: KernelTable, actions: Sequence[Action]) -> None:
    failures = [outcome for outcome in table.apply(actions) if outcome.failure is not None]
    assert not failures, failures[0]


def measure(rounds: int) -> list[Row]:
    with fresh_network_namespace(), tempfile.TemporaryDirectory() as directory:
        table = open_kernel_table()
        rows = [changes_per_second(table, rounds)]
        rows += at_scale(table, rounds)
        rows += verdict_to_kernel(table, Path(directory))
        table.close()
    rows.insert(1, reloaded(rounds))
    rows += reacted(FAILED_CHECKS)
    return rows


def main(argv: Sequence[str] | None = None) -> int:
    """Measure, print a table, write the report; 1 if something is not as it should be."""
    parser = argparse.ArgumentParser(prog="make bench-ipvs", description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--inside", action="store_true", help="already in a kernel with IPVS")
    arguments = parser.parse_args(argv)
    if not arguments.inside:
        peers.keepalived(), peers.ldirectord()  # fetched here: inside there is no network
        again = [sys.executable, "-m", "tests.benchmarks.ipvs", "--inside"]
        again += ["--rounds", str(arguments.rounds)]
        first = [unchanged_replan(arguments.rounds)]
        told(first)
        code = subprocess.run([sys.executable, "-m", "tests.lab.run", "--", *again]).returncode
        if code in (0, 1):
            REPORT.write_text(json.dumps(first + json.loads(REPORT.read_text()), indent=1) + "\n")
        return code or worse(first)
    log.configure(level="error")
    rows = measure(arguments.rounds)
    told(rows)
    REPORT.parent.mkdir(parents=True, exist_ok=True)
    REPORT.write_text(json.dumps(rows, indent=1) + "\n")
    return worse(rows)


def told(rows: Sequence[Row]) -> None:
    """Print rows."""
    for line in rows:
        peer = "" if line["peer"] is None else f"{line['peer_name']} {line['peer']:.4g}"
        print(  # noqa: T201  a command
            f"{line['name']:<72} {line['heartbus']:>10.4g} {line['unit']:<4} {peer}",
            flush=True,
        )


def worse(rows: Sequence[Row]) -> int:
    """Return 1 if anything that is to be reached is not."""
    return 0 if all(line["better"] for line in rows if line["peer_name"] == "to reach") else 1


if __name__ == "__main__":
    sys.exit(main())
