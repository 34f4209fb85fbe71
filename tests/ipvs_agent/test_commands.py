from __future__ import annotations

import itertools
from dataclasses import replace

from heartbus.model import Endpoint, ServicePolicy, TransportProtocol, VirtualService
from heartbus_ipvs_agent.commands import TURNS_MAX, Call, CommandQueues, calls
from heartbus_ipvs_agent.quorum import QuorumChange
from tests.ipvs_agent.builders import virtual_service

POLICY = ServicePolicy(
    fallback_command=("/bin/fall", "x"), quorum_up=("/bin/up",), quorum_down=("/bin/down",)
)
SERVICE = replace(virtual_service(1), policy=POLICY)


def change(*, gained: bool, first: bool = False) -> QuorumChange:
    return QuorumChange(virtual_service=SERVICE.name, gained=gained, weight=0, first=first)


def argvs(service: VirtualService, *, gained: bool, first: bool = False) -> list[str]:
    return [" ".join(call.argv) for call in calls(service, change(gained=gained, first=first))]


def test_the_fallback_command_is_told_what_ldirectord_tells() -> None:
    assert argvs(SERVICE, gained=False) == [
        "/bin/fall x start 192.168.7.110:80 tcp",
        "/bin/down",
    ]
    assert argvs(SERVICE, gained=True) == ["/bin/fall x stop 192.168.7.110:80 tcp", "/bin/up"]


def test_stop_follows_start_only() -> None:
    assert argvs(SERVICE, gained=True, first=True) == ["/bin/up"]
    assert argvs(SERVICE, gained=False, first=True)[0].startswith("/bin/fall x start")


def test_a_mark_is_named_where_ldirectord_says_nothing() -> None:
    marked = replace(
        SERVICE,
        protocol=TransportProtocol.FWM,
        endpoint=Endpoint(address="0.0.0.0", port=0),
        fwmark=7,
    )
    assert argvs(marked, gained=False)[0] == "/bin/fall x start 7 fwm"


def turn(number: int) -> tuple[Call, ...]:
    return (
        Call(
            virtual_service=SERVICE.name,
            what=str(number),
            argv=("/bin/x",),
            gained=bool(number % 2),
        ),
    )


def test_turns_of_a_service_come_one_by_one_and_in_order() -> None:
    queues = CommandQueues()
    for number in range(4):
        queues.add(turn(number))
    assert list(queues.ready()) == [SERVICE.name]
    assert list(queues.ready()) == []  # it runs
    assert [queues.next_turn(SERVICE.name) for _ in range(5)] == [*map(turn, range(4)), ()]
    assert queues.idle
    queues.add(turn(4))
    assert list(queues.ready()) == [SERVICE.name]


def test_a_service_that_swings_faster_than_its_commands_drops_what_undoes_itself() -> None:
    queues = CommandQueues()
    for number in range(TURNS_MAX + 3):
        queues.add(turn(number))
    list(queues.ready())
    left = []
    while found := queues.next_turn(SERVICE.name):
        left.append(found[0].gained)
    assert len(left) <= TURNS_MAX
    assert left[-1] is turn(TURNS_MAX + 2)[0].gained
    assert all(one != after for one, after in itertools.pairwise(left))
