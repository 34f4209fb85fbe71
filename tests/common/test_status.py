"""What status shows: only what fresh snapshots say, whatever words real servers put in."""

from __future__ import annotations

import dataclasses
import io
from dataclasses import replace
from typing import Any

from rich.console import Console

from heartbus.cli.status import document, screen
from heartbus.cli.status_services import service_table, services
from heartbus.cli.status_sources import UNKNOWN
from heartbus.events import (
    CheckerState,
    ClientStatus,
    ClientView,
    ConfigDifference,
    DirectorStatus,
    DirectorView,
    FenceStatus,
    FenceView,
    GroupView,
    Health,
    HeldGroup,
    HoldStatus,
    IpvsState,
    LinkView,
    MembershipState,
    Message,
    PingNodeView,
    PingStatus,
    RecorderState,
    State,
    TableRealServer,
    TableService,
    Verdict,
    VipState,
    WatchdogView,
)
from heartbus.observer import ClusterView
from tests.common.samples import sample_envelope

NODE = "linuxha1.linux-ha.org"
GROUP = "IPaddr::192.168.7.110/24"
REASON = "GET /: 200 OK, but [/url] [bold] is not ok[a-z]+ \x1b[2J"
PING_NODES = (
    PingNodeView(name="r1", status=PingStatus.UP, silent_s=0.1234, members_heard=("r1",)),
    PingNodeView(name="routers", status=PingStatus.UP, silent_s=0.2, members_heard=("r2",)),
    PingNodeView(name="r3", status=PingStatus.DOWN, silent_s=9.0),
    PingNodeView(name="r4[/]", status=PingStatus.UNKNOWN, problem="r4: no address \x1b[2J"),
)


LINKS = (
    LinkView(name="bcast:eth1", usable=True, heard=("linuxha2.linux-ha.org",)),
    LinkView(
        name="serial:/dev/ttyS0",
        usable=False,
        heard=(),
        problem="/dev/ttyS0: No such file or directory",
    ),
)


def view_at(now_s: float) -> ClusterView:
    view = ClusterView()
    directors = (DirectorView(name=NODE, status=DirectorStatus.ALIVE, ready=True),)
    groups = (GroupView(name=GROUP, holder=NODE, epoch=4, reason="preferred"),)
    verdict = Verdict(
        virtual_service="tcp:v:80",
        real_server="r:80",
        health=Health.DOWN,
        reason=REASON,
        since_s=1.0,
    )
    entry = TableRealServer(
        real_server="r:80",
        forwarding="gate",
        weight=0,
        active_connections=2,
        inactive_connections=0,
    )
    service = TableService(virtual_service="tcp:v:80", scheduler="rr", real_servers=(entry,))
    held = HeldGroup(name=GROUP, status=HoldStatus.HELD, epoch=4, addresses=("192.168.7.110",))
    states: tuple[State, ...] = (
        MembershipState(
            settled=True,
            directors=directors,
            groups=groups,
            leases=(),
            links=LINKS,
            boot_id="b",
            config_digest="d",
            ping_nodes=PING_NODES,
        ),
        VipState(groups=(held,)),
        CheckerState(verdicts=(verdict,)),
        IpvsState(services=(service,), digest="x"),
    )
    for state in states:
        view.see(Message(envelope=sample_envelope(state.kind), body=state), now_s=now_s)
    return view


def shown(view: ClusterView, *, now_s: float) -> str:
    out = io.StringIO()
    Console(file=out, width=220).print(screen(view, now_s=now_s))
    return out.getvalue()


def test_the_holder_its_epoch_and_the_real_servers_are_shown() -> None:
    content = document(view_at(100.0), now_s=100.5)
    assert content["groups"][0]["holder"] == NODE
    assert content["groups"][0]["age_s"] == 0.5
    (server,) = content["virtual_services"][0]["tables"][NODE]
    assert (server["weight"], server["health"]) == (0, "down")


def test_who_checks_a_real_server_is_shown() -> None:
    """Where each is checked by some directors only, the others repeat what those found out."""
    entry = TableRealServer(
        real_server="r:80",
        forwarding="gate",
        weight=1,
        active_connections=0,
        inactive_connections=0,
    )
    sorry = replace(entry, real_server="s:80", sorry=True)
    service = TableService(virtual_service="tcp:v:80", scheduler="rr", real_servers=(entry, sorry))
    own = Verdict(
        virtual_service="tcp:v:80", real_server="r:80", health=Health.UP, reason="", since_s=1.0
    )
    table = IpvsState(services=(service,), digest="x")
    seen = [
        ("a.example", table, CheckerState(verdicts=(own,))),
        ("b.example", table, CheckerState(verdicts=(replace(own, elsewhere=True),))),
        ("c.example", table, None),
    ]
    (row,) = services(seen)
    for node in ("a.example", "b.example", "c.example"):
        server, fallback = row["tables"][node]
        assert (server["checked_by"], fallback["checked_by"]) == (["a.example"], [])
    out = io.StringIO()
    Console(file=out, width=200).print(service_table(row))
    (heading, *lines) = (line for line in out.getvalue().splitlines() if "│" in line or "┃" in line)
    assert "checked by" in heading
    assert [line.split("│")[10].strip() for line in lines] == ["a", ""] * 3


def test_what_is_old_is_unknown_and_not_remembered() -> None:
    content = document(view_at(100.0), now_s=200.0)
    assert content["groups"] == []
    assert content["virtual_services"] == []
    (director,) = content["directors"]
    assert (director["holds"], director["seen_by"], director["age_s"]) == (None, {}, 100.0)
    assert UNKNOWN in shown(view_at(100.0), now_s=200.0)


def test_ping_nodes_are_shown_as_each_director_sees_them() -> None:
    content = document(view_at(100.0), now_s=100.5)
    assert [row["name"] for row in content["ping_nodes"]] == ["r1", "routers", "r3", "r4[/]"]
    assert content["ping_nodes"][1]["seen_by"] == {
        NODE: {
            "status": "up",
            "silent_s": 0.2,
            "members_heard": ["r2"],
            "problem": None,
            "source": "state.linuxha1_linux-ha_org.membership",
            "age_s": 0.5,
        }
    }
    text = shown(view_at(100.0), now_s=100.5)
    for words in ("Ping nodes", "r2 answers", "down", "9.0 s", "r4[/]", "r4: no address"):
        assert words in text
    assert "r1 answers" not in text, "its name says it already"
    assert "Ping nodes" not in shown(view_at(100.0), now_s=200.0)


def test_words_of_a_real_server_are_shown_as_they_are_and_move_no_cursor() -> None:
    text = shown(view_at(100.0), now_s=100.5)
    assert "[/url] [bold] is not ok[a-z]+" in text
    assert "\x1b" not in text


def test_every_figure_has_an_age_and_a_source() -> None:
    content = document(view_at(100.0), now_s=100.5)
    subject = "state.linuxha1_linux-ha_org"
    rows = [
        *content["directors"],
        *content["links"],
        *content["groups"],
        *(seen for row in content["ping_nodes"] for seen in row["seen_by"].values()),
    ]
    assert len(rows) > 6
    for row in rows:
        assert (row["source"], row["age_s"]) == (f"{subject}.membership", 0.5)
    assert content["groups"][0]["held_as"]["source"] == f"{subject}.vip"
    (service,) = content["virtual_services"]
    assert service["sources"][NODE] == {
        "table": {"source": f"{subject}.ipvs-agent", "age_s": 0.5},
        "checks": {"source": f"{subject}.checker", "age_s": 0.5},
    }
    ages = {row["service"]: (row["age_s"], row["fresh"]) for row in content["sources"]}
    assert ages == {
        "membership": (0.5, True),
        "vip": (0.5, True),
        "checker": (0.5, True),
        "ipvs-agent": (0.5, True),
        "recorder": (None, False),
    }


def test_an_age_beyond_which_nothing_is_shown_is_told_as_such() -> None:
    text = shown(view_at(100.0), now_s=104.5)
    assert text.count("4.5 s: not shown") >= 4
    assert "Age of what is shown" in text


def test_links_are_shown_with_who_is_heard_and_what_is_wrong() -> None:
    first, second = document(view_at(100.0), now_s=100.5)["links"]
    assert (first["director"], first["heard"]) == (NODE, ["linuxha2.linux-ha.org"])
    assert second["problem"] == "/dev/ttyS0: No such file or directory"
    (line,) = [x for x in shown(view_at(100.0), now_s=100.5).split("\n") if "ttyS0" in x]
    assert "serial:/dev/ttyS0" in line
    assert "No such file or directory" in line
    assert document(view_at(100.0), now_s=200.0)["links"] == []


def guarded(view: ClusterView, now_s: float, reason: str) -> None:
    state = view.state(NODE, MembershipState)
    assert state is not None
    told = replace(
        state,
        watchdog=WatchdogView(
            device="/dev/watchdog", armed=False, timeout_s=31.0, problem="cannot open it"
        ),
        fences=(FenceView(director="lb2", status=FenceStatus.FAILED, failures=2, reason=reason),),
        clients=(
            ClientView(command="/opt/agent -v", user="root", status=ClientStatus.RUNNING, exits=1),
        ),
    )
    view.see(Message(envelope=sample_envelope(told.kind), body=told), now_s=now_s)


def test_watchdog_fences_and_programs_are_shown_where_they_are_configured() -> None:
    view = view_at(100.0)
    (plain,) = document(view, now_s=100.5)["directors"]
    assert not {"watchdog", "fences", "clients"} & set(plain)
    assert "Watchdog" not in shown(view, now_s=100.5)
    guarded(view, 100.0, "/usr/sbin/fence_x: [/b] \x1b[2J refused")
    (row,) = document(view, now_s=100.5)["directors"]
    assert row["watchdog"]["problem"] == "cannot open it"
    assert row["fences"][0]["status"] == "failed"
    assert row["clients"][0] == {
        "command": "/opt/agent -v", "user": "root", "status": "running", "exits": 1, "reason": ""
    }  # fmt: skip
    text = shown(view, now_s=100.5)
    for words in ("not armed", "cannot open it", "fence of lb2", "[/b]", "/opt/agent -v"):
        assert words in text
    assert "\x1b" not in text


def told(**settings: Any) -> ClusterView:
    view = view_at(100.0)
    state = view.state(NODE, MembershipState)
    assert state is not None
    other = replace(state, **settings)
    view.see(Message(envelope=sample_envelope(other.kind), body=other), now_s=100.0)
    return view


def differing(*differences: ConfigDifference) -> ClusterView:
    return told(config_differences=differences)


def test_heartbeats_that_were_not_believed_are_shown_by_reason_where_there_are_any() -> None:
    view = told(dropped={"forged": 12, "alien\x1b[2J": 3})
    assert document(view, now_s=100.5)["directors"][0]["dropped"]["forged"] == 12
    text = shown(view, now_s=100.5)
    assert "Heartbeats dropped" in text
    assert [line.split("│")[3].strip() for line in text.split("\n") if "forged" in line] == ["12"]
    assert "\x1b" not in text
    assert "Heartbeats dropped" not in shown(told(), now_s=100.5)


def test_another_configuration_is_an_alarm_that_says_what_differs_until_it_is_gone() -> None:
    what = ("timers", "resource groups", "virtual services")
    view = differing(ConfigDifference(director="lb2", theirs="cc", differs=what))
    ours = view.state(NODE, MembershipState)
    assert ours is not None
    (alarm,) = document(view, now_s=100.5)["alarms"]
    assert (alarm["kind"], alarm["seen_by"], alarm["director"]) == ("config.skew", NODE, "lb2")
    assert (alarm["ours"], alarm["theirs"]) == (ours.config_digest, "cc")
    assert alarm["differs"] == list(what)
    assert alarm["text"] == (
        f"timers, resource groups and virtual services differ between {NODE} and lb2: "
        f"{NODE} runs version {ours.config_digest}, lb2 cc; give both the same files"
        " (heartbus config push)"
    )
    assert alarm["text"] in shown(view, now_s=100.5)
    assert document(view, now_s=200.0)["alarms"] == []
    assert document(differing(), now_s=100.5)["alarms"] == []
    assert "Alarms" not in shown(differing(), now_s=100.5)


def test_the_version_of_the_configuration_is_shown_where_all_run_the_same() -> None:
    view = told()
    ours = view.state(NODE, MembershipState)
    assert ours is not None
    assert f"Directors, configuration version {ours.config_digest}" in shown(view, now_s=100.5)
    other = dataclasses.replace(ours, config_digest="cc")
    envelope = dataclasses.replace(sample_envelope(other.kind), node="lb2")
    view.see(Message(envelope=envelope, body=other), now_s=100.0)
    assert "Directors, with different configurations" in shown(view, now_s=100.5)
    assert "configuration version" not in shown(told(), now_s=200.0), "nobody says it any more"


def test_an_alarm_without_words_says_so_and_moves_no_cursor() -> None:
    view = differing(ConfigDifference(director="[/b]\x1b[2J", theirs="cc"))
    text = shown(view, now_s=100.5)
    assert "configuration differs" in text
    assert "[/b]" in text
    assert "\x1b" not in text


def test_a_checker_that_is_not_believed_is_an_alarm() -> None:
    view = view_at(100.0)
    state = CheckerState(verdicts=(), suspect="9 of 9 are down from here, but lb2 sees 9 up")
    view.see(Message(envelope=sample_envelope(state.kind), body=state), now_s=100.0)
    (alarm,) = document(view, now_s=100.5)["alarms"]
    assert (alarm["kind"], alarm["director"]) == ("checker.suspect", NODE)
    assert "its checker is not believed: 9 of 9 are down" in shown(view, now_s=100.5)
    assert document(view, now_s=200.0)["alarms"] == []


def see(view: ClusterView, state: State, *, node: str) -> None:
    envelope = replace(sample_envelope(state.kind), node=node)
    view.see(Message(envelope=envelope, body=state), now_s=10.0)


def test_a_history_that_is_not_kept_is_an_alarm() -> None:
    def told(*recorders: tuple[str, str | None]) -> list[tuple[str, str]]:
        view = ClusterView()
        for node in ("one", "two"):
            see(view, VipState(groups=()), node=node)
        for node, problem in recorders:
            state = RecorderState(events=1, digest="", since_s=0.0, size_bytes=1, problem=problem)
            see(view, state, node=node)
        return [(a["director"], a["text"]) for a in document(view, now_s=10.0)["alarms"]]

    assert told() == [], "nobody wants one"
    assert told(("one", None), ("two", None)) == []
    assert told(("one", None)) == [("two", "its history is not kept: no recorder is heard")]
    full = "history.db: database or disk is full"
    assert told(("one", None), ("two", full)) == [("two", f"its history is not kept: {full}")]


def test_a_history_that_does_not_reach_its_stream_is_an_alarm() -> None:
    view = view_at(100.0)
    state = RecorderState(
        events=1, digest="d", since_s=0.0, size_bytes=1, stream_problem="no stream there"
    )
    view.see(Message(envelope=sample_envelope(state.kind), body=state), now_s=100.0)
    (alarm,) = document(view, now_s=100.5)["alarms"]
    assert alarm["kind"] == "history.unstreamed"
    assert alarm["source"].endswith(".recorder")
    assert "does not reach the stream: no stream there" in shown(view, now_s=100.5)
