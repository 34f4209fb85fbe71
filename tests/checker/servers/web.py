"""A web server and a proxy."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Final

from tests.common.ports import free_ports

from .launching import Package, RealServer, RealServers, launch

PAGE: Final = "<h1>Test Page</h1>\n"
SQUID: Final = Package(
    "squid",
    "/usr/sbin/squid",
    "http_proxy checks ask a real proxy",
    ("squid-common", "squid-langpack"),
)


def start_nginx(servers: RealServers, server: RealServer) -> RealServer:
    from tests.checker.conftest import find_nginx

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


def start_squid(_servers: RealServers, server: RealServer) -> RealServer:
    root, environment = SQUID.unpacked()
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
