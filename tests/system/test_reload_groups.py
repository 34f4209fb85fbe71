"""Groups and addresses that come and go while two directors serve: real processes, no restart.

Below the product's supervisor in network namespaces, without IPVS.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from heartbus.events import GroupGranted, GroupRevoked, HoldStatus, VipState
from heartbus.model import Timers
from tests.lab.network import Lab, wait_until
from tests.lab.pairs import NAMES, HeartbusPair
from tests.system.fault import Fault

pytestmark = [pytest.mark.netns, pytest.mark.timeout(120)]

HEARTBUS = Path(sys.prefix) / "bin" / "heartbus"
TIMERS = Timers(keepalive_s=0.1, warntime_s=1.0, deadtime_s=2.0, initdead_s=3.0)
HELD = '"192.0.2.100/24"'
MORE, OTHER = "192.0.2.101", "192.0.2.102"
GROUP = f'[[groups]]\nname = "other"\npreferred = "two"\nresources = ["{OTHER}/24"]\n'


@pytest.fixture(scope="module")
def pair() -> Iterator[HeartbusPair]:
    with Lab() as lab, HeartbusPair(lab, "g", timers=TIMERS, echo_period_s=0.01) as started:
        yield started


@pytest.fixture
def fault(pair: HeartbusPair) -> Iterator[Fault]:
    made = Fault(pair)
    before = {name: config.read_text() for name, config in pair.configs.items()}
    yield made
    for name, text in before.items():
        pair.configs[name].write_text(text)
        reload(pair, name)
    made.mend()


def reload(pair: HeartbusPair, name: str) -> dict[str, Any]:
    """Make a director read its files; return what each of its services said."""
    done = pair.hosts[name].run(
        [str(HEARTBUS), "reload", f"--node={name}", "--json"], check=False, timeout_s=60
    )
    assert done.returncode == 0, done.stdout + done.stderr
    services: dict[str, Any] = json.loads(done.stdout)["services"]
    return services


def write(pair: HeartbusPair, change: dict[str, str], *, also: str = "") -> None:
    for config in pair.configs.values():
        text = config.read_text()
        for old, new in change.items():
            assert old in text
            text = text.replace(old, new)
        config.write_text(text + also)


def addresses(pair: HeartbusPair, name: str) -> set[str]:
    """Return the addresses of the VIP network that a director's kernel has, its own left out."""
    shown = pair.hosts[name].run(["ip", "-4", "-o", "addr", "show", "dev", "eth0"]).stdout
    return set(re.findall(r"inet (192\.0\.2\.1\d\d)/", shown))


def test_an_address_comes_to_a_held_group_and_goes_and_clients_of_the_other_lose_nothing(
    fault: Fault,
) -> None:
    pair = fault.pair
    write(pair, {HELD: f'{HELD}, "{MORE}/24"'})
    for name in NAMES:
        said = reload(pair, name)
        assert {o["message"] for o in said.values()} == {"applied"}
        assert not any(o["details"] for o in said.values())
    wait_until(
        lambda: addresses(pair, fault.active) == {"192.0.2.100", MORE},
        timeout_s=10.0,
        what="the new address is there",
    )
    assert addresses(pair, fault.standby) == set()
    # The director that did not hold it has the new set too: it takes both over.
    write(pair, {f'{HELD}, "{MORE}/24"': HELD})
    for name in NAMES:
        reload(pair, name)
    wait_until(
        lambda: addresses(pair, fault.active) == {"192.0.2.100"},
        timeout_s=10.0,
        what="the address is gone again",
    )
    moved = (GroupGranted, GroupRevoked)
    for name, observer in pair.observers.items():
        assert not [e for k in moved for e in observer.said(k, since=fault.heard[name])]
    fault.stays(for_s=0.5)


def test_a_group_comes_up_on_its_preferred_director_and_is_released_when_it_goes(
    fault: Fault,
) -> None:
    pair = fault.pair
    write(pair, {}, also=GROUP)
    for name in NAMES:
        reload(pair, name)
    wait_until(
        lambda: addresses(pair, "two") >= {OTHER}, timeout_s=10.0, what="the new group is held"
    )
    assert OTHER not in addresses(pair, "one")
    write(pair, {GROUP: ""})
    for name in ("one", "two"):  # first who does not hold it: nobody takes it up then
        reload(pair, name)
    wait_until(
        lambda: OTHER not in addresses(pair, "two"), timeout_s=10.0, what="the group is released"
    )
    for name, observer in pair.observers.items():
        observer.wait_for(
            lambda name=name, observer=observer: (  # type: ignore[misc]
                (state := observer.view.state(name, VipState)) is not None
                and [(g.name, g.status) for g in state.groups]
                == [("vip", HoldStatus.HELD if name == fault.active else HoldStatus.RELEASED)]
            ),
            "it knows of the other group no more",
        )
        granted = observer.said(GroupGranted, since=fault.heard[name])
        assert {(e.group, e.director) for e in granted} == {("other", "two")}
    fault.stays(for_s=0.5)


def test_an_address_that_would_change_its_group_waits_and_says_how_to_do_it(fault: Fault) -> None:
    pair, name = fault.pair, fault.active
    write(pair, {'name = "vip"': 'name = "www"'})
    said = reload(pair, name)
    for outcome in said.values():
        assert outcome["message"] == "unchanged"
        assert outcome["details"][:2] == [
            "waits for a restart: resource groups",
            "resource groups: 192.0.2.100 moves from the group vip to www; without a restart:"
            " take it out, reload every director, then put it in",
        ]
    fault.stays(for_s=0.5)
