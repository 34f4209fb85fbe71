"""Fixtures of the agent's tests."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from heartbus_ipvs_agent.table import KernelTable, open_kernel_table
from tests.ipvs_agent.namespace import fresh_network_namespace


@pytest.fixture
def kernel_table() -> Iterator[KernelTable]:
    """An empty IPVS table in the kernel, our own: each network namespace has one."""
    with fresh_network_namespace():
        table = open_kernel_table()
        yield table
        table.close()
