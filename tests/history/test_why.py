"""The chain of causes, from events alone: true where it is known, else why it is not known."""

from __future__ import annotations

from collections.abc import Iterable

import pytest

from heartbus.events import (
    Event,
    GroupGranted,
    GroupRevoked,
    IpvsChanged,
    Message,
    NodeAlive,
    NodeDead,
    NodeLate,
    NodeLeft,
    OperatorAnswered,
    OperatorCommanded,
    RealServerDown,
    RealServerDraining,
    RealServerUp,
    ServiceStarted,
    ServiceStopped,
    VipAcquired,
    VipFailed,
    VipReleased,
    VirtualServiceDown,
)
from heartbus.why.groups import Present, why_group
from heartbus.why.nodes import why_node
from heartbus.why.real_servers import why_real_server
from heartbus.why.story import Account, Story, document
from tests.history.builders import NOW_S, Process

GROUP = "vip"


class Run:
    """Two directors; what they say gets later by a second each time."""

    def __init__(self, skew_s: float = 0.0) -> None:
        """``skew_s``: how much the clock of two is ahead of that of one."""
        self.messages: list[Message] = []
        self._skew_s = skew_s
        self._processes = {
            (node, service): Process(node, service, incarnation=1000)
            for node in ("one", "two")
            for service in ("membership", "vip", "checker", "ipvs-agent")
        }

    def say(
        self, who: str, body: Event, cause: Message | None = None, *, at_s: float | None = None
    ) -> Message:
        node, service = who.split("/")
        at_s = float(len(self.messages)) if at_s is None else at_s
        skew_s = self._skew_s if node == "two" else 0.0
        message = self._processes[node, service].say(body, at_s=NOW_S + at_s + skew_s, cause=cause)
        self.messages.append(message)
        return message

    def grant(self, node: str, epoch: int, reason: str, cause: Message | None = None) -> Message:
        granted = GroupGranted(group=GROUP, director=node, epoch=epoch, reason=reason)
        message = self.say(f"{node}/membership", granted, cause)
        self.say(
            f"{node}/vip",
            VipAcquired(group=GROUP, director=node, epoch=epoch, addresses=("a",), took_s=0.01),
            message,
        )
        return message

    def revoke(self, node: str, epoch: int, reason: str, cause: Message | None = None) -> Message:
        revoked = GroupRevoked(group=GROUP, director=node, epoch=epoch, reason=reason)
        message = self.say(f"{node}/membership", revoked, cause)
        self.say(
            f"{node}/vip",
            VipReleased(
                group=GROUP, director=node, epoch=epoch, addresses=("a",), reason="revoked"
            ),
        )
        return message

    def started(self) -> Run:
        self.say("one/membership", ServiceStarted(version="1", pid=1))
        self.grant("one", 1, "nobody holds it, this is its preferred director")
        return self

    def without(self, gone: Message) -> Story:
        """Return the story where nobody has one event, as a recorder would tell it."""
        left = [m for m in self.messages if m is not gone]
        gaps = [m.envelope.id for m in left if m.envelope.previous == gone.envelope.id]
        return Story(left, gaps=gaps)


def group(run: Run | Story, present: Present | None = None) -> Account:
    return why_group(GROUP, run if isinstance(run, Story) else Story(run.messages), present)


def kinds(account: Account) -> list[str]:
    return [step.kind for step in account.steps]


def test_the_first_grant_follows_from_a_start() -> None:
    account = group(Run().started())
    assert kinds(account) == ["vip.acquired", "group.granted", "service.started"]
    assert account.answer.startswith("one holds it since ")
    assert account.unknown is None


def test_without_the_start_of_the_grantor_somebody_may_have_held_it_before() -> None:
    run = Run().started()
    account = group(run.without(run.messages[0]))
    assert account.unknown is not None
    assert "has not got who held it before" in account.unknown


@pytest.mark.parametrize("skew_s", [0.0, -3600.0, 3600.0])
def test_a_standby_is_followed_over_two_directors_whatever_their_clocks_say(skew_s: float) -> None:
    run = Run(skew_s).started()
    command = OperatorCommanded(command="standby", arguments="", by="observer-anna-7")
    commanded = run.say("one/membership", command)
    run.grant("two", 2, "one hands it over")
    run.revoke("one", 1, "standby was asked for: two has it", commanded)
    run.say(
        "one/membership",
        OperatorAnswered(command="standby", done=True, message="moved"),
        commanded,
    )
    account = group(run)
    assert kinds(account) == [
        "vip.acquired",
        "group.granted",
        "group.revoked",
        "operator.commanded",
    ]
    assert account.unknown is None
    assert account.answer.startswith("two holds it since ")
    assert account.steps[-1].text == "observer-anna-7 commanded: standby"
    assert "standby: done: moved" in account.steps[-1].evidence[0]


def test_a_takeover_on_the_other_director_is_the_cause() -> None:
    run = Run().started()
    command = OperatorCommanded(command="takeover", arguments="", by="observer-anna-7")
    commanded = run.say("two/membership", command)
    run.grant("two", 2, "one hands it over", commanded)
    run.revoke("one", 1, "two asks for it: two has it")
    account = group(run)
    assert kinds(account) == ["vip.acquired", "group.granted", "operator.commanded"]


def test_a_death_is_the_cause_with_its_signs() -> None:
    run = Run().started()
    run.say("two/membership", NodeLate(director="one", silent_s=0.15))
    dead = run.say(
        "two/membership", NodeDead(director="one", silent_s=0.3, reason="silent for 0.3 s")
    )
    run.grant("two", 2, "one is dead", dead)
    account = group(run)
    assert kinds(account) == ["vip.acquired", "group.granted", "node.dead"]
    assert [line.split(" ", 2)[2] for line in account.steps[-1].evidence[:1]] == [
        "node.late: one was silent on all links for 150 ms"
    ]
    assert account.steps[-1].evidence[-1] == "one was not heard since"
    assert account.unknown is None


@pytest.mark.parametrize("restarted", [True, False])
def test_a_director_that_is_heard_again_had_died_or_was_cut_off(restarted: bool) -> None:
    run = Run()
    run.say("one/membership", ServiceStarted(version="1", pid=1))
    run.say("two/membership", NodeAlive(director="one", incarnation=1001))
    run.say("two/membership", NodeDead(director="one", silent_s=0.3, reason="silent"))
    if restarted:
        again = Process("one", "membership", incarnation=9000)
        run.messages.append(again.say(ServiceStarted(version="1", pid=2), at_s=NOW_S + 10))
    incarnation = 9001 if restarted else 1001
    run.say("two/membership", NodeAlive(director="one", incarnation=incarnation), at_s=11.0)
    account = why_node("one", Story(run.messages))
    assert kinds(account) == ["node.alive", "node.dead"]
    told = " ".join(account.steps[-1].evidence)
    assert ("its membership had ended" in told) is restarted
    assert ("was the same process" in told) is not restarted


def test_a_director_that_left_says_itself_why() -> None:
    run = Run()
    run.say("one/membership", ServiceStopped(reason="asked to stop"))
    run.say("two/membership", NodeLeft(director="one"))
    assert kinds(why_node("one", Story(run.messages))) == ["node.left", "service.stopped"]
    silent = why_node("one", Story(run.messages[1:]))
    assert silent.unknown is not None
    assert "no word of one itself" in silent.unknown


def test_a_higher_epoch_at_the_same_director_is_a_remark_and_no_move() -> None:
    run = Run().started()
    run.say(
        "one/membership",
        GroupGranted(group=GROUP, director="one", epoch=2, reason="two is heard again"),
    )
    account = group(run)
    assert kinds(account) == ["vip.acquired", "group.granted", "service.started"]
    assert any("with a higher epoch" in remark for remark in account.remarks)


def test_a_group_that_nobody_holds_says_who_let_it_go() -> None:
    run = Run().started()
    run.revoke("one", 1, "a majority did not renew it")
    account = group(run)
    assert account.answer.startswith("nobody holds it since ")
    assert kinds(account) == ["group.revoked"]


def test_a_start_that_fails_is_said_first() -> None:
    run = Run().started()
    run.revoke("one", 1, "cannot be held here: IPaddr failed; two is ready")
    granted = GroupGranted(group=GROUP, director="two", epoch=2, reason="nobody holds it")
    message = run.say("two/membership", granted)
    failed = VipFailed(group=GROUP, director="two", epoch=2, resource="web", reason="exit code 1")
    run.say("two/vip", failed, message)
    account = group(run)
    assert kinds(account)[:3] == ["vip.failed", "group.granted", "group.revoked"]
    assert "web failed on two" in account.answer


# --- unknown, because … --------------------------------------------------------------------------


def test_what_snapshots_know_and_the_history_does_not_is_unknown() -> None:
    run = Run().started()
    account = group(run, Present(holder="two", epoch=5))
    assert account.unknown is not None
    assert "has not got the grant of epoch 5" in account.unknown
    assert account.steps == ()
    assert group(run, Present(holder="one", epoch=1)).unknown is None


@pytest.mark.parametrize("missing", ["cause", "revoke"])
def test_a_chain_that_meets_what_nobody_has_ends_in_unknown(missing: str) -> None:
    run = Run().started()
    if missing == "cause":
        gone = run.say("two/membership", NodeDead(director="one", silent_s=0.3, reason="silent"))
        run.grant("two", 2, "one is dead", gone)
    else:
        run.grant("two", 2, "one hands it over")
        gone = run.revoke("one", 1, "standby was asked for")
        run.say("one/membership", NodeAlive(director="two", incarnation=1))
    account = group(run.without(gone))
    assert account.unknown is not None
    assert account.unknown.startswith("unknown, because the history has not got")
    assert "events of membership on" in account.unknown, "where the gap is"
    assert document(account)["known"] is False


def test_about_what_nobody_ever_said_nothing_is_invented() -> None:
    empty = Story([])
    accounts: Iterable[Account] = (
        why_group("x", empty),
        why_node("x", empty),
        why_real_server("x", empty),
    )
    for account in accounts:
        assert account.unknown is not None
        assert account.answer.startswith("unknown")
        assert account.steps == ()


# --- real servers --------------------------------------------------------------------------------

SERVER = "10.0.0.1:80"
SERVICE = "tcp:10.0.0.9:80"


def test_a_verdict_is_told_with_what_came_of_it_and_what_the_other_director_says() -> None:
    run = Run()
    up = RealServerUp(virtual_service=SERVICE, real_server=SERVER, reason="200 OK")
    down = RealServerDown(
        virtual_service=SERVICE, real_server=SERVER, reason="GET /: 503 Service Unavailable"
    )
    run.say("one/checker", up)
    run.say("two/checker", up)
    verdict = run.say("one/checker", down)
    run.say("one/checker", VirtualServiceDown(virtual_service=SERVICE), verdict)
    run.say("one/ipvs-agent", IpvsChanged(actions=("-e -r w 0",), took_s=0.001), verdict)
    account = why_real_server("10.0.0.1", Story(run.messages))
    assert kinds(account) == ["ipvs.changed", "realserver.down"]
    assert "503 Service Unavailable" in account.answer
    told = " | ".join(account.steps[-1].evidence)
    assert "virtualservice.down" in told
    assert "before: " in told
    assert "DISAGREES: " in told
    run.say("two/checker", down)
    assert "agrees: " in " ".join(why_real_server(SERVER, Story(run.messages)).steps[-1].evidence)


def test_a_drain_is_the_command_of_somebody() -> None:
    run = Run()
    command = OperatorCommanded(command="drain", arguments="server=10.0.0.1", by="observer-7")
    commanded = run.say("one/ipvs-agent", command)
    run.say("one/ipvs-agent", IpvsChanged(actions=("-e -r w 0",), took_s=0.001), commanded)
    run.say(
        "one/ipvs-agent",
        RealServerDraining(virtual_service=SERVICE, real_server=SERVER),
        commanded,
    )
    account = why_real_server(SERVER, Story(run.messages))
    assert kinds(account) == ["ipvs.changed", "realserver.draining", "operator.commanded"]


@pytest.mark.parametrize(
    ("name", "server", "same"),
    [
        ("10.0.0.1", "10.0.0.1:80", True),
        ("10.0.0.1:80", "10.0.0.1:80", True),
        ("10.0.0.1:81", "10.0.0.1:80", False),
        ("10.0.0.1", "10.0.0.11:80", False),
        ("fd00::1", "[fd00::1]:80", True),
        ("[fd00::1]:80", "[fd00::1]:80", True),
        ("fd00::1", "[fd00::11]:80", False),
    ],
)
def test_a_real_server_is_named_with_its_port_or_without(
    name: str, server: str, same: bool
) -> None:
    run = Run()
    run.say("one/checker", RealServerUp(virtual_service=SERVICE, real_server=server, reason="open"))
    assert bool(why_real_server(name, Story(run.messages)).steps) is same
