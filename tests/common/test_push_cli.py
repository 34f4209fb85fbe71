"""What ``heartbus config push`` refuses before it asks anybody."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from heartbus.cli.push import PushError, document, local_files
from heartbus.config import load
from heartbus.config.digest import config_digest
from tests.common.config_samples import QUIET, directory
from tests.common.ports import free_port

HEARTBUS = Path(sys.prefix) / "bin" / "heartbus"
DOCUMENT = """\
[[directors]]
name = "one"
[[directors]]
name = "two"
[[membership.links]]
kind = "bcast"
interface = "eth0"
[membership.authentication]
signing_key = 1
[[membership.authentication.keys]]
id = 1
secret_file = "key"
"""


@pytest.fixture
def place(tmp_path: Path) -> Path:
    for name, text in (("key", "a-secret-of-sixteen-or-more"), ("heartbus.toml", DOCUMENT)):
        (tmp_path / name).write_text(text)
        (tmp_path / name).chmod(0o600)
    return tmp_path


def push(
    place: Path, text: str, *, config: Path | None = None, file: Path | None = None
) -> subprocess.CompletedProcess[str]:
    new = file or place / "new.toml"
    if file is None:
        new.write_text(text)
        new.chmod(0o600)
    config = config or place / "heartbus.toml"
    nats = f"--nats=nats://127.0.0.1:{free_port()}"
    return subprocess.run(
        [HEARTBUS, "config", "push", new, f"--config={config}", nats],
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )


def test_what_has_a_secret_in_it_is_refused_with_its_line(place: Path) -> None:
    done = push(place, DOCUMENT.replace('secret_file = "key"', 'secret = "not-for-everybody"'))
    assert done.returncode == 2
    assert f"{place}/new.toml:12: membership.authentication.keys[0].secret: a secret" in done.stderr
    assert "Allowed is secret_file, with that file on every director" in done.stderr
    assert "not-for-everybody" not in done.stderr


def test_what_includes_more_is_refused(place: Path) -> None:
    (place / "more.toml").write_text("[vip]\nlifetime = 9\n")
    done = push(place, f'include = "more.toml"\n{DOCUMENT}')
    assert done.returncode == 2
    assert (
        "new.toml: with include (1 more); the other directors have not got what it includes"
        in done.stderr
    )
    assert "--join pushes all of them as one" in done.stderr


def test_joined_it_is_one_file_that_means_the_same_with_the_same_files_beside_it(
    place: Path,
) -> None:
    (place / "conf.d").mkdir()
    more = place / "conf.d" / "more.toml"
    more.write_text("[vip]\nlifetime = 9\n[[directors]]\nname = 'three'\n")
    more.chmod(0o600)
    main = place / "heartbus.toml"
    main.write_text(f'include = "conf.d/*.toml"\n{DOCUMENT}')
    text, loaded = document(str(main), join=True)
    assert local_files(str(main), loaded) == (str(place / "key"),)
    assert "include" not in text
    one = place / "one.toml"
    one.write_text(text)
    one.chmod(0o600)
    again = load(str(one))
    assert again.included == ()
    assert config_digest(again.cluster) == config_digest(loaded.cluster)
    assert again.cluster.membership.authentication == loaded.cluster.membership.authentication


def test_a_secret_in_what_is_included_is_not_joined_in(place: Path) -> None:
    more = place / "more.toml"
    more.write_text(
        "[[membership.authentication.keys]]\nid = 2\nsecret = 'not-for-everybody-else'\n"
    )
    more.chmod(0o600)
    (place / "heartbus.toml").write_text(f'include = "more.toml"\n{DOCUMENT}')
    with pytest.raises(PushError, match=r"more\.toml:3: .*secret: a secret; whoever listens"):
        document(str(place / "heartbus.toml"), join=True)


def test_a_directory_is_refused(place: Path) -> None:
    done = push(place, "", file=directory(place, QUIET))
    assert done.returncode == 2
    assert "is a directory: one TOML file is pushed" in done.stderr


def test_what_cannot_be_used_is_refused_with_its_lines(place: Path) -> None:
    done = push(place, f"{DOCUMENT}colour = 1\n")
    assert done.returncode == 2
    line = DOCUMENT.count("\n") + 1
    assert f"{place}/new.toml:{line}: membership.authentication.keys[0].colour" in done.stderr


def test_a_key_without_a_secret_signs_nothing(place: Path) -> None:
    old = directory(place, {**QUIET, "authkeys": "auth 1\n1 crc\n"})
    done = push(place, DOCUMENT, config=old)
    assert done.returncode == 2
    assert "the signing key is crc and has no secret; allowed is sha256" in done.stderr


def test_without_a_bus_it_says_so(place: Path) -> None:
    done = push(place, DOCUMENT)
    assert done.returncode == 3
    assert "no nats-server at nats://127.0.0.1:" in done.stderr
