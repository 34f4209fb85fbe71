from __future__ import annotations

from dataclasses import replace

import pytest

from heartbus.model import AddressResource, AnnounceForm, AnnounceSettings
from heartbus_vip.frames import ArpForm
from heartbus_vip.schedule import FRAMES_AT_ONCE_MAX, AnnounceSchedule

VIP = AddressResource(address="192.168.7.110", prefix_len=24)
VIP6 = AddressResource(address="2001:db8::110", prefix_len=64)
SETTINGS = AnnounceSettings(burst=3, spacing_s=0.2, again_s=0.0, refresh_s=60.0)


def times_of(
    schedule: AnnounceSchedule, *, until_s: float, of: AddressResource = VIP
) -> list[tuple[float, ArpForm]]:
    """Let the schedule run on its own deadlines; return when it sends what."""
    sent: list[tuple[float, ArpForm]] = []
    while (due_s := schedule.next_deadline_s) is not None and due_s <= until_s:
        frames = schedule.due(now_s=due_s)
        sent.extend((round(due_s, 3), form) for address, form in frames if address == of)
    return sent


def started(settings: AnnounceSettings, *addresses: AddressResource) -> AnnounceSchedule:
    schedule = AnnounceSchedule(settings)
    for address in addresses or (VIP,):
        schedule.start(address, interface="eth0", now_s=100.0)
    return schedule


def test_a_burst_begins_at_once_and_is_repeated_slowly_afterwards() -> None:
    assert times_of(started(SETTINGS), until_s=170.0) == [
        (100.0, ArpForm.REQUEST),
        (100.2, ArpForm.REPLY),
        (100.4, ArpForm.REQUEST),
        (160.4, ArpForm.REPLY),
    ]


def test_a_second_burst_is_counted_from_the_beginning_of_the_first() -> None:
    settings = AnnounceSettings(burst=2, spacing_s=0.2, again_s=5.0, refresh_s=60.0)
    sent = [at_s for at_s, _ in times_of(started(settings), until_s=230.0)]
    assert sent == [100.0, 100.2, 105.0, 105.2, 165.2, 225.2]


def test_a_second_burst_waits_for_the_end_of_the_first() -> None:
    settings = AnnounceSettings(burst=3, spacing_s=4.0, again_s=5.0, refresh_s=0.0)
    sent = [at_s for at_s, _ in times_of(started(settings), until_s=1000.0)]
    assert sent == [100.0, 104.0, 108.0, 112.0, 116.0, 120.0]


def test_each_refresh_may_be_several_frames() -> None:
    settings = AnnounceSettings(
        burst=1, spacing_s=0.5, again_s=0.0, refresh_s=10.0, refresh_burst=2
    )
    sent = [at_s for at_s, _ in times_of(started(settings), until_s=125.0)]
    assert sent == [100.0, 110.0, 110.5, 120.5, 121.0]


def test_without_later_repeats_it_ends_after_the_burst() -> None:
    settings = AnnounceSettings(burst=2, again_s=0.0, refresh_s=0.0)
    schedule = started(settings)
    assert [at_s for at_s, _ in times_of(schedule, until_s=1000.0)] == [100.0, 100.2]
    assert schedule.next_deadline_s is None


def test_without_spacing_a_burst_goes_out_at_once() -> None:
    settings = AnnounceSettings(burst=3, spacing_s=0.0, again_s=0.0, refresh_s=7.0)
    schedule = started(settings)
    assert len(schedule.due(now_s=100.0)) == 3
    assert schedule.next_deadline_s == 107.0


def test_many_frames_are_sent_in_portions_and_none_is_lost() -> None:
    settings = AnnounceSettings(burst=5, spacing_s=0.0, again_s=0.0, refresh_s=0.0)
    addresses = [AddressResource(address=f"10.0.0.{n}", prefix_len=24) for n in range(1, 101)]
    schedule = started(settings, *addresses)
    sent = []
    while frames := schedule.due(now_s=100.0):
        assert len(frames) <= FRAMES_AT_ONCE_MAX
        sent += [address for address, _ in frames]
    assert sorted(sent, key=addresses.index) == [a for a in addresses for _ in range(5)]


@pytest.mark.parametrize(
    ("form", "wanted"),
    [(AnnounceForm.REQUEST, {ArpForm.REQUEST}), (AnnounceForm.REPLY, {ArpForm.REPLY})],
)
def test_one_form_only_if_that_is_wanted(form: AnnounceForm, wanted: set[ArpForm]) -> None:
    settings = AnnounceSettings(burst=4, again_s=0.0, refresh_s=0.0, form=form)
    assert {f for _, f in times_of(started(settings), until_s=200.0)} == wanted


def test_ipv6_may_have_a_spacing_of_its_own() -> None:
    settings = AnnounceSettings(
        burst=2, spacing_s=0.5, spacing_ipv6_s=0.0, again_s=0.0, refresh_s=0.0
    )
    schedule = started(settings, VIP, VIP6)
    assert [address for address, _ in schedule.due(now_s=100.0)] == [VIP, VIP6, VIP6]
    assert [address for address, _ in schedule.due(now_s=100.5)] == [VIP]


def test_an_address_may_have_settings_of_its_own() -> None:
    schedule = AnnounceSchedule(SETTINGS, {VIP6: AnnounceSettings(burst=1, again_s=9.0)})
    for address in (VIP, VIP6):
        schedule.start(address, interface="eth0", now_s=100.0)
    assert [at_s for at_s, _ in times_of(schedule, until_s=110.0, of=VIP6)] == [100.0, 109.0]


# --- frames of many addresses on one interface ---------------------------------------------------

PACED = AnnounceSettings(burst=2, spacing_s=0.0, again_s=0.0, refresh_s=0.0, pacing_s=0.1)
SECOND = AddressResource(address="192.168.7.111", prefix_len=24)
THIRD = AddressResource(address="192.168.7.112", prefix_len=24)


def run(
    schedule: AnnounceSchedule, *, until_s: float = 200.0
) -> list[tuple[float, AddressResource]]:
    """Let the schedule run on its own deadlines; return when it sends a frame of which address."""
    sent: list[tuple[float, AddressResource]] = []
    while (due_s := schedule.next_deadline_s) is not None and due_s <= until_s:
        frames = schedule.due(now_s=due_s)
        assert frames, "it asked for a turn and had nothing to say"
        sent.extend((round(due_s, 3), address) for address, _ in frames)
    return sent


def test_frames_on_one_interface_wait_for_one_another_and_first_ones_come_first() -> None:
    assert run(started(PACED, VIP, SECOND, THIRD)) == [
        (100.0, VIP),
        (100.1, SECOND),
        (100.2, THIRD),
        (100.3, VIP),
        (100.4, SECOND),
        (100.5, THIRD),
    ]


def test_a_new_address_does_not_wait_for_the_repeats_of_others() -> None:
    schedule = started(replace(PACED, burst=50), VIP, SECOND)
    early = run(schedule, until_s=102.05)
    schedule.start(THIRD, interface="eth0", now_s=102.05)
    assert len(early) == 21
    assert run(schedule, until_s=102.15) == [(102.1, THIRD)]


def test_both_families_and_other_interfaces_have_a_pace_of_their_own() -> None:
    schedule = started(replace(PACED, pacing_ipv6_s=0.25), VIP, VIP6)
    schedule.start(SECOND, interface="eth1", now_s=100.0)
    sent = run(schedule)
    assert [at_s for at_s, address in sent if address == VIP] == [100.0, 100.1]
    assert [at_s for at_s, address in sent if address == SECOND] == [100.0, 100.1]
    assert [at_s for at_s, address in sent if address == VIP6] == [100.0, 100.25]


def test_ipv6_has_the_pace_of_ipv4_unless_it_has_its_own() -> None:
    assert [at_s for at_s, _ in run(started(PACED, VIP6))] == [100.0, 100.1]
    assert [at_s for at_s, _ in run(started(replace(PACED, pacing_ipv6_s=0.0), VIP6))] == [
        100.0,
        100.0,
    ]


def test_spacing_of_one_address_holds_beside_the_pace_of_all() -> None:
    sent = run(started(replace(PACED, spacing_s=0.25), VIP, SECOND))
    assert sent == [(100.0, VIP), (100.1, SECOND), (100.25, VIP), (100.35, SECOND)]


def test_what_is_announced_anew_does_not_jump_the_pace() -> None:
    schedule = started(PACED)
    assert schedule.due(now_s=100.0) == [(VIP, ArpForm.REQUEST)]
    schedule.stop(VIP)
    schedule.start(VIP, interface="eth0", now_s=100.02)
    assert [at_s for at_s, _ in run(schedule)] == [100.1, 100.2]


# --- pauses, and what is told anew ---------------------------------------------------------------


def test_a_pause_is_not_made_up_for() -> None:
    schedule = started(SETTINGS)
    assert len(schedule.due(now_s=100.0)) == 1
    assert len(schedule.due(now_s=130.0)) == 1
    assert schedule.next_deadline_s == 130.2


def test_a_new_start_begins_the_burst_again() -> None:
    schedule = started(SETTINGS)
    schedule.due(now_s=100.0)
    schedule.start(VIP, interface="eth0", now_s=100.1)
    assert [at_s for at_s, _ in times_of(schedule, until_s=110.0)] == [100.1, 100.3, 100.5]


def test_a_stopped_address_is_announced_no_more() -> None:
    schedule = started(SETTINGS)
    schedule.stop(VIP)
    assert schedule.due(now_s=100.0) == []
    assert schedule.next_deadline_s is None
