from __future__ import annotations

from heartbus.model import AddressResource, VipSettings
from heartbus_vip.frames import ArpForm
from heartbus_vip.schedule import AnnounceSchedule

VIP = AddressResource(address="192.168.7.110", prefix_len=24)
SETTINGS = VipSettings(announce_count=3, announce_spacing_s=0.2, announce_refresh_s=60.0)


def times_of(schedule: AnnounceSchedule, *, until_s: float) -> list[tuple[float, ArpForm]]:
    """Let the schedule run on its own deadlines; return when it sends what."""
    sent: list[tuple[float, ArpForm]] = []
    while (due_s := schedule.next_deadline_s) is not None and due_s <= until_s:
        sent.extend((round(due_s, 3), form) for _, form in schedule.due(now_s=due_s))
    return sent


def test_a_burst_begins_at_once_and_is_repeated_slowly_afterwards() -> None:
    schedule = AnnounceSchedule(SETTINGS)
    schedule.start(VIP, now_s=100.0)
    assert times_of(schedule, until_s=170.0) == [
        (100.0, ArpForm.REQUEST),
        (100.2, ArpForm.REPLY),
        (100.4, ArpForm.REQUEST),
        (160.4, ArpForm.REPLY),
    ]


def test_without_later_repeats_it_ends_after_the_burst() -> None:
    schedule = AnnounceSchedule(VipSettings(announce_count=2, announce_refresh_s=0.0))
    schedule.start(VIP, now_s=100.0)
    assert [at_s for at_s, _ in times_of(schedule, until_s=1000.0)] == [100.0, 100.2]
    assert schedule.next_deadline_s is None


def test_no_burst_and_no_repeats_send_nothing() -> None:
    schedule = AnnounceSchedule(VipSettings(announce_count=0, announce_refresh_s=0.0))
    schedule.start(VIP, now_s=100.0)
    assert times_of(schedule, until_s=1000.0) == []


def test_a_pause_is_not_made_up_for() -> None:
    schedule = AnnounceSchedule(SETTINGS)
    schedule.start(VIP, now_s=100.0)
    assert len(schedule.due(now_s=100.0)) == 1
    assert len(schedule.due(now_s=130.0)) == 1
    assert schedule.next_deadline_s == 130.2


def test_a_stopped_address_is_announced_no_more() -> None:
    schedule = AnnounceSchedule(SETTINGS)
    schedule.start(VIP, now_s=100.0)
    schedule.stop(VIP)
    assert schedule.due(now_s=100.0) == []
    assert schedule.next_deadline_s is None
