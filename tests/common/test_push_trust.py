"""Who is believed: whoever knows a key of the heartbeats, just now, about exactly this message."""

from __future__ import annotations

import dataclasses

import pytest

from heartbus.model import Authentication, AuthKey, AuthMethod
from heartbus.push.messages import PushConfig, PushStep
from heartbus.push.trust import SENT_MAX_S, distrust, signed, signing_secret

SECRET, OTHER = b"a-secret-of-sixteen-or-more", b"another-one-of-sixteen"
MESSAGE = PushConfig(push="a", step=PushStep.STAGE, sent_s=1000.0, text="x", part=1, parts=2)


def test_any_key_that_is_accepted_will_do() -> None:
    message = signed(MESSAGE, OTHER)
    assert distrust(message, (SECRET, OTHER), wall_s=1000.0) is None
    assert "not signed with a key" in str(distrust(message, (SECRET,), wall_s=1000.0))


@pytest.mark.parametrize(
    "changed",
    [
        {"push": "b"},
        {"step": PushStep.COMMIT},
        {"sent_s": 1001.0},
        {"text": "y"},
        {"part": 2},
        {"parts": 3},
        {"digest": "0"},
        {"mac": ""},
        {"text": "x1", "part": 0},
    ],
    ids=str,
)
def test_a_message_that_was_changed_is_not_believed(changed: dict[str, object]) -> None:
    message = dataclasses.replace(signed(MESSAGE, SECRET), **changed)  # type: ignore[arg-type]
    assert distrust(message, (SECRET,), wall_s=1000.0) is not None


@pytest.mark.parametrize(("wall_s", "believed"), [(0.0, True), (SENT_MAX_S, True)])
def test_a_recorded_message_is_not_believed_later(wall_s: float, believed: bool) -> None:
    message = signed(MESSAGE, SECRET)
    assert (distrust(message, (SECRET,), wall_s=1000.0 + wall_s) is None) is believed
    assert "ago" in str(distrust(message, (SECRET,), wall_s=1000.1 + SENT_MAX_S))
    assert distrust(message, (SECRET,), wall_s=999.9 - SENT_MAX_S) is not None


def test_without_a_secret_nobody_is_believed() -> None:
    assert "has a secret" in str(distrust(signed(MESSAGE, b""), (b"",), wall_s=1000.0))
    key = AuthKey(id=1, method=AuthMethod.CRC, secret=b"")
    assert signing_secret(Authentication(signing_key=1, keys=(key,))) == b""
    assert signing_secret(Authentication(signing_key=2, keys=(key,))) == b""


def test_no_two_messages_have_the_same_mac() -> None:
    one = signed(dataclasses.replace(MESSAGE, part=1, parts=23), SECRET)
    other = signed(dataclasses.replace(MESSAGE, part=12, parts=3), SECRET)
    assert one.mac != other.mac
