"""What Heartbeat shipped as resource scripts and heartbus does itself, with no script installed.

Each is called like a script, with its arguments and a verb, and answers like one. A takeover must
not fail because a mail, a needless announcement or the sync of connections does not work, so
MailTo, SendArp and LVSSyncDaemonSwap say what went wrong and count as done.
"""

from __future__ import annotations

import asyncio
import json
import os
import re
import signal
from collections.abc import Awaitable, Callable, Sequence
from ipaddress import ip_address
from pathlib import Path
from typing import Final

from heartbus.model import ScriptResource
from heartbus.resource_programs import ProgramKind
from heartbus_vip.resource import Command, ScriptEnd, ScriptResult, Verb
from heartbus_vip.scripts import run

DELAY_MAX_S: Final = 3600.0
XINETD_FILE_BYTES_MAX: Final = 64 * 1024
_DISABLE: Final = re.compile(r"^(\s*disable\s*=\s*)(\w+)", re.MULTILINE)

Announce = Callable[[str, str], str | None]
"""Announces an address on an interface; returns what went wrong."""


class BuiltIns:
    """Carries out calls of what is built in. ``root``: where /etc and /run are."""

    def __init__(self, *, node: str, announce: Announce, root: str = "/") -> None:
        self._node, self._announce, self._root = node, announce, Path(root)
        self._kinds: dict[str, Callable[[tuple[str, ...], Verb, float], Awaitable[ScriptResult]]]
        self._kinds = {
            "Delay": self._delay,
            "IPsrcaddr": self._source_address,
            "LVSSyncDaemonSwap": self._sync_daemon,
            "MailTo": self._mail,
            "SendArp": self._send_arp,
            "Xinetd": self._xinetd,
        }

    async def call(self, resource: ScriptResource, verb: Verb, *, timeout_s: float) -> ScriptResult:
        """Do what the script of this name did; bounded by ``timeout_s``."""
        try:
            async with asyncio.timeout(timeout_s):
                return await self._kinds[resource.script](resource.arguments, verb, timeout_s)
        except TimeoutError:
            detail = f"{resource.name} was not done within {timeout_s:g} s"
            return ScriptResult(end=ScriptEnd.TIMED_OUT, kind=ProgramKind.BUILT_IN, detail=detail)
        except (OSError, ValueError) as error:
            return _failed(str(error))

    async def _delay(self, arguments: tuple[str, ...], verb: Verb, _: float) -> ScriptResult:
        """``Delay::start[::stop]``, in seconds."""
        if verb is Verb.STATUS:
            return _done()
        starts = arguments[0] if arguments else "0"
        stops = arguments[1] if len(arguments) > 1 else starts
        await asyncio.sleep(_delay_s(starts if verb is Verb.START else stops))
        return _done()

    async def _mail(self, arguments: tuple[str, ...], verb: Verb, timeout_s: float) -> ScriptResult:
        """``MailTo::address[::subject]``: a mail when the group comes and one when it goes."""
        if verb is Verb.STATUS:
            return _done()
        if not arguments:
            return _complaint("MailTo has no address; allowed is MailTo::root@localhost::subject")
        does = "is taking over" if verb is Verb.START else "is giving up"
        subject = arguments[1] if len(arguments) > 1 else "resource group"
        text = f"Subject: {_line(subject)}: {self._node} {does}\nTo: {_line(arguments[0])}\n"
        text += f"Auto-Submitted: auto-generated\n\n{subject}: {self._node} {does}.\n"
        recipients = [a for a in re.split(r"[,\s]+", arguments[0]) if a and a[0] != "-"]
        called = Command(argv=("sendmail", "-i", *recipients))
        result = await run(called, timeout_s=timeout_s, text=text)
        return _done() if result.problem is None else _complaint(f"no mail: {result.problem}")

    async def _send_arp(self, arguments: tuple[str, ...], verb: Verb, _: float) -> ScriptResult:
        """``SendArp::address/interface``: heartbus announces its own addresses without it."""
        if verb is not Verb.START:
            return _done()
        address, _slash, interface = (arguments[0] if arguments else "").partition("/")
        if not interface:
            return _complaint("allowed is SendArp::address/interface")
        problem = self._announce(str(ip_address(address)), interface.partition("/")[0])
        return _done() if problem is None else _complaint(problem)

    async def _sync_daemon(
        self, arguments: tuple[str, ...], verb: Verb, timeout_s: float
    ) -> ScriptResult:
        """``LVSSyncDaemonSwap::master|backup[::interface[::syncid]]``."""
        role = arguments[0] if arguments else ""
        if role not in ("master", "backup"):
            return _failed(f"LVSSyncDaemonSwap::{role}: allowed is master or backup")
        listed = await run(Command(argv=("ipvsadm", "-L", "--daemon")), timeout_s=timeout_s)
        if listed.problem is not None:
            return _complaint(f"ipvsadm: {listed.problem}")
        running = {r for r in ("master", "backup") if f"{r} sync daemon" in listed.output}
        if verb is Verb.STATUS:
            return _status(role in running, f"{role} sync daemon")
        other = "backup" if role == "master" else "master"
        wanted, ended = (role, other) if verb is Verb.START else (other, role)
        nic, syncid = (*arguments[1:3], *("eth0", "0")[len(arguments[1:3]) :])
        commands: list[tuple[str, ...]] = [("--stop-daemon", ended)] if ended in running else []
        if wanted not in running:
            commands.append(
                ("--start-daemon", wanted, "--mcast-interface", nic, "--syncid", syncid)
            )
        for words in commands:
            result = await run(Command(argv=("ipvsadm", *words)), timeout_s=timeout_s)
            if result.problem is not None:
                return _complaint(f"ipvsadm {' '.join(words)}: {result.problem}")
        return _done()

    async def _source_address(
        self, arguments: tuple[str, ...], verb: Verb, timeout_s: float
    ) -> ScriptResult:
        """``IPsrcaddr::address``: the default route and that of its network use it as source."""
        address = ip_address(arguments[0].partition("/")[0] if arguments else "")
        family = f"-{address.version}"
        shown = Command(argv=("ip", family, "-j", "route", "show", "table", "main"))
        listed = await run(shown, timeout_s=timeout_s)
        if listed.problem is not None:
            return _failed(f"ip route: {listed.problem}")
        routes = json.loads(listed.output or "[]")
        if verb is Verb.STATUS:
            has = any(r.get("prefsrc") == str(address) for r in routes if r["dst"] == "default")
            return _status(has, "source address")
        source = str(address) if verb is Verb.START else None
        changes = source_routes(routes, str(address), source)
        if verb is Verb.START and not changes:
            return _failed("there is no default route whose source could be changed")
        for words in changes:
            result = await run(
                Command(argv=("ip", family, "route", "replace", *words)), timeout_s=timeout_s
            )
            if result.problem is not None:
                return _failed(f"ip route replace {' '.join(words)}: {result.problem}")
        return _done()

    async def _xinetd(self, arguments: tuple[str, ...], verb: Verb, _: float) -> ScriptResult:
        """``Xinetd::service``: ``disable`` in its file, and xinetd reads it again."""
        name = arguments[0] if arguments else ""
        if not re.fullmatch(r"[A-Za-z0-9_.+-]+", name):
            return _failed("allowed is Xinetd::service, a file of /etc/xinetd.d")
        path = self._root / "etc/xinetd.d" / name
        with path.open("rb") as file:
            text = file.read(XINETD_FILE_BYTES_MAX).decode("utf-8", "surrogateescape")
        setting = _DISABLE.search(text)
        if setting is None:
            return _failed(f"{path} has no line disable = yes or no")
        if verb is Verb.STATUS:
            return _status(setting[2] == "no", name)
        word = "no" if verb is Verb.START else "yes"
        if setting[2] != word:
            draft = path.with_name(f".{name}.heartbus")
            content = text[: setting.start(2)] + word + text[setting.end(2) :]
            draft.write_bytes(content.encode("utf-8", "surrogateescape"))
            os.chmod(draft, path.stat().st_mode & 0o7777)
            os.replace(draft, path)
        try:
            pid = int((self._root / "run/xinetd.pid").read_text())
        except (OSError, ValueError):
            return _failed("xinetd does not run: /run/xinetd.pid is missing")
        os.kill(pid, signal.SIGHUP)
        return _done()


def source_routes(
    routes: Sequence[dict[str, object]], address: str, source: str | None
) -> list[list[str]]:
    """Return what follows ``ip route replace``, so that default routes have this source, or none.

    Without one only routes whose source is ``address`` are changed back.
    """
    changes: list[list[str]] = []
    for route in routes:
        if route.get("dst") != "default" or "dev" not in route:
            continue
        if source is None and route.get("prefsrc") != address:
            continue
        words = ["default"]
        for key, option in (("gateway", "via"), ("dev", "dev"), ("metric", "metric")):
            if key in route:
                words += [option, str(route[key])]
        changes.append([*words, *(["src", source] if source is not None else [])])
    return changes


def _delay_s(text: str) -> float:
    if not re.fullmatch(r"\d{1,4}(\.\d{1,3})?", text, re.ASCII) or float(text) > DELAY_MAX_S:
        raise ValueError(f"{text!r} is no delay; allowed are seconds, {DELAY_MAX_S:g} at most")
    return float(text)


def _line(text: str) -> str:
    return "".join(c if c.isprintable() else " " for c in text)


def _status(running: bool, what: str) -> ScriptResult:
    return _done(f"{what} is {'running' if running else 'stopped'}", code=0 if running else 3)


def _done(output: str = "", *, code: int = 0) -> ScriptResult:
    return ScriptResult(end=ScriptEnd.EXITED, kind=ProgramKind.BUILT_IN, code=code, output=output)


def _complaint(problem: str) -> ScriptResult:
    return ScriptResult(end=ScriptEnd.EXITED, kind=ProgramKind.BUILT_IN, detail=problem)


def _failed(problem: str) -> ScriptResult:
    return ScriptResult(
        end=ScriptEnd.EXITED, kind=ProgramKind.BUILT_IN, code=1, output=problem, detail=problem
    )
