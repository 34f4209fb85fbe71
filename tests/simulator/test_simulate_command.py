"""``heartbus simulate`` as an operator calls it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from heartbus_simulator.simulate_command import simulate
from tests.common.ports import free_port
from tests.simulator.clusters import ONE, TWO, configuration


def run(directory: Path, *words: str) -> Result:
    path = configuration(directory)
    return CliRunner().invoke(simulate, [*words, "--config", str(path), "--plays", "2"])


def test_a_story_and_what_it_comes_to(tmp_path: Path) -> None:
    done = run(tmp_path, "kill", "one", "--offline")
    assert done.exit_code == 0, done.output
    lines = done.output.splitlines()
    assert lines[0] == "kill one"
    assert any(line.endswith(f"two        {ONE} is dead") for line in lines)
    (summary,) = [line for line in lines if line.startswith("  web: ")]
    assert summary.startswith(f"  web: {ONE} -> {TWO}, without a holder for ")
    assert summary.endswith(" ms, never on two directors (2 plays)")


def test_the_same_as_json(tmp_path: Path) -> None:
    done = run(tmp_path, "kill one", "--offline", "--json")
    document: dict[str, Any] = json.loads(done.output)
    assert set(document) == {"sentence", "state", "parts", "remarks"}
    (part,) = document["parts"]
    (group,) = part["groups"]
    assert group["holder_before"] == ONE
    assert group["holders_after"] == [[TWO]]
    assert 0.2 < group["without_holder_s"]["least"] <= group["without_holder_s"]["most"] < 0.35
    assert part["settled"]


def test_a_lost_real_server_both_ways(tmp_path: Path) -> None:
    document = json.loads(run(tmp_path, "lose", "192.0.2.11", "--offline", "--json").output)
    refuses, silent = document["parts"]
    assert [refuses["title"], silent["title"]] == ["if it refuses", "if it does not answer"]
    for part in (refuses, silent):
        assert part["served_by_after"] == {"tcp:192.0.2.100:80": ["192.0.2.12:80"]}
    text = run(tmp_path, "lose", "192.0.2.11", "--offline").output
    assert "tcp:192.0.2.100:80 is served by 192.0.2.12:80 then" in text
    assert "one: 192.0.2.11:80 of tcp:192.0.2.100:80 is down after" in text


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (("explode", "one", "--offline"), 2, "heartbus simulate: 'explode' is not allowed"),
        (("kill", "--offline"), 2, "lacks a director"),
        (("kill", "one", "--nats", "nats://127.0.0.1:%d"), 3, "--offline plays"),
        ((), 2, "Missing argument"),
    ],
)
def test_what_is_wrong_is_said_and_has_its_exit_code(
    tmp_path: Path, words: tuple[str, ...], code: int, said: str
) -> None:
    done = run(tmp_path, *(word % free_port() if "%d" in word else word for word in words))
    assert done.exit_code == code, done.output
    assert said in done.output


def test_a_wrong_configuration_is_said_with_its_line(tmp_path: Path) -> None:
    path = configuration(tmp_path, "nonsense = 1\n")
    done = CliRunner().invoke(simulate, ["kill", "one", "--offline", "--config", str(path)])
    assert done.exit_code == 2
