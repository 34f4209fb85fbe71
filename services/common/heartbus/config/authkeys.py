"""Reads authkeys: which key signs heartbeats, and which keys are accepted.

Sans-I/O. Whether keys are complete and strong enough is tested where every form of configuration
is (validate.py).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

from heartbus.config.report import Place, Report, Setting, closest, shown, word
from heartbus.config.values import BadValueError, integer
from heartbus.model import AuthKey, AuthMethod

KEY_ID_MAX: Final = 15


@dataclass(slots=True, kw_only=True)
class AuthKeys:
    """The content of authkeys. ``refused``: how many key lines were no key lines."""

    file: str
    refused: int = 0
    signing_key: Setting[int] | None = None
    keys: list[Setting[AuthKey]] = field(default_factory=list)


def parse(text: str, file: str, report: Report) -> AuthKeys:
    """Return the content of authkeys; a secret is never part of a remark."""
    result = AuthKeys(file=file)
    for number, raw in enumerate(text.split("\n"), 1):
        line = raw.strip()
        if not line or line.startswith("#"):
            continue
        place = Place(file=file, line=number)
        if "\0" in line:
            report.error(place, "control characters in the line; allowed is plain text")
        elif line.startswith("a"):
            _auth(result, line.split(), place.of("auth"), report)
        else:
            before = report.errors
            _key(result, line.split(), place, report)
            result.refused += report.errors - before
    if result.signing_key is None:
        report.error(
            Place(file=file, line=1, directive="auth"),
            "no line says which key signs; allowed is auth and the number of a key line",
        )
    return result


def _auth(result: AuthKeys, words: list[str], place: Place, report: Report) -> None:
    if words[0] != "auth":
        # Heartbeat takes any line that starts with an a; a slip of the pen should not decide.
        report.warning(place, f"{shown(words[0])} is taken as auth")
    if len(words) < 2:
        report.error(place, f"a key number is missing; allowed is 0 to {KEY_ID_MAX}")
        return
    try:
        key_id = integer(words[1], 0, KEY_ID_MAX)
    except BadValueError as error:
        report.error(place, str(error))
        return
    if len(words) > 2:
        report.warning(place, "words after the number are left out")
    if result.signing_key is not None:
        report.warning(
            place, f"also given on line {result.signing_key.place.line}; this one counts"
        )
    if any(key.value.id == key_id for key in result.keys):
        report.warning(
            place, f"below the line of key {key_id}; Heartbeat wants it above (key not found)"
        )
    result.signing_key = Setting(value=key_id, place=place)


def _key(result: AuthKeys, words: list[str], place: Place, report: Report) -> None:
    place = place.of(word(words[0]) if len(words[0]) <= 2 else "key")
    if not words[0].isdecimal():
        # Not shown: it may be a secret on a line of its own.
        report.error(
            place,
            "neither an auth line nor a key line; allowed is"
            f" auth N, or N method secret, with N from 0 to {KEY_ID_MAX}",
        )
        return
    try:
        key_id = integer(words[0], 0, KEY_ID_MAX)
    except BadValueError as error:
        report.error(place, str(error))
        return
    methods = ", ".join(AuthMethod)
    if len(words) < 2:
        report.error(place, f"a method is missing; allowed is {methods}")
        return
    try:
        method = AuthMethod(words[1])
    except ValueError:
        report.error(
            place,
            f"{shown(words[1])} is no method; allowed is {methods}{closest(words[1], AuthMethod)}",
        )
        return
    if len(words) > 3:
        report.warning(place, "words after the secret are left out: a secret has no blanks")
    if len(words) > 2 and len(words[2]) > 1 and words[2][0] == words[2][-1] in ("'", '"'):
        report.warning(place, "the quotes are part of the secret, as in Heartbeat")
    secret = words[2].encode("utf-8", "surrogateescape") if len(words) > 2 else b""
    result.keys.append(
        Setting(value=AuthKey(id=key_id, method=method, secret=secret), place=place.of(str(key_id)))
    )
