"""The table of keys, the documentation, the schema and the readers say the same."""

from __future__ import annotations

import json
import re
import tomllib
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from hypothesis import given, settings
from hypothesis import strategies as st

from heartbus.cli.config import config
from heartbus.config import ha_cf, ldirectord_directives, load
from heartbus.config.convert import to_toml
from heartbus.config.document import document
from heartbus.config.explain import explain, old_names, reference
from heartbus.config.keys import Form
from heartbus.config.keys_services import BY_PATH, KEYS
from heartbus.config.old_names import HA_CF, LDIRECTORD, OLD_DIRECTIVES
from heartbus.config.report import Path as ModelPath
from heartbus.config.schema import json_schema
from heartbus.config.toml_table import Table
from tests.common.config_samples import EXAMPLES, classic_files, directory, loaded

ROOT = EXAMPLES.parent
EVERY_TABLE = """\
cluster = {}
bus = {}
directors = [{ name = "a" }, { name = "b" }]
witnesses = [{ name = "c" }]
groups = [{ preferred = "a", announce = { burst = 2 }, resources = [
  { address = "10.0.0.1/24" }, { script = "x" }, { services = "x" }, { saved_rules = "x" } ] }]
[membership]
ping_groups = [{ name = "g", members = ["10.0.0.9"] }]
fences = [{ director = "a", command = "/bin/true", options = {} }]
clients = [{ user = "root", command = "/bin/true" }]
links = [
  { kind = "bcast", interface = "eth0" },
  { kind = "ucast", interface = "eth0", peer = "10.0.0.2" },
  { kind = "mcast", interface = "eth0", group = "239.0.0.1" },
  { kind = "serial", device = "/dev/ttyS0" },
]
authentication = { signing_key = 1, keys = [{ id = 1, secret = "x" }] }
[ipvs]
timeouts = { udp = 60 }
sync = { interface = "eth1" }
sysctls = {}
[vip]
lifetime = 3
announce = { form = "reply" }
[[vip.resources.hooks]]
command = "/bin/true"
[[vip.resources.trackers]]
kind = "interface"
target = "eth0"
[[virtual_services]]
address = "10.0.0.1:80"
fallback = { address = "127.0.0.1:80" }
real_servers = [{ address = "10.0.0.2:80", method = "ipip", tunnel = { type = "gre" } }]
check = { service = "http", tls = {}, pages = [{ request = "/" }] }
[[virtual_services]]
fwmark = 7
family = "ipv6"
real_servers = [{ address = "2001:db8::2", upper_threshold = 9 }]
check = { type = "on" }
"""


def words(path: ModelPath) -> str:
    return ".".join(part for part in path if isinstance(part, str))


def test_the_table_has_exactly_the_keys_that_the_reader_asks_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: set[str] = set()
    take = Table._take
    has = Table.has

    def recorded(table: Table, key: str) -> object | None:
        asked.add(words((*table.path, key)))
        return take(table, key)

    def looked(table: Table, key: str) -> bool:
        asked.add(words((*table.path, key)))
        return has(table, key)

    monkeypatch.setattr(Table, "_take", recorded)
    monkeypatch.setattr(Table, "has", looked)
    file = tmp_path / "heartbus.toml"
    file.write_text(EVERY_TABLE)
    file.chmod(0o600)
    load(str(file), root=str(tmp_path))
    assert asked == set(BY_PATH), "each key needs a row in config/keys.py or keys_services.py"


def test_the_table_has_every_field_of_the_model(tmp_path: Path) -> None:
    file = tmp_path / "heartbus.toml"
    file.write_text(EVERY_TABLE)
    file.chmod(0o600)
    content = document(load(str(file), root=str(tmp_path)).cluster, whole=True)
    found: set[str] = set()

    def walk(path: tuple[str, ...], value: Any) -> None:
        if isinstance(value, dict) and ".".join(path) != "membership.fences.options":
            for key, inner in value.items():
                found.add(".".join((*path, key)))
                walk((*path, key), inner)
        elif isinstance(value, list):
            for inner in value:
                walk(path, inner)

    walk((), content)
    assert found <= set(BY_PATH), "each field needs a row in config/keys.py or keys_services.py"


def test_docs_configuration_is_current() -> None:
    written = (ROOT / "docs" / "configuration.md").read_text()
    assert written == reference(), "heartbus config reference > docs/configuration.md"


def test_every_key_says_what_it_means_in_a_sentence() -> None:
    for key in KEYS:
        assert key.text.endswith((".", "…")), key.path
        assert "|" not in key.text, key.path
        assert key.form is not Form.INTEGER or (key.low is not None and key.high is not None)


def test_the_old_directives_are_those_of_the_grammars() -> None:
    by_file = {
        file: {row.name for row in OLD_DIRECTIVES if row.file == file}
        for file in (LDIRECTORD, HA_CF)
    }
    assert by_file[HA_CF] == {*ha_cf.DIRECTIVES, *ha_cf.UNUSED}
    assert by_file[LDIRECTORD] == {
        *ldirectord_directives.DIRECTIVES,
        *ldirectord_directives.UNUSED,
        *ldirectord_directives.OPENING,
        *ldirectord_directives.REPLACED,
    }


def test_the_old_names_of_keys_are_directives() -> None:
    known = {f"{row.file} {row.name}" for row in OLD_DIRECTIVES}
    for key in KEYS:
        for name in old_names(key):
            assert name in known or name.split()[0] in ("authkeys", "haresources", "keepalived"), (
                key.path
            )


def test_every_directive_that_is_acted_on_says_what_it_became() -> None:
    acted_on = {f"{HA_CF} {name}" for name in ha_cf.DIRECTIVES}
    acted_on |= {f"{LDIRECTORD} {name}" for name in ldirectord_directives.DIRECTIVES}
    acted_on -= {f"{LDIRECTORD} {name}" for name in ("fork", "execute")}
    assert acted_on <= {name for key in KEYS for name in old_names(key)}


class InvalidError(Exception):
    """Why a document does not fit the schema."""


def check(schema: dict[str, Any], value: Any, where: str = "") -> None:
    """Test the words of JSON Schema that ours uses."""
    for inner in ("not",):
        if inner in schema and value == schema[inner]["const"] and not isinstance(value, bool):
            raise InvalidError(f"{where}: {value!r} is excluded")
    if "anyOf" in schema:
        reasons = []
        for choice in schema["anyOf"]:
            try:
                return check(choice, value, where)
            except InvalidError as error:
                reasons.append(str(error))
        raise InvalidError("; ".join(reasons))
    kinds = {
        "object": dict,
        "array": list,
        "string": str,
        "integer": int,
        "boolean": bool,
        "number": int | float,
    }
    allowed = schema["type"] if isinstance(schema["type"], list) else [schema["type"]]
    if not any(
        isinstance(value, kinds[kind]) and (kind == "boolean") == isinstance(value, bool)
        for kind in allowed
    ):
        raise InvalidError(f"{where}: {value!r} is no {allowed}")
    if "enum" in schema and value not in schema["enum"]:
        raise InvalidError(f"{where}: {value!r} is not one of {schema['enum']}")
    if "pattern" in schema and not re.search(schema["pattern"], value):
        raise InvalidError(f"{where}: {value!r} does not match")
    if "minimum" in schema and value < schema["minimum"]:
        raise InvalidError(f"{where}: {value!r} is too small")
    if "maximum" in schema and value > schema["maximum"]:
        raise InvalidError(f"{where}: {value!r} is too big")
    if isinstance(value, dict):
        for key in schema.get("required", ()):
            if key not in value:
                raise InvalidError(f"{where}: {key} is missing")
        for key, inner in value.items():
            if key in schema.get("properties", {}):
                check(schema["properties"][key], inner, f"{where}.{key}")
            elif not schema["additionalProperties"]:
                raise InvalidError(f"{where}: {key} is unknown")
            else:
                check(schema["additionalProperties"], inner, f"{where}.{key}")
    if isinstance(value, list):
        for item in value:
            check(schema["items"], item, where)
    return None


@pytest.mark.parametrize("text", [EVERY_TABLE, (EXAMPLES / "heartbus.toml").read_text()])
def test_what_loads_fits_the_schema(text: str) -> None:
    check(json_schema(), tomllib.loads(text))


def test_converted_files_fit_the_schema(tmp_path: Path) -> None:
    cluster = loaded(directory(tmp_path, classic_files())).cluster
    check(json_schema(), tomllib.loads(to_toml(cluster)))


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ('name = "a"', "name = 5"),
        ('kind = "bcast"', 'kind = "bcats"'),
        ("signing_key = 1", "signing_key = 16"),
        ("lifetime = 3", "lifetime = 0"),
        ("lifetime = 3", 'refresh = "3 s"'),
        ("lifetime = 3", "refesh = 3"),
        ('preferred = "a", ', ""),
    ],
)
def test_what_is_refused_does_not_fit_the_schema(old: str, new: str) -> None:
    with pytest.raises(InvalidError):
        check(json_schema(), tomllib.loads(EVERY_TABLE.replace(old, new, 1)))


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("nice_failback", "here      membership.failback"),
        ("checktimeout", "here      virtual_services.check.connect_timeout"),
        ("membership.deadtime", "old name  ha.cf deadtime"),
        ("deadtime", "deadtime (ha.cf)"),
        ("apiauth", "here      not used: heartbus has no such client interface"),
        ("IPaddr", "groups.resources.address (heartbus.toml)"),
        ("[vip]", "vip (heartbus.toml)"),
    ],
)
def test_explain_knows_old_and_new_names(name: str, said: str) -> None:
    text = explain(name)
    assert text is not None
    assert said in text


def test_explain_suggests_what_may_be_meant() -> None:
    result = CliRunner().invoke(config, ["explain", "keepalife"])
    assert result.exit_code == 1
    assert "did you mean keepalive?" in result.output


def test_the_schema_is_printed_as_json() -> None:
    result = CliRunner().invoke(config, ["schema"])
    assert json.loads(result.output)["title"] == "heartbus.toml"


@settings(max_examples=100, deadline=None)
@given(st.text(max_size=200))
def test_any_name_is_explained_or_unknown(name: str) -> None:
    assert explain(name) != ""
