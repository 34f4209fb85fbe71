"""Reads what an operator wants to be played: ``kill linuxha1``, and so on.

Sans-I/O. One sentence of fixed words; what is wrong with it is said with what is allowed.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Final

from heartbus.model import BroadcastLink, Cluster, MulticastLink, UnicastLink
from heartbus_simulator.faults import Fault, Kind
from heartbus_simulator.play import Now

SENTENCES: Final = """\
kill DIRECTOR                       its power is cut
kill membership|vip on DIRECTOR     the process is killed, and is back after 0.5 s
pause DIRECTOR for TIME             the host does not run for a while
stop DIRECTOR                       a clean stop
cut LINK [one-way] [from DIRECTOR] [and bus]   a heartbeat link, by interface or name
isolate DIRECTOR                    nothing reaches it or leaves it
lose SERVER [and SERVER …]          real servers do not answer any more
lose bus [on DIRECTOR]              the nats-server is gone
set deadtime TIME over TIME         what the detector would have made of recorded heartbeats
All but the last may end with: for TIME (then it is as before again)."""

PROCESS_BACK_S: Final = 0.5
FOR_EVER: Final = float("inf")
_UNITS_S: Final = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86_400.0, "w": 604_800.0}
_TIME: Final = re.compile(r"(\d{1,9}(?:\.\d{1,6})?)(ms|s|m|h|d|w)")
_WORDS_MAX: Final = 64
_SPANS: Final = {
    "day": 86_400.0,
    "week": 604_800.0,
    "hour": 3600.0,
}


class SentenceError(ValueError):
    """What cannot be played; the text says what can."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """What is to be played: faults of the cluster, or real servers that are lost, or timers.

    ``variants``: the same said in several ways, each played for itself, by what it is called.
    """

    sentence: str
    variants: tuple[tuple[str, tuple[Fault, ...]], ...] = ()
    servers: tuple[str, ...] = ()
    lost_for_s: float = FOR_EVER
    deadtime_s: float | None = None
    over_s: float = 0.0
    remarks: tuple[str, ...] = field(default=())


def parse(
    words: Sequence[str],
    cluster: Cluster,
    now: Now,
    *,
    resolve: Callable[[str], str | None] = lambda _name: None,
) -> Wanted:
    """Return what a sentence wants; ``resolve`` gives the address of a host name, or None.

    Raises:
        SentenceError: it is none of SENTENCES, or names what is not there.

    """
    said = " ".join(words).split()
    if not said or len(said) > _WORDS_MAX:
        raise SentenceError(f"what is to be played? Allowed is:\n{SENTENCES}")
    return _Reader(said, cluster, now, resolve).wanted()


class _Reader:
    """Takes a sentence apart from its front; what is left over is wrong."""

    def __init__(
        self,
        said: list[str],
        cluster: Cluster,
        now: Now,
        resolve: Callable[[str], str | None],
    ) -> None:
        self._resolve = resolve
        self._sentence = " ".join(said)
        self._left = said
        self._cluster, self._now = cluster, now

    def wanted(self) -> Wanted:
        """Return what the whole sentence wants."""
        verb = self._left.pop(0)
        match verb:
            case "kill":
                return self._faults(self._kill)
            case "pause" | "isolate" | "stop":
                return self._faults(lambda: self._host(verb))
            case "cut":
                return self._cut()
            case "lose" if self._left[:1] == ["bus"]:
                return self._faults(self._lose_bus)
            case "lose":
                return self._lose()
            case "set":
                return self._set()
        raise SentenceError(f"{verb!r} is not allowed; allowed is:\n{SENTENCES}")

    # --- one sentence each -----------------------------------------------------------------------

    def _faults(self, read: object) -> Wanted:
        assert callable(read)
        kinds: list[tuple[Kind, str, float]] = read()
        default_s = kinds[0][2] or FOR_EVER
        end_s = self._for(default_s)
        self._end()
        faults = tuple(Fault(kind, target, 0.0, end_s) for kind, target, _ in kinds)
        return Wanted(sentence=self._sentence, variants=(("", faults),))

    def _kill(self) -> list[tuple[Kind, str, float]]:
        what = self._next("a director, membership or vip")
        if what in ("membership", "vip"):
            self._word("on")
            kind = Kind.MEMBERSHIP_KILL if what == "membership" else Kind.VIP_KILL
            return [(kind, self._director(), PROCESS_BACK_S)]
        return [(Kind.CRASH, self._director(what), 0.0)]

    def _host(self, verb: str) -> list[tuple[Kind, str, float]]:
        name = self._director()
        if verb == "pause" and "for" not in self._left:
            raise SentenceError("pause needs a time: pause DIRECTOR for 2s")
        if verb == "stop":
            return [(Kind.MEMBERSHIP_STOP, name, 0.0)]  # it lets go of vip's addresses first
        return [(Kind.PAUSE if verb == "pause" else Kind.ISOLATE, name, 0.0)]

    def _lose_bus(self) -> list[tuple[Kind, str, float]]:
        self._left.pop(0)
        if self._left[:1] == ["on"]:
            self._left.pop(0)
            return [(Kind.BUS_DOWN, self._director(), 0.0)]
        return [(Kind.BUS_OUT, "*", 0.0)]

    def _cut(self) -> Wanted:
        name = self._next("a heartbeat link")
        numbers = self._link_numbers(name)
        one_way = self._option("one-way")
        sender = ""
        if self._option("from"):
            sender, one_way = self._director(), True
        bus = self._option("and", "bus")
        end_s = self._for(FOR_EVER)
        self._end()
        remarks = [] if bus else [f"the bus is taken not to use it; if it does: cut {name} and bus"]
        hosts = tuple(d.name for d in self._cluster.voters)
        with_bus = (Fault(Kind.BUS_OUT, "*", 0.0, end_s),) if bus else ()
        variants = []
        if not one_way:
            cut = (Fault(Kind.LINK, "*", 0.0, end_s, float(n)) for n in numbers)
            variants.append(("", (*cut, *with_bus)))
        for host in hosts if one_way and not sender else ([sender] if sender else []):
            ways = (f"{host}>{other}" for other in hosts if other != host)
            silent = tuple(
                Fault(Kind.LINK_ONE_WAY, way, 0.0, end_s, float(n)) for way in ways for n in numbers
            )
            variants.append((f"nobody hears {host} over it", (*silent, *with_bus)))
        return Wanted(sentence=self._sentence, variants=tuple(variants), remarks=tuple(remarks))

    def _lose(self) -> Wanted:
        servers = [self._server(self._next("a real server"))]
        while self._option("and"):
            servers.append(self._server(self._next("a real server")))
        lost_for_s = self._for(FOR_EVER)
        self._end()
        return Wanted(sentence=self._sentence, servers=tuple(servers), lost_for_s=lost_for_s)

    def _set(self) -> Wanted:
        self._word("deadtime")
        deadtime_s = _seconds(self._next("a time"))
        self._word("over")
        self._option("the")
        self._option("last")
        span = self._next("a time, or last week").removesuffix("'s").removesuffix("s")
        over_s = _SPANS[span] if span in _SPANS else _seconds(span)
        self._option("heartbeats")
        self._end()
        return Wanted(sentence=self._sentence, deadtime_s=deadtime_s, over_s=over_s)

    # --- words -----------------------------------------------------------------------------------

    def _next(self, what: str) -> str:
        if not self._left:
            raise SentenceError(f"{self._sentence!r} lacks {what}; allowed is:\n{SENTENCES}")
        return self._left.pop(0)

    def _word(self, word: str) -> None:
        found = self._next(f"the word {word!r}")
        if found != word:
            raise SentenceError(f"{found!r} is not allowed there; allowed is {word!r}")

    def _option(self, *words: str) -> bool:
        there = self._left[: len(words)] == list(words)
        if there:
            del self._left[: len(words)]
        return there

    def _for(self, default_s: float) -> float:
        return _seconds(self._next("a time")) if self._option("for") else default_s

    def _end(self) -> None:
        if self._left:
            left = " ".join(self._left)
            raise SentenceError(f"{left!r} is not allowed there; allowed is:\n{SENTENCES}")

    def _director(self, name: str | None = None) -> str:
        name = name or self._next("a director")
        known = [d.name for d in self._cluster.voters]
        found = [n for n in known if n == name] or [n for n in known if n.split(".")[0] == name]
        if len(found) != 1:
            raise SentenceError(f"{name!r} is no director; there are: {', '.join(known)}")
        if found[0] in self._now.down:
            raise SentenceError(f"{found[0]} is not heard now: nothing of it can be played")
        return found[0]

    def _link_numbers(self, name: str) -> list[int]:
        links = list(dict.fromkeys(self._cluster.membership.links))
        interfaces = (BroadcastLink, MulticastLink, UnicastLink)
        names = list(dict.fromkeys(link.name for link in links))
        found = {
            names.index(link.name)
            for link in links
            if link.name == name or (isinstance(link, interfaces) and link.interface == name)
        }
        if not found:
            raise SentenceError(f"{name!r} is no heartbeat link; there are: {', '.join(names)}")
        return sorted(found)

    def _server(self, name: str) -> str:
        known = dict.fromkeys(
            text
            for service in self._cluster.virtual_services
            for real in service.real_servers
            for text in (real.name, real.endpoint.address)
        )
        if name not in known:
            address = self._resolve(name)
            if address in known:
                return address
            addresses = dict.fromkeys(
                r.endpoint.address for s in self._cluster.virtual_services for r in s.real_servers
            )
            raise SentenceError(f"{name!r} is no real server; there are: {_some(addresses)}")
        return name


def _seconds(text: str) -> float:
    found = _TIME.fullmatch(text)
    if found is None or float(found[1]) == 0:
        raise SentenceError(f"{text!r} is no time; allowed is such as 300ms, 2s, 15m, 2h, 3d, 1w")
    return float(found[1]) * _UNITS_S[found[2]]


def _some(names: Iterable[str]) -> str:
    shown = list(names)
    more = f" and {len(shown) - 10} more" if len(shown) > 10 else ""
    return ", ".join(shown[:10]) + more
