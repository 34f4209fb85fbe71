"""[vip.conflicts]: what is read, what is shown, what is refused."""

from __future__ import annotations

from pathlib import Path

import pytest

from heartbus.config import ConfigError, load
from heartbus.model import ConflictSettings, OnConflict
from tests.common.test_config_resources import native


def read(tmp_path: Path, text: str) -> ConflictSettings:
    return load(str(native(tmp_path, text)), root=str(tmp_path)).cluster.vip.conflicts


def test_settings_of_conflicts_have_defaults(tmp_path: Path) -> None:
    assert read(tmp_path, "") == ConflictSettings(policy=OnConflict.DEFEND, interval_s=30.0)
    written = read(tmp_path, '[vip.conflicts]\npolicy = "yield"\ninterval = "1500ms"\n')
    assert written == ConflictSettings(policy=OnConflict.YIELD, interval_s=1.5)
    assert read(tmp_path, "[vip.conflicts]\ninterval = 0\n").interval_s == 0


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ('policy = "fight"', "'fight' is not allowed; allowed is defend, yield, ignore"),
        ("interval = 0.5", "interval: 0.5 is not allowed; allowed is 1 s or more, or 0 for never"),
        ("interval = -1", "interval: -1 is not allowed"),
        ("often = 1", "often: unknown key; allowed is"),
    ],
)
def test_settings_of_conflicts_that_make_no_sense_are_refused_with_their_line(
    tmp_path: Path, text: str, words: str
) -> None:
    file = native(tmp_path, f"[vip.conflicts]\n{text}\n")
    with pytest.raises(ConfigError) as caught:
        load(str(file), root=str(tmp_path))
    (line,) = str(caught.value).splitlines()
    assert line.startswith(f"{file}:7: ")
    assert words in line
