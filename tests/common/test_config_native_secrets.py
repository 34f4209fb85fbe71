"""Secrets in the TOML form: any characters, in files too, never said, for few eyes only."""

from __future__ import annotations

from pathlib import Path

import pytest

from heartbus.config import ConfigError
from tests.common.config_samples import directory, loaded, said
from tests.common.config_samples.native import BASE, changed, read, remarks


def test_a_secret_may_have_any_characters(tmp_path: Path) -> None:
    membership = read(tmp_path, changed('secret = "x"', 'secret = "\\u0000\\n"')).membership
    assert [key.secret for key in membership.authentication.keys] == [b"\0\n"]


def test_a_secret_is_never_said(tmp_path: Path) -> None:
    for value in ('"hunter2"', '["hunter2"]', '{ a = "hunter2" }'):
        text = changed('secret = "x"', f"secret = {value}, method = 'md5', id_ = 3")
        assert "hunter2" not in str(remarks(tmp_path, text))


def test_a_readable_file_with_a_secret_is_refused(tmp_path: Path) -> None:
    place = directory(tmp_path, {"heartbus.toml": BASE})
    (place / "heartbus.toml").chmod(0o644)
    with pytest.raises(ConfigError) as refused:
        loaded(place)
    (words,) = said(refused.value.diagnostics, place)
    assert words.startswith(
        "error heartbus.toml:10: membership.authentication.keys[0].secret: mode 644: group or"
        " others may read the secret"
    )


PASSWORD = """\
[[virtual_services]]
address = "10.0.0.1:143"
real_servers = [{ address = "10.0.0.2:143" }]
check = { service = "imap", login = "u", %s }
"""


def test_the_password_of_a_check_may_stand_in_a_file(tmp_path: Path) -> None:
    text = BASE + PASSWORD % 'password_file = "imap.key"'
    place = directory(tmp_path, {"heartbus.toml": text, "imap.key": "hush\n"})
    assert loaded(place).cluster.virtual_services[0].check.password == "hush"
    (place / "imap.key").chmod(0o644)
    with pytest.raises(ConfigError, match=r"imap\.key: mode 644: group or others may read"):
        loaded(place)


def test_a_password_in_a_file_that_others_may_read_is_refused(tmp_path: Path) -> None:
    text = BASE.replace('secret = "x"', 'secret_file = "key"') + PASSWORD % 'password = "hush"'
    place = directory(tmp_path, {"heartbus.toml": text, "key": "x"})
    (place / "heartbus.toml").chmod(0o644)
    with pytest.raises(ConfigError, match=r"check\.password: mode 644: group or others") as refused:
        loaded(place)
    assert "hush" not in str(refused.value)


def test_a_password_is_given_once(tmp_path: Path) -> None:
    text = BASE + PASSWORD % 'password = "a", password_file = "b"'
    with pytest.raises(ConfigError, match="password_file: given beside password; allowed is one"):
        loaded(directory(tmp_path, {"heartbus.toml": text, "b": "x"}))
