"""What came of several plays: the range of each figure, and one story to read.

Sans-I/O.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

from heartbus_simulator import gaps
from heartbus_simulator.losing import Lost
from heartbus_simulator.play import Happening, Play

STORY_LINES_MAX: Final = 40


def of_plays(plays: Sequence[Play], before: Mapping[str, str]) -> dict[str, Any]:
    """Return what several plays of the same faults came to; ``before``: holder of each group."""
    told = sorted(plays, key=lambda p: max((g.gap_s for g in p.groups.values()), default=0.0))
    return {
        "plays": len(plays),
        "groups": [
            {
                "name": name,
                "holder_before": before.get(name),
                "holders_after": _common([p.groups[name].holders for p in plays]),
                "moves": _range(p.groups[name].moves for p in plays),
                "without_holder_s": _range(p.groups[name].gap_s for p in plays),
                "on_two_directors_s": _range(p.groups[name].double_s for p in plays),
            }
            for name in (plays[0].groups if plays else ())
        ],
        "settled": all(p.settled for p in plays),
        "story": _story(told[len(told) // 2].happenings if told else ()),
    }


def of_losses(plays: Sequence[Lost]) -> dict[str, Any]:
    """Return what several plays of the same loss came to."""
    told = sorted(plays, key=lambda p: p.happenings[-1].at_s if p.happenings else 0.0)
    first: dict[tuple[str, str], list[float]] = {}
    for played in plays:
        seen: set[tuple[str, str]] = set()
        for happening in played.happenings:
            key = (happening.director, happening.text)
            if key not in seen:
                seen.add(key)
                first.setdefault(key, []).append(happening.at_s)
    order = sorted(first.items(), key=lambda item: min(item[1]))
    return {
        "plays": len(plays),
        "news": [
            {"director": director, "text": text, "after_s": _range(times), "plays": len(times)}
            for (director, text), times in order
        ],
        "unchecked": list(plays[0].unchecked) if plays else [],
        "served_by_after": {k: list(v) for k, v in plays[0].left.items()} if plays else {},
        "story": _story(told[len(told) // 2].happenings if told else ()),
    }


def _story(happenings: Sequence[Happening]) -> list[dict[str, Any]]:
    return [
        {"at_s": h.at_s, "director": h.director, "text": h.text}
        for h in happenings[:STORY_LINES_MAX]
    ]


def _range(values: Iterable[float]) -> dict[str, float]:
    found = sorted(values)
    return {"least": round(found[0], 3), "most": round(found[-1], 3)}


def _common(holders: Sequence[tuple[str, ...]]) -> list[list[str]]:
    """Return the ends that were seen, the most frequent first."""
    seen = sorted(set(holders), key=lambda h: (-holders.count(h), h))
    return [list(names) for names in seen]


# --- for people ----------------------------------------------------------------------------------


def lines(document: Mapping[str, Any]) -> Iterable[str]:
    """Return a document as people read it."""
    yield document["sentence"]
    yield f"from: {document['state']}"
    for part in document["parts"]:
        yield ""
        if part["title"]:
            yield f"{part['title']}:"
        yield from _part(part)
    if document["remarks"]:
        yield ""
    for remark in document["remarks"]:
        yield f"note: {remark}"


def _part(part: Mapping[str, Any]) -> Iterable[str]:
    if "heartbeats" in part:
        yield from gaps.lines(part)
        return
    for line in part["story"]:
        who = line["director"].split(".")[0]
        yield f"  {_at(line['at_s'])}  {who:<10} {line['text']}"
    if not part["story"]:
        yield "  nothing happens"
    for group in part.get("groups", ()):
        yield f"  {_group(group, part['plays'])}"
    for news in part.get("news", ()):
        if " is down: " in news["text"] or " is up: " in news["text"]:
            who = news["director"].split(".")[0]
            yield f"  {who}: {news['text'].split(': ')[0]} after {_span(news['after_s'])}"
    for name in part.get("unchecked", ()):
        yield f"  {name} is not checked where it is listed: nothing notices"
    for service, servers in part.get("served_by_after", {}).items():
        yield f"  {service} is served by {', '.join(servers) or 'nobody'} then"


def _group(group: Mapping[str, Any], plays: int) -> str:
    before = group["holder_before"] or "nobody"
    ends = [" and ".join(names) or "nobody" for names in group["holders_after"]]
    if not group["moves"]["most"]:
        return f"{group['name']} stays on {before} ({plays} plays)"
    gap, double = group["without_holder_s"], group["on_two_directors_s"]
    words = [f"{group['name']}: {before} -> {' or '.join(ends)}"]
    words.append(f"without a holder for {_span(gap)}" if gap["most"] else "never without a holder")
    words.append(f"on two for {_span(double)}" if double["most"] else "never on two directors")
    return f"{', '.join(words)} ({plays} plays)"


def _span(found: Mapping[str, float]) -> str:
    unit, factor = ("ms", 1000.0) if found["most"] < 1.0 else ("s", 1.0)
    least, most = (f"{found[end] * factor:.3g}" for end in ("least", "most"))
    return f"{most} {unit}" if least == most else f"{least} to {most} {unit}"


def _at(at_s: float) -> str:
    return f"{at_s:+9.3f} s"
