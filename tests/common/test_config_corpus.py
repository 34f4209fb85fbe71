"""Every file of the corpus means what stands beside it, and survives the way to TOML and back."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterable
from pathlib import Path

import pytest

from heartbus.config import ha_cf, ldirectord_directives, load
from heartbus.config.convert import to_toml
from heartbus.config.difference import differences
from tests.corpus import EXPECTED, HERE, KINDS, Sample, samples

SAMPLES = tuple(samples())
LDIRECTORD_SERVICES = {
    *("dns", "ftp", "http", "https", "http_proxy", "imap", "imaps", "ldap", "ldaps", "mysql"),
    *("nntp", "none", "oracle", "pgsql", "pop", "pops", "radius", "simpletcp", "sip", "smtp"),
    "submission",
}
BY_NAME = {sample.name: sample for sample in SAMPLES}


def test_the_corpus_has_at_least_150_files_and_no_leftovers() -> None:
    assert len(SAMPLES) >= 150
    left = {path for kind in KINDS for path in (HERE / kind).iterdir() if path.suffix == EXPECTED}
    assert left == {sample.expected for sample in SAMPLES}


@pytest.mark.parametrize("sample", SAMPLES, ids=lambda sample: str(sample.name))
def test_it_means_what_is_expected(sample: Sample, tmp_path: Path) -> None:
    """After a change that is meant: python -m tests.corpus, and read the difference."""
    assert sample.outcome(tmp_path) == sample.expected.read_text()


@pytest.mark.parametrize("sample", SAMPLES, ids=lambda sample: str(sample.name))
def test_converted_to_toml_it_is_the_same_model(sample: Sample, tmp_path: Path) -> None:
    result, _said = sample.load(tmp_path)
    if result is None:
        return
    file = tmp_path / "converted.toml"
    file.write_text(to_toml(result.cluster, result.diagnostics))
    file.chmod(0o600)
    again = load(str(file), root=str(tmp_path / "no-such-root")).cluster
    same = dataclasses.replace(
        again, source=result.cluster.source, directors_at=result.cluster.directors_at
    )
    assert same == result.cluster
    assert differences(result.cluster, again) == ()
    assert to_toml(dataclasses.replace(again, source="")) == to_toml(
        dataclasses.replace(result.cluster, source="")
    )


@pytest.mark.parametrize(
    ("kind", "names", "between"),
    [
        ("ldirectord", ldirectord_directives.DIRECTIVES, "="),
        ("ldirectord", ldirectord_directives.UNUSED, "="),
        ("ldirectord", ldirectord_directives.REPLACED, "="),
        ("ha.cf", ha_cf.DIRECTIVES, ""),
        ("ha.cf", ha_cf.UNUSED, ""),
    ],
)
def test_every_old_directive_is_in_the_corpus(
    kind: str, names: Iterable[str], between: str
) -> None:
    lines = [
        line.split("#")[0].partition(between)[0].split() if between else line.split()
        for sample in SAMPLES
        if sample.kind == kind
        for line in sample.path.read_bytes().decode("utf-8", "replace").splitlines()
    ]
    assert set(names) <= {words[0] for words in lines if words}


def test_every_service_that_ldirectord_checks_is_in_the_corpus() -> None:
    text = "".join(s.path.read_text(errors="replace") for s in SAMPLES if s.kind == "ldirectord")
    said = set(re.findall(r"^\s+service\s*=\s*(\w+)", text, re.MULTILINE))
    assert said >= LDIRECTORD_SERVICES


@pytest.mark.parametrize("kind", KINDS)
def test_each_kind_has_files_that_load_and_files_that_do_not(kind: str, tmp_path: Path) -> None:
    errors = [
        sample.expected.read_text().startswith("error") or "\nerror " in sample.expected.read_text()
        for sample in SAMPLES
        if sample.kind == kind
    ]
    assert True in errors
    assert False in errors
