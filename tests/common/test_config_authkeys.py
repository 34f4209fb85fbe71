"""Keys are read as they are written, and never said; a wrong line is named."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.common.config_samples import QUIET, directory, loaded, remarks


def test_several_keys_are_accepted_and_one_signs(tmp_path: Path) -> None:
    text = '# keys\nauth    3\n  3 sha256 "quoted"\n2 sha1 old\n0 crc\n'
    place = directory(tmp_path, {**QUIET, "authkeys": text})
    authentication = loaded(place).cluster.membership.authentication
    assert authentication.signing_key == 3
    assert [(k.id, k.method.value, k.secret) for k in authentication.keys] == [
        (3, "sha256", b'"quoted"'),
        (2, "sha1", b"old"),
        (0, "crc", b""),
    ]


def test_a_secret_may_be_any_bytes(tmp_path: Path) -> None:
    place = directory(tmp_path, {**QUIET, "authkeys": b"auth 1\n1 sha256 \xff\xfe\xc3\xa9\n"})
    (key,) = loaded(place).cluster.membership.authentication.keys
    assert key.secret == b"\xff\xfe\xc3\xa9"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (
            "1 sha256 x\nauth 1\n",
            "warning authkeys:2: auth: below the line of key 1; Heartbeat wants it above (key not"
            " found)",
        ),
        (
            "1 sha256 x\n",
            "error authkeys:1: auth: no line says which key signs; allowed is auth and the number"
            " of a key line",
        ),
        ("auth 2\n1 sha256 x\n", "error authkeys:1: auth: there is no key 2; allowed is 1"),
        (
            "auth 16\n",
            "error authkeys:1: auth: '16' is not allowed; allowed is a whole number from 0 to 15",
        ),
        ("auth\n", "error authkeys:1: auth: a key number is missing; allowed is 0 to 15"),
        (
            "auth 1\n1 crc x\n",
            "error authkeys:2: 1: crc takes no secret; allowed is crc alone, or another method",
        ),
        (
            "auth 1\n1 sha256\n",
            "error authkeys:2: 1: sha256 needs a secret; allowed is one word without blanks",
        ),
        (
            "auth 1\n1\n",
            "error authkeys:2: 1: a method is missing; allowed is crc, md5, sha1, sha256",
        ),
        (
            "auth 1\n1 sha256 a\n1 sha256 b\n",
            "error authkeys:3: 1: key 1 is given twice; each id has one key",
        ),
        (
            "auth 1\n1 sha256 a b\n",
            "warning authkeys:2: 1: words after the secret are left out: a secret has no blanks",
        ),
        ("autn 1\n1 sha256 a\n", "warning authkeys:1: auth: 'autn' is taken as auth"),
    ],
)
def test_what_is_said_about_authkeys(tmp_path: Path, text: str, words: str) -> None:
    assert words in remarks(tmp_path, {**QUIET, "authkeys": text})


def test_a_secret_is_never_said(tmp_path: Path) -> None:
    text = "auth 1\nhunter2\n1 sha256 hunter2 hunter2\n99 md5 hunter2\n1 crc hunter2\n"
    assert "hunter2" not in str(remarks(tmp_path, {**QUIET, "authkeys": text}))
