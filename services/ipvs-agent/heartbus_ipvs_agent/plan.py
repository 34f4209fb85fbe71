"""(wanted, observed) -> the actions that turn one table into the other, safe after any prefix.

Sans-I/O. The order within a service is what makes an interrupted plan safe:

    1. the service itself is added or edited
    2. destinations that gain: added with weight, or weight raised     (the sorry server comes)
    3. destinations that change otherwise: forwarding, thresholds
    4. destinations that lose: added without weight, or weight lowered
    5. destinations that leave                                        (the sorry server goes)

So as long as the service answers before and after, it answers after every action in between, and
the sorry server is there before the last real server leaves. Services of an earlier
configuration are removed last. Services that are nobody's of ours are not looked at.
"""

from __future__ import annotations

from collections.abc import Iterable

from heartbus_ipvs_agent.entries import (
    Action,
    AddDestination,
    AddService,
    DestinationKey,
    DestinationSettings,
    EditDestination,
    EditService,
    Forwarding,
    RemoveDestination,
    RemoveService,
    ServiceEntry,
    ServiceKey,
    Table,
)


def plan(
    *, wanted: Table, observed: Table, obsolete: Iterable[ServiceKey] = ()
) -> tuple[Action, ...]:
    """Return the ordered actions; none if the observed table is as wanted.

    ``obsolete``: services that were ours and are no longer configured. Any other observed service
    that is not wanted is foreign and left alone.
    """
    actions: list[Action] = []
    for key, entry in wanted.services.items():
        actions += plan_service(key, wanted=entry, observed=observed.services.get(key))
    actions += (
        RemoveService(service=key)
        for key in obsolete
        if key in observed.services and key not in wanted.services
    )
    return tuple(actions)


def plan_service(
    key: ServiceKey, *, wanted: ServiceEntry, observed: ServiceEntry | None
) -> list[Action]:
    """Return the ordered actions for one service; ``observed`` None: it is not there."""
    if observed is not None and observed == wanted:
        return []
    first: list[Action] = []
    if observed is None:
        first.append(AddService(service=key, settings=wanted.settings))
        there = {}
    else:
        if observed.settings != wanted.settings:
            first.append(EditService(service=key, settings=wanted.settings))
        there = dict(observed.destinations)
    gain: list[Action] = []
    change: list[Action] = []
    lose: list[Action] = []
    for destination, settings in wanted.destinations.items():
        before = there.pop(destination, None)
        if before is None:
            (gain if settings.answers else lose).append(
                AddDestination(service=key, destination=destination, settings=settings)
            )
        elif not same(settings, before):
            _stage(settings, before, gain, change, lose).append(
                EditDestination(service=key, destination=destination, settings=settings)
            )
    leave = [RemoveDestination(service=key, destination=d) for d in _last_answering(there)]
    return [*first, *gain, *change, *lose, *leave]


def same(wanted: DestinationSettings, observed: DestinationSettings) -> bool:
    """Return whether an entry is as wanted.

    Kernels before 2.6.37 turn the forwarding method of a destination on this host into ``local``,
    whatever was asked for; repairing that would never end.
    """
    if wanted == observed:
        return True
    return observed.forwarding is Forwarding.LOCAL and (
        wanted.weight,
        wanted.upper_threshold,
        wanted.lower_threshold,
    ) == (observed.weight, observed.upper_threshold, observed.lower_threshold)


def _stage(
    wanted: DestinationSettings,
    observed: DestinationSettings,
    gain: list[Action],
    change: list[Action],
    lose: list[Action],
) -> list[Action]:
    if wanted.weight > observed.weight:
        return gain
    return lose if wanted.weight < observed.weight else change


def _last_answering(
    destinations: dict[DestinationKey, DestinationSettings],
) -> list[DestinationKey]:
    """Return the keys, those that answer last."""
    return sorted(destinations, key=lambda d: destinations[d].answers)
