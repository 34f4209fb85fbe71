"""The three acceptance tests of the classic how-to, carried out on a running cluster.

Each step says what it is about to do; each finding says whether a promise held, and what was
measured. The demo shows them, the system tests assert them: there is one way to do it.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from heartbus.model import TIMER_PROFILES
from tests.lab.classic import (
    SORRY_PAGE,
    TELNET_PORT,
    VIP,
    ClassicCluster,
    full_name,
)
from tests.lab.client import ContinuousClient
from tests.lab.network import wait_until
from tests.lab.observe import Observer
from tests.lab.running import come_back, started, wait_until_serving

CHECK_MAX_S: Final = 30.0
TAKEOVER_PROMISE_S: Final = 10.0
"""What the how-to promises. heartbus is to be much faster: the measured gap says how much."""

ANSWERS: Final = 30
"""Answers that count as "the client sees": ten rounds over three real servers."""

QUIET_S: Final = 2.0
"""How long a stopped real server is watched for connections that it must not get."""

TITLES: Final = {
    1: "HA: a service answers on the VIP from one director, then from the other",
    2: "HA + LVS: three pages through the VIP, also after the active director died",
    3: "HA + LVS + checks: failed real servers get nothing, the fallback answers for all",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One promise: whether it held, and what was seen. ``gap_s``: longest time without answer."""

    test: int
    promise: str
    held: bool
    seen: str
    gap_s: float | None = None


class Acceptance:
    """Carries out the tests; ``say`` hears of every step, ``found`` of every finding."""

    def __init__(
        self,
        cluster: ClassicCluster,
        *,
        timers: str,
        say: Callable[[str], None],
        found: Callable[[Finding], None],
    ) -> None:
        self.cluster = cluster
        self.observers: dict[str, Observer] = {}
        self.client: ContinuousClient | None = None
        self._config: Path | None = None
        self._timers = timers
        self._detection_s = TIMER_PROFILES[timers].deadtime_s
        self._say = say
        self._found = found
        self._test, self._and_back = 0, False

    def run(self, test: int, *, and_back: bool = False) -> None:
        """Carry out one acceptance test on freshly started directors.

        ``and_back``: then the director that died comes back, and the other one dies.
        """
        self._test, self._and_back = test, and_back
        {1: self._first, 2: self._second, 3: self._third}[test]()

    # --- the tests -------------------------------------------------------------------------------

    def _first(self) -> None:
        with self._running(self.cluster.configuration(1)), self._asking(TELNET_PORT) as client:
            self._answers_come_from(client, "linuxha1", since_s=0.0)
            self._dies(client, "linuxha1", heir="linuxha2")
            self._answers_come_from(client, "linuxha2", since_s=time.monotonic())
            if self._and_back:
                self._the_other_dies_too(client)
                self._answers_come_from(client, "linuxha1", since_s=time.monotonic())

    def _second(self) -> None:
        with self._running(self.cluster.configuration(2)), self._asking(80) as client:
            self._all_pages(client, "the client sees the three different pages")
            self._dies(client, "linuxha1", heir="linuxha2")
            self._all_pages(client, "the three pages again, through linuxha2")
            if self._and_back:
                self._the_other_dies_too(client)
                self._all_pages(client, "the three pages again, through linuxha1")

    def _third(self) -> None:
        with self._running(self.cluster.configuration(3)), self._asking(80) as client:
            self._all_pages(client, "the client sees the three different pages")
            self._one_real_server_fails(client)
            self._all_real_servers_fail(client)
            self._dies(client, "linuxha1", heir="linuxha2")
            self._all_pages(client, "the three pages again, through linuxha2")
            if self._and_back:
                self._the_other_dies_too(client)
                self._all_pages(client, "the three pages again, through linuxha1")

    # --- what they consist of --------------------------------------------------------------------

    def _answers_come_from(self, client: ContinuousClient, director: str, since_s: float) -> None:
        client.wait_for(ANSWERS, since_s=since_s, timeout_s=CHECK_MAX_S)
        pages = client.pages(since_s=since_s)
        self._finding(
            f"the service on {director} answers on the VIP",
            held=set(pages) == {full_name(director)},
            seen=f"answers from {', '.join(sorted(pages))}",
        )

    def _dies(self, client: ContinuousClient, name: str, *, heir: str) -> None:
        self._say(f"{name} is cut off, and all its processes stop for good")
        died_s = time.monotonic()
        self.cluster.directors[name].host.crash()
        self.cluster.wait_for_vip(heir, timeout_s=self._detection_s + CHECK_MAX_S)
        client.wait_for(
            ANSWERS, since_s=time.monotonic(), timeout_s=self._detection_s + CHECK_MAX_S
        )
        self.cluster.directors[name].host.bury()
        gap = client.gap(died_s)
        bound_s = TAKEOVER_PROMISE_S + self._detection_s
        self._finding(
            f"{heir} takes over, as promised within {bound_s:.0f} s",
            held=gap.length_s < bound_s and bool(self._names(client, gap.ended_s)),
            seen=f"no answer for {gap.length_s * 1000:.0f} ms",
            gap_s=gap.length_s,
        )

    def _the_other_dies_too(self, client: ContinuousClient) -> None:
        """linuxha1 comes back, which moves nothing as failback is off; then linuxha2 dies."""
        self._say("linuxha1 is started again, and stands by")
        back_s = time.monotonic()
        assert self._config is not None
        come_back(self.cluster, self.observers["linuxha2"], self._config, timers=self._timers)
        attempts = [a for a in client.attempts(since_s=back_s) if a.started_s >= back_s]
        # Starting five processes may keep the lab's only processor from a client for its second.
        failed = sorted({a.error for a in attempts if a.error} - {"timeout"})
        self._finding(
            "a director that comes back takes nothing and disturbs nobody",
            held=not failed and any(a.ok for a in attempts),
            seen=f"{sum(a.ok for a in attempts)} of {len(attempts)} requests answered,"
            f" refused or reset: {', '.join(failed) or 'none'}",
        )
        self._dies(client, "linuxha2", heir="linuxha1")

    def _all_pages(self, client: ContinuousClient, promise: str) -> None:
        self._say("asking until every real server had its turn")
        since_s = time.monotonic()
        wanted = {server.page for server in self.cluster.web.values()}
        with contextlib.suppress(TimeoutError):
            wait_until(
                lambda: wanted <= self._names(client, since_s),
                timeout_s=CHECK_MAX_S,
                what="every real server answers",
                period_s=0.1,
            )
        pages = client.pages(since_s=since_s)
        self._finding(
            promise,
            held=set(pages) == wanted,
            seen=", ".join(f"{page}: {count}" for page, count in sorted(pages.items())),
        )

    def _one_real_server_fails(self, client: ContinuousClient) -> None:
        server, observer = self.cluster.web["rs2"], self.observers["linuxha1"]
        address = "192.168.7.12:80"
        node = full_name("linuxha1")
        self._say("the web server of rs2 is stopped")
        server.stop()
        took_s = observer.wait_for(
            lambda: observer.weights(node).get(address) == 0,
            "the weight of rs2 becomes 0",
            timeout_s=CHECK_MAX_S,
        )
        since_s = time.monotonic()
        observer.wait_for(
            lambda: time.monotonic() > since_s + QUIET_S, "some quiet", timeout_s=2 * QUIET_S
        )
        after = client.attempts(since_s=since_s)
        begun = [a for a in after if a.started_s > since_s]
        # Its machine runs and refuses at once what comes to the port of the stopped server. Late is
        # another matter: the lab's only processor may be kept from the client for its second.
        failed = [f"{a.error} after {a.ended_s - a.started_s:.2f} s" for a in begun if not a.ok]
        given = [a for a in begun if a.page == server.page or a.error not in {None, "timeout"}]
        self._finding(
            "a stopped web server's weight becomes 0 and it gets no more connections",
            held=any(a.ok for a in begun) and not given,
            seen=f"weight 0 after {took_s:.1f} s; then {len(begun)} connections, "
            f"{len(given)} given to it, {len(failed)} failed {', '.join(failed)}".rstrip(),
        )
        self._say("the web server of rs2 is started again")
        server.start()
        took_s = observer.wait_for(
            lambda: observer.weights(node).get(address) == 1,
            "the weight of rs2 becomes 1",
            timeout_s=CHECK_MAX_S,
        )
        self._all_pages(client, f"it comes back when it answers again (weight 1 in {took_s:.1f} s)")

    def _all_real_servers_fail(self, client: ContinuousClient) -> None:
        self._say("all three web servers are stopped")
        stopped_s = time.monotonic()
        for server in self.cluster.web.values():
            server.stop()
        with contextlib.suppress(TimeoutError):
            wait_until(
                lambda: self._names(client, time.monotonic() - 0.5) == {SORRY_PAGE},
                timeout_s=CHECK_MAX_S,
                what="the fallback answers",
                period_s=0.1,
            )
        pages = client.pages(since_s=time.monotonic() - 0.5)
        first = next((a for a in client.attempts(since_s=stopped_s) if a.page == SORRY_PAGE), None)
        self._finding(
            "with all three stopped the fallback answers",
            held=set(pages) == {SORRY_PAGE},
            seen="no fallback page"
            if first is None
            else f"'{SORRY_PAGE}' after {first.ended_s - stopped_s:.1f} s",
        )
        self._say("all three web servers are started again")
        for server in self.cluster.web.values():
            server.start()
        observer, node = self.observers["linuxha1"], full_name("linuxha1")
        observer.wait_for(
            lambda: sorted(observer.weights(node).values()) == [1, 1, 1],
            "three real servers of weight 1 and no fallback",
            timeout_s=CHECK_MAX_S,
        )
        self._all_pages(client, "the three pages again instead of the fallback")

    # --- their frame -----------------------------------------------------------------------------

    @contextlib.contextmanager
    def _running(self, config: Path) -> Iterator[None]:
        self._say(f"starting two directors with {config.name} ({self._timers} timers)")
        with started(self.cluster, config, timers=self._timers) as observers:
            self.observers, self._config = observers, config
            wait_until_serving(self.cluster, observers, config)
            yield

    @contextlib.contextmanager
    def _asking(self, port: int) -> Iterator[ContinuousClient]:
        with ContinuousClient(self.cluster.client, VIP, port) as client:
            self.client = client
            yield client
        self.client = None

    @staticmethod
    def _names(client: ContinuousClient, since_s: float) -> set[str]:
        return set(client.pages(since_s=since_s))

    def _finding(self, promise: str, *, held: bool, seen: str, gap_s: float | None = None) -> None:
        self._found(Finding(test=self._test, promise=promise, held=held, seen=seen, gap_s=gap_s))
