"""The files of membership: what is written is whole, or it is not there."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from heartbus.events import Lease
from heartbus_membership.claims import StandingLease, Vote
from heartbus_membership.leases import (
    LEASE_WRITE_PERIOD_S,
    LeaseFile,
    StateFile,
    VoteFile,
    as_standing,
)

LEASE = Lease(group="www", epoch=3, deadline_monotonic_s=100.0, cause=None)
really_write = os.write


def at_most(octets: int, *, then_full: bool) -> object:
    """Return an ``os.write`` of a disk that takes few octets at once, and no more if full."""
    calls = 0

    def write(fd: int, content: bytes) -> int:
        nonlocal calls
        calls += 1
        if then_full and calls > 1:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return really_write(fd, content[:octets])

    return write


def test_short_writes_are_continued(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "write", at_most(7, then_full=False))
    leases = LeaseFile(tmp_path, boot_id="boot")
    leases.write([LEASE], now_s=50.0)
    assert leases.standing(now_s=50.0) == (LEASE,)


def test_a_full_disk_leaves_the_old_epochs_and_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    state = StateFile(tmp_path)
    incarnation = state.next_incarnation(wall_ms=7)
    before = (tmp_path / "membership.json").read_bytes()
    monkeypatch.setattr(os, "write", at_most(7, then_full=True))
    with pytest.raises(OSError, match="No space left"):
        state.remember_epoch("www", 3)
    monkeypatch.undo()
    assert (tmp_path / "membership.json").read_bytes() == before
    assert StateFile(tmp_path).next_incarnation(wall_ms=1) == incarnation + 1


def test_a_full_disk_leaves_no_lease_to_be_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    leases = LeaseFile(tmp_path, boot_id="boot")
    leases.write([LEASE], now_s=50.0)
    monkeypatch.setattr(os, "write", at_most(7, then_full=True))
    with pytest.raises(OSError, match="No space left"):
        leases.write([], now_s=51.0)
    assert leases.standing(now_s=51.0) == ()
    assert not (tmp_path / "leases.json").exists()


def test_votes_that_nobody_knows_stay_unknown_over_a_second_start(tmp_path: Path) -> None:
    for _ in range(2):
        votes = VoteFile(tmp_path, boot_id="boot")
        assert votes.earlier is None
    vote = Vote(candidate="a", incarnation=1, epoch=7)
    votes.remember("vip", vote)
    again = VoteFile(tmp_path, boot_id="boot")
    assert again.earlier == {"vip": vote}
    again.remember("www", vote)
    assert VoteFile(tmp_path, boot_id="boot").earlier == {"vip": vote, "www": vote}
    assert VoteFile(tmp_path, boot_id="another").earlier is None


@pytest.mark.parametrize("content", [b"", b"{", b'{"schema": 2, "boot_id": "boot", "votes": {}}'])
def test_a_damaged_file_of_votes_is_none_at_all(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "votes.json").write_bytes(content)
    assert VoteFile(tmp_path, boot_id="boot").earlier is None


def test_a_vote_that_could_not_be_written_leaves_the_old_ones(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    votes = VoteFile(tmp_path, boot_id="boot")
    first = Vote(candidate="a", incarnation=1, epoch=7)
    votes.remember("vip", first)
    monkeypatch.setattr(os, "write", at_most(7, then_full=True))
    with pytest.raises(OSError, match="No space left"):
        votes.remember("vip", Vote(candidate="b", incarnation=1, epoch=8))
    monkeypatch.undo()
    assert VoteFile(tmp_path, boot_id="boot").earlier == {"vip": first}


def test_an_adopted_lease_may_be_older_than_what_vip_heard(tmp_path: Path) -> None:
    leases = LeaseFile(tmp_path, boot_id="boot")
    leases.write([LEASE], now_s=50.0)
    [lease] = leases.standing(now_s=50.1)
    assert as_standing(lease).stale_s == LEASE_WRITE_PERIOD_S


def test_what_is_being_released_is_for_our_next_process_alone(tmp_path: Path) -> None:
    leases = LeaseFile(tmp_path, boot_id="boot")
    held = as_standing(LEASE)
    going = StandingLease(group="mail", epoch=5, deadline_s=60.0, releasing=True)
    leases.write([LEASE], releasing=[going], now_s=50.0)
    assert leases.standing(now_s=50.0) == (LEASE,)
    assert leases.claims(now_s=50.0) == (held, going)
    assert leases.claims(now_s=60.0) == (held,)
    assert LeaseFile(tmp_path, boot_id="another").claims(now_s=50.0) == ()
