"""Messages survive the wire; bytes that are no message end in DecodeError, and in nothing else."""

from __future__ import annotations

import contextlib
import json
from pathlib import Path

import msgpack
import pytest
from hypothesis import given
from hypothesis import strategies as st

from heartbus import codec
from heartbus.events import (
    BODY_CLASSES,
    Body,
    CheckerState,
    Envelope,
    Health,
    Message,
    NodeDead,
    RealServerDown,
    Verdict,
)
from tests.common.samples import sample_body, sample_envelope

GOLDEN = Path(__file__).with_name("golden")

bodies = st.sampled_from(sorted(BODY_CLASSES)).map(lambda kind: sample_body(BODY_CLASSES[kind]))


def message_of(body: Body) -> Message:
    return Message(envelope=sample_envelope(body.kind), body=body)


@pytest.mark.parametrize("kind", sorted(BODY_CLASSES))
def test_every_kind_survives_the_wire(kind: str) -> None:
    message = message_of(sample_body(BODY_CLASSES[kind]))
    assert codec.decode(codec.encode(message)) == message


@pytest.mark.parametrize("kind", sorted(BODY_CLASSES))
def test_every_kind_has_the_bytes_it_had_when_it_was_released(kind: str) -> None:
    # An old director must understand a new one during an upgrade: changing these bytes is a new
    # schema version, not an edit of the golden file.
    golden = json.loads((GOLDEN / "messages.json").read_text())
    assert codec.encode(message_of(sample_body(BODY_CLASSES[kind]))).hex() == golden[kind]


def test_a_plain_msgpack_reader_finds_envelope_and_body() -> None:
    body = RealServerDown(virtual_service="tcp:10.0.0.1:80", real_server="10.0.0.2:80", reason="r")
    document = msgpack.unpackb(codec.encode(message_of(body)))
    assert document["kind"] == "realserver.down"
    assert document["data"] == {
        "virtual_service": "tcp:10.0.0.1:80",
        "real_server": "10.0.0.2:80",
        "reason": "r",
    }


def test_fields_that_a_newer_sender_added_are_ignored() -> None:
    message = message_of(NodeDead(director="a", silent_s=0.3, reason="silence"))
    document = msgpack.unpackb(codec.encode(message))
    document["colour"] = "blue"
    document["data"]["mood"] = "bad"
    assert codec.decode(msgpack.packb(document)) == message


@given(st.binary(max_size=400))
def test_garbage_is_a_decode_error(payload: bytes) -> None:
    with pytest.raises(codec.DecodeError):
        codec.decode(payload)


@given(body=bodies, position=st.integers(min_value=0), value=st.integers(0, 255))
def test_a_damaged_message_decodes_or_is_a_decode_error(
    body: Body, position: int, value: int
) -> None:
    payload = bytearray(codec.encode(message_of(body)))
    payload[position % len(payload)] = value
    with contextlib.suppress(codec.DecodeError):
        codec.decode(bytes(payload))


def deeply_nested() -> bytes:
    return b"\x91" * 100_000 + b"\xc0"


@pytest.mark.parametrize(
    ("payload", "said"),
    [
        (b"", "not msgpack"),
        (msgpack.packb([1, 2]), "a map is expected"),
        (deeply_nested(), "not msgpack"),
        (b"\x00" * (codec.PAYLOAD_BYTES_MAX + 1), "at most"),
        (msgpack.packb({"schema": 1}), "envelope"),
    ],
)
def test_the_error_says_what_is_wrong(payload: bytes, said: str) -> None:
    with pytest.raises(codec.DecodeError, match=said):
        codec.decode(payload)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"schema": 99}, "schema 99, this version reads 1"),
        ({"kind": "node.asleep"}, "unknown kind 'node.asleep'"),
        ({"data": {"director": "a"}}, "silent_s"),
        ({"data": {"director": 7, "silent_s": 1.0, "reason": ""}}, "director"),
        ({"sequence": "many"}, "sequence"),
        ({"time_s": 1e300}, "a time that is"),
        ({"uptime_s": float("nan")}, "a time that is"),
        ({"valid_for_s": -1.0}, "a time that is"),
    ],
)
def test_a_wrong_field_is_named(change: dict[str, object], said: str) -> None:
    message = message_of(NodeDead(director="a", silent_s=0.3, reason="silence"))
    document = msgpack.unpackb(codec.encode(message)) | change
    with pytest.raises(codec.DecodeError, match=said):
        codec.decode(msgpack.packb(document))


def test_headers_are_cloudevents_attributes() -> None:
    headers = codec.headers(sample_envelope("vip.acquired"))
    assert headers == {
        "ce-specversion": "1.0",
        "ce-type": "vip.acquired",
        "ce-source": "heartbus://linuxha1.linux-ha.org/vip",
        "ce-id": "0123456789abcdef",
        "ce-time": "2026-11-22T12:00:00Z",
        "Content-Type": "application/msgpack",
    }


def test_json_form_holds_the_same_as_the_message() -> None:
    verdict = Verdict(
        virtual_service="v", real_server="r", health=Health.UP, reason="ok", since_s=1.0
    )
    body = CheckerState(verdicts=(verdict,))
    document = json.loads(json.dumps(codec.to_map(message_of(body))))
    assert document["data"]["verdicts"][0]["health"] == "up"
    assert set(document) == {*codec.field_names(Envelope), "data"}
