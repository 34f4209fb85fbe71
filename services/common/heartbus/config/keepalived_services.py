"""Turns ``virtual_server`` blocks of keepalived.conf into virtual services of the model.

Sans-I/O. keepalived checks each real server in its own way; here a virtual service has one check.
That of the first real server counts, and a real server whose check is another one is warned about.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from functools import partial
from typing import Final

from heartbus.config.ipvsadm_rules import ANY_IPV4, ANY_IPV6, scheduler
from heartbus.config.keepalived_blocks import Block
from heartbus.config.keepalived_policy import POLICY_STATEMENTS, policy_statement
from heartbus.config.native_checks import DEFAULT_REQUESTS
from heartbus.config.report import Report, shown, word
from heartbus.config.values import (
    BadValueError,
    bad,
    client_netmask,
    integer,
    ip,
    port_or_service,
    positive_time,
)
from heartbus.model import (
    DEFAULT_POLICY,
    Check,
    CheckService,
    CheckType,
    Endpoint,
    ForwardingMethod,
    Page,
    RealServer,
    SorryServer,
    Tls,
    TransportProtocol,
    VirtualService,
)
from heartbus.model_ipvs import FWMARK_MAX, PERSISTENCE_MAX_S, THRESHOLD_MAX, WEIGHT_MAX

DELAY_LOOP_DEFAULT_S: Final = 60.0
PERSISTENCE_DEFAULT_S: Final = 360
RETRY_MAX: Final = 1000
RANGE_MAX: Final = 256

_METHODS: Final = {
    "NAT": ForwardingMethod.MASQ,
    "DR": ForwardingMethod.GATE,
    "TUN": ForwardingMethod.IPIP,
}
_CHECKS: Final = {
    "HTTP_GET": (CheckType.NEGOTIATE, CheckService.HTTP),
    "SSL_GET": (CheckType.NEGOTIATE, CheckService.HTTPS),
    "TCP_CHECK": (CheckType.CONNECT, CheckService.NONE),
    "SMTP_CHECK": (CheckType.NEGOTIATE, CheckService.SMTP),
    "DNS_CHECK": (CheckType.NEGOTIATE, CheckService.DNS),
    "UDP_CHECK": (CheckType.NEGOTIATE, CheckService.UDP),
    "PING_CHECK": (CheckType.PING, CheckService.NONE),
    "MISC_CHECK": (CheckType.EXTERNAL, CheckService.NONE),
    "FILE_CHECK": (CheckType.FILE, CheckService.NONE),
}

NO_COUNTERPART: Final = "has no counterpart in heartbus; left out"

Addresses = list[tuple[Endpoint, int]]
"""Endpoint and firewall mark of each entry; one of them is empty."""


def left_out(block: Block, report: Report, why: str = NO_COUNTERPART) -> None:
    """List a statement that nothing is made of, with its line."""
    report.warning(block.place, f"{shown(' '.join(block.words))} {why}")


def value(
    block: Block, read: Callable[[str], object], report: Report, *, at: int = 1
) -> object | None:
    """Return one value of a statement, or None after an error."""
    try:
        return read(block.words[at] if len(block.words) > at else "")
    except BadValueError as error:
        report.error(block.place, str(error))
        return None


def seconds(text: str) -> float:
    """Return seconds, with a fraction."""
    try:
        return positive_time(float(text), text)
    except ValueError:
        raise bad(text, "seconds, such as 3 or 0.5") from None


def groups_of_addresses(blocks: list[Block], report: Report) -> dict[str, Addresses]:
    """Return the addresses of each ``virtual_server_group``."""
    found: dict[str, Addresses] = {}
    for block in blocks:
        if block.name == "virtual_server_group" and block.values:
            entries = [_entry(line, report) for line in block.inner]
            found[block.values[0]] = [entry for each in entries for entry in each]
    return found


def services(
    block: Block, groups: dict[str, Addresses], files: Mapping[str, str], report: Report
) -> Iterator[VirtualService]:
    """Yield the services of one ``virtual_server``: one for each address of its group.

    ``files``: the path of each vrrp_track_file, which a FILE_CHECK names.
    """
    words = block.values
    if words[:1] == ["group"] and len(words) > 1:
        if words[1] not in groups:
            report.error(block.place, f"no virtual_server_group {shown(words[1])}")
        addresses = groups.get(words[1], [])
    else:
        addresses = _entry(Block(words=words or [""], place=block.place), report)
    for endpoint, fwmark in addresses:
        yield _service(block, endpoint, fwmark, files, report)


def _entry(block: Block, report: Report) -> Addresses:
    """Return what ``IP[-LAST] PORT`` or ``fwmark N`` names."""
    try:
        if block.name == "fwmark":
            mark = integer(block.words[1] if len(block.words) > 1 else "", 1, FWMARK_MAX)
            return [(ANY_IPV6 if "inet6" in block.words else ANY_IPV4, mark)]
        first, dash, last = block.name.partition("-")
        address = ip(first)
        port = port_or_service(block.words[1]) if len(block.words) > 1 else 0
        addresses = [address]
        if dash:
            head, dot, low = address.rpartition(".")
            end = integer(last, int(low) if dot else 0, 255)
            addresses = [f"{head}.{n}" for n in range(int(low), end + 1)] if dot else [address]
    except (BadValueError, ValueError) as error:
        report.error(block.place, str(error))
        return []
    return [(Endpoint(address=each, port=port), 0) for each in addresses[:RANGE_MAX]]


class _Draft:
    """The values of one virtual_server while its statements are read."""

    def __init__(self, endpoint: Endpoint, fwmark: int, files: Mapping[str, str]) -> None:
        self.files = files
        self.service = VirtualService(
            protocol=TransportProtocol.FWM if fwmark else TransportProtocol.TCP,
            endpoint=endpoint,
            fwmark=fwmark,
        )
        self.method = ForwardingMethod.GATE
        self.interval_s = DELAY_LOOP_DEFAULT_S
        self.fall = 1
        self.rise = 1
        self.virtualhost: str | None = None
        self.quiescent: set[bool] = set()
        self.policy = DEFAULT_POLICY
        self.check: Check | None = None

    def set(self, **fields: object) -> None:
        self.service = replace(self.service, **fields)  # type: ignore[arg-type]


def _service(
    block: Block, endpoint: Endpoint, fwmark: int, files: Mapping[str, str], report: Report
) -> VirtualService:
    draft = _Draft(endpoint, fwmark, files)
    for line in block.inner:
        _statement(draft, line, report)
    servers: list[RealServer] = []
    for line in block.inner:
        if line.name == "real_server":
            server = _real_server(draft, line, report)
            if server is not None:
                servers.append(server)
    if len(draft.quiescent) > 1:
        report.warning(
            block.place,
            "inhibit_on_failure of some real servers only; here it is said for the whole service:"
            " taken as said for none",
        )
    return replace(
        draft.service,
        real_servers=tuple(servers),
        quiescent=draft.quiescent == {True},
        policy=draft.policy,
        check=replace(
            draft.check or Check(type=CheckType.ON, service=CheckService.NONE),
            interval_s=draft.interval_s,
            virtualhost=(draft.check.virtualhost if draft.check else None) or draft.virtualhost,
        ),
    )


def _statement(draft: _Draft, line: Block, report: Report) -> None:
    match line.name:
        case "real_server":
            return
        case "delay_loop":
            if isinstance(read := value(line, seconds, report), float):
                draft.interval_s = read
        case "lvs_sched" | "lb_algo":
            if (read := value(line, scheduler, report)) is not None:
                draft.set(scheduler=read)
        case "lvs_method" | "lb_kind":
            if isinstance(read := value(line, _method, report), ForwardingMethod):
                draft.method = read
        case "protocol":
            if (read := value(line, _protocol, report)) is not None and not draft.service.fwmark:
                draft.set(protocol=read)
        case "persistence_timeout":
            text = line.values[0] if line.values else str(PERSISTENCE_DEFAULT_S)
            found = replace_words(line, text)
            read = value(found, partial(integer, low=1, high=PERSISTENCE_MAX_S), report)
            draft.set(persistence_timeout_s=read)
        case "persistence_granularity":
            draft.set(persistence_netmask=value(line, client_netmask, report))
        case "ops":
            draft.set(one_packet=True)
        case "virtualhost":
            draft.virtualhost = line.values[0] if line.values else None
        case "sorry_server":
            if (endpoint := _endpoint(line, draft, report)) is not None:
                draft.set(sorry_server=SorryServer(endpoint=endpoint, forwarding=draft.method))
        case name if name in POLICY_STATEMENTS:
            draft.policy = policy_statement(draft.policy, line, report)
        case "retry":
            if isinstance(
                read := value(line, partial(integer, low=0, high=RETRY_MAX), report), int
            ):
                draft.fall = read + 1
        case _:
            left_out(line, report)


def replace_words(block: Block, text: str) -> Block:
    """Return the statement with this value."""
    return Block(words=[block.name, text], place=block.place)


def _method(text: str) -> ForwardingMethod:
    try:
        return _METHODS[text]
    except KeyError:
        raise bad(text, "NAT, DR or TUN") from None


def _protocol(text: str) -> TransportProtocol:
    try:
        return TransportProtocol(text.lower())
    except ValueError:
        raise bad(text, "TCP, UDP or SCTP") from None


def _endpoint(line: Block, draft: _Draft, report: Report) -> Endpoint | None:
    try:
        text = line.words[2] if len(line.words) > 2 else "0"
        port = 0 if text == "0" else port_or_service(text)
        return Endpoint(
            address=ip(line.words[1] if len(line.words) > 1 else ""),
            port=port or draft.service.endpoint.port,
        )
    except BadValueError as error:
        report.error(line.place, str(error))
        return None


def _real_server(draft: _Draft, block: Block, report: Report) -> RealServer | None:
    endpoint = _endpoint(block, draft, report)
    if endpoint is None:
        return None
    server = RealServer(endpoint=endpoint, forwarding=draft.method)
    quiescent, checks = False, []
    for line in block.inner:
        if line.name in _CHECKS:
            checks.append(line)
            continue
        match line.name:
            case "weight":
                read = value(line, partial(integer, low=0, high=WEIGHT_MAX), report)
                server = replace(server, weight=read if isinstance(read, int) else 1)
            case "uthreshold":
                read = value(line, partial(integer, low=0, high=THRESHOLD_MAX), report)
                server = replace(server, upper_threshold=read if isinstance(read, int) else 0)
            case "lthreshold":
                read = value(line, partial(integer, low=0, high=THRESHOLD_MAX), report)
                server = replace(server, lower_threshold=read if isinstance(read, int) else 0)
            case "inhibit_on_failure":
                quiescent = True
            case "lvs_method" | "lb_kind":
                if isinstance(method := value(line, _method, report), ForwardingMethod):
                    server = replace(server, forwarding=method)
            case "virtualhost":
                draft.virtualhost = draft.virtualhost or (line.values[0] if line.values else None)
            case _:
                left_out(line, report)
    draft.quiescent.add(quiescent)
    for line in checks[1:]:
        left_out(line, report, "is a second check of one real server; the first one counts")
    found = check(checks[0], draft.fall, draft.files, report) if checks else None
    if draft.check is None:
        draft.check = found
    elif found != draft.check:
        report.warning(
            (checks[0] if checks else block).place,
            f"the check of {shown(server.name)} is another than that of the first real server,"
            " which counts for the whole service",
        )
    return server


def check(block: Block, fall: int, files: Mapping[str, str], report: Report) -> Check:
    """Return the check of a checker block."""
    type_, service = _CHECKS[block.name]
    result = Check(
        type=type_,
        service=service,
        request=DEFAULT_REQUESTS.get(service, "/"),
        tls=Tls(verify=False) if service is CheckService.HTTPS else None,
        fall=fall,
    )
    pages: list[Page] = []
    for line in block.inner:
        match line.name:
            case "connect_timeout" | "misc_timeout":
                if isinstance(read := value(line, seconds, report), float):
                    result = replace(result, connect_timeout_s=read, negotiate_timeout_s=read)
            case "connect_port":
                read = value(line, port_or_service, report)
                result = replace(result, port=read if isinstance(read, int) else None)
            case "retry" | "nb_get_retry":
                read = value(line, partial(integer, low=0, high=RETRY_MAX), report)
                result = replace(result, fall=read + 1 if isinstance(read, int) else 1)
            case "url":
                pages.append(_page(line, report))
            case "virtualhost":
                result = replace(result, virtualhost=line.values[0] if line.values else None)
            case "misc_path":
                words = (line.values[0] if line.values else "").split()
                result = replace(result, command=tuple(words))
            case "misc_dynamic":
                result = replace(result, dynamic_weight=True)
            case "name":
                result = replace(result, request=line.values[0] if line.values else "")
            case "track_file" if type_ is CheckType.FILE:
                name = line.values[0] if line.values else ""
                if name not in files:
                    report.error(line.place, f"{shown(name)} is not defined")
                result = replace(result, file=files.get(name))
            case "enable_sni":
                report.note(line.place, "SNI is always sent with the name of virtualhost")
            case _:
                left_out(line, report)
    if pages:
        first = pages[0]
        result = replace(
            result,
            request=first.request,
            receive=first.receive,
            statuses=first.statuses,
            digest=first.digest,
            pages=tuple(pages[1:]),
        )
    return result


def _page(block: Block, report: Report) -> Page:
    page = Page()
    for line in block.inner:
        text = line.values[0] if line.values else ""
        match line.name:
            case "path":
                page = replace(page, request=text or "/")
            case "digest":
                page = replace(page, digest=text.lower())
            case "regex":
                page = replace(page, receive=" ".join(line.values) or None)
            case "status_code":
                page = replace(page, statuses=tuple(_statuses(line, report)))
            case _:
                left_out(line, report)
    return page


def _statuses(line: Block, report: Report) -> Iterator[tuple[int, int]]:
    for text in line.values:
        low, dash, high = text.partition("-")
        try:
            first = integer(low, 100, 599)
            yield first, integer(high, first, 599) if dash else first
        except BadValueError as error:
            report.error(line.place.of(word(line.name)), str(error))
