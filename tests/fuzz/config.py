"""Feeds the configuration parsers what atheris thinks of, from the corpus on.

    python -m tests.fuzz.config --seconds 60

Whatever the bytes are, a parser ends in a configuration or in remarks: nothing raised but
ConfigError, no input takes longer than 5 s, and the process grows by less than 64 MB. Exit code 0:
that held. An input that broke it is left in build/fuzz/.
"""

from __future__ import annotations

import argparse
import os
import resource
import sys
import tempfile
from pathlib import Path
from typing import Final

import atheris

with atheris.instrument_imports(include=["heartbus.config"]):
    from heartbus.config import (
        ConfigError,
        authkeys,
        ha_cf,
        haresources,
        keepalived,
        ldirectord,
        ldirectord_services,
        load,
    )
    from heartbus.config.convert import NotTextError, to_toml
    from heartbus.config.hosts import Hosts
    from heartbus.config.report import Report

from tests.corpus import KINDS, samples

HANG_S: Final = 5
GROWTH_MIB: Final = 64
INPUT_BYTES_MAX: Final = 16 * 1024
FINDINGS: Final = Path("build/fuzz")
HOSTS: Final = Hosts("10.0.0.1 web1\n2001:db8::1 web1\n")


def parse(content: bytes, place: Path) -> None:
    """Give the input, without its first byte, to the parser that this byte picks."""
    kind = KINDS[content[0] % len(KINDS)] if content else KINDS[0]
    text = content[1:].decode("utf-8", "surrogateescape")
    report = Report()
    match kind:
        case "ldirectord":
            read = ldirectord.parse(text, "x.cf", report, HOSTS)
            ldirectord_services.services(read, "web", report)
        case "ha.cf":
            ha_cf.parse(text, "ha.cf", report)
        case "haresources":
            haresources.parse(text, "haresources", ["a", "b.x"], report)
        case "authkeys":
            authkeys.parse(text, "authkeys", report)
        case "keepalived":
            keepalived_import(text, place, report)
        case _:
            file = place / "heartbus.toml"
            file.write_bytes(content[1:])
            try:
                to_toml(load(str(file), root=str(place)).cluster)
            except (ConfigError, NotTextError):
                return
    report.diagnostics()


def keepalived_import(text: str, place: Path, report: Report) -> None:
    """Convert it, as far as that goes."""
    file = place / "keepalived.conf"
    file.write_bytes(text.encode("utf-8", "surrogateescape"))
    keepalived.load(str(file), directors=["a", "b"], secret=b"s", report=report)


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--seconds", type=int, default=60)
    seconds = options.parse_args().seconds
    FINDINGS.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as temporary:
        seeds = Path(temporary, "seeds")
        seeds.mkdir()
        for number, sample in enumerate(samples()):
            first = bytes([KINDS.index(sample.kind)])
            (seeds / str(number)).write_bytes(first + sample.path.read_bytes())
        place = Path(temporary, "place")
        place.mkdir()
        grown_mib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024 + GROWTH_MIB
        arguments = [
            sys.argv[0],
            f"-max_total_time={seconds}",
            f"-timeout={HANG_S}",
            f"-rss_limit_mb={grown_mib}",
            f"-max_len={INPUT_BYTES_MAX}",
            f"-artifact_prefix={FINDINGS}{os.sep}",
            "-print_final_stats=1",
            str(seeds),
        ]
        atheris.Setup(arguments, lambda content: parse(content, place))
        atheris.Fuzz()


if __name__ == "__main__":
    main()
