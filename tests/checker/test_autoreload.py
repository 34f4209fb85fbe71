"""A service that systemd started watches its files itself: a real process, without a bus."""

from __future__ import annotations

import os
import signal
from pathlib import Path

from tests.checker.test_process import process
from tests.common.ports import free_port


def test_a_process_takes_up_what_changes_and_is_told_of_a_broken_file_once(tmp_path: Path) -> None:
    """L-1 and L-19, with ``autoreload = yes`` as in ldirectord's file."""
    one, two = free_port(), free_port()
    text = (
        f"autoreload = yes\nvirtual=192.0.2.110:80\n\treal=127.0.0.1:{one} masq\n"
        "\tchecktype=connect\n"
    )
    with process(tmp_path, text) as checker:
        assert checker.stderr is not None
        said: list[str] = []

        def told(words: str) -> str:
            assert checker.stderr is not None
            while not said or words not in said[-1]:
                line = checker.stderr.readline()
                assert line, "".join(said)
                said.append(line)
            return said[-1]

        path = tmp_path / "ha.d" / "www.cf"
        told("service.ready")
        path.write_text(text.replace("masq", "mask"))
        assert f"{path}:3: real: 'mask' is not allowed" in told("reload.rejected")
        new = path.with_name("www.cf.new")  # replaced at once, as editors do
        new.write_text(text.replace(str(one), str(two)))
        os.replace(new, path)
        told("config.applied")
        told(f"connect to 127.0.0.1:{two}: refused")
        assert sum("reload.rejected" in line for line in said) == 1
        checker.send_signal(signal.SIGTERM)
        assert checker.wait(10) == 0
