"""Membership among fakes runs in virtual time, so that no busy machine decides a test."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Final

import pytest

from tests.common.virtual_time import loop_factories

VIRTUAL: Final = frozenset({"test_service", "test_service_faults", "test_orders", "test_guard"})


def pytest_asyncio_loop_factories(
    item: pytest.Item,
) -> Mapping[str, type[asyncio.AbstractEventLoop]]:
    """Virtual time for what runs among fakes, unless it starts children (``real_time``)."""
    virtual = item.path.stem in VIRTUAL and item.get_closest_marker("real_time") is None
    return loop_factories(real_time=not virtual)
