"""Every cell of the tables of rights, tried on a real nats-server with the real keys."""

from __future__ import annotations

import ast
import asyncio
import contextlib
import dataclasses
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest

from heartbus import rights, subjects
from heartbus.events import (
    COMMAND_CLASSES,
    EVENT_CLASSES,
    GroupGranted,
    NodeDead,
    RealServerDown,
    VipState,
)
from heartbus.rights import PEOPLE, SERVICE_OF, Reach, Role
from heartbus.rights_table import document
from tests.common.samples import sample_envelope
from tests.common.secured import NODE, PEER, WITNESS, Director, plain, secured

CHECKOUT: Final = Path(__file__).resolve().parents[2]
KINDS: Final = sorted(event.kind for event in EVENT_CLASSES)
OTHERS: Final = (
    "local.lb-a.vip.echo",
    "local.lb-b_example.checker.echo",
    "_INBOX.operator.test",
    "$SYS.REQ.SERVER.PING",
    "anything",
    "state.lb-a.operator",
)
HEARD: Final = (
    *KINDS,
    *(f"state.{node}.{s}" for node in ("lb-a", "lb-b_example") for s in rights.SERVICES),
    "state.>",
    ">",
    "*.>",
    "_INBOX.>",
    "_INBOX.operator.>",
    "_INBOX.observer.>",
    "_INBOX.lb-a.vip.>",
    "command.>",
    "command.lb-a.membership.standby",
    "query.lb-a.recorder.events",
    "local.lb-a.vip.echo",
    "$SYS.>",
)  # fmt: skip


class Tried:
    """What a real server let each role publish and hear, tried once for all tests."""

    def __init__(self) -> None:
        self.published: dict[tuple[Role, str], bool] = {}
        self.heard: dict[tuple[Role, str], bool] = {}


def node_of(role: Role) -> str:
    return WITNESS if role is Role.WITNESS else NODE


def own(role: Role) -> str:
    return subjects.node_token(node_of(role))


def requests() -> Iterator[tuple[str, str, str]]:
    yield from (("command", service, verb) for service, verb in rights.commands())
    yield from (("query", service, verb) for service, verb in rights.queries())


def published_by(role: Role) -> Iterator[str]:
    """Yield all that a role might try to publish on."""
    yield from KINDS
    yield from OTHERS
    for node in (own(role), subjects.node_token(PEER)):
        yield from (f"state.{node}.{service}" for service in rights.SERVICES)
        yield from (f"{family}.{node}.{s}.{verb}" for family, s, verb in requests())


async def try_all(directory: Path) -> Tried:
    tried = Tried()
    with contextlib.ExitStack() as stack:
        servers = {}
        for node in (NODE, WITNESS):
            director, server = secured(directory, node)
            stack.enter_context(server)
            servers[node] = director, server
        for role in Role:
            director, server = servers[node_of(role)]
            async with plain(server.url, director, director.user_of(role)) as client:
                for subject in published_by(role):
                    await client.client.publish(subject, b"")
                refused = await client.refusals()
                for subject in published_by(role):
                    words = f'publish to "{subject.lower()}"'
                    tried.published[role, subject] = not any(words in said for said in refused)
                for subject in HEARD:
                    await client.client.subscribe(subject)
                refused = await client.refusals()
                for subject in HEARD:
                    words = f'subscription to "{subject.lower()}"'
                    tried.heard[role, subject] = not any(words in said for said in refused)
    return tried


@pytest.fixture(scope="module")
def tried(tmp_path_factory: pytest.TempPathFactory) -> Tried:
    return asyncio.run(try_all(tmp_path_factory.mktemp("rights")))


@pytest.mark.bus
@pytest.mark.parametrize("role", Role)
@pytest.mark.parametrize(("family", "service", "verb"), list(requests()))
def test_a_request_is_let_through_as_the_table_says(
    tried: Tried, family: str, service: str, verb: str, role: Role
) -> None:
    reach = (rights.may_command if family == "command" else rights.may_query)(role, service, verb)
    here = tried.published[role, f"{family}.{own(role)}.{service}.{verb}"]
    there = tried.published[role, f"{family}.{subjects.node_token(PEER)}.{service}.{verb}"]
    assert (here, there) == {
        Reach.ANY: (True, True),
        Reach.OWN: (True, False),
        Reach.NOBODY: (False, False),
    }[reach]


@pytest.mark.bus
@pytest.mark.parametrize("role", Role)
def test_each_says_what_is_its_own_and_no_more(tried: Tried, role: Role) -> None:
    said = {s for (r, s), passed in tried.published.items() if r is role and passed}
    said = {subject for subject in said if not subject.startswith(("command.", "query."))}
    if role in PEOPLE:
        assert said == set()
        return
    service = SERVICE_OF[role]
    expected = {*rights.events_of(service), f"state.{own(role)}.{service}", "_INBOX.operator.test"}
    if role is Role.VIP:
        expected.add("local.lb-a.vip.echo")
    assert said == expected


@pytest.mark.bus
@pytest.mark.parametrize("role", Role)
def test_each_hears_what_it_needs_and_no_more(tried: Tried, role: Role) -> None:
    heard = {s for (r, s), passed in tried.heard.items() if r is role and passed}
    if role in (*PEOPLE, Role.RECORDER):
        expected = {*KINDS, "state.>"}
        expected |= {s for s in HEARD if s.startswith("state.")}
        expected |= {f"_INBOX.{role}.>"} if role in PEOPLE else {"query.lb-a.recorder.events"}
        assert heard == expected
        return
    wanted = {subject.format(node=own(role)) for subject in rights.heard(role)}
    matching = {
        s for s in HEARD for w in wanted if s == w or ("*" in w and _matches(w, s) and ">" not in s)
    }
    if role is Role.MEMBERSHIP:
        matching.add("command.lb-a.membership.standby")
    if role is Role.VIP:
        matching |= {"local.lb-a.vip.echo", "_INBOX.lb-a.vip.>"}
    assert heard == matching


def _matches(pattern: str, subject: str) -> bool:
    wanted, given = pattern.split("."), subject.split(".")
    return len(wanted) == len(given) and all(
        w in ("*", g) for w, g in zip(wanted, given, strict=True)
    )


# --- the source of the tables --------------------------------------------------------------------


def test_the_checker_cannot_speak_for_the_agent() -> None:
    said = rights.publishes(Role.CHECKER, node=NODE, user="checker")
    assert not any(s.startswith(("ipvs.", "command.", "group.", "vip.", "node.")) for s in said)
    assert [s for s in said if s.startswith("state.")] == ["state.lb-a.checker"]


def test_every_event_is_somebodys_and_no_event_of_another_one() -> None:
    of = {kind: [s for s in rights.SERVICES if kind in rights.events_of(s)] for kind in KINDS}
    assert all(len(who) in (1, len(rights.SERVICES)) for who in of.values()), of


def test_every_command_is_served_by_somebody() -> None:
    served = {verb for _service, verb in rights.commands()}
    assert served == {c.kind.rpartition(".")[2] for c in COMMAND_CLASSES} | {"state"}


@pytest.mark.parametrize("service", ["membership", "vip", "checker", "ipvs-agent"])
def test_a_service_makes_no_event_that_it_may_not_publish(service: str) -> None:
    """Read from its source: what it makes there and does not only match, it would publish."""
    by_name = {event.__name__: event.kind for event in EVENT_CLASSES}
    made = {}
    for path in (CHECKOUT / "services" / service).rglob("*.py"):
        tree = ast.parse(path.read_text())
        patterns = {id(n.cls) for n in ast.walk(tree) if isinstance(n, ast.MatchClass)}
        for node in ast.walk(tree):
            if (
                isinstance(node, ast.Call)
                and isinstance(node.func, ast.Name)
                and node.func.id in by_name
                and id(node.func) not in patterns
            ):
                made[by_name[node.func.id]] = path.name
    assert made
    assert {k: p for k, p in made.items() if k not in rights.events_of(service)} == {}


def test_the_document_is_current() -> None:
    assert (CHECKOUT / "docs" / "bus-users.md").read_text() == document(), (
        "heartbus bus users > docs/bus-users.md"
    )


# --- what a peer's server lets through -----------------------------------------------------------


def test_what_an_envelope_claims_must_fit_its_subject() -> None:
    down = sample_envelope(RealServerDown.kind)

    def doubt(subject: str, kind: str, service: str, node: str = NODE) -> str | None:
        envelope = dataclasses.replace(down, kind=kind, service=service, node=node)
        return rights.distrust(subject, envelope)

    assert doubt(RealServerDown.kind, RealServerDown.kind, "checker") is None
    assert doubt(f"state.{NODE}.vip", VipState.kind, "vip") is None
    assert doubt("state.lb-b_example.vip", VipState.kind, "vip", PEER) is None
    # A snapshot, or another event, in the envelope of an event that its sender may publish.
    assert doubt(RealServerDown.kind, VipState.kind, "vip") is not None
    assert doubt(RealServerDown.kind, GroupGranted.kind, "membership") is not None
    # In the name of another service, another director, nobody.
    assert doubt(RealServerDown.kind, RealServerDown.kind, "membership") is not None
    assert doubt(NodeDead.kind, NodeDead.kind, "checker") is not None
    assert doubt(f"state.{NODE}.checker", VipState.kind, "vip") is not None
    assert doubt(f"state.{NODE}.vip", VipState.kind, "vip", PEER) is not None
    assert doubt(f"state.{NODE}.vip", RealServerDown.kind, "vip") is not None
    assert doubt(f"state.{NODE}.vip", VipState.kind, "vip", "not a host") is not None


def test_a_command_must_be_the_one_that_its_subject_names() -> None:
    assert rights.distrust_request("command.lb-a.membership.reload", "command.reload") is None
    assert rights.distrust_request("command.lb-a.membership.reload", "command.standby") is not None


def test_people_have_names_that_say_what_they_may(tmp_path: Path) -> None:
    director = Director(tmp_path)
    for name in ("root", "observer-", "observer-Ä", "operator-" + "x" * 40, "vip"):
        done = director.run("init", f"--user={name}")
        assert done.exit_code == 3, done.output
        assert "cannot be a user of the bus" in done.stderr
