"""The three acceptance tests of the classic how-to hold, as the demo shows them, and back again."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.lab.acceptance import TITLES, Acceptance, Finding
from tests.lab.classic import ClassicCluster
from tests.lab.network import Lab

pytestmark = [pytest.mark.ipvs, pytest.mark.timeout(600)]


@pytest.fixture(scope="module")
def cluster() -> Iterator[ClassicCluster]:
    with Lab() as lab:
        made = ClassicCluster(lab)
        made.start_real_servers()
        made.start_sorry_servers()
        yield made


@pytest.mark.parametrize("test", sorted(TITLES))
def test_every_promise_of_the_how_to_holds(cluster: ClassicCluster, test: int) -> None:
    findings: list[Finding] = []
    Acceptance(cluster, timers="lan", say=print, found=findings.append).run(test, and_back=True)
    assert findings
    assert [finding for finding in findings if not finding.held] == []
    assert sum(finding.gap_s is not None for finding in findings) == 2  # in both directions
