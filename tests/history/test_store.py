"""The file of the history: bounded, and never worse than an error that says what is wrong."""

from __future__ import annotations

import random
import sqlite3
from pathlib import Path

import pytest

from heartbus.events import AskEvents, Event, NodeDead, RealServerDown, VipAcquired
from heartbus.history.records import Record, is_wanted, record
from heartbus.history.store import PRUNE_EVENTS, Store, StoreError
from heartbus.recording import BUCKET_S, IDS_MAX
from tests.history.builders import NOW_S, Process

DAY_S = 86_400.0


def opened(path: Path, *, age_s: float = 400 * DAY_S, bytes_max: int = 100_000_000) -> Store:
    store = Store(path / "history.db", age_s=age_s, bytes_max=bytes_max)
    store.open()
    return store


def events(count: int, *, at_s: float = NOW_S, step_s: float = 1.0, text: str = "") -> list[Record]:
    process = Process()
    found = []
    for number in range(count):
        body = NodeDead(director="two", silent_s=0.3, reason=f"{number} {text}")
        kept = record(
            process.say(body, at_s=at_s + number * step_s),
            now_s=at_s + number * step_s,
            heard=False,
        )
        assert kept is not None
        found.append(kept)
    return found


def test_what_was_written_is_there_after_a_restart_each_once(tmp_path: Path) -> None:
    store = opened(tmp_path)
    kept = events(10)
    assert store.add(kept) == 10
    assert store.add(kept[5:] + events(1, at_s=NOW_S + 100)) == 1
    digest = store.digests.total
    store.close()
    again = opened(tmp_path)
    assert (again.events, again.digests.total) == (11, digest)
    assert (
        again.select(AskEvents(), limit=100)[::-1][:10] == sorted(kept, key=lambda k: k.at_s)[:10]
    )


def test_the_file_finds_what_the_memory_finds(tmp_path: Path) -> None:
    store, rng = opened(tmp_path), random.Random(7)
    bodies: list[Event] = [
        NodeDead(director="two", silent_s=0.3, reason="silence"),
        RealServerDown(virtual_service="tcp:v:80", real_server="10.0.0.1:80", reason="refused"),
        VipAcquired(group="g", director="one", epoch=1, addresses=("10.0.0.9",), took_s=0.1),
    ]
    processes = [Process(node=node) for node in ("one", "two")]
    kept = []
    for _ in range(60):
        said = rng.choice(processes).say(rng.choice(bodies), at_s=NOW_S + rng.randrange(100))
        row = record(said, now_s=NOW_S + 50)
        assert row is not None
        kept.append(row)
    store.add(kept)
    choices = {
        "since_s": [0.0, NOW_S + 30],
        "until_s": [0.0, NOW_S + 60],
        "kinds": [(), ("vip.*",), ("node.dead", "realserver.*"), ("vip",)],
        "node": ["", "two"],
        "about": ["", "10.0.0.1:80", "two"],
        "ids": [(), tuple(row.id for row in kept[:20])],
    }
    for _ in range(300):
        query = AskEvents(**{name: rng.choice(values) for name, values in choices.items()})  # type: ignore[arg-type]
        found = {row.id for row in store.select(query, limit=1000)}
        assert found == {row.id for row in kept if is_wanted(row, query)}, query


def test_what_is_too_old_is_forgotten_and_not_missing(tmp_path: Path) -> None:
    store = opened(tmp_path, age_s=DAY_S)
    store.add(events(20, at_s=NOW_S - DAY_S - 10.0))
    assert store.prune(now_s=NOW_S) == 10
    assert store.events == 10
    assert store.missing(since_s=0.0) == 0
    assert store.digests.total == _digest_of_content(store)


def test_the_oldest_go_before_the_file_grows_beyond_its_bound(tmp_path: Path) -> None:
    bytes_max = 1_000_000
    store = opened(tmp_path, bytes_max=bytes_max)
    kept = events(6 * PRUNE_EVENTS, text="x" * 500)
    for start in range(0, len(kept), 100):
        store.add(kept[start : start + 100])
        if store.size_bytes > bytes_max:
            store.prune(now_s=NOW_S + 1e6)
    assert store.size_bytes <= bytes_max
    assert (tmp_path / "history.db").stat().st_size < 1.2 * bytes_max
    left = store.select(AskEvents(), limit=10_000)
    assert [row.id for row in reversed(left)] == [row.id for row in kept[-len(left) :]]
    assert 0 < len(left) < len(kept)
    since_s = store.since_s(now_s=NOW_S + 1e6)
    assert since_s > kept[-len(left)].at_s, "its whole hour counts as forgotten"
    store.close()
    again = opened(tmp_path, bytes_max=bytes_max)
    assert again.since_s(now_s=NOW_S + 1e6) == since_s
    assert again.digests.total == _digest_of_content(again)


def test_a_clock_that_was_ahead_forgets_nothing_that_comes_later(tmp_path: Path) -> None:
    store = opened(tmp_path, bytes_max=50_000)
    store.add(events(2 * PRUNE_EVENTS, text="x" * 100))
    store.prune(now_s=NOW_S + 1e9)
    assert store.since_s(now_s=NOW_S) <= NOW_S


def test_a_missed_event_is_counted_until_it_is_found(tmp_path: Path) -> None:
    store = opened(tmp_path)
    kept = events(5)
    store.add([kept[0], kept[2], kept[4]])
    assert store.missing(since_s=0.0) == 2
    assert store.absent([row.id for row in kept]) == {kept[1].id, kept[3].id}
    store.add([kept[1], kept[3]])
    assert store.missing(since_s=0.0) == 0


def test_an_hour_that_a_peer_knows_replaces_ours(tmp_path: Path) -> None:
    store = opened(tmp_path)
    said = Process().say(NodeDead(director="two", silent_s=0.3, reason="x"), at_s=NOW_S)
    unsure = record(said, now_s=NOW_S + 1e6)
    sure = record(said, now_s=NOW_S + 1e6, heard=False)
    assert unsure is not None
    assert sure is not None
    store.add([unsure])
    assert store.digests.by_bucket() == {}
    store.add([sure, unsure])
    assert list(store.digests.by_bucket()) == [int(NOW_S // BUCKET_S)]
    assert store.events == 1


def test_ids_of_an_hour_come_in_order_and_in_parts(tmp_path: Path) -> None:
    store = opened(tmp_path)
    kept = events(20)
    store.add(kept)
    bucket = kept[0].bucket
    assert bucket is not None
    ids = store.ids(bucket, after="")
    assert ids == sorted(row.id for row in kept)
    assert len(ids) <= IDS_MAX
    assert store.ids(bucket, after=ids[10]) == ids[11:]


@pytest.mark.parametrize("damage", ["garbage", "truncated", "scrambled", "newer", "other"])
def test_a_file_that_is_not_ours_is_damage_and_is_set_aside(tmp_path: Path, damage: str) -> None:
    path = tmp_path / "history.db"
    store = opened(tmp_path)
    store.add(events(2000, text="x" * 100))
    store.close()
    content = path.read_bytes()
    match damage:
        case "garbage":
            path.write_bytes(random.Random(3).randbytes(100_000))
        case "truncated":
            path.write_bytes(content[: len(content) // 2])
        case "scrambled":
            middle = len(content) // 2
            path.write_bytes(content[:middle] + b"\xff" * 8192 + content[middle + 8192 :])
        case "newer":
            with sqlite3.connect(path) as db:
                db.execute("PRAGMA user_version = 99")
            db.close()
        case "other":
            path.unlink()
            with sqlite3.connect(path) as db:
                db.execute("CREATE TABLE events (id TEXT)")
            db.close()
    with pytest.raises(StoreError) as raised:
        store.open()
    assert raised.value.damaged
    assert str(path) in str(raised.value)
    assert store.set_aside() == tmp_path / "history.db.damaged"
    store.open()
    assert store.add(events(3)) == 3


def test_a_place_where_nothing_can_be_written_is_an_error_and_no_damage(tmp_path: Path) -> None:
    (tmp_path / "history.db").mkdir()
    with pytest.raises(StoreError) as raised:
        opened(tmp_path)
    assert not raised.value.damaged


def test_a_full_disk_is_told_apart_and_what_was_written_can_be_read(tmp_path: Path) -> None:
    store = opened(tmp_path)
    kept = events(300, text="x" * 200)
    store.add(kept[:100])
    assert store._db is not None
    pages = store._db.execute("PRAGMA page_count").fetchone()[0]
    store._db.execute(f"PRAGMA max_page_count = {pages + 1}")
    digest = store.digests.total
    with pytest.raises(StoreError) as raised:
        store.add(kept[100:])
    assert raised.value.full
    assert not raised.value.damaged
    assert len(store.select(AskEvents(), limit=1000)) == 100, "all of a batch or nothing"
    assert store.digests.total == digest


def test_a_reader_makes_no_file(tmp_path: Path) -> None:
    store = Store(tmp_path / "history.db", age_s=1.0, bytes_max=1)
    with pytest.raises(StoreError):
        store.open(read_only=True)
    assert list(tmp_path.iterdir()) == []


def test_a_file_that_was_removed_is_noticed(tmp_path: Path) -> None:
    store = opened(tmp_path)
    assert not store.is_gone()
    (tmp_path / "history.db").unlink()
    assert store.is_gone()


def _digest_of_content(store: Store) -> str:
    from heartbus.history.agreement import Digests

    digests = Digests()
    for row in store.select(AskEvents(), limit=1_000_000):
        digests.change(row.bucket, row.id)
    return digests.total
