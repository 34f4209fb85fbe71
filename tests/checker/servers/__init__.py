"""Real server software for the checks to ask, a module for each kind."""

from __future__ import annotations

from typing import Final

from .databases import start_mariadb, start_postgres, start_slapd
from .datagrams import start_freeradius, start_kamailio, start_unbound
from .launching import LOGIN, PASSWORD, SECRET, RealServers, Starter
from .mail import start_dovecot, start_exim, start_jamnntpd, start_vsftpd
from .stores import start_memcached, start_mosquitto, start_redis
from .web import PAGE, start_nginx, start_squid

__all__ = ["LOGIN", "PAGE", "PASSWORD", "SECRET", "STARTERS", "RealServers"]

STARTERS: Final[dict[str, Starter]] = {
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
"""Those that take longest come first."""
