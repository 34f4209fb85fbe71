from __future__ import annotations

import math

import pytest

from heartbus.events import Lease
from heartbus_vip.news import LeaseBook, LeaseNews

GROUP = "www"


def lease(*, epoch: int = 1, until_s: float = 105.0) -> Lease:
    return Lease(group=GROUP, epoch=epoch, deadline_monotonic_s=until_s)


def news(written_s: float, *leases: Lease) -> LeaseNews:
    return LeaseNews(written_s=written_s, leases=leases)


def test_nothing_stands_before_membership_spoke() -> None:
    book = LeaseBook()
    assert not book.spoken
    assert book.standing(GROUP, now_s=100.0) is None


def test_a_lease_stands_until_its_deadline_and_not_at_it() -> None:
    book = LeaseBook()
    assert book.news_received(news(100.0, lease(until_s=105.0)), now_s=100.0)
    assert book.standing(GROUP, now_s=104.999) == lease(until_s=105.0)
    assert book.standing(GROUP, now_s=105.0) is None


def test_newer_news_replace_all_that_was_said() -> None:
    book = LeaseBook()
    book.news_received(news(100.0, lease()), now_s=100.0)
    assert book.news_received(news(101.0), now_s=101.0)
    assert book.standing(GROUP, now_s=101.0) is None


def test_older_news_never_bring_a_lease_back() -> None:
    book = LeaseBook()
    book.news_received(news(101.0), now_s=101.0)
    assert not book.news_received(news(100.0, lease()), now_s=101.0)
    assert book.standing(GROUP, now_s=101.0) is None


@pytest.mark.parametrize(
    "bad",
    [
        news(math.nan, lease()),
        news(math.inf, lease()),
        news(200.0, lease()),
        news(100.0, lease(until_s=math.inf)),
        news(100.0, lease(until_s=math.nan)),
    ],
    ids=["written nan", "written inf", "written in the future", "for ever", "until nan"],
)
def test_news_that_make_no_sense_change_nothing(bad: LeaseNews) -> None:
    book = LeaseBook()
    book.news_received(news(99.0, lease(epoch=3)), now_s=100.0)
    assert not book.news_received(bad, now_s=100.0)
    assert book.standing(GROUP, now_s=100.0) == lease(epoch=3)


def test_a_revocation_counts_before_the_news_that_show_it() -> None:
    book = LeaseBook()
    book.news_received(news(100.0, lease(epoch=3)), now_s=100.0)
    assert book.group_revoked(GROUP, epoch=3, said_s=100.5)
    assert book.standing(GROUP, now_s=100.5) is None


def test_news_written_before_a_revocation_do_not_undo_it() -> None:
    book = LeaseBook()
    book.news_received(news(100.0, lease(epoch=3)), now_s=100.0)
    book.group_revoked(GROUP, epoch=3, said_s=100.5)
    book.news_received(news(100.4, lease(epoch=3)), now_s=100.6)
    assert book.standing(GROUP, now_s=100.6) is None


def test_news_written_after_a_revocation_stand() -> None:
    book = LeaseBook()
    book.news_received(news(100.0, lease(epoch=3)), now_s=100.0)
    book.group_revoked(GROUP, epoch=3, said_s=100.5)
    book.news_received(news(100.6, lease(epoch=3)), now_s=100.6)
    assert book.standing(GROUP, now_s=100.6) == lease(epoch=3)


def test_a_revocation_of_an_earlier_epoch_does_not_end_a_later_one() -> None:
    book = LeaseBook()
    book.news_received(news(100.0, lease(epoch=4)), now_s=100.0)
    book.group_revoked(GROUP, epoch=3, said_s=100.5)
    assert book.standing(GROUP, now_s=100.5) == lease(epoch=4)


def test_a_revocation_older_than_the_news_is_ignored() -> None:
    book = LeaseBook()
    book.news_received(news(100.0, lease(epoch=3)), now_s=100.0)
    assert not book.group_revoked(GROUP, epoch=3, said_s=99.0)
    assert book.standing(GROUP, now_s=100.0) == lease(epoch=3)
