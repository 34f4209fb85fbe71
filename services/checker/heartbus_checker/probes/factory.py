"""A probe for every target; the one place that knows all kinds of them."""

from __future__ import annotations

import os
import random
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Final

from heartbus.model import Check, CheckService, CheckType, Page, Tls
from heartbus.model_checks import TLS_SERVICES
from heartbus_checker.targets import CheckPlan, Target

from . import Conversation, Probe, brokers, mail
from .combined import AlternatingProbe, SequenceProbe
from .command import CommandProbe, perl
from .datagram import DatagramProbe
from .file import FileProbe
from .ftp import ftp
from .http import HttpRequest
from .ldap import ldap
from .pattern import PatternError, ReceivePattern
from .ping import PingProbe, Pings
from .proxy_header import after_proxy_header
from .radius import radius
from .script import Script, scripted
from .sip import sip
from .smtp import SmtpGreeting
from .sql import sql
from .stream import StreamProbe, Streams
from .task import TaskProbe
from .tcp import ConnectOnly
from .through_vip import VipPath, VipPaths
from .tls import TlsError, tls_context, within_tls
from .trace import Tell, traced
from .websocket import websocket

Begin = Callable[[], Conversation]

_HTTP: Final = frozenset({CheckService.HTTP, CheckService.HTTPS, CheckService.HTTP_PROXY})
_SQL: Final[Mapping[CheckService, str]] = {
    CheckService.MYSQL: "MySQL",
    CheckService.PGSQL: "PostgreSQL",
    CheckService.ORACLE: "Oracle",
}
_ALPN: Final = {CheckService.HTTP2: ("h2",), CheckService.GRPC: ("h2",)}


class ProbeError(ValueError):
    """A check that cannot be carried out on this machine; the text names the virtual service."""


def make_probes(
    plan: CheckPlan,
    *,
    streams: Streams,
    node: str,
    pings: Pings | None = None,
    runtime_dir: Path | None = None,
) -> tuple[Probe, ...]:
    """Return the probes of ``plan.targets``, in their order; ``node`` is what servers are told.

    ``runtime_dir``: where the agent leaves word of what it set for checks through the VIP.

    Raises:
        ProbeError: a ``receive`` does not compile, a library is not installed, a file of
            authorities cannot be read; it names the virtual service.

    """
    maker = ProbeMaker(streams=streams, node=node, pings=pings or Pings(), runtime_dir=runtime_dir)
    probes: list[Probe] = []
    for target in plan.targets:
        try:
            probes.append(maker.probe(target))
        except (PatternError, TlsError, ImportError) as error:
            service = plan.listeners[target][0].virtual_service
            raise ProbeError(f"virtual service {service}: {error}") from error
    return tuple(probes)


class ProbeMaker:
    """Makes probes; equal patterns are compiled once. ``tell``: is told each step of each check."""

    def __init__(
        self,
        *,
        streams: Streams,
        node: str,
        pings: Pings,
        tell: Tell | None = None,
        runtime_dir: Path | None = None,
    ) -> None:
        self._tell = tell
        self._streams = streams
        self._node = node
        self._pings = pings
        self._paths = VipPaths(runtime_dir=runtime_dir)
        self._patterns: dict[str, ReceivePattern] = {}

    def probe(self, target: Target) -> Probe:
        """Return the probe of one target.

        Raises:
            PatternError: its ``receive`` does not compile.
            TlsError: its file of authorities cannot be read.
            ImportError: its library is not installed.

        """
        check = target.check
        match check.type:
            case CheckType.CONNECT:
                return self._stream(target, ConnectOnly(target.endpoint).conversation)
            case CheckType.PING:
                return PingProbe(
                    self._pings,
                    target.endpoint.address,
                    attempts=check.attempts,
                    within_s=target.timeout_s / check.attempts,
                )
            case CheckType.EXTERNAL | CheckType.EXTERNAL_PERL:
                return _command(target)
            case CheckType.FILE:
                assert check.file is not None
                return FileProbe(check.file, dynamic_weight=check.dynamic_weight)
            case CheckType.COMBINED:
                return AlternatingProbe(
                    self._negotiation(target),
                    self._stream(target, ConnectOnly(target.endpoint).conversation),
                    connects=check.connects,
                    negotiate_timeout_s=target.timeout_s,
                    connect_timeout_s=target.connect_timeout_s or target.timeout_s,
                )
            case _:
                return self._negotiation(target)

    def _negotiation(self, target: Target) -> Probe:
        check = target.check
        if check.service in _SQL:
            exchange = sql(
                check.service,
                target.endpoint,
                check.login,
                check.password,
                check.database,
                check.request,
            )
            return TaskProbe(_SQL[check.service], exchange, tell=self._tell)
        if check.service is CheckService.FTP:
            login = check.login or "anonymous"
            password = check.password if check.login else f"heartbus@{self._node}"
            receive = self._pattern(check.receive)
            path = check.request
            return TaskProbe(
                "FTP", ftp(target.endpoint, login, password, path, receive), tell=self._tell
            )
        if check.service in _HTTP and check.pages:
            asked = (
                Page(
                    request=check.request,
                    receive=check.receive,
                    statuses=check.statuses,
                    digest=check.digest,
                ),
                *check.pages,
            )
            return SequenceProbe(
                [
                    self._within(replace(target, check=one), self._http(target, one))
                    for one in (_with_page(check, page) for page in asked)
                ]
            )
        begin = self._http(target, check) if check.service in _HTTP else self._conversation(target)
        if target.udp:
            return DatagramProbe(target.endpoint, self._told(target, begin, "asked by UDP"))
        return self._within(target, begin)

    def _within(self, target: Target, begin: Begin) -> Probe:
        """Put TLS and the PROXY header around a conversation, where they are asked for."""
        check = target.check
        tls = check.tls
        if tls is None and check.service in TLS_SERVICES:
            tls = Tls(verify=False)
        begin = self._told(target, begin, "connected" if tls is None else "within TLS")
        if tls is not None:
            context = tls_context(tls, protocols=_ALPN.get(check.service, ()))
            name = tls.server_name or check.virtualhost
            if name is not None:
                name = name.partition(":")[0]
            elif tls.verify:
                name = target.endpoint.address
            begin = within_tls(begin, context, name)
        if check.proxy_protocol:
            begin = after_proxy_header(begin, check.proxy_protocol)
        return self._stream(target, begin)

    def _told(self, target: Target, begin: Begin, ready: str) -> Begin:
        if self._tell is None:
            return begin
        return traced(begin, self._tell, ready, (target.check.password, target.check.secret))

    def _stream(self, target: Target, begin: Begin) -> Probe:
        through = target.through
        if through is None:
            return StreamProbe(self._streams, target.endpoint, begin)
        path = VipPath(
            self._paths,
            vip=through.vip,
            mark=through.mark,
            real_server=target.endpoint.address,
        )
        return StreamProbe(self._streams, through.vip, begin, path)

    def _http(self, target: Target, check: Check) -> Begin:
        return HttpRequest(
            endpoint=target.endpoint,
            method=check.http_method,
            request=check.request,
            host=check.virtualhost,
            receive=self._pattern(check.receive),
            statuses=check.statuses,
            digest=check.digest,
            weight_header=check.weight_header,
            proxy=check.service is CheckService.HTTP_PROXY,
            usual_port=443 if check.service is CheckService.HTTPS else 80,
        ).conversation

    def _conversation(self, target: Target) -> Begin:
        check, node = target.check, self._node
        receive = self._pattern(check.receive)
        script: Callable[[], Script]
        match check.service:
            case CheckService.SMTP | CheckService.SUBMISSION:
                return lambda: SmtpGreeting(node)
            case CheckService.HTTP2 | CheckService.GRPC:
                return self._http2(target, receive)
            case CheckService.POP | CheckService.POPS:
                label, script = "POP3", partial(mail.pop3, check.login, check.password)
            case CheckService.IMAP | CheckService.IMAPS:
                label, script = "IMAP", partial(mail.imap, check.login, check.password)
            case CheckService.NNTP:
                label, script = "NNTP", mail.nntp
            case CheckService.LDAP | CheckService.LDAPS:
                label = "LDAP"
                script = partial(ldap, check.login, check.password, check.request, receive)
            case CheckService.DNS:
                return self._dns(target, receive)
            case CheckService.RADIUS:
                label = "RADIUS"
                script = partial(
                    radius, check.login, check.password, check.secret, node, os.urandom
                )
            case CheckService.SIP:
                label = "SIP"
                script = partial(
                    sip,
                    target.endpoint,
                    check.login,
                    node,
                    udp=target.udp,
                    random_bytes=os.urandom,
                )
            case CheckService.SIMPLETCP:
                label, script = "TCP", partial(brokers.simple_tcp, check.request, receive)
            case CheckService.UDP:
                label, script = "UDP", partial(brokers.udp, check.request, receive)
            case CheckService.WEBSOCKET:
                label = "WebSocket"
                script = partial(
                    websocket, target.endpoint, check.request, check.virtualhost, os.urandom
                )
            case CheckService.REDIS:
                label, script = "Redis", partial(brokers.redis, check.login, check.password)
            case CheckService.MEMCACHED:
                label, script = "memcached", brokers.memcached
            case CheckService.AMQP:
                label, script = "AMQP", brokers.amqp
            case CheckService.MQTT:
                label = "MQTT"
                script = partial(brokers.mqtt, check.login, check.password, f"heartbus-{node}")
            case _:
                raise AssertionError(f"no conversation for {check.service}")
        return scripted(label, script)

    def _dns(self, target: Target, receive: ReceivePattern | None) -> Begin:
        from .dns import dns_query  # its library is an extra

        script = partial(
            dns_query,
            target.check.request,
            receive,
            udp=target.udp,
            random_number=partial(random.SystemRandom().getrandbits, 16),
        )
        return scripted("DNS", script)

    def _http2(self, target: Target, receive: ReceivePattern | None) -> Begin:
        from .http2 import Http2Request  # its library is an extra

        check = target.check
        return Http2Request(
            authority=check.virtualhost or str(target.endpoint),
            scheme="http" if check.tls is None else "https",
            path=check.request,
            receive=receive,
            statuses=check.statuses,
            grpc_service=check.request if check.service is CheckService.GRPC else None,
        ).conversation

    def _pattern(self, text: str | None) -> ReceivePattern | None:
        if not text:
            return None
        if text not in self._patterns:
            try:
                self._patterns[text] = ReceivePattern(text)
            except PatternError as error:
                raise PatternError(f"receive: {error}") from error
        return self._patterns[text]


def _with_page(check: Check, page: Page) -> Check:
    return replace(
        check,
        request=page.request,
        receive=page.receive,
        statuses=page.statuses,
        digest=page.digest,
        pages=(),
    )


def _command(target: Target) -> Probe:
    check = target.check
    words = (*check.command, *target.arguments)
    if check.type is CheckType.EXTERNAL_PERL:
        words = (perl(), *words)
    environment = {
        "HEARTBUS_REAL_SERVER": target.endpoint.address,
        "HEARTBUS_REAL_PORT": str(target.endpoint.port),
    }
    return CommandProbe(
        words,
        dynamic_weight=check.dynamic_weight,
        environment=environment,
        shown=check.command[0],
    )
