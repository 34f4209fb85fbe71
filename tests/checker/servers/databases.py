"""Databases and a directory."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path
from typing import Final

from tests.common.ports import free_ports

from .launching import (
    LOGIN,
    PASSWORD,
    UNPRIVILEGED,
    Package,
    RealServer,
    RealServers,
    give_away,
    launch,
    run,
)

POSTGRES_BINARIES: Final = "/usr/lib/postgresql/15/bin"

SLAPD: Final = Package("slapd", "/usr/sbin/slapd", "LDAP checks ask a real one")
POSTGRES: Final = Package(
    "postgresql-15", f"{POSTGRES_BINARIES}/postgres", "pgsql checks ask a real server"
)
MARIADB: Final = Package(
    "mariadb-server-core",
    "/usr/sbin/mariadbd",
    "mysql checks ask a real server",
    ("mariadb-server", "mariadb-client-core"),
)


def start_slapd(servers: RealServers, server: RealServer) -> RealServer:
    root, environment = SLAPD.unpacked()
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
    root, environment = POSTGRES.unpacked()
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
    root, environment = MARIADB.unpacked()
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
