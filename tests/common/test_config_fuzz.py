"""Whatever the files contain, loading ends in a configuration or in ConfigError with its lines."""

from __future__ import annotations

import itertools
import re
import tomllib
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from heartbus.config import ConfigError, Level, load
from heartbus.config.digest import config_digest
from heartbus.config.show import render
from heartbus.config.toml_lines import DEPTH_MAX, LineIndex, line_index
from tests.common.config_samples import AS_PRINTED, EXAMPLES, Files, classic_files, directory

RULES = "-A -t 192.168.7.110:80 -s rr -p 300\n-a -t 192.168.7.110:80 -r 10.0.0.1:80 -g -w 1\n"
NATIVE = (EXAMPLES / "heartbus.toml").read_bytes()
NAMES = ("ha.cf", "haresources", "authkeys", "www.cf", "mail.cf", "ipvsadm.rules")
ERROR_LINE = re.compile(r"[^\n]+: [^\n]+")

once = settings(
    max_examples=150,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("fuzz")


def samples() -> dict[str, bytes]:
    files: Files = {**classic_files(), "ipvsadm.rules": RULES}
    texts = {}
    for name, content in files.items():
        if isinstance(content, Path):
            texts[name] = content.read_bytes()
        else:
            texts[name] = content.encode() if isinstance(content, str) else content
    return texts


SAMPLES = samples()
PRINTED = {name: (AS_PRINTED / name).read_bytes() for name in ("ha.cf", "www.cf", "haresources")}
WORDS = sorted(
    {word for text in (*SAMPLES.values(), *PRINTED.values()) for word in text.split()}
    | {b"\t", b" ", b"\\", b"#", b'"', b"=", b"::", b"->", b"\0", b"\xff", b"\xef\xbb\xbf"}
    | {b"virtual=", b"real=", b"virtual6=", b"-p", b"-f", b"\r", b"9" * 5000, b"1.2.3.4/24/x/y/z"}
)


@st.composite
def mutated(draw: st.DrawFn, text: bytes) -> bytes:
    """Lines of a sample dropped, doubled, swapped, and changed at random places."""
    lines = text.split(b"\n")
    for _ in range(draw(st.integers(1, 5))):
        at = draw(st.integers(0, len(lines) - 1))
        line = lines[at]
        cut = draw(st.integers(0, len(line)))
        insert = draw(st.one_of(st.sampled_from(WORDS), st.binary(max_size=6)))
        match draw(st.integers(0, 4)):
            case 0:
                lines[at : at + 1] = [line, line]
            case 1:
                lines[at] = line[:cut] + insert + line[cut:]
            case 2:
                lines[at] = line[:cut]
            case 3:
                lines[at] = line[:cut] + insert + line[cut + len(insert) :]
            case _:
                other = draw(st.integers(0, len(lines) - 1))
                lines[at], lines[other] = lines[other], line
    return b"\n".join(lines)


def holds(path: Path) -> None:
    """Load and check the promise: a cluster that can be shown, or errors one a line."""
    refused: ConfigError | None = None
    try:
        loaded = load(str(path), root=str(path.parent / "no-such-root"))
    except ConfigError as error:
        refused = error
    if refused is not None:
        assert any(d.level is Level.ERROR for d in refused.diagnostics)
        for line in str(refused).split("\n"):
            assert ERROR_LINE.fullmatch(line), line
            assert line.isprintable(), line
        return
    assert all(d.level is not Level.ERROR for d in loaded.diagnostics)
    assert config_digest(loaded.cluster)
    for as_json in (True, False):
        assert render(loaded.cluster, as_json)


@once
@given(data=st.data(), name=st.sampled_from(NAMES))
def test_random_bytes_in_any_file_of_the_old_form(
    place: Path, data: st.DataObject, name: str
) -> None:
    holds(directory(place, {**SAMPLES, name: data.draw(st.binary(max_size=400))}))


@once
@given(data=st.data(), name=st.sampled_from(NAMES))
def test_changed_lines_in_any_file_of_the_old_form(
    place: Path, data: st.DataObject, name: str
) -> None:
    text = data.draw(st.sampled_from((SAMPLES[name], PRINTED.get(name, SAMPLES[name]))))
    holds(directory(place, {**SAMPLES, name: data.draw(mutated(text))}))


@once
@given(text=st.binary(max_size=400))
@example(text=b"a = " + b"9" * 5000)
@example(text=b"\xff")
@example(text=b"a = 1979-13-45")
def test_random_bytes_in_the_toml_form(place: Path, text: bytes) -> None:
    path = place / "random.toml"
    path.write_bytes(text)
    holds(path)


@once
@given(data=st.data())
def test_changed_lines_in_the_toml_form(place: Path, data: st.DataObject) -> None:
    path = place / "changed.toml"
    path.write_bytes(data.draw(mutated(NATIVE)))
    holds(path)


@once
@given(data=st.data())
def test_changed_lines_in_an_included_file(place: Path, data: st.DataObject) -> None:
    """Whatever an included file has, it ends in a configuration or in errors with its places."""
    lines = NATIVE.split(b"\n")
    cut = data.draw(st.integers(0, len(lines)))
    path = place / "main.toml"
    path.write_bytes(b'include = "part.toml"\n' + b"\n".join(lines[:cut]))
    path.with_name("part.toml").write_bytes(data.draw(mutated(b"\n".join(lines[cut:]))))
    holds(path)


SERVICES = tuple(
    f'[[virtual_services]]\naddress = "192.0.2.{number}:80"\ncheck = {{ type = "off" }}\n'
    f'[[virtual_services.real_servers]]\naddress = "10.0.0.{number}:80"\n'
    for number in range(1, 6)
)


@once
@given(cuts=st.lists(st.integers(0, len(SERVICES)), max_size=4))
def test_a_configuration_cut_into_files_means_what_it_meant_in_one(
    place: Path, cuts: list[int]
) -> None:
    path = place / "whole.toml"
    parts = place / "parts"
    parts.mkdir(exist_ok=True)
    head = NATIVE.decode().replace("[[virtual_services]]", SERVICES[0] + "[[virtual_services]]", 1)
    path.write_text(head + "".join(SERVICES[1:]))
    path.chmod(0o600)
    whole = load(str(path), root=str(place)).cluster
    for old in parts.iterdir():
        old.unlink()
    bounds = [1, *sorted(max(1, cut) for cut in cuts), len(SERVICES)]
    for number, (low, high) in enumerate(itertools.pairwise(bounds)):
        (parts / f"{number}.toml").write_text("".join(SERVICES[low:high]))
    path.write_text(f'include = "parts/*.toml"\n{head}')
    assert load(str(path), root=str(place)).cluster == whole


scalars = st.one_of(
    st.integers(), st.booleans(), st.text(max_size=8), st.floats(), st.sampled_from(["75ms", "a"])
)
values = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner),
    max_leaves=6,
)


def toml(value: object) -> str:
    """Write a value as TOML, in one line."""
    match value:
        case bool():
            return str(value).lower()
        case int() | float():
            return str(value)
        case str():
            escaped = "".join(
                c if c.isalnum() and c.isascii() else f"\\U{ord(c):08x}"
                for c in value
                if not 0xD800 <= ord(c) <= 0xDFFF
            )
            return f'"{escaped}"'
        case list():
            return "[" + ", ".join(map(toml, value)) + "]"
        case dict():
            pairs = {toml(key): toml(inner) for key, inner in value.items()}
            return "{ " + ", ".join(f"{key} = {inner}" for key, inner in pairs.items()) + " }"
    raise AssertionError(value)


KEYS = [line.split(b" = ")[0].decode() for line in NATIVE.split(b"\n") if b" = " in line[:20]]


@once
@given(data=st.data(), key=st.sampled_from(sorted({key for key in KEYS if key.isidentifier()})))
def test_any_value_for_any_key(place: Path, data: st.DataObject, key: str) -> None:
    lines = NATIVE.decode().split("\n")
    at = data.draw(
        st.sampled_from([i for i, line in enumerate(lines) if line.startswith(f"{key} = ")])
    )
    if lines[at].endswith("["):
        return
    lines[at] = f"{key} = {toml(data.draw(values))}"
    path = place / "value.toml"
    path.write_text("\n".join(lines))
    holds(path)


def paths(value: object, at: tuple[str | int, ...]) -> Iterator[tuple[str | int, ...]]:
    items: object = ()
    if isinstance(value, dict):
        items = value.items()
    elif isinstance(value, list):
        items = enumerate(value)
    assert isinstance(items, tuple | enumerate | type({}.items()))
    for key, inner in items:
        yield (*at, key)
        yield from paths(inner, (*at, key))


@once
@given(
    document=st.dictionaries(st.text(max_size=4), values, max_size=5),
    table=st.dictionaries(st.text(max_size=4), values, max_size=3),
)
def test_every_key_of_a_toml_document_has_a_line(
    document: dict[str, object], table: dict[str, object]
) -> None:
    text = "".join(f"{toml(key)} = {toml(value)}\n" for key, value in document.items())
    for header in ("[[T.U]]", "[[T.U]]", "[T.U.V.W]", "[[T.U.X]]", "[[T.U]]"):
        text += f"{header} # ]\n"
        text += "".join(f"{toml(key)} = {toml(value)}\n" for key, value in table.items())
    try:
        parsed = tomllib.loads(text)
    except tomllib.TOMLDecodeError:
        return  # the same key twice
    lines = line_index(text)
    asked = LineIndex(text)
    assert all(asked.get(path) == line for path, line in reversed(lines.items()))
    assert all(LineIndex(text).get(path) == line for path, line in list(lines.items())[:20])
    assert LineIndex(text).get(("no", "such", 0)) is None
    for path in paths(parsed, ()):
        if len(path) <= DEPTH_MAX:
            assert 1 <= lines[path] <= text.count("\n")


def doubled(text: bytes) -> bytes:
    return text * 2000


def one_line(text: bytes) -> bytes:
    return text.replace(b"\n", b" ") * 200


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("grow", [doubled, one_line])
def test_large_files_are_read_in_bounded_time(
    tmp_path: Path, name: str, grow: Callable[[bytes], bytes]
) -> None:
    holds(directory(tmp_path, {**SAMPLES, name: grow(SAMPLES[name])}))
