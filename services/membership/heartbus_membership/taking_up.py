"""Takes up what can be used at once of a configuration that was read anew: keys, and its digest.

Shell. Old and new keys are both accepted between the steps of a change, so no heartbeat is lost
(docs/decisions/0016-agreement-and-reload.md).
"""

from __future__ import annotations

from heartbus.model import Cluster
from heartbus_membership.agreement import Agreement
from heartbus_membership.signing import Keyring


class TakingUp:
    """What membership runs with, in so far as it may change while it runs."""

    def __init__(self, *, keyring: Keyring, agreement: Agreement) -> None:
        self._keyring = keyring
        self._agreement = agreement

    def take_up(self, wanted: Cluster) -> None:
        """Sign with these keys, and tell peers the digest of this configuration."""
        self._keyring.use(wanted.membership.authentication)
        self._agreement.use(wanted)
