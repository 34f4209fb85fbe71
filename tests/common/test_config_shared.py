"""What ldirectord shares between services, and the file relies on."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.common.config_samples import QUIET, directory, loaded, said

TWICE = (
    "failurecount={count}\nvirtual=192.168.7.110:21\n\treal=192.168.7.11:21 gate\n\tservice=ftp\n"
    '\treceive="x"\n{one}'
    "virtual=192.168.7.111:21\n\treal=192.168.7.11:21 gate\n\tservice=ftp\n"
    '\treceive="x"\n{other}'
)


@pytest.mark.parametrize(
    ("count", "one", "other", "words"),
    [
        (
            3,
            "",
            "",
            "note l.cf:1: failurecount: 3 failures in a row are counted by each virtual service;"
            " ldirectord counts those of 192.168.7.11:21 together for the 2 that list it, and takes"
            " it out after 2",
        ),
        (
            1,
            '\tlogin="a"\n',
            '\tlogin="b"\n\tchecktimeout=1\n',
            "note l.cf:9: service: 192.168.7.11:21 is checked apart from the virtual= of line 2,"
            " because login and time limits differ; ldirectord takes the result of one for both",
        ),
        (1, "", "", ""),
        (1, '\trequest="a"\n', '\trequest="b"\n\tlogin="b"\n', ""),
    ],
)
def test_what_ldirectord_shares_between_services_is_said(
    tmp_path: Path, count: int, one: str, other: str, words: str
) -> None:
    """L-4 and L-18."""
    text = TWICE.format(count=count, one=one, other=other)
    files = {**QUIET, "haresources": "linuxha1 192.168.7.110/24 ldirectord::l.cf\n", "l.cf": text}
    place = directory(tmp_path, files)
    found = [
        remark
        for remark in said(loaded(place).diagnostics, place)
        if "by each virtual service" in remark or "checked apart" in remark
    ]
    assert found == ([words] if words else [])
