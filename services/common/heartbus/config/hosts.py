"""Looks host names of ldirectord files up in the hosts file, and nowhere else.

Sans-I/O. ldirectord asks the resolver, once, when it reads its file (L-14): two directors may get
two answers, and a slow name server stops the start. The hosts file is here, and it is quick.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Mapping
from typing import Final

from heartbus.config.values import is_host_name, is_plain_ipv4

HOSTS_FILE: Final = "/etc/hosts"

_SERVER: Final = re.compile(r"([^:\[\]\s]+)((?::\S*)?)")


class Hosts:
    """The names of a hosts file; of each name the first address of each family counts."""

    def __init__(self, text: str = "") -> None:
        self._addresses: dict[tuple[str, int], str] = {}
        for line in text.splitlines():
            words = line.partition("#")[0].split()
            try:
                address = ipaddress.ip_address(words[0]) if words else None
            except ValueError:
                continue
            if address is not None:
                for name in words[1:]:
                    self._addresses.setdefault((name.lower(), address.version), str(address))

    def replaced(self, text: str, *, ipv6: bool) -> tuple[str, Mapping[str, str]]:
        """Return the text of a server with addresses for its names, and which were found.

        ``text`` is HOST[:PORT] or HOST->HOST2[:PORT], with anything behind a blank.
        """
        server, blank, rest = text.partition(" ")
        if is_plain_ipv4(server.partition(":")[0]):
            return text, {}
        found: dict[str, str] = {}
        parts = []
        for part in server.split("->"):
            match = _SERVER.fullmatch(part)
            name = match[1].lower() if match else ""
            address = self._addresses.get((name, 6 if ipv6 else 4))
            if match is None or address is None or not is_host_name(name):
                parts.append(part)
                continue
            found[match[1]] = address
            parts.append(f"[{address}]{match[2]}" if ipv6 else f"{address}{match[2]}")
        return "->".join(parts) + blank + rest, found
