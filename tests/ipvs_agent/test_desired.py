from __future__ import annotations

import pytest

from heartbus.events import Health
from heartbus.model import (
    Check,
    CheckType,
    Endpoint,
    ForwardingMethod,
    RealServer,
    Scheduler,
    SorryServer,
    TransportProtocol,
    VirtualService,
)
from heartbus_ipvs_agent.desired import service_key, service_settings, wanted_service, wanted_table
from heartbus_ipvs_agent.entries import (
    IPPROTO_UDP,
    IPV4_NETMASK_ALL,
    SERVICE_PERSISTENT,
    DestinationKey,
    DestinationSettings,
    Family,
    ServiceEntry,
    ServiceKey,
    ServiceSettings,
    Table,
)
from tests.ipvs_agent.builders import (
    SORRY,
    VIP,
    destination,
    entry,
    gate,
    masq,
    verdicts,
    virtual_service,
)

UP, DOWN, UNKNOWN = Health.UP, Health.DOWN, Health.UNKNOWN
A, B = destination(11), destination(12)
S = DestinationKey("127.0.0.1", 80)
SORRY_ENTRY = {S: gate(1)}

Entries = dict[DestinationKey, DestinationSettings]


def destinations(
    service: VirtualService, *healths: Health, observed: Entries | None = None
) -> Entries:
    there = None if observed is None else entry(observed)
    wanted = wanted_service(service, verdicts=verdicts(service, *healths), observed=there)
    return dict(wanted.destinations)


@pytest.mark.parametrize(
    ("quiescent", "health", "observed", "wanted"),
    [
        (True, UP, None, gate(5)),
        (True, UP, gate(5), gate(5)),
        (True, UP, gate(0), gate(5)),
        (True, UP, gate(7), gate(5)),
        (True, UP, masq(5), gate(5)),
        (True, DOWN, None, gate(0)),
        (True, DOWN, gate(5), gate(0)),
        (True, DOWN, gate(0), gate(0)),
        (True, UNKNOWN, None, gate(0)),
        (True, UNKNOWN, gate(5), gate(5)),
        (True, UNKNOWN, gate(7), gate(7)),
        (True, UNKNOWN, gate(0), gate(0)),
        (True, UNKNOWN, masq(5), gate(5)),
        (False, UP, None, gate(5)),
        (False, UP, gate(0), gate(5)),
        (False, DOWN, None, None),
        (False, DOWN, gate(5), None),
        (False, DOWN, gate(0), None),
        (False, UNKNOWN, None, None),
        (False, UNKNOWN, gate(5), gate(5)),
        (False, UNKNOWN, gate(0), gate(0)),
    ],
)
def test_entry_of_a_real_server(
    quiescent: bool,
    health: Health,
    observed: DestinationSettings | None,
    wanted: DestinationSettings | None,
) -> None:
    service = virtual_service(5, quiescent=quiescent, sorry=None)
    there = None if observed is None else {A: observed}
    assert destinations(service, health, observed=there) == ({} if wanted is None else {A: wanted})


@pytest.mark.parametrize(
    ("weights", "healths", "observed", "sorry"),
    [
        ((1, 1), (UP, UP), {}, False),
        ((1, 1), (UP, DOWN), {}, False),
        ((1, 1), (DOWN, DOWN), {}, True),
        ((1, 1), (UNKNOWN, UNKNOWN), {}, True),  # cold start
        ((1, 1), (DOWN, UNKNOWN), {}, True),
        ((1, 1), (UP, UNKNOWN), SORRY_ENTRY, False),
        ((0, 0), (UP, UP), {}, True),  # somebody has to answer
        ((0, 1), (UP, UP), {}, False),
        ((0, 1), (UP, DOWN), {}, True),
        # adopted: as it was
        ((1, 1), (UNKNOWN, UNKNOWN), {A: gate(1)}, False),
        ((1, 1), (UNKNOWN, UNKNOWN), {A: gate(1), **SORRY_ENTRY}, True),
        ((1, 1), (UNKNOWN, UNKNOWN), {A: gate(0), **SORRY_ENTRY}, True),
        ((1, 1), (UNKNOWN, UNKNOWN), {A: gate(0)}, True),
        ((1, 1), (UNKNOWN, DOWN), {A: gate(1)}, False),
        ((1, 1), (UNKNOWN, DOWN), {A: gate(1), **SORRY_ENTRY}, True),
        ((1, 1), (UNKNOWN, UP), {A: gate(1), **SORRY_ENTRY}, False),
    ],
)
@pytest.mark.parametrize("quiescent", [True, False])
def test_sorry_server(
    weights: tuple[int, ...],
    healths: tuple[Health, ...],
    observed: Entries,
    sorry: bool,
    quiescent: bool,
) -> None:
    service = virtual_service(*weights, quiescent=quiescent)
    wanted = destinations(service, *healths, observed=observed)
    assert (S in wanted) == sorry
    assert wanted.get(S, gate(1)) == gate(1)


def test_unchecked_servers_get_no_traffic_at_start() -> None:
    """ldirectord adds them at full weight and takes them away again (inventory, L-3)."""
    service = virtual_service(3, 3)
    wanted = wanted_service(service, verdicts={}, observed=None)
    assert wanted.destinations == {A: gate(0), B: gate(0), S: gate(1)}


def test_the_weight_of_a_verdict_counts_but_a_configured_zero_stays() -> None:
    service = virtual_service(3, 0)
    keys = [(service.name, real.name) for real in service.real_servers]
    wanted = wanted_service(
        service,
        verdicts=dict.fromkeys(keys, UP),
        observed=None,
        weights=dict.fromkeys(keys, 7),
    )
    assert (wanted.destinations[A], wanted.destinations[B]) == (gate(7), gate(0))


def test_check_on_is_up_without_a_verdict() -> None:
    service = virtual_service(3, check=Check(type=CheckType.ON))
    assert destinations(service, UNKNOWN) == {A: gate(3)}
    assert destinations(service, DOWN) == {A: gate(3)}


def test_check_off_activates_nothing_and_keeps_what_is_there() -> None:
    service = virtual_service(3, check=Check(type=CheckType.OFF), sorry=None)
    assert destinations(service, UP) == {A: gate(0)}
    assert destinations(service, DOWN, observed={A: gate(7)}) == {A: gate(7)}


def test_a_sorry_server_that_is_a_real_server_too_answers_when_no_other_does() -> None:
    sorry = SorryServer(endpoint=Endpoint(address="192.168.7.11", port=80))
    service = virtual_service(5, 5, sorry=sorry)
    assert destinations(service, DOWN, DOWN) == {A: gate(1), B: gate(0)}
    assert destinations(service, UP, DOWN) == {A: gate(5), B: gate(0)}
    assert destinations(service, DOWN, UP) == {A: gate(0), B: gate(5)}


@pytest.mark.parametrize(
    ("forwarding", "port", "kernel_port"),
    [
        (ForwardingMethod.GATE, 8080, 80),
        (ForwardingMethod.IPIP, 8080, 80),
        (ForwardingMethod.MASQ, 8080, 8080),
        (ForwardingMethod.MASQ, 0, 80),
    ],
)
def test_only_masq_changes_the_port(
    forwarding: ForwardingMethod, port: int, kernel_port: int
) -> None:
    service = VirtualService(
        protocol=TransportProtocol.TCP,
        endpoint=Endpoint(address=VIP, port=80),
        real_servers=(
            RealServer(endpoint=Endpoint(address="192.168.7.11", port=port), forwarding=forwarding),
        ),
    )
    assert list(destinations(service, UP)) == [destination(11, kernel_port)]


def test_two_ports_that_are_one_entry_answer_while_one_of_them_is_up() -> None:
    def real(port: int, weight: int) -> RealServer:
        return RealServer(
            endpoint=Endpoint(address="192.168.7.11", port=port),
            forwarding=ForwardingMethod.GATE,
            weight=weight,
        )

    service = VirtualService(
        protocol=TransportProtocol.TCP,
        endpoint=Endpoint(address=VIP, port=80),
        real_servers=(real(80, 2), real(8080, 3)),
        quiescent=True,
    )
    assert destinations(service, UP, UP) == {A: gate(3)}
    assert destinations(service, UP, DOWN) == {A: gate(2)}
    assert destinations(service, DOWN, UP) == {A: gate(3)}
    assert destinations(service, DOWN, DOWN) == {A: gate(0)}


def test_keys_and_settings_of_services() -> None:
    plain = VirtualService(
        protocol=TransportProtocol.UDP, endpoint=Endpoint(address="fd00:0::1", port=53)
    )
    assert service_key(plain) == ServiceKey(Family.IPV6, IPPROTO_UDP, "fd00::1", 53)
    assert service_settings(plain) == ServiceSettings(scheduler="wrr", netmask=128)


@pytest.mark.parametrize(
    ("address", "prefix_len", "netmask"),
    [
        (VIP, None, IPV4_NETMASK_ALL),
        (VIP, 32, IPV4_NETMASK_ALL),
        (VIP, 24, 0xFFFFFF00),
        (VIP, 0, 0),
        ("fd00::1", None, 128),
        ("fd00::1", 64, 64),
    ],
)
def test_persistence(address: str, prefix_len: int | None, netmask: int) -> None:
    service = VirtualService(
        protocol=TransportProtocol.TCP,
        endpoint=Endpoint(address=address, port=443),
        scheduler=Scheduler.WLC,
        persistence_timeout_s=600,
        persistence_netmask=prefix_len,
    )
    assert service_settings(service) == ServiceSettings(
        scheduler="wlc", flags=SERVICE_PERSISTENT, timeout_s=600, netmask=netmask
    )


def test_a_table_has_every_configured_service_and_no_other() -> None:
    services = [virtual_service(1), virtual_service(1, port=81)]
    foreign = ServiceKey(Family.IPV4, 6, VIP, 1)
    observed = Table(services={foreign: ServiceEntry(settings=ServiceSettings(scheduler="rr"))})
    wanted = wanted_table(services, verdicts={}, observed=observed)
    assert list(wanted.services) == [service_key(s) for s in services]
    assert SORRY.endpoint.port == 80
