"""``python -m tests.checker.servers``: fetch what the tests of the checks start, before them."""

from __future__ import annotations

from . import databases, datagrams, mail, stores, web
from .launching import Package

for module in (databases, datagrams, mail, stores, web):
    for found in list(vars(module).values()):
        if isinstance(found, Package):
            found.unpacked()
