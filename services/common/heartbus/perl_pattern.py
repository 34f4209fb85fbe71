r"""Perl's regular expressions in the words of the regex library, which runs ``receive``.

Sans-I/O. The library reads most of Perl's language as it is. What differs is translated here
(``\Z``, ``\Q…\E``, ``\x{…}``, ``\g1``, ``\k<name>``, ``\v`` and a few more); what only Perl can do
is refused: code in a pattern, verbs of its backtracking engine, names of characters.
"""

from __future__ import annotations

import re
from typing import Final

PATTERN_CHARS_MAX: Final = 1000

_TOKEN = re.compile(
    r"""\\Q(?P<quoted>.*?)(?:\\E|\Z)
    |\\x\{(?P<hex>[^}]*)\}
    |\\o\{(?P<octal>[^}]*)\}
    |\\N\{(?P<name>[^}]*)\}
    |\\c(?P<control>[@-_a-z])
    |\\g(?:\{(?P<group>[^}]*)\}|(?P<number>\d+))
    |\\k(?:<(?P<called>\w+)>|\{(?P<called2>\w+)\}|'(?P<called3>\w+)')
    |\\(?P<sign>.)
    |(?P<code>\(\?\??\{)
    |(?P<verb>\(\*[A-Z:]+)
    |(?P<caret>\(\?\^)""",
    re.VERBOSE | re.DOTALL,
)
_SIGNS: Final = {
    "Z": r"(?=\n?\Z)",  # Perl: at the end, or before the line end that is there
    "H": r"[^ \t]",
    "N": r"[^\n]",
    "v": r"[\n\x0b\x0c\r]",
    "e": r"\x1b",
    "E": "",
}
_REFUSED: Final = {"C": r"\C is no longer known to Perl either"}


class PerlOnlyError(ValueError):
    """Something that only Perl itself can run; the message names it."""


def translated(pattern: str) -> str:
    """Return the pattern for ``regex.compile``; one without Perl's own words is returned as it is.

    Raises:
        PerlOnlyError: it asks for what only Perl can do.

    """
    return _TOKEN.sub(_one, pattern)


def _one(match: re.Match[str]) -> str:
    if match["quoted"] is not None:
        return re.escape(match["quoted"])
    for kind, base in (("hex", 16), ("octal", 8)):
        if match[kind] is not None:
            return _character(match[0], match[kind], base)
    if match["name"] is not None:
        raise PerlOnlyError(rf"\N{{{match['name']}}} names a character; write the character itself")
    if match["control"] is not None:
        return rf"\x{ord(match['control'].upper()) ^ 0x40:02x}"
    if match["code"] is not None:
        raise PerlOnlyError("(?{ } runs Perl code")
    if match["verb"] is not None:
        raise PerlOnlyError(f"{match['verb']} steers how Perl goes back")
    if match["caret"] is not None:
        raise PerlOnlyError("(?^ resets flags; name those that are wanted")
    if match["group"] is not None or match["number"] is not None:
        return _backward(match[0], match["group"] or match["number"])
    if (called := match["called"] or match["called2"] or match["called3"]) is not None:
        return f"(?P={called})"
    sign = match["sign"]
    if sign in _REFUSED:
        raise PerlOnlyError(_REFUSED[sign])
    return _SIGNS.get(sign, match[0])


def _backward(written: str, group: str) -> str:
    if group.isdecimal() and int(group):
        return rf"(?:\{int(group)})"
    if group.isidentifier():
        return f"(?P={group})"
    raise PerlOnlyError(f"{written} counts groups backwards; give the number of the group")


def _character(written: str, digits: str, base: int) -> str:
    try:
        text = chr(int(digits.strip() or "0", base))
    except (ValueError, OverflowError):
        raise PerlOnlyError(f"{written} is no character") from None
    encoded = "".join(rf"\x{byte:02x}" for byte in text.encode("utf-8", "surrogatepass"))
    return encoded if len(text.encode("utf-8", "surrogatepass")) == 1 else f"(?:{encoded})"
