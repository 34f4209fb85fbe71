"""autoreload and callback: from ldirectord files, from TOML, shown, and with their places."""

from __future__ import annotations

from pathlib import Path

import pytest

from heartbus.config import load
from heartbus.config.convert import to_toml
from heartbus.config.origin import origins
from heartbus.config.show import render
from heartbus.model import ReloadSettings
from tests.common.config_samples import QUIET, directory, loaded, remarks

SERVICES = (
    "quiescent=no\nvirtual=192.168.7.110:80\n\treal=192.168.7.11:80 gate\n\tchecktype=connect\n"
)
TWO = "linuxha1 192.168.7.110/24 ldirectord::www.cf ldirectord::mail.cf\n"
MAIL = SERVICES.replace(":80", ":25")


def files(www: str, mail: str = "") -> dict[str, str]:
    texts = {name: str(text) for name, text in QUIET.items()}
    www, mail = f"{www}cleanstop=no\n{SERVICES}", f"{mail}cleanstop=no\n{MAIL}"
    return {**texts, "haresources": TWO, "www.cf": www, "mail.cf": mail}


def settings(tmp_path: Path, www: str, mail: str = "") -> ReloadSettings:
    return loaded(directory(tmp_path, files(www, mail))).cluster.reload


@pytest.mark.parametrize(
    ("www", "mail", "watched"),
    [
        ("", "", False),
        ("autoreload=yes\n", "", True),
        ("autoreload = no\n", "", False),
        ("autoreload=yes\n", "autoreload=no\n", True),
        ("autoreload=no\n", "autoreload=yes\n", True),
    ],
)
def test_files_are_watched_if_one_of_them_asks_for_it(
    tmp_path: Path, www: str, mail: str, watched: bool
) -> None:
    assert settings(tmp_path, www, mail).autoreload is watched


@pytest.mark.parametrize("written", ['"/bin/true"', "/bin/true"])
def test_a_callback_is_taken_with_and_without_quotes(tmp_path: Path, written: str) -> None:
    assert settings(tmp_path, f"callback={written}\n").callback == "/bin/true"


def test_oddities_of_a_callback_are_told(tmp_path: Path) -> None:
    said = remarks(
        tmp_path,
        files('callback = "no/such"\n', 'callback = "/bin/true"\n'),
    )
    where = tmp_path / "ha.d" / "www.cf"
    assert said == [
        "warning www.cf:1: callback: taken as /no/such: ldirectord runs in /",
        "warning www.cf:1: callback: no executable file '/no/such' here; a director without it"
        " goes on alone",
        f"warning mail.cf:1: callback: not run: that of {where}:1 is, for all files;"
        " allowed is one".replace(f"{where.parent}/", ""),
    ]


def test_they_are_converted_shown_and_found_again(tmp_path: Path) -> None:
    old = loaded(directory(tmp_path, files("", 'autoreload=yes\ncallback="/bin/true"\n')))
    places = {o.key: o.place for o in origins(old.cluster, old.places)}
    for key, line in (("cluster.autoreload", 1), ("cluster.callback", 2)):
        place = places[key]
        assert place is not None
        assert (Path(place.file).name, place.line) == ("mail.cf", line)
    assert "watched, then /bin/true is run" in render(old.cluster, as_json=False)
    toml = tmp_path / "heartbus.toml"
    toml.write_text(to_toml(old.cluster, ()))
    toml.chmod(0o600)
    new = load(str(toml), root=str(tmp_path))
    assert new.cluster.reload == old.cluster.reload
    place = {o.key: o.place for o in origins(new.cluster, new.places)}["cluster.callback"]
    assert place is not None
    assert "callback" in toml.read_text().splitlines()[(place.line or 0) - 1]
