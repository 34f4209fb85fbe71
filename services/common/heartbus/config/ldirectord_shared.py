"""Says where a file relies on how ldirectord shares the checks of a real server among services.

Sans-I/O. ldirectord makes one object of a real server for all virtual services that ask it the
same, and forgets to look at credentials and time limits when it compares (L-18). Each service
counts failures on that object, so that with three a third of failurecount is enough (L-4).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Final

from heartbus.config.report import Path, Place, Report, Setting
from heartbus.model import Check, Endpoint, VirtualService
from heartbus.model_checks import bare

_FORGOTTEN: Final = {
    "login": "login",
    "password": "passwd",
    "database": "database",
    "secret": "secret",
    "http_method": "httpmethod",
}
"""Fields, and what ldirectord calls them."""
_TIMES: Final = ("connect_timeout_s", "negotiate_timeout_s")

_Question = tuple[Endpoint, Check]


def note_shared(services: Sequence[Setting[VirtualService]], report: Report) -> None:
    """Tell once for each service what differs from ldirectord in this file."""
    asked: dict[_Question, list[Setting[VirtualService]]] = {}
    for service in services:
        for question in _questions(service.value):
            asked.setdefault(question, []).append(service)
    counted: set[int] = set()
    compared: set[int] = set()
    for (server, _check), listed in asked.items():
        first, *others = listed
        for other in others:
            difference = _difference(first.value.check, other.value.check)
            if difference and id(other) not in compared:
                compared.add(id(other))
                report.note(
                    _place(other, ("check",)),
                    f"{server} is checked apart from the virtual= of line {first.place.line},"
                    f" because {difference} differ; ldirectord takes the result of one for both",
                )
        fall = first.value.check.fall
        if others and fall > 1 and id(first) not in counted:
            counted.update(id(service) for service in listed)
            sooner = -(-fall // len(listed))
            report.note(
                _place(first, ("check", "fall")),
                f"{fall} failures in a row are counted by each virtual service; ldirectord counts"
                f" those of {server} together for the {len(listed)} that list it, and takes it out"
                f" after {sooner}",
            )


def _questions(service: VirtualService) -> list[_Question]:
    """Return what ldirectord compares: each server, and what it is asked."""
    default = Check()
    asked = replace(
        bare(service.check),
        **{name: getattr(default, name) for name in _FORGOTTEN},
        port=service.check.port,
        request=service.check.request,
        receive=service.check.receive,
    )
    return [
        (
            real.endpoint,
            replace(
                asked,
                request=real.request or asked.request,
                receive=real.receive or asked.receive,
            )
            if real.request or real.receive
            else asked,
        )
        for real in service.real_servers
    ]


def _difference(one: Check, other: Check) -> str:
    """Return in words what ldirectord forgets to compare and is not the same."""
    words = [
        word for name, word in _FORGOTTEN.items() if getattr(one, name) != getattr(other, name)
    ]
    if any(getattr(one, name) != getattr(other, name) for name in _TIMES):
        words.append("time limits")
    return " and ".join(words)


def _place(service: Setting[VirtualService], path: Path) -> Place:
    return service.parts.get(path, service.place)
