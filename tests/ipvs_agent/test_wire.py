from __future__ import annotations

import dataclasses
import json
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from heartbus.events import Traffic
from heartbus_ipvs_agent import nlmsg, traffic, wire
from heartbus_ipvs_agent.entries import (
    SERVICE_ONE_PACKET,
    SERVICE_PERSISTENT,
    AddDestination,
    AddService,
    Connections,
    DestinationKey,
    DestinationSettings,
    EditDestination,
    EditService,
    Family,
    Forwarding,
    RemoveDestination,
    RemoveService,
    ServiceEntry,
    ServiceKey,
    ServiceSettings,
    Table,
    TunnelEnds,
)
from heartbus_ipvs_agent.nlmsg import WireError
from tests.ipvs_agent.builders import (
    any_destination_key,
    any_destination_settings,
    any_service_key,
    any_service_settings,
    destination,
    gate,
    key,
)

DUMPS = Path(__file__).parent / "dumps"


def test_add_service_is_golden() -> None:
    settings = ServiceSettings(
        scheduler="wlc", flags=SERVICE_PERSISTENT, timeout_s=600, netmask=0xFFFFFF00
    )
    body = wire.encode_action(AddService(service=key(), settings=settings))
    assert body == bytes.fromhex(
        "01010000"  # NEW_SERVICE, version 1
        "54000180"  # SERVICE, nested
        "06000100 02000000"  # AF: IPv4
        "06000200 06000000"  # PROTOCOL: TCP
        "14000300 c0a8076e 00000000 00000000 00000000"  # ADDR
        "06000400 00500000"  # PORT, network order
        "08000600 776c6300"  # SCHED_NAME
        "0c000700 01000000 ffffffff"  # FLAGS and their mask
        "08000800 58020000"  # TIMEOUT
        "08000900 ffffff00"  # NETMASK, network order
    )


def test_add_ipv6_service_has_its_prefix_length_in_host_order() -> None:
    service = ServiceKey(Family.IPV6, 6, "fd00::1", 443)
    body = wire.encode_action(
        EditService(service=service, settings=ServiceSettings(scheduler="mh", netmask=64))
    )
    assert body == bytes.fromhex(
        "02010000"
        "54000180"
        "06000100 0a000000"
        "06000200 06000000"
        "14000300 fd000000 00000000 00000000 00000001"
        "06000400 01bb0000"
        "07000600 6d680000"
        "0c000700 00000000 ffffffff"
        "08000800 00000000"
        "08000900 40000000"
    )


def test_add_destination_is_golden() -> None:
    body = wire.encode_action(
        AddDestination(
            service=key(),
            destination=destination(11),
            settings=DestinationSettings(
                forwarding=Forwarding.GATE, weight=5, upper_threshold=10, lower_threshold=4
            ),
        )
    )
    assert body == bytes.fromhex(
        "05010000"
        "30000180"
        "06000100 02000000"
        "06000200 06000000"
        "14000300 c0a8076e 00000000 00000000 00000000"
        "06000400 00500000"
        "48000280"
        "06000b00 02000000"
        "14000100 c0a8070b 00000000 00000000 00000000"
        "06000200 00500000"
        "08000300 03000000"
        "08000400 05000000"
        "08000500 0a000000"
        "08000600 04000000"
    )


def test_a_tunnel_and_an_engine_are_golden() -> None:
    body = wire.encode_action(
        AddDestination(
            service=key(),
            destination=destination(11),
            settings=DestinationSettings(
                forwarding=Forwarding.IPIP, weight=1, tunnel=TunnelEnds(1, 6080, 2)
            ),
        )
    )
    assert body.endswith(
        bytes.fromhex(
            "05000d00 01000000"  # TUN_TYPE: GUE, padded
            "06000e00 17c00000"  # TUN_PORT, network order
            "06000f00 02000000"  # TUN_FLAGS: remote checksum
        )
    )
    body = wire.encode_action(
        AddService(service=key(), settings=ServiceSettings(scheduler="rr", engine="sip"))
    )
    assert body.endswith(bytes.fromhex("08000b00 73697000"))  # PE_NAME


def test_what_is_removed_is_named_and_no_more() -> None:
    service = bytes.fromhex(
        "30000180 06000100 02000000 06000200 06000000"
        "14000300 c0a8076e 00000000 00000000 00000000 06000400 00500000"
    )
    gone = bytes.fromhex(
        "28000280 06000b00 02000000 14000100 c0a8070b 00000000 00000000 00000000 06000200 00500000"
    )
    remove = wire.encode_action(RemoveDestination(service=key(), destination=destination(11)))
    assert remove == b"\x07\x01\x00\x00" + service + gone
    assert wire.encode_action(RemoveService(service=key())) == b"\x03\x01\x00\x00" + service


@given(any_service_key, any_service_settings)
def test_services_come_back_as_they_went(service: ServiceKey, settings: ServiceSettings) -> None:
    body = wire.encode_action(AddService(service=service, settings=settings))
    assert wire.decode_service(body) == (service, settings)


@given(any_destination_key, any_destination_settings)
def test_destinations_come_back_as_they_went(
    to: DestinationKey, settings: DestinationSettings
) -> None:
    body = wire.encode_action(EditDestination(service=key(), destination=to, settings=settings))
    nothing = Connections(active=0, inactive=0)
    assert wire.decode_destination(body, family=Family.IPV4) == (to, settings, nothing)


@given(st.binary(max_size=200))
def test_garbage_ends_in_wire_error_or_nothing(garbage: bytes) -> None:
    for read in (
        wire.decode_service,
        lambda body: wire.decode_destination(body, family=Family.IPV4),
    ):
        try:
            read(garbage)
        except WireError:
            continue


@given(any_service_key, any_service_settings, st.data())
def test_a_damaged_service_ends_in_wire_error_or_another_service(
    service: ServiceKey, settings: ServiceSettings, data: st.DataObject
) -> None:
    body = bytearray(wire.encode_action(AddService(service=service, settings=settings)))
    position = data.draw(st.integers(0, len(body) - 1))
    body[position] = data.draw(st.integers(0, 255))
    try:
        wire.decode_service(bytes(body))
        wire.decode_service(bytes(body[:position]))
    except WireError:
        pass


@pytest.mark.parametrize(
    "action",
    [
        AddService(service=key(), settings=ServiceSettings(scheduler="")),
        AddService(service=key(), settings=ServiceSettings(scheduler="sixteen_letters_")),
        AddService(service=key(), settings=ServiceSettings(scheduler="wärr")),
        AddService(service=key(), settings=ServiceSettings(scheduler="rr", engine="s" * 16)),
        AddDestination(
            service=key(),
            destination=destination(11),
            settings=DestinationSettings(
                forwarding=Forwarding.IPIP, weight=1, tunnel=TunnelEnds(1, 65536, 0)
            ),
        ),
        AddService(service=key(70000), settings=ServiceSettings(scheduler="rr")),
        AddService(service=key(), settings=ServiceSettings(scheduler="rr", timeout_s=-1)),
        AddService(service=key(address="nowhere"), settings=ServiceSettings(scheduler="rr")),
        AddDestination(service=key(), destination=destination(11), settings=gate(-1)),
        AddDestination(service=key(), destination=destination(11), settings=gate(2**32)),
    ],
    ids=str,
)
def test_a_value_that_does_not_fit_is_refused_before_the_kernel_sees_it(
    action: AddService | AddDestination,
) -> None:
    with pytest.raises(WireError):
        wire.encode_action(action)


def _recorded(name: str) -> Table:
    recording = json.loads((DUMPS / name).read_text())
    services = {}
    connections = {}
    for found in recording["services"]:
        service, settings = wire.decode_service(bytes.fromhex(found["service"]))
        destinations = {}
        for body in found["destinations"]:
            to, how, counters = wire.decode_destination(bytes.fromhex(body), family=service.family)
            destinations[to] = how
            connections[service, to] = counters
        services[service] = ServiceEntry(settings=settings, destinations=destinations)
    return Table(services=services, connections=connections)


def test_a_table_made_by_ipvsadm_is_read_from_the_dump_of_linux_6_1() -> None:
    """The commands that made it are in the recording; record_dumps.py makes it anew."""
    table = _recorded("linux-6.1-ipvsadm.json")
    fwm4 = ServiceKey(Family.IPV4, 0, "", 0, 3)
    fwm6 = ServiceKey(Family.IPV6, 0, "", 0, 4)
    vip6 = ServiceKey(Family.IPV6, 6, "fd00::1", 80)
    dns = ServiceKey(Family.IPV4, 17, "192.168.7.110", 53)

    def to(forwarding: Forwarding, weight: int, *thresholds: int) -> DestinationSettings:
        upper, lower = thresholds or (0, 0)
        return DestinationSettings(
            forwarding=forwarding,
            weight=weight,
            upper_threshold=upper,
            lower_threshold=lower,
        )

    assert table == Table(
        services={
            key(): ServiceEntry(
                settings=ServiceSettings(scheduler="rr"),
                destinations={
                    # A destination on this host keeps the method that was asked for.
                    DestinationKey("127.0.0.1", 80): to(Forwarding.GATE, 1),
                    DestinationKey("192.168.7.110", 80): to(Forwarding.MASQ, 5),
                    DestinationKey("192.168.7.11", 80): to(Forwarding.GATE, 3),
                    DestinationKey("192.168.7.12", 8080): to(Forwarding.MASQ, 65535),
                    DestinationKey("192.168.7.13", 80): to(Forwarding.IPIP, 0, 10, 5),
                    DestinationKey("fd00::13", 80): to(Forwarding.IPIP, 2),
                },
            ),
            dns: ServiceEntry(settings=ServiceSettings(scheduler="sh", flags=SERVICE_ONE_PACKET)),
            vip6: ServiceEntry(
                settings=ServiceSettings(
                    scheduler="mh", flags=SERVICE_PERSISTENT | 0x10, timeout_s=300, netmask=64
                ),
                destinations={DestinationKey("fd00::2", 80): to(Forwarding.MASQ, 1)},
            ),
            fwm4: ServiceEntry(
                settings=ServiceSettings(
                    scheduler="wlc", flags=SERVICE_PERSISTENT, timeout_s=360, netmask=0xFFFFFF00
                )
            ),
            fwm6: ServiceEntry(settings=ServiceSettings(scheduler="wlc", netmask=128)),
            ServiceKey(Family.IPV4, 132, "192.168.7.110", 5000): ServiceEntry(
                settings=ServiceSettings(scheduler="sh", flags=0x18),
                destinations={DestinationKey("192.168.7.14", 5000): to(Forwarding.MASQ, 1)},
            ),
            ServiceKey(Family.IPV4, 17, "192.168.7.110", 5060): ServiceEntry(
                settings=ServiceSettings(
                    scheduler="rr", flags=SERVICE_PERSISTENT, timeout_s=60, engine="sip"
                )
            ),
            ServiceKey(Family.IPV4, 0, "", 0, 5): ServiceEntry(
                settings=ServiceSettings(scheduler="rr"),
                destinations={
                    DestinationKey("192.168.7.15", 0): DestinationSettings(
                        forwarding=Forwarding.IPIP, weight=1, tunnel=TunnelEnds(1, 6080, 2)
                    ),
                    DestinationKey("192.168.7.16", 0): DestinationSettings(
                        forwarding=Forwarding.IPIP, weight=1, tunnel=TunnelEnds(2, 0, 1)
                    ),
                },
            ),
        }
    )
    counted = {c._replace(traffic=b"") for c in table.connections.values()}
    assert counted == {Connections(active=0, inactive=0)}
    idle = Traffic(connections=0, packets_in=0, packets_out=0, bytes_in=0, bytes_out=0)
    assert {traffic.decode(c.traffic) for c in table.connections.values()} == {idle}


COUNTED = Traffic(
    connections=1,
    packets_in=2,
    packets_out=3,
    bytes_in=2**40,
    bytes_out=5,
    connections_per_s=6,
    packets_in_per_s=7,
    packets_out_per_s=8,
    bytes_in_per_s=9,
    bytes_out_per_s=10,
)


def test_counters_are_read_in_64_bits_with_their_padding_and_in_32_from_old_kernels() -> None:
    values = dataclasses.astuple(COUNTED)
    padded = b"".join(
        nlmsg.attribute(11, b"") + nlmsg.attribute(kind, value.to_bytes(8, sys.byteorder))
        for kind, value in enumerate(values, start=1)
    )
    assert traffic.decode(padded) == COUNTED
    old = b"".join(
        nlmsg.attribute(kind, (value % 2**32).to_bytes(4, sys.byteorder))
        for kind, value in enumerate(values, start=1)
    )
    assert traffic.decode(old) == dataclasses.replace(COUNTED, bytes_in=0)


@given(st.binary(max_size=200))
def test_garbage_of_counters_is_nothing_or_counters(garbage: bytes) -> None:
    found = traffic.decode(garbage)
    assert found is None or all(0 <= v < 2**64 for v in dataclasses.astuple(found))
