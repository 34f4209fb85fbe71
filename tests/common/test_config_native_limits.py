"""A TOML file of any size and shape costs little, and its lines are found."""

from __future__ import annotations

import contextlib
import gc
import subprocess
import sys
from pathlib import Path

import pytest

from heartbus.config import ConfigError, toml_lines
from heartbus.config.toml_lines import LineIndex, line_index
from tests.common.config_samples import directory, loaded
from tests.common.config_samples.native import BASE, FIRST, remarks


def test_nesting_without_end_is_refused(tmp_path: Path) -> None:
    for text in ("x = " + "[" * 5000, "x = " + "{a=" * 5000):
        (words,) = remarks(tmp_path, text)
        assert words == (
            "error heartbus.toml: nested too deeply; no key of heartbus is nested like that"
        )


@pytest.mark.parametrize("part", ["a", '"a"', "'a'"])
def test_dotted_keys_without_end_are_refused(tmp_path: Path, part: str) -> None:
    (words,) = remarks(tmp_path, part + f" . {part}" * 2000 + " = 1")
    assert words == "error heartbus.toml:1: a key of more than 32 parts; no key is that long"


def test_lines_without_end_are_refused(tmp_path: Path) -> None:
    (words,) = remarks(tmp_path, "a" + ".a" * 1_000_000 + " = 1")
    assert words == "error heartbus.toml:1: longer than 65536 characters; at most that is read"


# Read in a process of its own, whose greatest size is then that of this one file.
MEASURED = """\
import resource, sys, time
from heartbus.config import ConfigError, load
def peak_kb():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
before_kb, began_s = peak_kb(), time.process_time()
try:
    load(sys.argv[1])
except ConfigError as error:
    print(error)
print(peak_kb() - before_kb, time.process_time() - began_s)
"""


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("\n" * (4 << 20) + "[vip]\nx = 1\n", FIRST + (4 << 20) + 1),
        ('[vip]\nx = """' + 'a "b\n' * (1 << 18) + "ab\n" * (1 << 20) + '"""\n', FIRST + 1),
    ],
    ids=["blank lines", "lines of one text"],
)
def test_megabytes_are_read_in_little_memory_and_time(tmp_path: Path, text: str, line: int) -> None:
    place = directory(tmp_path, {"heartbus.toml": BASE + text}) / "heartbus.toml"
    command = [sys.executable, "-c", MEASURED, str(place)]
    said, figures = subprocess.check_output(command, text=True, timeout=60).splitlines()
    assert said.startswith(f"{place}:{line}: vip.x: unknown key")
    extra_kb, cpu_s = map(float, figures.split())
    assert extra_kb < 64 * 1024
    assert cpu_s < 2.0


def test_lines_of_keys_are_found_in_every_notation() -> None:
    text = (
        "a = 1\n"
        "b.c = '''x\n]y'''\n"
        '"d e" = ["[", # ]\n'
        "  { f = '}' }, [\n 1 ],\n"
        "]\n"
        "[g.h]\n"
        "i = 1979-05-27T07:32:00Z\n"
        "[[j]]\n"
        'k = """a"b""c\\"""\n"""\n'
        "[j.l]\n"
        "m = 0x1\n"
        "[[j]]\n"
        "n = {}\r\n"
        "'o'.p = [\n]\n"
        "[[j.q]]\n"
        "[[j.q]]\n"
        "[j.q.r.s]\n"
    )
    assert line_index(text) == {
        ("a",): 1,
        ("b",): 2,
        ("b", "c"): 2,
        ("d e",): 4,
        ("d e", 0): 4,
        ("d e", 1): 5,
        ("d e", 1, "f"): 5,
        ("d e", 2): 5,
        ("d e", 2, 0): 6,
        ("g",): 8,
        ("g", "h"): 8,
        ("g", "h", "i"): 9,
        ("j",): 10,
        ("j", 0): 10,
        ("j", 0, "k"): 11,
        ("j", 0, "l"): 13,
        ("j", 0, "l", "m"): 14,
        ("j", 1): 15,
        ("j", 1, "n"): 16,
        ("j", 1, "o"): 17,
        ("j", 1, "o", "p"): 17,
        ("j", 1, "q"): 19,
        ("j", 1, "q", 0): 19,
        ("j", 1, "q", 1): 20,
        ("j", 1, "q", 1, "r"): 21,
        ("j", 1, "q", 1, "r", "s"): 21,
    }


def test_the_line_of_a_table_is_that_of_its_own_header_though_it_comes_later() -> None:
    text = "[a.b]\nx = 1\n[a]\ny = 1\n[[c]]\nz = 1\n"
    assert line_index(text)["a",] == 3
    assert LineIndex(text).get(("a",)) == 3
    index = LineIndex(text)
    assert [index.get(path) for path in (("c", 0, "z"), ("a",), ("a", "b", "x"))] == [6, 3, 2]


def test_of_a_file_without_a_remark_only_the_beginning_is_searched_for_lines(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """To know the line of each value takes as long as to read them all."""
    service = '[[virtual_services]]\naddress = "192.0.2.{}:80"\ncheck = {{ type = "off" }}\n'
    group = 'groups = [{ name = "v", preferred = "a", resources = ["192.0.2.1/24"] }]\n'
    services = "".join(service.format(number) for number in range(1, 100))
    place = directory(tmp_path, {"heartbus.toml": group + BASE + services})
    taken: list[int] = []
    take = toml_lines._Scanner.statement

    def counted(scanner: toml_lines._Scanner) -> None:
        taken.append(1)
        take(scanner)

    monkeypatch.setattr(toml_lines._Scanner, "statement", counted)
    found = loaded(place)
    assert found.diagnostics == ()
    assert len(taken) < 20, "as far as the director and the secret"
    found.places.at("virtual_services", 98, "address").line  # noqa: B018 — looked up now
    assert len(taken) > 200


@pytest.mark.parametrize("text", [BASE, "nonsense"])
def test_garbage_is_collected_again_after_a_load(tmp_path: Path, text: str) -> None:
    place = directory(tmp_path, {"heartbus.toml": text})
    with contextlib.suppress(ConfigError):
        loaded(place)
    assert gc.isenabled()
