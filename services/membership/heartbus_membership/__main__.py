"""heartbus-membership: who is alive, and who may hold what."""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence

from heartbus import runner
from heartbus.runner import Context, MachineError
from heartbus_membership import leases as files
from heartbus_membership.media import links_of
from heartbus_membership.realtime import use_real_time
from heartbus_membership.service import MembershipService
from heartbus_membership.taking_up import why_no_room

DESCRIPTION = "Exchange heartbeats with the other directors and decide who may hold each group."


async def serve(context: Context) -> None:
    """Run membership in the frame of a service process.

    Raises:
        MachineError: files cannot be written or sockets cannot be opened.

    """
    cluster = context.cluster
    if (problem := why_no_room(cluster)) is not None:
        raise MachineError(problem)
    if cluster.membership.realtime:
        refusals = use_real_time(cluster.membership.rtprio)
        for refused in refusals:
            context.log.warning("realtime.refused", problem=refused)
        if not refusals:
            context.log.info("realtime.granted", rtprio=cluster.membership.rtprio)
    boot_id = files.read_boot_id()
    state_file = files.StateFile(context.state_dir)
    try:
        incarnation = state_file.next_incarnation(wall_ms=time.time_ns() // 1_000_000)
    except (OSError, ValueError) as error:
        raise MachineError(
            f"cannot keep epochs in {context.state_dir}: {error}; make the directory writable, "
            "or remove the damaged file while the other directors run (they know the epochs)"
        ) from error
    service = MembershipService(
        node=context.node,
        cluster=cluster,
        incarnation=incarnation,
        boot_id=boot_id,
        bus=context.bus,
        links=links_of(cluster),
        lease_file=files.LeaseFile(context.runtime_dir, boot_id=boot_id),
        state_file=state_file,
        vote_file=files.VoteFile(context.runtime_dir, boot_id=boot_id),
        log=context.log,
    )
    context.take_up = service.taking_up.take_up
    await service.run(context.stopping, on_ready=context.ready)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; return its exit code."""
    return runner.run("membership", DESCRIPTION, serve, argv)


if __name__ == "__main__":
    sys.exit(main())
