"""Is the expected text in the answer? A regular expression that cannot run away.

Sans-I/O. ldirectord ``receive`` is a Perl regular expression without flags, searched anywhere;
the regex library reads the same language but for few spellings and gives up after a time.
"""

from __future__ import annotations

from typing import Final

import regex  # type: ignore[import-untyped]  # ships no types

from heartbus.perl_pattern import translated

SEARCH_CPU_S_MAX: Final = 0.1
"""CPU time for one search; an honest pattern takes microseconds for a page."""

_SPECIAL: Final = frozenset(r"\^$.|?*+()[]{}")


class PatternError(ValueError):
    """The text is not a regular expression that we can run; the message says where and why."""


class ReceivePattern:
    """A compiled ``receive``; matches bytes, so ``.`` is one byte of a UTF-8 character.

    Text without any special character, as most is, is searched for as it is.
    """

    __slots__ = ("_plain", "_regex", "text")

    def __init__(self, text: str) -> None:
        self.text = text
        try:
            self._regex = regex.compile(translated(text).encode())
        except (regex.error, ValueError, OverflowError, RecursionError) as error:
            raise PatternError(f"{text!r} is not a regular expression: {error}") from error
        self._plain = None if _SPECIAL.intersection(text) else text.encode()

    def problem(self, answer: bytes) -> str | None:
        """Return why the answer does not match, in words; None if it does."""
        if self._plain is not None:
            return None if self._plain in answer else f"without {self.text!r}"
        try:
            found = self._regex.search(answer, timeout=SEARCH_CPU_S_MAX)
        except TimeoutError:
            return (
                f"searching it for {self.text!r} took more than {SEARCH_CPU_S_MAX} s of CPU time; "
                "write a simpler pattern"
            )
        return None if found else f"without {self.text!r}"
