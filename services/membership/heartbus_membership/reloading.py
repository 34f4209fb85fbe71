"""Takes up what can be used at once of a configuration that was read anew: keys, and its digest.

Shell. Old and new keys are both accepted between the steps of a change, so no heartbeat is lost
(docs/decisions/0016-agreement-and-reload.md).
"""

from __future__ import annotations

import structlog

from heartbus.bus import Bus
from heartbus.events import ConfigApplied
from heartbus.model import Cluster
from heartbus.reload import waits_for_restart, with_live_parts
from heartbus_membership.agreement import Agreement
from heartbus_membership.signing import Keyring


class Reloading:
    """What membership runs with, in so far as it may change while it runs."""

    def __init__(
        self,
        cluster: Cluster,
        *,
        keyring: Keyring,
        agreement: Agreement,
        bus: Bus,
        log: structlog.typing.FilteringBoundLogger,
    ) -> None:
        self._cluster = cluster
        self._keyring = keyring
        self._agreement = agreement
        self._bus = bus
        self._log = log

    def take_up(self, read: Cluster) -> None:
        """Sign with the keys of what was read; say what of it waits for a restart."""
        waiting = waits_for_restart(self._cluster, read)
        self._cluster = with_live_parts(self._cluster, read)
        self._keyring.use(self._cluster.membership.authentication)
        self._agreement.use(self._cluster)
        digest = self._agreement.digest
        self._bus.publish(ConfigApplied(source=read.source, digest=digest))
        self._bus.publish_state()
        self._log.info("config.applied", config=digest, restart_for=", ".join(waiting))
