"""heartbus-ipvs-agent over a table in memory: the service itself, where the kernel has no ip_vs.

python -m tests.lab.agent --config PATH --node NAME --runtime-dir DIR --state-dir DIR
"""

from __future__ import annotations

import sys
from unittest import mock

from heartbus_ipvs_agent import service
from heartbus_ipvs_agent.__main__ import main
from heartbus_ipvs_agent.entries import Table
from tests.ipvs_agent.fake_table import FakeTable
from tests.ipvs_agent.fake_whole import FakeWhole

if __name__ == "__main__":
    with (
        mock.patch.object(service, "open_kernel_table", return_value=FakeTable(Table(services={}))),
        mock.patch.object(service, "KernelWhole", return_value=FakeWhole()),
    ):
        sys.exit(main())
