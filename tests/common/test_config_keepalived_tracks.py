"""track_* of keepalived.conf become trackers of the group, with their weights and times."""

from __future__ import annotations

from pathlib import Path

import pytest

from heartbus.config.convert import to_toml
from heartbus.model import Tracker, TrackKind
from tests.common.config_samples import loaded
from tests.common.test_config_keepalived import read

TRACKED = """\
vrrp_script chk {
    script "/usr/bin/chk"
    interval 2
    timeout 3
    rise 2
    fall 4
    weight -20
}
vrrp_track_process haproxy {
    process haproxy
    quorum 2
}
vrrp_track_file load {
    file /run/load
    weight 1
}
vrrp_instance one {
    interface eth0
    virtual_ipaddress { 10.0.0.1/24 }
    track_script { chk }
    track_process { haproxy weight 5 }
    track_interface {
        eth1
        eth2 weight -10
    }
}
vrrp_instance two {
    interface eth0
    virtual_ipaddress { 10.0.0.2/24 }
    track_script {
        chk weight 7 noreverse
        late
    }
    track_file { load }
    track_interface { eth1 }
}
vrrp_script late { script /usr/bin/late }
"""
SCRIPT = Tracker(
    name="chk",
    kind=TrackKind.SCRIPT,
    target="/usr/bin/chk",
    weight=-20,
    interval_s=2.0,
    timeout_s=3.0,
    rise=2,
    fall=4,
    groups=("one",),
)


def trackers(tmp_path: Path, text: str) -> tuple[Tracker, ...]:
    cluster, said = read(tmp_path, text)
    assert cluster is not None, said
    return cluster.vip.resources.trackers


def test_what_is_tracked_is_tracked_for_the_groups_that_say_so(tmp_path: Path) -> None:
    found = {tracker.name: tracker for tracker in trackers(tmp_path, TRACKED)}
    assert found["chk"] == SCRIPT
    assert found["haproxy"] == Tracker(
        name="haproxy",
        kind=TrackKind.PROCESS,
        target="haproxy",
        weight=5,
        quorum=2,
        groups=("one",),
    )
    assert (found["load"].kind, found["load"].target, found["load"].weight) == (
        TrackKind.FILE,
        "/run/load",
        1,
    )
    assert found["interface:eth1"].groups == ("one", "two")
    assert (found["interface:eth2"].weight, found["interface:eth2"].groups) == (-10, ("one",))
    assert (found["chk:two"].weight, found["chk:two"].groups) == (7, ("two",)), "its own weight"
    assert found["late"].groups == ("two",), "defined below its use"
    assert len(found) == 7


def test_a_sync_group_tracks_for_its_members(tmp_path: Path) -> None:
    text = TRACKED + "vrrp_sync_group S { group { one\n two }\n track_interface { eth9 } }\n"
    found = {tracker.name: tracker for tracker in trackers(tmp_path, text)}
    assert found["interface:eth9"].groups == ("S",)
    assert found["chk"].groups == ("S",)


def test_converted_they_mean_the_same(tmp_path: Path) -> None:
    cluster, _said = read(tmp_path, TRACKED)
    assert cluster is not None
    place = tmp_path / "converted"
    place.mkdir()
    (place / "heartbus.toml").write_text(to_toml(cluster))
    (place / "heartbus.toml").chmod(0o600)
    assert loaded(place).cluster.vip == cluster.vip


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        (
            '"/usr/bin/chk"',
            '"/usr/bin/chk -v"',
            "warning keepalived.conf:2: script: 'script /usr/bin/chk -v' has arguments, a tracker"
            " runs a program without any: put the words into a script of its own; left out",
        ),
        (
            "weight -20",
            "weight -20 reverse",
            "warning keepalived.conf:7: weight: 'weight -20 reverse' turns the result round, which"
            " no tracker does; left out",
        ),
        (
            "chk weight 7 noreverse",
            "chk weight 7 reverse",
            "warning keepalived.conf:31: chk: 'chk weight 7 reverse' turns the result round, which"
            " no tracker does; left out",
        ),
        (
            "track_script { chk }",
            "track_script { absent }",
            "error keepalived.conf:20: absent: 'absent' is not defined",
        ),
        (
            "interval 2",
            "interval soon",
            "error keepalived.conf:3: interval: 'soon' is not allowed; allowed is seconds, such as"
            " 3 or 0.5",
        ),
        (
            "weight -20",
            "weight 900",
            "error keepalived.conf:7: weight: '900' is not allowed; allowed is a whole number from"
            " -254 to 254",
        ),
        (
            "    process haproxy\n",
            "",
            "error keepalived.conf:9: vrrp_track_process: 'haproxy': nothing to look at is named",
        ),
        (
            "track_file { load }",
            "track_bfd { b }",
            "warning keepalived.conf:34: track_bfd: 'track_bfd' has no counterpart in heartbus;"
            " left out",
        ),
    ],
)
def test_what_cannot_be_tracked_is_said(tmp_path: Path, old: str, new: str, words: str) -> None:
    assert old in TRACKED
    _cluster, said = read(tmp_path, TRACKED.replace(old, new))
    assert words in said
