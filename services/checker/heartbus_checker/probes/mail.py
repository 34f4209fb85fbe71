"""POP3, IMAP and NNTP: greeting, login where one is given, and a polite end.

Sans-I/O. ldirectord ``service=pop``, ``imap``, ``nntp``; RFC 1939, RFC 3501, RFC 3977. Without a
login ldirectord passed a POP server that did not even listen; here the greeting must come.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Generator
from typing import Final

from . import excerpt
from .script import Failed, Line, Say, Script, Want

UNTAGGED_LINES_MAX: Final = 200
"""Lines that an IMAP server may say before it answers a command."""

_APOP_STAMP = re.compile(rb"<[\x21-\x3b\x3d\x3f-\x7e]{1,200}@[\x21-\x7e]{1,200}>")


def pop3(login: str, password: str) -> Script:
    """Log in by APOP where the greeting offers it, else by USER and PASS; RFC 1939."""
    greeting = yield from _pop_answer()
    if not login:
        yield Say(b"QUIT\r\n", "QUIT")
        return "greeted"
    stamp = _APOP_STAMP.search(greeting)
    if stamp is not None:
        # MD5 is what the protocol asks for, section 7.
        proof = hashlib.md5(stamp[0] + password.encode(), usedforsecurity=False).hexdigest()
        yield Say(f"APOP {login} {proof}\r\n".encode(), "APOP")
        yield from _pop_answer()
    else:
        yield Say(f"USER {login}\r\n".encode(), "USER")
        yield from _pop_answer()
        yield Say(f"PASS {password}\r\n".encode(), "PASS")
        yield from _pop_answer()
    yield Say(b"QUIT\r\n", "QUIT")
    return f"{login} is let in"


def _pop_answer() -> Generator[Want, bytes, bytes]:
    line = yield Line()
    if not line.startswith(b"+OK"):
        raise Failed(excerpt(line))
    return line


def imap(login: str, password: str) -> Script:
    """Log in where a login is given, then log out; RFC 3501 section 6."""
    greeting = yield Line()
    if not greeting.startswith((b"* OK", b"* PREAUTH")):
        raise Failed(excerpt(greeting))
    if login and not greeting.startswith(b"* PREAUTH"):
        words = f"a1 LOGIN {_quoted(login)} {_quoted(password)}\r\n"
        yield Say(words.encode(), "LOGIN")
        yield from _imap_answer(b"a1")
    yield Say(b"a2 LOGOUT\r\n", "LOGOUT")
    yield from _imap_answer(b"a2")
    return f"{login} is let in" if login else "greeted"


def _imap_answer(tag: bytes) -> Generator[Want, bytes, None]:
    for _ in range(UNTAGGED_LINES_MAX):
        line = yield Line()
        if line.startswith(tag + b" "):
            if not line.startswith(tag + b" OK"):
                raise Failed(excerpt(line))
            return
        if not line.startswith(b"* "):
            raise Failed(f"not IMAP: {excerpt(line)}")
    raise Failed(f"more than {UNTAGGED_LINES_MAX} lines without an answer")


def _quoted(text: str) -> str:
    """Return a quoted string of IMAP; section 4.3."""
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'


def nntp() -> Script:
    """Take the greeting, which must be of the 2xx kind; RFC 3977 section 5.1."""
    greeting = yield Line()
    if not greeting.startswith(b"2"):
        raise Failed(excerpt(greeting))
    yield Say(b"QUIT\r\n", "QUIT")
    return f"greeted: {excerpt(greeting)}"
