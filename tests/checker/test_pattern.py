"""What `config check` accepts, the checker can run: patterns and requests."""

from __future__ import annotations

from dataclasses import replace

import pytest

from heartbus.config.report import Place, Places, Report
from heartbus.config.validate import RULES
from heartbus.model import Authentication, Check, Cluster, Membership, VirtualService
from heartbus_checker.probes.pattern import PatternError, ReceivePattern
from heartbus_checker.targets import TargetError, plan_checks

from .builders import connect_check, http_check, real_server, virtual_service


def config_refuses(service: VirtualService) -> bool:
    cluster = Cluster(
        directors=(),
        membership=Membership(authentication=Authentication(signing_key=0, keys=())),
        virtual_services=(service,),
    )
    report = Report()
    RULES["services"](cluster, Places(whole=Place(file="")), report)
    return report.errors > 0


@pytest.mark.parametrize(
    "text",
    [
        "(?u)Test.Page",
        "(?P<gr\u00fcn>x)",
        "a(",
        "a{99999999999999999999}",
        "(" * 450 + ")" * 450,
        "\udc80.",
    ],
)
def test_a_pattern_that_cannot_run_is_refused_by_both(text: str) -> None:
    assert config_refuses(virtual_service(check=http_check(receive=text)))
    with pytest.raises(PatternError, match="is not a regular expression") as refused:
        ReceivePattern(text)
    assert len(str(refused.value)) < 2000


@pytest.mark.parametrize("text", ["Test Page", "(?i)test.page", "gr\u00fcn.", "[a&&b]", "^o[kK]$"])
def test_a_pattern_that_can_run_is_refused_by_neither(text: str) -> None:
    assert not config_refuses(virtual_service(check=http_check(receive=text)))
    ReceivePattern(text)


@pytest.mark.parametrize("check", [http_check(), connect_check()])
@pytest.mark.parametrize(
    "request_", ["/x", "x", "http://a/x", "/http://a/x", "/x?u=http://a", "https://a?b", "a:/b"]
)
def test_a_request_is_refused_by_both_or_by_neither(check: Check, request_: str) -> None:
    for service in (
        virtual_service(real_server(), check=replace(check, request=request_)),
        virtual_service(real_server(request=request_), check=check),
    ):
        try:
            plan_checks((service,))
        except TargetError:
            assert config_refuses(service)
        else:
            assert not config_refuses(service)
