"""A probe for every target; the one place that knows all kinds of them."""

from __future__ import annotations

from collections.abc import Callable

from heartbus_checker.targets import CheckPlan, Exchange, Target

from . import Conversation, Probe
from .http import HttpRequest
from .pattern import PatternError, ReceivePattern
from .smtp import SmtpGreeting
from .stream import StreamProbe, Streams
from .tcp import ConnectOnly


def make_probes(plan: CheckPlan, *, streams: Streams, node: str) -> tuple[Probe, ...]:
    """Return the probes of ``plan.targets``, in their order; ``node`` is what SMTP is told.

    Raises:
        PatternError: a ``receive`` does not compile; it names the virtual service.

    """
    patterns: dict[str, ReceivePattern] = {}
    return tuple(
        StreamProbe(streams, target.endpoint, _conversation(target, plan, patterns, node))
        for target in plan.targets
    )


def _conversation(
    target: Target, plan: CheckPlan, patterns: dict[str, ReceivePattern], node: str
) -> Callable[[], Conversation]:
    match target.exchange:
        case Exchange.CONNECT:
            return lambda: ConnectOnly(target.endpoint)
        case Exchange.SMTP:
            return lambda: SmtpGreeting(node)
        case Exchange.HTTP:
            return HttpRequest(
                endpoint=target.endpoint,
                method=target.http_method,
                request=target.request,
                host=target.virtualhost,
                receive=_pattern(target, plan, patterns),
            ).conversation


def _pattern(
    target: Target, plan: CheckPlan, patterns: dict[str, ReceivePattern]
) -> ReceivePattern | None:
    if target.receive is None:
        return None
    if target.receive not in patterns:
        try:
            patterns[target.receive] = ReceivePattern(target.receive)
        except PatternError as error:
            service = plan.listeners[target][0].virtual_service
            raise PatternError(f"virtual service {service}: receive: {error}") from error
    return patterns[target.receive]
