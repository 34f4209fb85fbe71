"""Groups that change while they are held: what is configured still is not touched."""

from __future__ import annotations

from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from heartbus.events import HoldStatus, Lease, ResourceStatus
from heartbus.model import AddressResource, ResourceGroup
from heartbus_vip.regrouping import FORGET_S
from heartbus_vip.resource import ScriptEnd, ScriptResult
from tests.vip.directors import GROUP, PLAIN, SETTINGS, UNWATCHED, VIP1, VIP2, Director, held

VIP3 = AddressResource(address="192.168.7.112", prefix_len=24)
BOTH = replace(PLAIN, resources=(VIP1, VIP3))


def use(director: Director, *groups: ResourceGroup) -> list[object]:
    """Reload, and carry out what follows."""
    return director.carry_out(director.holder.use_groups(groups, now_s=director.now_s))


def test_an_address_that_comes_is_asked_for_and_put_and_the_other_one_left_alone() -> None:
    director = held(PLAIN)
    assert use(director, BOTH) == [("ask", VIP3.address)]
    assert director.wanted == [VIP1.address], "it is refreshed while the network is asked"
    assert director.asked(problem=None) == [
        *(("put", VIP3.address), ("announce", VIP3.address)),
        "vip.acquired",
    ]
    assert director.status is HoldStatus.HELD
    assert director.wanted == [VIP1.address, VIP3.address]
    assert director.told[-1].event.addresses == (VIP1.address, VIP3.address)  # type: ignore[union-attr]


def test_an_address_that_cannot_be_had_is_left_out_and_the_group_held_on() -> None:
    director = held(PLAIN)
    director.refused[VIP3] = "no such interface"
    use(director, BOTH)
    assert director.asked(problem=None) == [("put", VIP3.address), "vip.failed", "vip.acquired"]
    assert director.status is HoldStatus.HELD
    assert director.wanted == [VIP1.address]
    view = director.holder.state().groups[0].resources[1]
    assert (view.status, view.reason) == (ResourceStatus.FAILED, "no such interface")


def test_an_address_that_another_machine_has_is_left_out_too() -> None:
    director = held(PLAIN)
    use(director, BOTH)
    assert director.asked(problem="x has it") == ["vip.failed", "vip.acquired"]
    assert director.wanted == [VIP1.address]


def test_a_group_that_starts_anew_fails_by_the_same_address() -> None:
    director = Director(BOTH)
    director.refused[VIP3] = "no such interface"
    director.grant()
    assert director.status is HoldStatus.FAILED


def test_an_address_that_goes_is_removed_and_the_others_left_alone() -> None:
    director = held(BOTH)
    assert use(director, PLAIN) == [("remove", VIP3.address)]
    assert director.status is HoldStatus.HELD
    assert director.wanted == [VIP1.address]


def test_one_that_changes_is_put_anew() -> None:
    director = held(BOTH)
    other = replace(VIP3, prefix_len=32)
    log = use(director, replace(PLAIN, resources=(VIP1, other)))
    assert log == [("remove", VIP3.address), ("ask", VIP3.address)]
    assert director.asked(problem=None)[0] == ("put", VIP3.address)


def test_scripts_of_the_group_are_not_called() -> None:
    director = held(GROUP)
    changed = replace(GROUP, resources=(*GROUP.resources, VIP3))
    assert use(director, changed) == [("ask", VIP3.address)]
    assert director.asked(problem=None) == [
        *(("put", VIP3.address), ("announce", VIP3.address)),
        "vip.acquired",
    ]


def test_a_script_that_is_asked_for_its_state_is_asked_again_later() -> None:
    watched = replace(SETTINGS, resources=replace(UNWATCHED, monitor_interval_s=5.0))
    director = Director(GROUP, settings=watched)
    director.grant(for_s=60.0)
    director.answers[("left", "status")] = None
    director.advance(1.5)
    assert director.hanging is not None
    log = use(director, replace(GROUP, resources=(*GROUP.resources, VIP3)))
    assert log == ["abort", ("ask", VIP3.address)]
    director.asked(problem=None)
    del director.answers[("left", "status")]
    running = ScriptResult(end=ScriptEnd.EXITED, output="running")
    director.answers[("left", "status")] = director.answers[("right", "status")] = running
    assert ("left", "status") in director.advance(6.0) + director.advance(6.0)
    assert director.status is HoldStatus.HELD


def test_an_address_that_comes_while_the_group_starts_is_started_with_it() -> None:
    director = Director(GROUP)
    director.answers[("left", "start")] = None
    director.grant()
    use(director, replace(GROUP, resources=(*GROUP.resources, VIP3)))
    log = director.finish(ScriptResult(end=ScriptEnd.EXITED))
    assert log[-3:] == [("put", VIP3.address), ("announce", VIP3.address), "vip.acquired"]
    assert set(director.wanted) == {VIP1.address, VIP2.address, VIP3.address}


def test_an_address_that_goes_while_the_group_stops_is_removed_once() -> None:
    director = held(GROUP)
    director.answers[("right", "stop")] = None
    director.lease()
    assert use(director, replace(GROUP, resources=GROUP.resources[:-2] + GROUP.resources[-1:])) == [
        ("remove", VIP2.address)
    ]
    log = director.finish(ScriptResult(end=ScriptEnd.EXITED))
    assert log == [("remove", VIP1.address), ("left", "stop"), "vip.released"]


def test_a_group_that_comes_is_held_when_it_is_granted() -> None:
    director = held(PLAIN)
    other = ResourceGroup(name="www", preferred="a", resources=(VIP3,))
    assert use(director, PLAIN, other) == [
        ("put", VIP3.address),
        ("announce", VIP3.address),
        "vip.acquired",
    ]
    assert [g.name for g in director.holder.state().groups] == ["plain", "www"]


def test_a_group_that_goes_is_held_while_its_lease_stands_and_forgotten_then() -> None:
    director = held(PLAIN)
    assert use(director) == []
    assert director.wanted == [VIP1.address]
    assert director.lease() == [("remove", VIP1.address), "vip.released"]
    assert director.status is HoldStatus.RELEASED, "membership and hooks are told"
    director.advance(FORGET_S - 0.1)
    assert director.status is HoldStatus.RELEASED
    director.advance(0.1)
    assert director.holder.state().groups == ()
    assert director.holder.names == frozenset()


def test_a_group_that_comes_back_before_it_is_forgotten_is_as_any_other() -> None:
    director = Director(PLAIN)
    director.lease()
    use(director)
    director.advance(FORGET_S - 0.1)
    use(director, PLAIN)
    director.advance(FORGET_S)
    assert director.holder.names == {"plain"}
    use(director)
    director.advance(FORGET_S - 0.1)
    assert director.holder.names == {"plain"}


def test_what_an_earlier_life_left_of_a_group_that_goes_is_taken_away_first() -> None:
    director = Director(PLAIN, present=[VIP1])
    assert use(director) == []
    assert director.lease() == [("remove", VIP1.address), "vip.released"]
    director.advance(FORGET_S)
    assert director.holder.names == frozenset()


def test_what_would_change_is_said_before_it_does() -> None:
    director = held(BOTH)
    assert director.holder.planned([BOTH]) == ()
    other = ResourceGroup(name="www", preferred="b", resources=(VIP2,))
    changed = replace(PLAIN, preferred="b", resources=(VIP1, VIP2))
    assert director.holder.planned([changed]) == (
        f"{VIP2.name} comes to group plain, held here",
        f"{VIP3.name} goes from group plain, held here",
        "group plain prefers b instead of a",
    )
    assert director.holder.planned([other]) == (
        f"group www comes with {VIP2.name}, prefers b",
        "group plain goes, held here",
    )
    assert director.holder.state().groups[0].name == "plain", "nothing was changed"


ADDRESSES = tuple(AddressResource(address=f"192.0.2.{n}", prefix_len=24) for n in range(1, 5))
SPECS = st.lists(st.sampled_from(ADDRESSES), unique=True, max_size=4).map(
    lambda found: replace(PLAIN, resources=tuple(found))
)


@given(st.lists(SPECS, min_size=1, max_size=8), st.sets(st.sampled_from(ADDRESSES)))
def test_whatever_comes_and_goes_the_kernel_has_what_is_configured_and_can_be_had(
    specs: list[ResourceGroup], refused: set[AddressResource]
) -> None:
    director = held(PLAIN)
    director.refused = dict.fromkeys(refused, "no")
    stays = {VIP1}
    for spec in specs:
        with_first = replace(spec, resources=(VIP1, *spec.resources))
        log = use(director, with_first)
        if director.asking is not None:
            log += director.asked(problem=None)
        assert ("remove", VIP1.address) not in log
        assert director.status is HoldStatus.HELD
        stays = {VIP1, *spec.addresses} - refused
        assert director.kernel == stays
        assert set(director.wanted) == {a.address for a in stays}
    lease = Lease(group="plain", epoch=1, deadline_monotonic_s=director.now_s + 9, cause="e1")
    director.lease(lease)
    assert director.kernel == stays
