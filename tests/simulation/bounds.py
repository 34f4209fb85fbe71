"""The bounds of docs/decisions/0004-who-may-hold-a-vip.md, as functions of a setup.

K is keepalive, D deadtime, L the kernel lifetime, E the lease, G restart_grace. Every bound allows
in addition what the world around takes: the kernel is KERNEL_LATE_S late to end an address, clocks
drift, and a message needs its time (SLACK_S).
"""

from __future__ import annotations

from typing import Final

from heartbus_membership.readiness import VIP_SILENCE_MARGIN_S
from heartbus_membership.rules import (
    FAILBACK_SETTLE_S,
    HANDED_OVER_S,
    PREFERRED_WAIT_S,
)
from heartbus_simulator.host import KERNEL_LATE_S
from heartbus_simulator.vip import SCRIPT_S
from tests.simulation.setup import SCRIPT_TIMEOUT_S, Setup

SLACK_S: Final = 0.05
VIP_REPORT_S: Final = 1.25
"""A vip reports every second, when it turns to refresh."""


def takeover_s(setup: Setup) -> float:
    """Row "host dies or is cut off": the client gap, D + K + the takeover itself."""
    timers = setup.times.timers
    return timers.deadtime_s + timers.keepalive_s + SLACK_S


def gap_after_vip_s(setup: Setup) -> float:
    """Row "vip killed or hung": L + 2 s after it was last heard, membership hands over.

    It then waits for the end of the lease that it has withdrawn, because nobody says "released".
    """
    silence_s = setup.times.lifetime_s + VIP_SILENCE_MARGIN_S
    return silence_s + setup.times.lease_s + 2 * setup.times.timers.keepalive_s + SLACK_S


def address_without_vip_s(setup: Setup) -> float:
    """Row "both hung at once": an address that nobody refreshes stays for at most L."""
    return setup.times.lifetime_s + KERNEL_LATE_S + SLACK_S


def address_without_membership_s(setup: Setup) -> float:
    """Rows "membership hung" and "killed while the bus shows nothing": at most E since it ran.

    A peer that takes over after D shares the address for the rest, E - D.
    """
    return setup.times.lease_s + SLACK_S


def healed_s(setup: Setup) -> float:
    """Row "all heartbeat links cut": the lower epoch withdraws at once when they heal.

    At once is with the next heartbeat: that of the other one, or the answer to ours.
    """
    return 2 * setup.times.timers.keepalive_s + SLACK_S


def majority_s(setup: Setup) -> float:
    """With majority grants a holder that is cut off can renew no more: its lease ends after E."""
    return setup.times.lease_s + setup.times.timers.keepalive_s + SLACK_S


def withdrawn_s(setup: Setup, *, scripts: bool, hanging: bool) -> float:
    """How long a group that was revoked keeps its address: scripts stop first, from the right.

    At most the lifetime, because it is refreshed no more.
    """
    if not scripts:
        return 0.0
    return address_without_vip_s(setup) if hanging else SCRIPT_S + SLACK_S


def takeover_after_membership_s(setup: Setup) -> float:
    """Row "membership hung, vip well": the client gap lasts until G + D."""
    return setup.times.grace_s + takeover_s(setup)


def somebody_s(setup: Setup) -> float:
    """Within this after the last change somebody holds a group that a healthy director can hold.

    Not a row of its own: the longest way there. A director that just started settles, or a silent
    one is given up, or one that cannot hold it hands over with scripts that hang; then the waits
    for the preferred director and after a hand-over.
    """
    times = setup.times
    strict_s = times.lease_s + setup.tail_s if setup.tail_s else 0.0
    settle_s = max(times.timers.initdead_s, times.lease_s + times.timers.deadtime_s) + strict_s
    silent_s = takeover_after_membership_s(setup) + strict_s
    hand_over_s = gap_after_vip_s(setup) + SCRIPT_TIMEOUT_S
    waits_s = PREFERRED_WAIT_S + HANDED_OVER_S
    return max(settle_s, silent_s, hand_over_s) + waits_s + FAILBACK_SETTLE_S


def quiet_s(setup: Setup) -> float:
    """After so long without any change nothing moves any more."""
    timers = setup.times.timers
    ready_s = 0.0 if setup.bus else timers.initdead_s  # without a bus vip is believed after that
    settle_s = max(FAILBACK_SETTLE_S, 2 * timers.keepalive_s)
    return max(ready_s, VIP_REPORT_S) + settle_s + 2 * timers.keepalive_s + SLACK_S
