"""Shows a check as it was understood, in one line for people.

Sans-I/O.
"""

from __future__ import annotations

from collections.abc import Iterator

from heartbus.model import Check, CheckingSettings, CheckService, CheckType, DecidedBy
from heartbus.model_checks import uses

_HTTP = (CheckService.HTTP, CheckService.HTTPS, CheckService.HTTP_PROXY, CheckService.HTTP2)


def check_in_words(check: Check) -> str:
    """Return what is asked, of whom, and how often; never a password."""
    port = "" if check.port is None else f" to port {check.port}"
    each = _each(check)
    within = f"within {check.connect_timeout_s:g} s"
    match check.type:
        case CheckType.ON:
            return "none: every real server counts as up"
        case CheckType.OFF:
            return "none: no real server is used"
        case CheckType.CONNECT:
            return f"TCP connect{port} {within}{each}"
        case CheckType.PING:
            times = "" if check.attempts == 1 else f", {check.attempts} times"
            return f"ICMP echo {within}{times}{each}"
        case CheckType.EXTERNAL | CheckType.EXTERNAL_PERL:
            shown = " ".join(check.command)
            perl = "perl script" if check.type is CheckType.EXTERNAL_PERL else "command"
            return f"{perl} {shown} {within}{_weight(check)}{each}"
        case CheckType.FILE:
            return f"the number in {check.file}{_weight(check)}{each}"
        case CheckType.NEGOTIATE | CheckType.COMBINED:
            then = f", then {check.connects} x connect {within}" if check.connects else ""
            negotiated = f"within {check.negotiate_timeout_s:g} s"
            return f"{check.service}{port}: {_exchange(check)}, {negotiated}{then}{each}"


def checking_in_words(checks: CheckingSettings) -> Iterator[str]:
    """Yield what holds for all checks together, where it is not the default."""
    default = CheckingSettings()
    if checks.decided_by is DecidedBy.MAJORITY:
        yield "down is what more than half of the checkers that know a server say"
    if checks.probers:
        yield f"each real server is checked by {checks.probers} directors"
    if checks.concurrent != default.concurrent:
        yield f"{checks.concurrent} under way at once"
    if checks.rate:
        yield f"{checks.rate} begun in a second at most"
    if checks.backoff > 1:
        yield (
            f"down for {checks.backoff_after_s:g} s and longer: every 2, 4, … intervals,"
            f" {checks.backoff} at most"
        )


def _each(check: Check) -> str:
    fast = "" if check.fast_interval_s is None else f" ({check.fast_interval_s:g} s in doubt)"
    slow = f", slow start {check.slow_start_s:g} s" if check.slow_start_s else ""
    slow += ", through the VIP" if check.through_vip else ""
    slow += f", maintenance files in {check.maintenance_dir}" if check.maintenance_dir else ""
    return f", every {check.interval_s:g} s{fast}, rise {check.rise}, fall {check.fall}{slow}"


def _weight(check: Check) -> str:
    return ", which gives the weight" if check.dynamic_weight else ""


def _exchange(check: Check) -> str:
    used = uses(check)
    if check.service in _HTTP:
        what = f"{check.http_method} {check.request}"
        if check.virtualhost is not None:
            what += f" of {check.virtualhost}"
    elif "request" in used and check.request:
        what = check.request
    else:
        what = "banner and greeting"
    if "login" in used and check.login:
        what += f" as {check.login}"
    if check.statuses:
        ranges = (str(low) if low == high else f"{low}-{high}" for low, high in check.statuses)
        what += f" must be {', '.join(ranges)}"
    if check.receive is not None:
        what += f" must match {check.receive!r}"
    if check.digest is not None:
        what += f" must have the digest {check.digest}"
    if check.pages:
        what += f", and {len(check.pages)} more pages"
    if check.tls is not None:
        what += ", TLS verified" if check.tls.verify else ", TLS not verified"
    return what
