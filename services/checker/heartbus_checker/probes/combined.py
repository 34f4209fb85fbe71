"""Checks that are made of others: a negotiation and N connects in turn, or several one by one.

Sans-I/O as far as it goes: the parts do the rest.
"""

from __future__ import annotations

from collections.abc import Sequence

from . import Attempt, Finished, Probe, ProbeResult


class AlternatingProbe:
    """ldirectord checktype N: negotiate, N times connect, negotiate …; a failed connect negotiates.

    ``timeout_s`` is that of the part that is next.
    """

    def __init__(
        self,
        negotiate: Probe,
        connect: Probe,
        *,
        connects: int,
        negotiate_timeout_s: float,
        connect_timeout_s: float,
    ) -> None:
        self._negotiate = negotiate
        self._connect = connect
        self._connects = connects
        self._timeouts_s = (negotiate_timeout_s, connect_timeout_s)
        self._left = 0

    @property
    def timeout_s(self) -> float:
        """How long the next part may take."""
        return self._timeouts_s[1 if self._left else 0]

    def begin(self, finished: Finished) -> Attempt:
        """Begin the next part."""
        part = self._connect if self._left else self._negotiate
        return _Part(self, part, finished)

    def part_finished(self, passed: bool) -> None:
        """Go on to the next part."""
        if not passed:
            self._left = 0
        elif self._left:
            self._left -= 1
        else:
            self._left = self._connects


class _Part:
    def __init__(self, whole: AlternatingProbe, part: Probe, finished: Finished) -> None:
        self._whole = whole
        self._finished = finished
        self._attempt = part.begin(self._ended)

    def _ended(self, result: ProbeResult) -> None:
        if result.conclusive:
            self._whole.part_finished(result.passed)
        self._finished(result)

    def expire(self, within_s: float) -> ProbeResult:
        self._whole.part_finished(False)
        return self._attempt.expire(within_s)


class SequenceProbe:
    """Several checks one by one, all of which must pass; keepalived's several ``url``.

    The first failure ends it. The weight is the last that a part asked for.
    """

    def __init__(self, parts: Sequence[Probe]) -> None:
        self._parts = tuple(parts)

    def begin(self, finished: Finished) -> Attempt:
        """Begin the first part."""
        return _Sequence(self._parts, finished)


class _Sequence:
    def __init__(self, parts: tuple[Probe, ...], finished: Finished) -> None:
        self._parts = parts
        self._finished = finished
        self._at = 0
        self._took_s = 0.0
        self._weight: int | None = None
        self._attempt = parts[0].begin(self._ended)

    def _ended(self, result: ProbeResult) -> None:
        self._took_s += result.took_s
        self._weight = result.weight if result.weight is not None else self._weight
        self._at += 1
        if result.passed and self._at < len(self._parts):
            self._attempt = self._parts[self._at].begin(self._ended)
            return
        others = f"; {self._at - 1} before it passed" if self._at > 1 else ""
        self._finished(
            ProbeResult(
                passed=result.passed,
                reason=f"{result.reason}{others}",
                took_s=self._took_s,
                conclusive=result.conclusive,
                weight=self._weight,
            )
        )

    def expire(self, within_s: float) -> ProbeResult:
        return self._attempt.expire(within_s)
