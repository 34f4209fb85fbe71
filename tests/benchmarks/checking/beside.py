"""What stands beside heartbus-checker: Debian's keepalived and ldirectord, with the same targets.

Their tables are not what is measured. Where this kernel has no IPVS, keepalived gets a library that
grants every request (``ipvs_stub.c``), and ldirectord always gets ``true`` for ipvsadm, in a mount
namespace of its own: both then pay nothing for the table, which is to their advantage.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

from tests.benchmarks.checking.programs import Program, running
from tests.lab import peers
from tests.lab.kernel import CHECKOUT

STUB_SOURCE: Final = Path(__file__).with_name("ipvs_stub.c")
STUB: Final = CHECKOUT / "build" / "lab" / "ipvs_stub.so"
VIP: Final = "192.0.2.110"


@contextlib.contextmanager
def keepalived(targets: Sequence[str], *, tcp: bool, interval_s: float) -> Iterator[Program]:
    """Run keepalived's checkers alone."""
    unpacked = peers.keepalived()
    check = (
        "TCP_CHECK { connect_timeout 3 }"
        if tcp
        else 'HTTP_GET { url { path /.testpage\n status_code 200\n regex "Test Page" }\n'
        " connect_timeout 3 }"
    )
    servers = "".join(
        f"real_server {server.replace(':', ' ')} {{ weight 1\n {check} }}\n" for server in targets
    )
    with tempfile.TemporaryDirectory(prefix="keepalived-bench-") as name:
        path = Path(name) / "keepalived.conf"
        path.write_text(
            f"global_defs {{ router_id bench }}\nvirtual_server {VIP} 80 {{\n"
            f"delay_loop {interval_s:g}\nlvs_sched rr\nlvs_method NAT\nprotocol TCP\n{servers}}}\n"
        )
        words = [str(unpacked.path), "-C", "-n", "-l", "-f", str(path)]
        words += ["-p", f"{name}/pid", "-c", f"{name}/checkers"]
        environment = {**os.environ, "LD_LIBRARY_PATH": unpacked.library_path}
        if not Path("/proc/net/ip_vs").exists():
            environment["LD_PRELOAD"] = str(_stub())
        with running(words, environment, Path(name) / "log") as program:
            yield program


def _stub() -> Path:
    """Return the library; built now if it is not there or older than its source."""
    if not STUB.exists() or STUB.stat().st_mtime < STUB_SOURCE.stat().st_mtime:
        STUB.parent.mkdir(parents=True, exist_ok=True)
        words = ["gcc", "-O2", "-Wall", "-shared", "-fPIC", "-o", str(STUB), str(STUB_SOURCE)]
        subprocess.run(words, check=True)
    return STUB


@contextlib.contextmanager
def ldirectord(targets: Sequence[str], *, tcp: bool, interval_s: float) -> Iterator[Program]:
    """Run ldirectord in the foreground; it sleeps ``interval_s`` between two rounds."""
    unpacked = peers.ldirectord()
    ipvsadm = shutil.which("ipvsadm", path=f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin")
    if ipvsadm is None:
        raise SystemExit("no ipvsadm, which ldirectord wants to find: run `make setup`")
    check = (
        "\tchecktype=connect\n"
        if tcp
        else '\tservice=http\n\trequest="/.testpage"\n\treceive="Test Page"\n'
    )
    servers = "".join(f"\treal={server} masq\n" for server in targets)
    with tempfile.TemporaryDirectory(prefix="ldirectord-bench-") as name:
        path = Path(name) / "www.cf"
        path.write_text(
            f"checktimeout=3\nnegotiatetimeout=3\ncheckinterval={interval_s:g}\nsupervised=yes\n"
            f"quiescent=no\nvirtual={VIP}:80\n{servers}{check}\tscheduler=rr\n\tprotocol=tcp\n"
        )
        mask = 'mount --bind "$0" "$1" && shift && exec "$@"'
        words = ["unshare", "-m", "sh", "-c", mask, shutil.which("true") or "/bin/true", ipvsadm]
        words += ["perl", str(unpacked.path), str(path), "start"]
        environment = {**os.environ, "PERL5LIB": peers.perl_path(unpacked)}
        with running(words, environment, Path(name) / "log") as program:
            yield program
