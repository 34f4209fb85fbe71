"""Which probes a configuration needs, and who listens to them."""

from __future__ import annotations

from dataclasses import replace

import pytest

from heartbus.events import Health
from heartbus.model import (
    Check,
    CheckService,
    CheckType,
    Endpoint,
    HttpMethod,
    TransportProtocol,
    VirtualService,
)
from heartbus_checker.targets import CheckPlan, TargetError, plan_checks

from .builders import connect_check, http_check, real_server, virtual_service


def test_a_server_in_three_services_is_probed_once() -> None:
    plan = plan_checks(
        tuple(virtual_service(real_server(), real_server("192.0.2.12"), port=p) for p in (1, 2, 3))
    )
    assert [str(t.endpoint) for t in plan.targets] == ["192.0.2.11:80", "192.0.2.12:80"]
    assert [listener.virtual_service for listener in plan.listeners[plan.targets[0]]] == [
        "tcp:192.0.2.110:1",
        "tcp:192.0.2.110:2",
        "tcp:192.0.2.110:3",
    ]


@pytest.mark.parametrize(
    "other",
    [
        replace(http_check(), request="/other"),
        replace(http_check(), receive="Other"),
        replace(http_check(), receive=None),
        replace(http_check(), virtualhost="www.example.net"),
        replace(http_check(), http_method=HttpMethod.HEAD),
        replace(http_check(), negotiate_timeout_s=2.0),
        replace(http_check(), interval_s=2.0),
        replace(http_check(), port=8080),
        replace(http_check(), service=CheckService.SMTP),
        replace(http_check(), type=CheckType.CONNECT),
    ],
)
def test_whatever_changes_the_outcome_makes_a_probe_of_its_own(other: Check) -> None:
    services = (
        virtual_service(real_server(), check=http_check(), port=1),
        virtual_service(real_server(), check=other, port=2),
    )
    assert len(plan_checks(services).targets) == 2


@pytest.mark.parametrize(
    "other",
    [
        replace(http_check(), rise=2, fall=3),
        replace(http_check(), connect_timeout_s=1.0),
        replace(http_check(), port=80),
    ],
)
def test_what_does_not_change_the_outcome_shares_the_probe(other: Check) -> None:
    services = (
        virtual_service(real_server(), check=http_check(), port=1),
        virtual_service(real_server(), check=other, port=2),
    )
    plan = plan_checks(services)
    assert len(plan.targets) == 1
    assert [listener.fall for listener in plan.listeners[plan.targets[0]]] == [1, other.fall]


def test_a_connect_check_ignores_what_it_does_not_say() -> None:
    services = (
        virtual_service(real_server(), check=connect_check(), port=1),
        virtual_service(
            real_server(request="/x", receive="y"),
            check=replace(connect_check(), request="/z", virtualhost="www.example.net"),
            port=2,
        ),
    )
    (target,) = plan_checks(services).targets
    assert (target.check, target.timeout_s) == (Check(type=CheckType.CONNECT), 3.0)


def test_request_and_receive_of_a_real_server_override_the_services() -> None:
    own = real_server("192.0.2.12", request="/mine", receive="My Page")
    plan = plan_checks((virtual_service(real_server(), own),))
    assert [(t.check.request, t.check.receive) for t in plan.targets] == [
        ("/.testpage", "Test Page"),
        ("/mine", "My Page"),
    ]


def test_the_port_is_checkport_else_the_servers_else_the_protocols() -> None:
    def port_of(plan: CheckPlan) -> int:
        return plan.targets[0].endpoint.port

    named = replace(http_check(), port=8080)
    smtp = replace(http_check(), service=CheckService.SMTP)
    assert port_of(plan_checks((virtual_service(real_server(port=81), check=named),))) == 8080
    assert port_of(plan_checks((virtual_service(real_server(port=81)),))) == 81
    assert port_of(plan_checks((virtual_service(real_server(port=0)),))) == 80
    assert port_of(plan_checks((virtual_service(real_server(port=0), check=smtp),))) == 25


@pytest.mark.parametrize(
    ("check", "health", "words"),
    [
        (Check(type=CheckType.ON), Health.UP, "on: up without a check"),
        (Check(type=CheckType.OFF), Health.UNKNOWN, "off: never checked and never activated"),
        (Check(service=CheckService.NONE), Health.UP, "service=none: up without a check"),
    ],
)
def test_some_verdicts_need_no_probe(check: Check, health: Health, words: str) -> None:
    plan = plan_checks((virtual_service(real_server(), check=check),))
    assert plan.targets == ()
    assert [u.health for u in plan.unchecked] == [health]
    assert words in plan.unchecked[0].reason


@pytest.mark.parametrize(
    ("service", "words"),
    [
        (virtual_service(real_server(port=0), check=connect_check()), "name one with checkport"),
        (
            virtual_service(
                real_server(), check=connect_check(), protocol=TransportProtocol.UDP, port=53
            ),
            "udp:192.0.2.110:53.*connect needs TCP",
        ),
        (
            virtual_service(real_server(), real_server(request="/x", receive="x")),
            "192.0.2.11:80 is listed twice",
        ),
    ],
)
def test_a_check_that_cannot_be_carried_out_names_its_service(service: object, words: str) -> None:
    with pytest.raises(TargetError, match=words) as refused:
        plan_checks((service,))  # type: ignore[arg-type]  # pytest's parameters are objects
    assert "virtual service " in str(refused.value)


def test_the_same_line_twice_counts_once() -> None:
    plan = plan_checks((virtual_service(real_server(), real_server()),))
    assert len(plan.listeners[plan.targets[0]]) == 1


def test_a_command_is_told_the_mark_instead_of_an_address() -> None:
    check = Check(type=CheckType.EXTERNAL, command=("/bin/check",), addresses=True)
    marked = VirtualService(
        protocol=TransportProtocol.FWM,
        endpoint=Endpoint(address="0.0.0.0", port=0),
        fwmark=7,
        real_servers=(real_server(port=0),),
        check=check,
    )
    (target,) = plan_checks((marked,)).targets
    assert target.arguments == ("7", "0", "192.0.2.11", "0")
    plain = virtual_service(real_server(), check=check)
    assert plan_checks((plain,)).targets[0].arguments == ("192.0.2.110", "80", "192.0.2.11", "80")


def test_times_make_another_target_too() -> None:
    """ldirectord shared a result between services that differ in their timeouts (L-18)."""
    checks = (
        replace(http_check(), negotiate_timeout_s=7.0),
        replace(http_check(), interval_s=7.0),
        replace(http_check(), fast_interval_s=7.0),
    )
    services = [
        virtual_service(real_server(), check=check, port=port)
        for port, check in enumerate(checks, 1)
    ]
    assert len(plan_checks(tuple(services)).targets) == 3


def test_combined_and_ping_have_the_times_of_their_parts() -> None:
    combined = replace(http_check(), type=CheckType.COMBINED, connects=2, connect_timeout_s=1.0)
    (target,) = plan_checks((virtual_service(real_server(), check=combined),)).targets
    assert (target.timeout_s, target.connect_timeout_s) == (3.0, 1.0)
    ping = Check(type=CheckType.PING, attempts=3, connect_timeout_s=2.0)
    (target,) = plan_checks((virtual_service(real_server(), check=ping),)).targets
    assert (target.timeout_s, target.endpoint.port) == (6.0, 0)


@pytest.mark.parametrize(
    ("service", "protocol", "udp"),
    [
        (CheckService.DNS, TransportProtocol.UDP, True),
        (CheckService.DNS, TransportProtocol.TCP, False),
        (CheckService.RADIUS, TransportProtocol.TCP, True),
        (CheckService.HTTPS, TransportProtocol.UDP, False),
    ],
)
def test_what_is_asked_by_udp(
    service: CheckService, protocol: TransportProtocol, udp: bool
) -> None:
    check = Check(service=service, request="/x")
    plan = plan_checks((virtual_service(real_server(), check=check, protocol=protocol),))
    assert plan.targets[0].udp is udp
