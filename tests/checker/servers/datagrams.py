"""Servers that are asked by UDP: names, users, calls."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from tests.common.ports import free_ports

from .launching import LOGIN, PASSWORD, SECRET, Package, RealServer, RealServers, launch

UNBOUND: Final = Package("unbound", "/usr/sbin/unbound", "DNS checks ask a real server")
FREERADIUS: Final = Package(
    "freeradius",
    "/usr/sbin/freeradius",
    "RADIUS checks ask a real server",
    ("freeradius-common", "freeradius-config"),
)
KAMAILIO: Final = Package("kamailio", "/usr/sbin/kamailio", "SIP checks ask a real server")


def start_unbound(_servers: RealServers, server: RealServer) -> RealServer:
    root, environment = UNBOUND.unpacked()
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
    root, environment = FREERADIUS.unpacked()
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
    root, environment = KAMAILIO.unpacked()
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
