"""Real server software, unpacked from Debian's packages, on loopback ports, without privilege.

All are started at once, the first time that one is asked for; each belongs to the whole session.
"""

from __future__ import annotations

import atexit
import os
import shutil
import signal
import socket
import struct
import subprocess
import tempfile
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final

import trustme

from heartbus.model import Endpoint
from tests.lab.kernel import CHECKOUT
from tests.lab.peers import SETUP

START_S_MAX: Final = 60.0
UNPRIVILEGED: Final = ("setpriv", "--reuid=65534", "--regid=65534", "--clear-groups")
LOGIN, PASSWORD, SECRET = "checker", "letmein7", "shared-secret"
PAGE: Final = "<h1>Test Page</h1>\n"


@dataclass(slots=True)
class RealServer:
    """One running program; ``ports`` by what is spoken there."""

    name: str
    directory: Path
    ports: dict[str, int] = field(default_factory=dict)
    process: subprocess.Popen[bytes] | None = None

    def endpoint(self, spoken: str = "") -> Endpoint:
        return Endpoint(address="127.0.0.1", port=self.ports[spoken or self.name])


@dataclass(frozen=True, slots=True)
class Package:
    """A package, a program of it, what is unpacked beside it, and why."""

    name: str
    program: str
    why: str
    more: tuple[str, ...] = ()

    def unpacked(self) -> tuple[Path, dict[str, str]]:
        """Return the root of the package, and the environment that its programs need."""
        done = subprocess.run(
            [SETUP, self.name, self.program, self.why, *self.more],
            stdout=subprocess.PIPE,
            text=True,
            check=True,
        )
        root, libraries = CHECKOUT / "build" / "lab" / self.name, done.stdout.strip()
        if not _nobody_reaches(root):
            copied = Path(tempfile.mkdtemp(prefix="heartbus-package-"))
            atexit.register(shutil.rmtree, copied, ignore_errors=True)
            copied.chmod(0o755)
            shutil.copytree(root, copied / self.name, symlinks=True)
            libraries = libraries.replace(str(root), str(copied / self.name))
            root = copied / self.name
        return root, {**os.environ, "LD_LIBRARY_PATH": libraries}


POSTGRES_BINARIES: Final = "/usr/lib/postgresql/15/bin"

PACKAGES: Final = {
    package.name: package
    for package in (
        Package("memcached", "/usr/bin/memcached", "a memcached check asks a real one"),
        Package("mosquitto", "/usr/sbin/mosquitto", "an MQTT check asks a real broker"),
        Package(
            "dovecot-core",
            "/usr/sbin/dovecot",
            "IMAP and POP3 checks ask a real server",
            ("dovecot-imapd", "dovecot-pop3d"),
        ),
        Package(
            "exim4-daemon-light",
            "/usr/sbin/exim4",
            "SMTP checks ask a real server",
            ("libnss-wrapper",),
        ),
        Package("vsftpd", "/usr/sbin/vsftpd", "FTP checks ask a real server"),
        Package("slapd", "/usr/sbin/slapd", "LDAP checks ask a real one"),
        Package("postgresql-15", f"{POSTGRES_BINARIES}/postgres", "pgsql checks ask a real server"),
        Package(
            "mariadb-server-core",
            "/usr/sbin/mariadbd",
            "mysql checks ask a real server",
            ("mariadb-server", "mariadb-client-core"),
        ),
        Package("unbound", "/usr/sbin/unbound", "DNS checks ask a real server"),
        Package(
            "freeradius",
            "/usr/sbin/freeradius",
            "RADIUS checks ask a real server",
            ("freeradius-common", "freeradius-config"),
        ),
        Package("kamailio", "/usr/sbin/kamailio", "SIP checks ask a real server"),
        Package(
            "squid",
            "/usr/sbin/squid",
            "http_proxy checks ask a real proxy",
            ("squid-common", "squid-langpack"),
        ),
        Package("redis-tools", "/usr/bin/redis-check-rdb", "a Redis check asks a real one"),
    )
}
"""All that the checks of the tests ask; ``python -m tests.checker.real_servers`` fetches them."""


def _nobody_reaches(path: Path) -> bool:
    """Whether the programs can be read by whom they run as: a home of root's is often closed."""
    if os.geteuid() != 0:
        return True
    return subprocess.run([*UNPRIVILEGED, "test", "-r", path], check=False).returncode == 0


class RealServers:
    """Starts and stops them; ``get`` waits until one answers."""

    def __init__(self) -> None:
        # Not below pytest's directory: that one is closed to others, and some of these programs
        # refuse to run as root.
        self._directory = Path(tempfile.mkdtemp(prefix="heartbus-servers-"))
        self._directory.chmod(0o755)
        self._exit = ExitStack()
        self._exit.callback(shutil.rmtree, self._directory, ignore_errors=True)
        self._started: dict[str, Future[RealServer]] = {}
        self.authority = trustme.CA()
        self.authority_file = self._directory / "ca.pem"
        self.authority.cert_pem.write_to_path(str(self.authority_file))

    def get(self, name: str) -> RealServer:
        if not self._started:
            pool = self._exit.enter_context(ThreadPoolExecutor(max_workers=len(STARTERS)))
            for each, start in STARTERS.items():
                self._started[each] = pool.submit(self._start, each, start)
        return self._started[name].result(timeout=START_S_MAX)

    def close(self) -> None:
        for future in self._started.values():
            if not future.exception(timeout=START_S_MAX):
                stop(future.result())
        self._exit.close()

    def certificate(self, directory: Path, *names: str, expired: bool = False) -> None:
        """Write cert.pem and key.pem for these names."""
        until = datetime.now(UTC) + timedelta(days=-2 if expired else 2)
        issued = self.authority.issue_cert(
            *names, not_before=until - timedelta(days=10), not_after=until
        )
        chain = b"".join(pem.bytes() for pem in issued.cert_chain_pems)
        (directory / "cert.pem").write_bytes(chain)
        (directory / "key.pem").write_bytes(issued.private_key_pem.bytes())

    def _start(
        self, name: str, start: Callable[[RealServers, RealServer], RealServer]
    ) -> RealServer:
        directory = self._directory / name
        directory.mkdir()
        server = start(self, RealServer(name, directory))
        if server.process is not None:
            _wait(server)
        return server


def launch(
    server: RealServer,
    words: Sequence[str | Path],
    environment: dict[str, str],
    *,
    before: Sequence[str | Path] = (),
) -> RealServer:
    """Start the program of a server, as nobody where we are root; ``before``: what starts it."""
    as_nobody = UNPRIVILEGED if os.geteuid() == 0 else ()
    give_away(server)
    with (server.directory / "log").open("wb") as log:
        server.process = subprocess.Popen(
            [*map(str, before), *as_nobody, *map(str, words)],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            env=environment,
            cwd=server.directory,
            start_new_session=True,
        )
    return server


def give_away(server: RealServer) -> None:
    """Let the program write in its directory."""
    if os.geteuid() == 0:
        for path in [server.directory, *server.directory.rglob("*")]:
            os.chown(path, 65534, 65534)


def run(words: Sequence[str | Path], environment: dict[str, str], *, cwd: Path) -> None:
    """Run a program to its end, as nobody where we are root."""
    as_nobody = UNPRIVILEGED if os.geteuid() == 0 else ()
    done = subprocess.run(
        [*as_nobody, *map(str, words)], env=environment, cwd=cwd, capture_output=True, check=False
    )
    if done.returncode:
        raise RuntimeError(f"{words[0]}: {(done.stderr + done.stdout).decode()[-2000:]}")


def stop(server: RealServer) -> None:
    if server.process is not None and server.process.poll() is None:
        os.killpg(server.process.pid, signal.SIGKILL)
        server.process.wait()


def free_ports(count: int) -> list[int]:
    """Return loopback ports that nobody listens on, neither by TCP nor by UDP."""
    found: list[int] = []
    with ExitStack() as held:
        while len(found) < count:
            stream = held.enter_context(socket.create_server(("127.0.0.1", 0)))
            port = stream.getsockname()[1]
            datagram = held.enter_context(socket.socket(type=socket.SOCK_DGRAM))
            try:
                datagram.bind(("127.0.0.1", port))
            except OSError:
                continue
            found.append(port)
    return found


UDP_ONLY: Final = frozenset({"radius"})


def _wait(server: RealServer) -> None:
    deadline_s = time.monotonic() + START_S_MAX
    for spoken, port in server.ports.items():
        while not (_is_bound(port) if spoken in UDP_ONLY else _listens(port)):
            assert server.process is not None
            if server.process.poll() is not None or time.monotonic() > deadline_s:
                log = (server.directory / "log").read_text(errors="replace")
                raise RuntimeError(f"{server.name} does not listen on {port}:\n{log[-3000:]}")
            time.sleep(0.02)


def _listens(port: int) -> bool:
    with socket.socket() as client:
        client.settimeout(0.2)
        client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        return client.connect_ex(("127.0.0.1", port)) == 0


def _is_bound(port: int) -> bool:
    table = Path("/proc/self/net/udp").read_text()
    return f":{port:04X} " in table


# --- one function each ----------------------------------------------------------------------------


def start_nginx(servers: RealServers, server: RealServer) -> RealServer:
    from .conftest import find_nginx

    directory = server.directory
    names = ("http", "https", "expired", "other", "h2c", "h2", "proxied")
    server.ports = dict(zip(names, free_ports(len(names)), strict=True))
    (directory / "root").mkdir()
    (directory / "root" / ".testpage").write_text(PAGE)
    for name, expired in (("www.example.net", False), ("old", True), ("elsewhere", False)):
        (directory / name).mkdir()
        host = (
            "www.example.net"
            if name == "old"
            else f"{name.removesuffix('.example.net')}.example.net"
        )
        addresses = ("127.0.0.1",) if name == "www.example.net" else ()
        servers.certificate(directory / name, host, *addresses, expired=expired)
    p = server.ports

    def tls(port: int, name: str, *, http2: str = "") -> str:
        return (
            f"server {{ listen 127.0.0.1:{port} ssl {http2}; root {directory}/root;"
            f" ssl_certificate {directory}/{name}/cert.pem;"
            f" ssl_certificate_key {directory}/{name}/key.pem;"
            ' location /sni { return 200 "sni=$ssl_server_name"; } }\n'
        )

    paths = "".join(
        f"{kind}_temp_path {directory}/{kind};"
        for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    )
    (directory / "nginx.conf").write_text(
        "daemon off; master_process off; worker_processes 1; error_log stderr warn;\n"
        f"pid {directory}/nginx.pid; events {{ worker_connections 512; }}\n"
        f"http {{ access_log off; {paths}\n"
        f"server {{ listen 127.0.0.1:{p['http']}; root {directory}/root;"
        " location /teapot { return 418; } location /weight { add_header X-Weight 7;"
        ' return 200 "w"; } location /nonsense { add_header X-Weight much; return 200 "w"; } }\n'
        f"server {{ listen 127.0.0.1:{p['proxied']} proxy_protocol; root {directory}/root; }}\n"
        f"server {{ listen 127.0.0.1:{p['h2c']} http2; root {directory}/root; }}\n"
        + tls(p["https"], "www.example.net")
        + tls(p["expired"], "old")
        + tls(p["other"], "elsewhere")
        + tls(p["h2"], "www.example.net", http2="http2")
        + "}\n"
    )
    words: list[str | Path] = [find_nginx(), "-p", directory, "-c", directory / "nginx.conf"]
    return launch(server, words, dict(os.environ))


def start_redis(_servers: RealServers, server: RealServer) -> RealServer:
    root, environment = PACKAGES["redis-tools"].unpacked()
    (server.ports["redis"],) = free_ports(1)
    words: list[str | Path] = [
        "redis-server",
        "--port",
        str(server.ports["redis"]),
        "--bind",
        "127.0.0.1",
    ]
    words += ["--save", "", "--dir", str(server.directory), "--requirepass", PASSWORD]
    # The server and its tools are one program, told apart by its name.
    (server.directory / "redis-server").symlink_to(root / "usr/bin/redis-check-rdb")
    return launch(server, [server.directory / "redis-server", *words[1:]], environment)


def start_memcached(_servers: RealServers, server: RealServer) -> RealServer:
    root, environment = PACKAGES["memcached"].unpacked()
    (server.ports["memcached"],) = free_ports(1)
    words: list[str | Path] = [
        root / "usr/bin/memcached",
        "-l",
        "127.0.0.1",
        "-p",
        str(server.ports["memcached"]),
    ]
    return launch(server, words, environment)


def start_mosquitto(_servers: RealServers, server: RealServer) -> RealServer:
    root, environment = PACKAGES["mosquitto"].unpacked()
    (server.ports["mqtt"],) = free_ports(1)
    directory = server.directory
    give_away(server)
    words: list[str | Path] = [
        root / "usr/bin/mosquitto_passwd",
        "-b",
        "-c",
        directory / "users",
        LOGIN,
        PASSWORD,
    ]
    run(words, environment, cwd=directory)
    (directory / "conf").write_text(
        f"listener {server.ports['mqtt']} 127.0.0.1\nallow_anonymous false\n"
        f"password_file {directory}/users\n"
    )
    return launch(server, [root / "usr/sbin/mosquitto", "-c", directory / "conf"], environment)


def start_dovecot(_servers: RealServers, server: RealServer) -> RealServer:
    root, environment = PACKAGES["dovecot-core"].unpacked()
    server.ports = dict(zip(("imap", "pop"), free_ports(2), strict=True))
    directory = server.directory
    (directory / "users").write_text(f"{LOGIN}:{{PLAIN}}{PASSWORD}::::{directory}/home::\n")
    user, group = ("nobody", "nogroup") if os.geteuid() == 0 else (str(os.getuid()), "")

    def listener(protocol: str, port: int) -> str:
        return (
            f"service {protocol}-login {{\n chroot =\n"
            f" inet_listener {protocol} {{\n port = {port}\n address = 127.0.0.1\n }}\n"
            f" inet_listener {protocol}s {{\n port = 0\n }}\n}}\n"
        )

    (directory / "conf").write_text(
        f"base_dir = {directory}/run\nstate_dir = {directory}/state\nlog_path = {directory}/dlog\n"
        f"libexec_dir = {root}/usr/lib/dovecot\nmail_plugin_dir = {root}/usr/lib/dovecot/modules\n"
        f"login_plugin_dir = {root}/usr/lib/dovecot/modules/login\n"
        "protocols = imap pop3\nlisten = 127.0.0.1\nssl = no\n"
        "disable_plaintext_auth = no\nauth_mechanisms = plain\n"
        f"default_internal_user = {user}\ndefault_internal_group = {group}\n"
        f"default_login_user = {user}\nmail_location = maildir:{directory}/home\n"
        "first_valid_uid = 1\nfirst_valid_gid = 1\n"
        f"passdb {{\n driver = passwd-file\n args = {directory}/users\n}}\n"
        "userdb {\n driver = static\n args = uid=65534 gid=65534"
        f" home={directory}/home allow_all_users=yes\n}}\n"
        "auth_failure_delay = 0\n"
        # One address that fails often is not made to wait: it is the tests that fail.
        "service anvil {\n chroot =\n unix_listener anvil-auth-penalty {\n mode = 0\n }\n}\n"
        "service stats {\n chroot =\n}\n"
        + listener("imap", server.ports["imap"])
        + listener("pop3", server.ports["pop"])
        # It hands libraries to its children by this variable only.
        + "import_environment = LD_LIBRARY_PATH TZ CORE_OUTOFMEM CORE_ERROR\n"
    )
    # It looks for its modules at a fixed place: there they are, in a mount namespace of its own.
    there = 'mount -t overlay overlay -o "lowerdir=$0/usr/lib:/usr/lib" /usr/lib && exec "$@"'
    namespace: list[str | Path] = [
        "unshare",
        "-m" if os.geteuid() == 0 else "-rm",
        "sh",
        "-c",
        there,
        root,
    ]
    conf = directory / "conf"
    words: list[str | Path] = [
        root / "usr/bin/doveconf",
        "-f",
        "service=master",
        "-m",
        "master",
        "-c",
        conf,
    ]
    words += ["-e", root / "usr/sbin/dovecot", "-F", "-c", conf]
    return launch(server, words, environment, before=namespace)


def start_exim(_servers: RealServers, server: RealServer) -> RealServer:
    root, environment = PACKAGES["exim4-daemon-light"].unpacked()
    (server.ports["smtp"],) = free_ports(1)
    directory = server.directory
    (directory / "conf").write_text(
        f"primary_hostname = mx.example.net\nspool_directory = {directory}/spool\n"
        f"log_file_path = {directory}/%slog\npid_file_path = {directory}/pid\n"
        "exim_user = 65534\nexim_group = 65534\ntls_advertise_hosts =\nhost_lookup =\n"
        "daemon_smtp_ports = " + str(server.ports["smtp"]) + "\nlocal_interfaces = 127.0.0.1\n"
        "rfc1413_query_timeout = 0s\nkeep_environment =\nnever_users =\n"
        "begin acl\nbegin routers\nbegin transports\nbegin retry\n"
    )
    words: list[str | Path] = [root / "usr/sbin/exim4", "-C", directory / "conf", "-bdf"]
    # Its user is known by name only, and this machine need not have it.
    (directory / "passwd").write_text("Debian-exim:x:65534:65534::/:/bin/false\nroot:x:0:0::/:\n")
    (directory / "group").write_text("Debian-exim:x:65534:\nroot:x:0:\n")
    environment |= {
        "LD_PRELOAD": str(next(root.glob("usr/lib/*/libnss_wrapper.so"))),
        "NSS_WRAPPER_PASSWD": str(directory / "passwd"),
        "NSS_WRAPPER_GROUP": str(directory / "group"),
    }
    # It drops its privileges by itself, and trusts a configuration of root's only.
    give_away(server)
    os.chown(directory / "conf", os.geteuid(), os.getegid())
    with (directory / "log").open("wb") as log:
        server.process = subprocess.Popen(
            list(map(str, words)), stdout=log, stderr=log, env=environment, start_new_session=True
        )
    return server


def start_vsftpd(_servers: RealServers, server: RealServer) -> RealServer:
    root, environment = PACKAGES["vsftpd"].unpacked()
    (server.ports["ftp"],) = free_ports(1)
    directory = server.directory
    (directory / "files").mkdir()
    (directory / "files" / "status").write_text("all is well\n")
    (directory / "conf").write_text(
        f"listen=YES\nlisten_address=127.0.0.1\nlisten_port={server.ports['ftp']}\n"
        f"background=NO\nrun_as_launching_user=YES\nanonymous_enable=YES\nno_anon_password=NO\n"
        f"anon_root={directory}/files\nftp_username=nobody\nnopriv_user=nobody\n"
        f"local_enable=NO\nseccomp_sandbox=NO\nconnect_from_port_20=NO\n"
    )
    return launch(server, [root / "usr/sbin/vsftpd", directory / "conf"], environment)


def start_slapd(servers: RealServers, server: RealServer) -> RealServer:
    root, environment = PACKAGES["slapd"].unpacked()
    server.ports = dict(zip(("ldap", "ldaps"), free_ports(2), strict=True))
    directory = server.directory
    servers.certificate(directory, "ldap.example.net", "127.0.0.1")
    (directory / "db").mkdir()
    (directory / "conf").write_text(
        f"include {root}/etc/ldap/schema/core.schema\nmodulepath {root}/usr/lib/ldap\n"
        f"moduleload back_mdb\npidfile {directory}/pid\nargsfile {directory}/args\n"
        f"TLSCertificateFile {directory}/cert.pem\nTLSCertificateKeyFile {directory}/key.pem\n"
        'database mdb\nsuffix "dc=example,dc=net"\nrootdn "cn=checker,dc=example,dc=net"\n'
        f"rootpw {PASSWORD}\ndirectory {directory}/db\n"
    )
    (directory / "base.ldif").write_text(
        "dn: dc=example,dc=net\nobjectClass: dcObject\nobjectClass: organization\n"
        "dc: example\no: Example\n"
    )
    give_away(server)
    slapd = root / "usr/sbin/slapd"
    add: list[str | Path] = [
        slapd,
        "-Tadd",
        "-f",
        directory / "conf",
        "-l",
        directory / "base.ldif",
    ]
    run(add, environment, cwd=directory)
    p = server.ports
    urls = f"ldap://127.0.0.1:{p['ldap']}/ ldaps://127.0.0.1:{p['ldaps']}/"
    return launch(server, [slapd, "-f", directory / "conf", "-h", urls, "-d", "0"], environment)


def start_postgres(_servers: RealServers, server: RealServer) -> RealServer:
    root, environment = PACKAGES["postgresql-15"].unpacked()
    (server.ports["pgsql"],) = free_ports(1)
    directory = server.directory
    (directory / "password").write_text(PASSWORD)
    give_away(server)
    programs = Path(f"{root}{POSTGRES_BINARIES}")
    init: list[str | Path] = [
        programs / "initdb",
        "-D",
        directory / "db",
        "-U",
        LOGIN,
        "-A",
        "scram-sha-256",
    ]
    init += ["--pwfile", directory / "password", "--no-sync", "--no-locale", "-E", "UTF8"]
    run(init, environment, cwd=directory)
    words: list[str | Path] = [
        programs / "postgres",
        "-D",
        directory / "db",
        "-p",
        str(server.ports["pgsql"]),
    ]
    words += ["-k", directory, "-c", "listen_addresses=127.0.0.1", "-c", "fsync=off"]
    return launch(server, words, environment)


def start_mariadb(_servers: RealServers, server: RealServer) -> RealServer:
    root, environment = PACKAGES["mariadb-server-core"].unpacked()
    (server.ports["mysql"],) = free_ports(1)
    directory = server.directory
    (directory / "db").mkdir()
    give_away(server)
    share = root / "usr/share/mysql"
    parts = ("mysql_system_tables.sql", "mysql_system_tables_data.sql")
    script = "create database mysql;\nuse mysql;\n" + "".join(
        (share / part).read_text() for part in parts
    )
    script += (
        "\nflush privileges;\n"
        f"create user '{LOGIN}'@'127.0.0.1' identified by '{PASSWORD}';\n"
        "create database shop;\ncreate table shop.article (id int);\n"
        f"grant all on shop.* to '{LOGIN}'@'127.0.0.1';\n"
    )
    common: list[str | Path] = [
        root / "usr/sbin/mariadbd",
        "--no-defaults",
        f"--datadir={directory}/db",
    ]
    common += [f"--lc-messages-dir={share}", "--innodb-flush-log-at-trx-commit=0"]
    common += ["--innodb-log-file-size=4M", "--innodb-buffer-pool-size=8M", "--skip-name-resolve"]
    common += [
        f"--character-sets-dir={share}/charsets",
        f"--plugin-dir={root}/usr/lib/mysql/plugin",
    ]
    as_nobody = UNPRIVILEGED if os.geteuid() == 0 else ()
    bootstrap = [*as_nobody, *map(str, common), "--bootstrap"]
    done = subprocess.run(
        bootstrap, input=script.encode(), env=environment, capture_output=True, check=False
    )
    if done.returncode:
        raise RuntimeError(f"mariadbd --bootstrap: {done.stderr.decode()[-2000:]}")
    words: list[str | Path] = [
        *common,
        f"--port={server.ports['mysql']}",
        "--bind-address=127.0.0.1",
    ]
    words += [f"--socket={directory}/socket", f"--pid-file={directory}/pid"]
    return launch(server, words, environment)


def start_unbound(_servers: RealServers, server: RealServer) -> RealServer:
    root, environment = PACKAGES["unbound"].unpacked()
    (server.ports["dns"],) = free_ports(1)
    directory = server.directory
    (directory / "conf").write_text(
        f"server:\n interface: 127.0.0.1\n port: {server.ports['dns']}\n"
        ' chroot: ""\n username: ""\n'
        f' directory: "{directory}"\n pidfile: "{directory}/pid"\n use-syslog: no\n'
        ' module-config: "iterator"\n do-daemonize: no\n local-zone: "example.net." static\n'
        ' local-data: "www.example.net. A 192.0.2.7"\n'
        ' local-data: "v6.example.net. AAAA 2001:db8::7"\n'
        ' local-data-ptr: "192.0.2.7 www.example.net"\n'
        "remote-control:\n control-enable: no\n"
    )
    return launch(server, [root / "usr/sbin/unbound", "-d", "-c", directory / "conf"], environment)


def start_freeradius(_servers: RealServers, server: RealServer) -> RealServer:
    root, environment = PACKAGES["freeradius"].unpacked()
    (server.ports["radius"],) = free_ports(1)
    directory = server.directory
    (directory / "users").write_text(f'{LOGIN} Cleartext-Password := "{PASSWORD}"\n')
    (directory / "dictionary").write_text(f"$INCLUDE {root}/usr/share/freeradius/dictionary\n")
    (directory / "radiusd.conf").write_text(
        f"name = radiusd\nprefix = {root}/usr\nlibdir = {root}/usr/lib/freeradius\n"
        f"logdir = {directory}\nrun_dir = {directory}\npidfile = {directory}/pid\n"
        "security { allow_core_dumps = no\n max_attributes = 200\n reject_delay = 0\n"
        " status_server = yes\n allow_vulnerable_openssl = yes\n}\n"
        "thread pool { start_servers = 1\n max_servers = 4\n min_spare_servers = 1\n"
        " max_spare_servers = 2\n}\n"
        f"client lab {{ ipaddr = 127.0.0.1\n secret = {SECRET}\n"
        " require_message_authenticator = yes\n}\n"
        f"modules {{ pap {{ }}\n files {{ filename = {directory}/users\n }}\n}}\n"
        f"server default {{ listen {{ type = auth\n ipaddr = 127.0.0.1\n"
        f" port = {server.ports['radius']}\n }}\n"
        " authorize { files\n pap\n }\n authenticate { Auth-Type PAP { pap\n }\n }\n}\n"
    )
    words: list[str | Path] = [root / "usr/sbin/freeradius", "-f", "-l", "stdout", "-n", "radiusd"]
    words += ["-d", directory, "-D", root / "usr/share/freeradius"]
    return launch(server, words, environment)


def start_kamailio(_servers: RealServers, server: RealServer) -> RealServer:
    root, environment = PACKAGES["kamailio"].unpacked()
    (server.ports["sip"],) = free_ports(1)
    directory, port = server.directory, server.ports["sip"]
    (directory / "conf").write_text(
        f'mpath="{root}/usr/lib/x86_64-linux-gnu/kamailio/modules/"\n'
        'loadmodule "sl.so"\nloadmodule "pv.so"\nloadmodule "kex.so"\nloadmodule "textops.so"\n'
        f"children=1\nfork=yes\nlog_stderror=yes\ndisable_tcp=no\ntcp_children=1\nauto_aliases=no\n"
        f"listen=udp:127.0.0.1:{port}\nlisten=tcp:127.0.0.1:{port}\n"
        'request_route { if ($rU == "busy") { sl_send_reply("503", "Too Busy"); exit; }\n'
        ' sl_send_reply("200", "OK"); }\n'
    )
    words: list[str | Path] = [
        root / "usr/sbin/kamailio",
        "-DD",
        "-E",
        "-f",
        directory / "conf",
        "-m",
        "16",
    ]
    words += ["-M", "4", "-Y", directory, "-P", directory / "pid"]
    return launch(server, words, environment)


def start_squid(_servers: RealServers, server: RealServer) -> RealServer:
    root, environment = PACKAGES["squid"].unpacked()
    (server.ports["http_proxy"],) = free_ports(1)
    directory = server.directory
    (directory / "conf").write_text(
        f"http_port 127.0.0.1:{server.ports['http_proxy']}\nhttp_access allow all\ncache deny all\n"
        f"pid_filename {directory}/pid\ncache_log {directory}/cache\naccess_log none\n"
        f"coredump_dir {directory}\nmime_table {root}/usr/share/squid/mime.conf\n"
        f"icon_directory {root}/usr/share/squid/icons\npinger_enable off\nshutdown_lifetime 0\n"
        f"error_directory {root}/usr/share/squid/errors/templates\nvisible_hostname lab\n"
        f"unlinkd_program {root}/usr/lib/squid/unlinkd\nnetdb_filename none\n"
        "max_filedescriptors 256\n"
    )
    return launch(server, [root / "usr/sbin/squid", "-N", "-f", directory / "conf"], environment)


def start_jamnntpd(_servers: RealServers, server: RealServer) -> RealServer:
    root, environment = Package(
        "jamnntpd", "/usr/sbin/jamnntpd", "NNTP checks ask a real server"
    ).unpacked()
    (server.ports["nntp"],) = free_ports(1)
    directory = server.directory
    (directory / "groups").write_text(f"local.test A 2:205/454.77 {directory}/area\n")
    (directory / "users").touch()
    (directory / "allow").write_text("127.0.0.1\n")
    words: list[str | Path] = [root / "usr/sbin/jamnntpd", "-p", str(server.ports["nntp"])]
    words += ["-m", "20", "-l", directory / "nlog", "-x", root / "etc/jamnntpd.xlat"]
    for option in ("groups", "users", "allow"):
        words += [f"-{option[0]}", directory / option]
    return launch(server, words, environment)


STARTERS: Final[dict[str, Callable[[RealServers, RealServer], RealServer]]] = {
    "mariadb": start_mariadb,
    "postgres": start_postgres,
    "slapd": start_slapd,
    "squid": start_squid,
    "kamailio": start_kamailio,
    "freeradius": start_freeradius,
    "dovecot": start_dovecot,
    "exim": start_exim,
    "jamnntpd": start_jamnntpd,
    "vsftpd": start_vsftpd,
    "unbound": start_unbound,
    "mosquitto": start_mosquitto,
    "memcached": start_memcached,
    "redis": start_redis,
    "nginx": start_nginx,
}


if __name__ == "__main__":
    for each in PACKAGES.values():
        each.unpacked()
