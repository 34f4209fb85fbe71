"""Check and load time of a large configuration, beside keepalived's and ldirectord's own.

``make bench-config``. 2,000 virtual services of 20 real servers each, as ldirectord files, as one
TOML file and as keepalived.conf. Each is checked by a process of its own, as an administrator does
it; keepalived's check (-t) ends after parsing, ours also tests every rule between the parts.
ldirectord has none: any command parses the whole file first, ``status`` does nothing else (and says
3, stopped); it needs about a minute, so it is run once, whatever ``--runs`` says. ``load`` is
what a service does at its start, inside a process that runs. One after the other, in turn, so that
a noisy machine is noisy for both; the middle of the runs counts, least and greatest are the spread.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

from heartbus.config import load
from heartbus.config.convert import to_toml
from tests.lab import peers

SERVICES: Final = 2000
SERVERS: Final = 20
RUNS: Final = 3
PEERS: Final = ("keepalived -t", "ldirectord status")
REPORT: Final = Path("build/bench/config.json")

HA_CF: Final = "bcast eth1\nnode linuxha1 linuxha2\nauto_failback off\nrealtime off\n"
AUTHKEYS: Final = "auth 1\n1 sha256 secret\n"


def address(service: int) -> str:
    return f"10.1.{service // 250}.{service % 250 + 1}"


def server(service: int, number: int) -> str:
    host = service * SERVERS + number
    return f"10.{2 + host // 62500}.{host // 250 % 250}.{host % 250 + 1}"


def write_ldirectord(directory: Path, services: int) -> None:
    """Write a directory in the old form."""
    addresses = " ".join(f"{address(service)}/32" for service in range(services))
    (directory / "ha.cf").write_text(HA_CF)
    (directory / "haresources").write_text(f"linuxha1 {addresses} ldirectord::www.cf\n")
    (directory / "authkeys").write_text(AUTHKEYS)
    (directory / "authkeys").chmod(0o600)
    sections = ["checktimeout=3\ncheckinterval=10\nquiescent=yes\n"]
    for service in range(services):
        reals = "".join(f"\treal={server(service, number)}:80 gate\n" for number in range(SERVERS))
        sections.append(
            f"virtual={address(service)}:80\n{reals}\tservice=http\n"
            '\trequest="/.testpage"\n\treceive="Test Page"\n\tscheduler=rr\n\n'
        )
    (directory / "www.cf").write_text("".join(sections))


def write_keepalived(file: Path, services: int) -> None:
    """Write the same services for keepalived."""
    parts = ["global_defs {\n router_id bench\n}\n"]
    for service in range(services):
        reals = "".join(
            f" real_server {server(service, number)} 80 {{\n  weight 1\n  HTTP_GET {{\n"
            "   url {\n    path /.testpage\n    status_code 200\n   }\n"
            "   connect_timeout 3\n  }\n }\n"
            for number in range(SERVERS)
        )
        parts.append(
            f"virtual_server {address(service)} 80 {{\n delay_loop 10\n lvs_sched rr\n"
            f" lvs_method DR\n protocol TCP\n{reals}}}\n"
        )
    file.write_text("".join(parts))


def run_s(
    words: Sequence[str], environment: dict[str, str] | None = None, *, code: int = 0
) -> float:
    """Return the wall time of a program that must end with this exit code."""
    begun_s = time.perf_counter()
    done = subprocess.run(
        words, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False
    )
    took_s = time.perf_counter() - begun_s
    if done.returncode != code:
        raise SystemExit(f"{' '.join(words)}: {done.returncode}\n{done.stdout[-2000:].decode()}")
    return took_s


def load_s(path: Path) -> float:
    begun_s = time.perf_counter()
    load(str(path), root="/nonexistent")
    return time.perf_counter() - begun_s


def main(argv: Sequence[str] | None = None) -> int:
    """Measure, print a table, write the report."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--services", type=int, default=SERVICES)
    parser.add_argument("--runs", type=int, default=RUNS)
    options = parser.parse_args(argv)
    peer, old = peers.keepalived(), peers.ldirectord()
    with tempfile.TemporaryDirectory(prefix="config-bench-") as temporary:
        classic, toml, conf = (Path(temporary, n) for n in ("ha.d", "h.toml", "keepalived.conf"))
        classic.mkdir()
        write_ldirectord(classic, options.services)
        write_keepalived(conf, options.services)
        toml.write_text(to_toml(load(str(classic), root="/nonexistent").cluster))
        toml.chmod(0o600)
        heartbus = str(Path(sys.executable).with_name("heartbus"))
        environment = {**os.environ, "LD_LIBRARY_PATH": peer.library_path}
        ways: dict[str, Callable[[], float]] = {
            "check, ldirectord files": lambda: run_s([heartbus, "config", "check", str(classic)]),
            "check, TOML": lambda: run_s([heartbus, "config", "check", str(toml)]),
            "load, ldirectord files": lambda: load_s(classic),
            "load, TOML": lambda: load_s(toml),
            "keepalived -t": lambda: run_s([str(peer.path), "-t", "-f", str(conf)], environment),
        }
        perl = {**os.environ, "PERL5LIB": peers.perl_path(old)}
        once: dict[str, Callable[[], float]] = {
            "ldirectord status": lambda: run_s(
                ["perl", str(old.path), str(classic / "www.cf"), "status"], perl, code=3
            ),
        }
        took_s: dict[str, list[float]] = {name: [] for name in (*ways, *once)}
        for _ in range(options.runs):
            for name, way in ways.items():
                took_s[name].append(way())
        for name, way in once.items():
            took_s[name].append(way())
    middles = {name: statistics.median(values) for name, values in took_s.items()}
    size = f"{options.services} services, {options.services * SERVERS} servers"
    rows = []
    print(size)  # noqa: T201  # a command
    for name, middle in middles.items():
        least, greatest = min(took_s[name]), max(took_s[name])
        print(f"{name:26} {middle:6.2f} s ({least:.2f} to {greatest:.2f})")  # noqa: T201  # a command
        if name in PEERS:
            continue
        # Only what is the same file for both is set beside ldirectord.
        against = PEERS if name == "check, ldirectord files" else PEERS[:1]
        rows += [
            {
                "name": f"{name}: {size}",
                "unit": "s",
                "heartbus": round(middle, 3),
                "peer": round(middles[peer_name], 3),
                "peer_name": peer_name,
                "ratio": round(middle / middles[peer_name], 2),
                "better": middle < middles[peer_name],
                "n": len(took_s[name]),
                "spread": [round(least, 3), round(greatest, 3)],
            }
            for peer_name in against
        ]
    peak_mib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
    print(f"memory of the process that loaded all of it: {peak_mib} MiB")  # noqa: T201  # a command
    REPORT.parent.mkdir(parents=True, exist_ok=True)
    REPORT.write_text(json.dumps(rows, indent=1) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
