"""Reads what the nats-server of this director is to be protected with, and says what is amiss.

A key or certificate that cannot be used never stops a director: its user is left out, or the bus
stays on this host, and it is told. It never opens what was closed.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Final

from heartbus import subjects
from heartbus.bus_keys import (
    KeyFileError,
    RouteFiles,
    accepted,
    new_seed,
    public_of,
    route_files,
    user_directories,
)
from heartbus.model import Cluster
from heartbus.up.nats_config import Security

DAY_S: Final = 86400.0
EXPIRY_WARNING_DAYS: Final = 30


def read_security(directory: Path, cluster: Cluster) -> Security:
    """Return who is let in, and what of the files cannot be used."""
    users: dict[str, tuple[str, ...]] = {}
    problems: list[str] = []
    try:
        names = user_directories(directory)
    except KeyFileError as error:
        names, problems = ("",), [str(error)]
    voters = {subjects.node_token(voter.name) for voter in cluster.voters}
    for name in names:
        try:
            keys = accepted(directory, name)
        except KeyFileError as error:
            problems.append(f"{error}; {name or 'nobody'} is not let in")
            continue
        if name in voters:
            problems.append(
                f"{directory / name}: a director is called so too, and answers could not be told"
                " apart; it is not let in"
            )
        elif keys:
            users[name] = keys
    if names and not users:
        # Not open because what closes it is broken: a key that nobody has.
        users["observer"] = (public_of(new_seed(), directory),)
    route, route_problem = _route(directory)
    if route_problem:
        problems.append(f"{route_problem}; the bus of this director stays on this host")
    return Security(
        users=users,
        route=route,
        isolated=route_problem is not None,
        problems=tuple(problems),
    )


def _route(directory: Path) -> tuple[RouteFiles | None, str | None]:
    try:
        files = route_files(directory)
        if files is not None:
            from heartbus.bus_certificates import require_usable

            require_usable(files)
    except KeyFileError as error:
        return None, str(error)
    return files, None


def remarks(cluster: Cluster, security: Security, *, now_s: float) -> Iterator[str]:
    """Yield what an administrator should know of how well the bus is protected."""
    yield from security.problems
    if not security.users:
        yield (
            "the bus has no keys: every process of this host may speak on it and send commands;"
            " 'heartbus bus init' makes keys"
        )
    signer = cluster.membership.authentication
    key = signer.key(signer.signing_key)
    joined = len(cluster.directors) > 1 and not security.isolated
    if joined and security.route is None and (key is None or not key.secret):
        yield (
            "routes between directors have neither certificates nor a password: whoever"
            " reaches their port may command; 'heartbus bus init --ca' makes certificates"
        )
    if security.route is not None:
        yield from _expiry(security.route, now_s=now_s)


def _expiry(files: RouteFiles, *, now_s: float) -> Iterator[str]:
    from heartbus.bus_certificates import expires_s

    for file in (files.certificate, files.ca):
        left_s = expires_s(file) - now_s
        if left_s <= 0:
            yield (
                f"{file} has expired: the buses of the directors meet no more once a connection"
                " ends; no VIP moves, but neither commands nor verdicts of peers arrive"
            )
        elif left_s < EXPIRY_WARNING_DAYS * DAY_S:
            yield f"{file} expires in {left_s / DAY_S:.0f} days: 'heartbus bus init --ca --renew'"
