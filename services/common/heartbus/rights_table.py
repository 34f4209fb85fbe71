"""The tables of who may say, ask and hear what, as Markdown: docs/bus-users.md.

Sans-I/O.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Final

from heartbus import rights
from heartbus.rights import Reach, Role

_CELL: Final = {Reach.ANY: "any", Reach.OWN: "own", Reach.NOBODY: "-"}

_HEAD: Final = """\
# Users of the bus

Made by `heartbus bus users` from the table that the configuration of the nats-server is made of
(`services/common/heartbus/rights.py`); tests try every cell on a real nats-server. What it is good
for is in [security.md](security.md), how to make keys in [operations.md](operations.md).

Each service is a user, on each director with a key of its own. People are `operator` (may command)
or `observer` (may look), as many of each as you like: `operator-anna`, `observer-grafana`. The
membership of a witness, which has no `vip`, makes the services of its host read a pushed
configuration, and is a column of its own.
"""

_REQUESTS: Final = """
`any`: of any director; `own`: of the own director only; `-`: refused by the nats-server.
"""


def document() -> str:
    """Return all tables."""
    return "\n".join([_HEAD, *_commands(), *_queries(), *_events(), *_heard()]) + "\n"


def _commands() -> Iterator[str]:
    yield "## Who may send commands"
    yield _REQUESTS
    yield from _requests("command", rights.commands(), rights.may_command)
    yield ""
    yield "`state` changes nothing: it asks for a snapshot now. A command to push a configuration"
    yield "is believed only with a signature of the heartbeat key"
    yield "([decision 36](decisions/0036-push-to-all-or-none.md))."


def _queries() -> Iterator[str]:
    yield "\n## Who may ask questions"
    yield _REQUESTS
    yield from _requests("query", rights.queries(), rights.may_query)


def _requests(
    family: str, rows: Iterable[tuple[str, str]], reach: Callable[[Role, str, str], Reach]
) -> Iterator[str]:
    yield f"| {family} | {' | '.join(Role)} |"
    yield f"| --- |{' --- |' * len(Role)}"
    for service, verb in rows:
        cells = (_CELL[reach(role, service, verb)] for role in Role)
        yield f"| `{service}` `{verb}` | {' | '.join(cells)} |"


def _events() -> Iterator[str]:
    yield "\n## Who may say what"
    yield "\nPeople publish nothing. Each service publishes its own `state.<director>.<service>`,"
    yield "answers to inboxes, its own echo, and these events:\n"
    yield "| service | events |"
    yield "| --- | --- |"
    everybody = set.intersection(*(set(rights.events_of(s)) for s in rights.SERVICES))
    for service in rights.SERVICES:
        own = [f"`{kind}`" for kind in rights.events_of(service) if kind not in everybody]
        yield f"| {service} | {' '.join(own)} |"
    yield f"| each of them | {' '.join(f'`{kind}`' for kind in sorted(everybody))} |"


def _heard() -> Iterator[str]:
    yield "\n## Who may hear what"
    yield "\nBeside requests to themselves, answers to their own questions, and their own echo:\n"
    yield "| user | subjects |"
    yield "| --- | --- |"
    for role in Role:
        heard = [f"`{s.format(node='<director>')}`" for s in rights.heard(role)]
        yield f"| {role} | {' '.join(heard)} |"
