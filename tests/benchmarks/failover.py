"""How long nobody answers, and for how long two do: heartbus beside Debian's keepalived.

``make bench-failover``; ``ARGS="--trials 3 --busy-seconds 30"`` for a quick look. Two directors, a
client and a neighbour in network namespaces, the VIP alone (no IPVS needed). All is measured from
outside, with both programs in turn in the same run. docs/benchmarks.md says how, and why so.
"""

from __future__ import annotations

import argparse
import functools
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from types import FrameType
from typing import Final

import structlog

from heartbus.model import Timers
from tests.benchmarks.takeover import trials as t
from tests.benchmarks.takeover.busy import ECHO_PERIOD_S, Moved, busy
from tests.benchmarks.takeover.lanes import Results, run_in_turn, say, together
from tests.benchmarks.takeover.rows import Row, row, table, write
from tests.lab import peers
from tests.lab.classic import HEARTBUS
from tests.lab.network import Lab
from tests.lab.pairs import DETECTION_ADVERTS, HeartbusPair, KeepalivedPair

REPORT: Final = Path("build/bench/failover.json")
TRIALS: Final = 20
BUSY_S: Final = 600.0
ADVERTS: Final = {"3 s": 1.0, "300 ms": 0.1, "30 ms": 0.01}
"""Detection time -> time between two signs of life, of both programs."""

AnyPair = HeartbusPair | KeepalivedPair

PARTS: Final = ("milliseconds", "seconds", "single", "busy")
ON_TWO_MAX_S: Final = t.LIFETIME_S + 0.3
SINGLE: Final = (t.pause_membership, t.kill_membership, t.pause_vip, t.kill_vip)


def same_as_keepalived(advert_s: float) -> Timers:
    """Return timers with which heartbus speaks as often and waits as long as keepalived does."""
    return Timers(
        keepalive_s=advert_s,
        warntime_s=2 * advert_s,
        deadtime_s=DETECTION_ADVERTS * advert_s,
        initdead_s=10.0,
    )


class Benchmark:
    """The parts of one run, in the order in which they are called."""

    def __init__(self, lab: Lab, *, count: int, busy_s: float, seed: int) -> None:
        self._lab, self._count, self._busy_s = lab, count, busy_s
        self._rng = random.Random(seed)
        self.results = Results()
        self._moved: dict[str, Moved] = {}
        self._handover = _has_standby()

    def milliseconds(self) -> None:
        """What is counted in milliseconds: one pair at a time is disturbed, all else is idle."""
        own = HeartbusPair(self._lab, "h-lan")
        same = HeartbusPair(self._lab, "h-300ms", timers=same_as_keepalived(0.1))
        peer = KeepalivedPair(self._lab, "k-300ms", advert_s=0.1)
        say("default timers and 300 ms: no fault, node death, clean stop")
        self._in_turn([own, same, peer], [t.no_fault, t.partition, t.clean_stop])
        if self._handover:
            self._in_turn([HeartbusPair(self._lab, "h-standby")], [t.standby_command])
        say("30 ms: node death")
        self._in_turn(
            [
                HeartbusPair(self._lab, "h-30ms", timers=same_as_keepalived(0.01)),
                KeepalivedPair(self._lab, "k-30ms", advert_s=0.01),
            ],
            [t.node_death],
        )

    def seconds(self) -> None:
        """What is counted in seconds: pairs at the same time."""
        say("3 s: node death; kills and pauses of all at default timers; all at the same time")
        slow: list[AnyPair] = [
            HeartbusPair(self._lab, "h-3s", timers=same_as_keepalived(1.0)),
            KeepalivedPair(self._lab, "k-3s", advert_s=1.0),
        ]
        whole = [HeartbusPair(self._lab, "h-all")]
        peer = [KeepalivedPair(self._lab, "k-all", advert_s=0.1)]
        self._at_once(
            (slow, (t.node_death,)),
            (whole, (t.kill_all, t.pause_all)),
            (peer, (t.kill_all, t.pause_all)),
        )

    def single(self) -> None:
        """Kills and pauses of one process, of two pairs at the same time."""
        say("membership alone, vip alone, killed and paused; both at the same time")
        self._at_once(
            ([HeartbusPair(self._lab, "h-member")], (t.pause_membership, t.kill_membership)),
            ([HeartbusPair(self._lab, "h-vip")], (t.pause_vip, t.kill_vip)),
        )

    def busy(self) -> None:
        """Both programs at both timers, in the same period."""
        say(f"16 busy loops for {self._busy_s:g} s")
        room = self._lab.host("busy")
        self._moved = busy(
            [
                HeartbusPair(self._lab, "h-busy", echo_period_s=ECHO_PERIOD_S),
                HeartbusPair(
                    self._lab,
                    "h-busy30",
                    timers=same_as_keepalived(0.01),
                    echo_period_s=ECHO_PERIOD_S,
                ),
                KeepalivedPair(self._lab, "k-busy", advert_s=0.1, echo_period_s=ECHO_PERIOD_S),
                KeepalivedPair(self._lab, "k-busy30", advert_s=0.01, echo_period_s=ECHO_PERIOD_S),
            ],
            room,
            seconds=self._busy_s,
        )

    def _at_once(self, *lanes: tuple[Sequence[AnyPair], Sequence[t.Trial]]) -> None:
        work = [functools.partial(self._in_turn, pairs, kinds) for pairs, kinds in lanes]
        together(work, self.results)

    def _in_turn(self, pairs: Sequence[AnyPair], kinds: Sequence[t.Trial]) -> None:
        run_in_turn(pairs, kinds, count=self._count, rng=self._rng, results=self.results)

    # --- what came out ---------------------------------------------------------------------------

    def rows(self) -> list[Row]:
        """Return all figures of what has been run."""
        found = self._gaps("no fault", t.no_fault, "h-lan", "k-300ms", quantiles=(0.5, 1.0))
        found += self._gaps("node death, default timers", t.partition, "h-lan", "k-300ms", 400.0)
        for detection in ("3 s", "300 ms", "30 ms"):
            label = detection.replace(" ", "")
            trial = t.partition if detection == "300 ms" else t.node_death
            found += self._gaps(
                f"node death, detection {detection}", trial, f"h-{label}", f"k-{label}"
            )
        found += self._gaps("clean stop", t.clean_stop, "h-lan", "k-300ms", 20.0)
        name = "handover by heartbus standby and takeover, keepalived stopped"
        found += self._gaps(
            name, t.standby_command, "h-standby", "k-300ms", 20.0, their_trial=t.clean_stop
        )
        found += self._on_two(name, t.standby_command, "h-standby", None)
        found += self._healed()
        found += self._on_two("all processes killed", t.kill_all, "h-all", "k-all")
        found += self._on_two("all processes paused 5 s", t.pause_all, "h-all", "k-all")
        for trial in SINGLE:
            label = "h-member" if "membership" in trial.__name__ else "h-vip"
            verb, process = trial.__name__.split("_")
            name = f"{process} alone {'paused 7 s' if verb == 'pause' else 'killed'}"
            found += self._on_two(name, trial, label, None)
            found += self._gaps(name, trial, label, None, quantiles=(1.0,))
        return found + self._busy_rows()

    def _gaps(
        self,
        name: str,
        trial: t.Trial,
        ours: str,
        theirs: str | None,
        reach_ms: float | None = None,
        *,
        quantiles: Sequence[float] = (0.5, 0.99, 1.0),
        their_trial: t.Trial | None = None,
    ) -> list[Row]:
        """Return the gaps of both; ``their_trial``: what is nearest to it for the other one."""
        mine = [seen.gap_s * 1000 for seen in self.results.of(ours, trial)]
        others = self.results.of(theirs, their_trial or trial) if theirs else []
        peers = [s.gap_s * 1000 for s in others]
        words = {0.5: "p50", 0.99: "p99", 1.0: "max"}
        return [
            row(
                f"{name}: gap, {words[q]}",
                "ms",
                mine,
                peers,
                quantile=q,
                reach=reach_ms if q > 0.5 else None,
                load=self.results.load[trial.__name__],
            )
            for q in quantiles
            if mine
        ]

    def _healed(self) -> list[Row]:
        load = self.results.load.get(t.partition.__name__, 0.0)
        ours = [s for k in ("h-lan", "h-300ms") for s in self.results.of(k, t.partition)]
        theirs = self.results.of("k-300ms", t.partition)
        if not ours:
            return []
        name = "partition healed, 300 ms"
        lost = ([s.healed_unanswered for s in x] for x in (ours, theirs))
        gaps = ([s.healed_gap_s * 1000 for s in x] for x in (ours, theirs))
        return [
            row(f"{name}: requests without an answer, max", "count", *lost, reach=0, load=load),
            row(f"{name}: gap, max", "ms", *gaps, load=load),
        ]

    def _on_two(self, name: str, trial: t.Trial, ours: str, theirs: str | None) -> list[Row]:
        mine = self.results.of(ours, trial)
        peers = self.results.of(theirs, trial) if theirs else []
        if not mine:
            return []
        kernels = ([s.on_two_s for s in x] for x in (mine, peers))
        answers = ([s.arp_on_two_s for s in x] for x in (mine, peers))
        load = self.results.load[trial.__name__]
        return [
            row(f"{name}: VIP on two hosts, max", "s", *kernels, reach=ON_TWO_MAX_S, load=load,
                digits=2),
            row(f"{name}: two answer ARP, max", "s", *answers, reach=ON_TWO_MAX_S, load=load,
                digits=2),
        ]  # fmt: skip

    def _busy_rows(self) -> list[Row]:
        if not self._moved:
            return []
        found = []
        for words, suffix in (("default timers", ""), ("detection 30 ms", "30")):
            ours, theirs = (self._moved[f"{program}-busy{suffix}"] for program in "hk")
            found.append(
                row(
                    f"16 busy loops, {self._busy_s:g} s, {words}: false takeovers",
                    "count",
                    [ours.takeovers],
                    [theirs.takeovers],
                    reach=0,
                    load=16.0,
                )
            )
        return found


def _has_standby() -> bool:
    done = subprocess.run([HEARTBUS, "standby", "--help"], capture_output=True, check=False)
    if done.returncode != 0:
        say("planned handover is not measured: this version has no command 'heartbus standby'")
    return done.returncode == 0


def _stop(_number: int, _frame: FrameType | None) -> None:
    raise SystemExit(143)


def main(argv: Sequence[str] | None = None) -> int:
    """Measure, print a table, write the report."""
    parser = argparse.ArgumentParser(description="Failover beside keepalived.")
    parser.add_argument("--trials", type=int, default=TRIALS, help="of each kind")
    parser.add_argument("--busy-seconds", type=float, default=BUSY_S, help="0: leave it out")
    parser.add_argument("--only", choices=PARTS, help="its rows alone are new")
    parser.add_argument("--seed", type=int, default=time.time_ns() % 1_000_000)
    options = parser.parse_args(argv)
    if os.geteuid() != 0:
        print("bench-failover makes network namespaces: run it as root", file=sys.stderr)  # noqa: T201  # a command
        return 3
    signal.signal(signal.SIGTERM, _stop)
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(40))
    peers.keepalived()
    say(f"load average {os.getloadavg()[0]:.2f}, {options.trials} trials, seed {options.seed}")
    with Lab() as lab:
        benchmark = Benchmark(
            lab, count=options.trials, busy_s=options.busy_seconds, seed=options.seed
        )
        for part in PARTS:
            wanted = options.only in (None, part) and (part != "busy" or options.busy_seconds > 0)
            if wanted:
                getattr(benchmark, part)()
        rows = benchmark.rows()
        failures = benchmark.results.failures
    print(table(rows))  # noqa: T201  # a command
    for failure in failures:
        print(f"a trial failed and was made anew: {failure}")  # noqa: T201  # a command
    write(rows, REPORT, keep_others=options.only is not None)
    return 0


if __name__ == "__main__":
    sys.exit(main())
