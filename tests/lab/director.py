"""A director without IPVS: nats-server, membership, vip, checker and recorder under a supervisor.

``heartbus up`` ends where the kernel has no ip_vs, because then no virtual service can work. What
concerns the address alone (heartbeats, leases, takeover) needs none, and is measured natively. So
this program gives the product's own supervisor the product's own processes, except ipvs-agent.

    python -m tests.lab.director --config PATH --node NAME --runtime-dir DIR --state-dir DIR
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from heartbus import log
from heartbus.bus_keys import keys_directory
from heartbus.runner import known_node, load_config, name_process
from heartbus.up import nats_server
from heartbus.up.director import (
    RECORDER,
    STOP_ORDER,
    WITNESS_SERVICES,
    Configuration,
    service_body,
)
from heartbus.up.supervisor import Child, Supervisor, exec_body

SERVICES: Final = ("membership", "vip", "checker", RECORDER)


def main(argv: Sequence[str] | None = None) -> int:
    """Run until SIGTERM; return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__)
    for option in ("--config", "--node", "--runtime-dir", "--state-dir"):
        parser.add_argument(option, required=True)
    parser.add_argument("--bus-keys", type=Path, default=keys_directory())
    options = parser.parse_args(argv)
    log.configure(level="info")
    name_process("heartbus-up")
    loaded = load_config(options.config, timers=None)
    cluster = loaded.cluster
    node = known_node(cluster, options.node)
    for directory in (options.runtime_dir, options.state_dir):
        Path(directory).mkdir(parents=True, exist_ok=True)
    conf = Path(options.runtime_dir) / "nats-server.conf"
    configuration = Configuration(
        loaded,
        path=options.config,
        timers=None,
        node=node,
        server=conf,
        bus_keys=options.bus_keys,
    )
    configuration.write_server()
    arguments = [
        f"--config={options.config}",
        f"--node={node}",
        f"--runtime-dir={options.runtime_dir}",
        f"--state-dir={options.state_dir}",
        f"--bus-keys={options.bus_keys}",
    ]
    server = exec_body([str(nats_server.find_program()), "-c", str(conf)])
    is_witness = any(node == witness.name for witness in cluster.witnesses)
    children = [
        Child(name="nats-server", body=server, notifies=False),
        *(
            Child(
                name=name,
                body=service_body(name, arguments, configuration),
                needed=name != RECORDER,
            )
            for name in (WITNESS_SERVICES if is_witness else SERVICES)
        ),
    ]
    running = {child.name for child in children}
    order = tuple(name for name in STOP_ORDER if name in running)
    return Supervisor(
        children,
        stop_order=order,
        reload=configuration.reload,
        changed=configuration.changed,
    ).run()


if __name__ == "__main__":
    sys.exit(main())
