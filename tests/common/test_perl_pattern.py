"""Perl's regular expressions: the same answer as perl itself, or a refusal in words."""

from __future__ import annotations

import contextlib
import subprocess

import pytest
import regex  # type: ignore[import-untyped]  # ships no types
from hypothesis import given
from hypothesis import strategies as st

from heartbus.perl_pattern import PerlOnlyError, translated

PATTERNS = [
    "Test Page",
    r"a\.b",
    r"\x{41}",
    r"\x{263a}+",
    r"\o{101}",
    r"a\Z",
    r"a\z",
    "a$",
    r"^a",
    r"\Aa",
    r"(a)\g1",
    r"(a)\g{1}",
    r"(?<n>a)\k<n>",
    r"(?<n>a)\k{n}",
    r"\cA",
    r"\e",
    r"a\h+b",
    r"a\Hb",
    r"a\vb",
    r"a\Rb",
    r"a\Nb",
    r"[[:alpha:]]+",
    r"(?i)TEST",
    r"(?>a+)b",
    r"a++b",
    r"(?|x|a)",
    r"a\Kb",
    r"\bTest\b",
    r"(?<=a)b",
    r"(?<!a)b",
    r"\\Z",
    r"a{2,}",
    r"a|b",
]
TEXTS = [
    "a",
    "aa",
    "ab",
    "a\n",
    "a\nb",
    "a b",
    "a\tb",
    "a\rb",
    "a.b",
    "axb",
    "A",
    "☺☺",
    "\x01",
    "\x1b",
    "Test Page",
    "test",
    "\\Z",
    "b",
    "aaab",
    "",
]


@pytest.fixture(scope="module")
def perls() -> dict[tuple[str, str], bool]:
    """What perl itself says of each pattern and text."""
    program = r"""
        while (<STDIN>) {
            my ($pattern, $text) = map { pack("H*", $_) } split /,/, $_ =~ s/\n//r, -1;
            print(($text =~ /$pattern/) ? "1" : "0");
        }
    """
    pairs = [(p, t) for p in PATTERNS for t in TEXTS]
    lines = "".join(f"{p.encode().hex()},{t.encode().hex()}\n" for p, t in pairs)
    said = subprocess.run(
        ["perl", "-e", program], input=lines, capture_output=True, text=True, check=True
    ).stdout
    return dict(zip(pairs, (mark == "1" for mark in said), strict=True))


@pytest.mark.parametrize("pattern", PATTERNS)
def test_it_finds_what_perl_finds(pattern: str, perls: dict[tuple[str, str], bool]) -> None:
    compiled = regex.compile(translated(pattern).encode())
    for text in TEXTS:
        if pattern == r"\x{263a}+":
            continue  # perl compares characters there, and bytes everywhere else
        found = compiled.search(text.encode()) is not None
        assert found == perls[pattern, text], (pattern, text, translated(pattern))


def test_quoting_quotes() -> None:
    # Perl does so in its own programs, and takes the letters as they are in a pattern from a file.
    assert regex.search(translated(r"\Qa.b\E+c").encode(), b"a.bbc")
    assert not regex.search(translated(r"\Qa.b\E").encode(), b"axb")


def test_a_character_beyond_ascii_is_its_bytes() -> None:
    assert regex.search(translated(r"^\x{263a}+$").encode(), "☺☺".encode())


@pytest.mark.parametrize(
    ("pattern", "words"),
    [
        ("a(?{die})", "runs Perl code"),
        ("(??{x})", "runs Perl code"),
        ("a(*SKIP)b", "steers how Perl goes back"),
        (r"\N{BULLET}", "names a character"),
        (r"(a)\g{-1}", "counts groups backwards"),
        ("(?^i:a)", "resets flags"),
        (r"\x{zz}", "is no character"),
        (r"\C", "no longer known"),
    ],
)
def test_what_only_perl_can_do_is_refused_in_words(pattern: str, words: str) -> None:
    with pytest.raises(PerlOnlyError, match=words):
        translated(pattern)


@given(st.text(max_size=40))
def test_any_text_is_translated_or_refused(pattern: str) -> None:
    with contextlib.suppress(PerlOnlyError):
        translated(pattern)
