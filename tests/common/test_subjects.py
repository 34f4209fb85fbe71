"""Subjects are guessable words; node names cannot break out of their token."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from heartbus import subjects
from heartbus.events import EVENT_CLASSES
from heartbus.observer import EVENT_SUBJECTS
from heartbus.testing import _matches

host_names = st.from_regex(
    r"[a-z0-9]([a-z0-9-]{0,10}[a-z0-9])?(\.[a-z][a-z0-9]{0,8}){0,3}", fullmatch=True
)


def test_an_event_is_published_on_the_word_an_administrator_would_guess() -> None:
    kinds = {c.kind for c in EVENT_CLASSES}
    assert {"node.dead", "realserver.down", "vip.acquired", "ipvs.changed"} <= kinds
    assert all(re.fullmatch(r"[a-z]+\.[a-z]+", kind) for kind in kinds)


def test_snapshots_and_commands_carry_the_node() -> None:
    assert subjects.state("linuxha1.linux-ha.org", "vip") == "state.linuxha1_linux-ha_org.vip"
    assert subjects.command("lb-a", "ipvs-agent", "state") == "command.lb-a.ipvs-agent.state"


@given(host_names)
def test_a_node_name_is_one_token_and_comes_back(node: str) -> None:
    token = subjects.node_token(node)
    assert not set(token) & set(".*> ")
    assert subjects.node_from_token(token) == node


@pytest.mark.parametrize("node", ["", "a b", "a.>", "*", "a..b", "_x", "a_b", ".a", "a." * 200])
def test_what_is_no_host_name_is_refused(node: str) -> None:
    with pytest.raises(ValueError, match="is not a host name"):
        subjects.node_token(node)


@pytest.mark.parametrize("word", ["", "Vip", "a.b", "*", "a" * 40])
def test_what_is_no_service_word_is_refused(word: str) -> None:
    with pytest.raises(ValueError, match="cannot be a subject token"):
        subjects.state("a", word)


def test_observers_hear_every_event_and_nothing_local() -> None:
    for event_class in EVENT_CLASSES:
        assert any(_matches(pattern, event_class.kind) for pattern in EVENT_SUBJECTS)
    assert not any(_matches(p, subjects.echo("a", "vip")) for p in EVENT_SUBJECTS)
