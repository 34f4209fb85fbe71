"""Pages that are made from the code say what the code says now."""

from __future__ import annotations

import pytest
import yaml

from heartbus import asyncapi, codec, subjects
from heartbus.events import BODY_CLASSES
from tests.docs.pages import DOCS, pages

PAGES = pages()


@pytest.mark.parametrize("name", sorted(PAGES))
def test_the_page_is_what_the_code_says(name: str) -> None:
    assert (DOCS / name).read_text() == PAGES[name], "make docs"


def test_the_yaml_is_the_document() -> None:
    assert yaml.safe_load(PAGES["asyncapi.yaml"]) == asyncapi.document()


def test_every_kind_of_message_has_a_channel_and_an_example_that_we_read() -> None:
    document = asyncapi.document()
    said = {
        message["$ref"].rpartition("/")[2]
        for channel in document["channels"].values()
        for message in channel["messages"].values()
    }
    assert said == set(BODY_CLASSES)
    for kind, payload in asyncapi.examples().items():
        assert codec.decode(payload).envelope.kind == kind


def test_addresses_are_the_subjects_that_the_services_use() -> None:
    channels = asyncapi.document()["channels"]
    assert channels["node.dead"]["address"] == "node.dead"
    filled = channels["state.vip"]["address"].format(node=subjects.node_token("a.example"))
    assert filled == subjects.state("a.example", "vip")
    filled = channels["command.standby"]["address"].format(
        node=subjects.node_token("a.example"), service="membership"
    )
    assert filled == subjects.command("a.example", "membership", "standby")
