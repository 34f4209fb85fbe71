"""An old kernel would do something else than it is asked: so it is not asked, and that is told."""

from __future__ import annotations

import pytest

from heartbus.kernel_age import Version, version
from heartbus_ipvs_agent.beyond import beyond
from heartbus_ipvs_agent.entries import (
    Action,
    AddDestination,
    AddService,
    DestinationKey,
    DestinationSettings,
    EditDestination,
    Forwarding,
    RemoveDestination,
    ServiceSettings,
    TunnelEnds,
    TunnelKind,
)
from heartbus_ipvs_agent.table import KernelTable
from tests.ipvs_agent.builders import destination, gate, key

IPIP = DestinationSettings(forwarding=Forwarding.IPIP, weight=1)
GRE = DestinationSettings(
    forwarding=Forwarding.IPIP, weight=1, tunnel=TunnelEnds(TunnelKind.GRE, 0, 0)
)
OTHER = DestinationKey("fd00::11", 80)
MIXED = "another family than that of the service takes Linux 3.18"
TYPED = "a tunnel of this type takes Linux 5.3"


@pytest.mark.parametrize(
    ("release", "found"),
    [
        ("6.1.0-28-amd64", (6, 1)),
        ("2.6.32-754.el6.x86_64", (2, 6)),
        ("5.15", (5, 15)),
        ("", None),
        ("x.y", None),
        ("5", None),
    ],
)
def test_the_version_is_read_from_the_release(release: str, found: Version | None) -> None:
    assert version(release) == found


@pytest.mark.parametrize(
    ("action", "age", "why"),
    [
        (AddDestination(service=key(), destination=OTHER, settings=IPIP), (3, 17), MIXED),
        (EditDestination(service=key(), destination=OTHER, settings=IPIP), (2, 6), MIXED),
        (RemoveDestination(service=key(), destination=OTHER), (3, 10), MIXED),
        (AddDestination(service=key(), destination=OTHER, settings=IPIP), (3, 18), None),
        (AddDestination(service=key(), destination=OTHER, settings=IPIP), None, None),
        (AddDestination(service=key(), destination=destination(11), settings=GRE), (5, 2), TYPED),
        (EditDestination(service=key(), destination=destination(11), settings=GRE), (4, 19), TYPED),
        (AddDestination(service=key(), destination=destination(11), settings=GRE), (5, 3), None),
        (AddDestination(service=key(), destination=destination(11), settings=IPIP), (2, 6), None),
        (
            AddDestination(service=key(), destination=destination(11), settings=gate(1)),
            (2, 6),
            None,
        ),
        (AddService(service=key(), settings=ServiceSettings(scheduler="rr")), (2, 6), None),
    ],
)
def test_what_an_old_kernel_would_misread_is_not_asked_of_it(
    action: Action, age: Version | None, why: str | None
) -> None:
    assert beyond(action, age) == why


@pytest.mark.ipvs
def test_the_rest_of_a_plan_is_carried_out_on_an_old_kernel(kernel_table: KernelTable) -> None:
    old = KernelTable(release="3.10.0-1160.el7.x86_64")
    outcomes = old.apply(
        [
            AddService(service=key(), settings=ServiceSettings(scheduler="rr")),
            AddDestination(service=key(), destination=OTHER, settings=IPIP),
            AddDestination(service=key(), destination=destination(12), settings=GRE),
            AddDestination(service=key(), destination=destination(11), settings=gate(1)),
        ]
    )
    old.close()
    assert [outcome.failure for outcome in outcomes] == [None, MIXED, TYPED, None]
    assert set(kernel_table.dump().services[key()].destinations) == {destination(11)}
