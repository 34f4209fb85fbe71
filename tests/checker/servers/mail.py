"""Mail, news and files."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path
from typing import Final

from tests.common.ports import free_ports

from .launching import (
    LOGIN,
    PASSWORD,
    Package,
    RealServer,
    RealServers,
    give_away,
    launch,
)

DOVECOT: Final = Package(
    "dovecot-core",
    "/usr/sbin/dovecot",
    "IMAP and POP3 checks ask a real server",
    ("dovecot-imapd", "dovecot-pop3d"),
)
EXIM: Final = Package(
    "exim4-daemon-light", "/usr/sbin/exim4", "SMTP checks ask a real server", ("libnss-wrapper",)
)
VSFTPD: Final = Package("vsftpd", "/usr/sbin/vsftpd", "FTP checks ask a real server")


JAMNNTPD: Final = Package("jamnntpd", "/usr/sbin/jamnntpd", "NNTP checks ask a real server")
POSTFIX: Final = Package("postfix", "/usr/sbin/postfix", "SMTP checks ask a real server")
POSTFIX_QUEUES: Final = (
    *("pid", "private", "public", "active", "incoming", "deferred", "defer", "bounce"),
    *("maildrop", "hold", "corrupt", "flush", "saved", "trace"),
)
POSTFIX_OWNER: Final = 64501


def start_postfix(_servers: RealServers, server: RealServer) -> RealServer:
    """Start it as root, which it wants: it gives each part the user that it needs."""
    root, environment = POSTFIX.unpacked()
    (server.ports["smtp"],) = free_ports(1)
    directory = server.directory
    for name in POSTFIX_QUEUES:
        (directory / "queue" / name).mkdir(parents=True)
        if name != "pid":
            os.chown(directory / "queue" / name, POSTFIX_OWNER, -1)
    (directory / "data").mkdir()
    os.chown(directory / "data", POSTFIX_OWNER, -1)
    (directory / "main.cf").write_text(
        f"compatibility_level = 3.6\nqueue_directory = {directory}/queue\n"
        f"data_directory = {directory}/data\nmaillog_file = {directory}/maillog\n"
        f"maillog_file_prefixes = {directory}\nmeta_directory = {root}/etc/postfix\n"
        f"command_directory = {root}/usr/sbin\nshlib_directory = no\n"
        f"daemon_directory = {root}/usr/lib/postfix/sbin\n"
        "import_environment = MAIL_CONFIG LD_LIBRARY_PATH\n"
        "mail_owner = postfix\nsetgid_group = postdrop\nmyhostname = mx.example.net\n"
        "inet_interfaces = 127.0.0.1\ninet_protocols = ipv4\nmydestination =\nalias_maps =\n"
        "alias_database =\nlocal_recipient_maps =\nsmtpd_peername_lookup = no\n"
        "smtpd_client_connection_count_limit = 0\nsmtpd_client_connection_rate_limit = 0\n"
    )
    (directory / "master.cf").write_text(
        f"127.0.0.1:{server.ports['smtp']} inet n - n - 10 smtpd\n"
        "postlog unix-dgram n - n - 1 postlogd\nanvil unix - - n - 1 anvil\n"
    )
    users = f"postfix:x:{POSTFIX_OWNER}:{POSTFIX_OWNER}::/:/bin/false\n"
    groups = f"postfix:x:{POSTFIX_OWNER}:\npostdrop:x:{POSTFIX_OWNER + 1}:\n"
    (directory / "passwd").write_text(Path("/etc/passwd").read_text() + users)
    (directory / "group").write_text(Path("/etc/group").read_text() + groups)
    there = 'mount --bind passwd /etc/passwd && mount --bind group /etc/group && exec "$@"'
    words = ["unshare", "-m", "sh", "-c", there, "sh", f"{root}/usr/lib/postfix/sbin/master"]
    with (directory / "log").open("wb") as log:
        server.process = subprocess.Popen(
            [*words, "-c", str(directory), "-d"],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            env=environment,
            cwd=directory,
            start_new_session=True,
        )
    return server


def start_dovecot(_servers: RealServers, server: RealServer) -> RealServer:
    root, environment = DOVECOT.unpacked()
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
    root, environment = EXIM.unpacked()
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


def start_jamnntpd(_servers: RealServers, server: RealServer) -> RealServer:
    root, environment = JAMNNTPD.unpacked()
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


def start_vsftpd(_servers: RealServers, server: RealServer) -> RealServer:
    root, environment = VSFTPD.unpacked()
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
