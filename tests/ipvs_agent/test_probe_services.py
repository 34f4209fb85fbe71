"""The virtual services by which checks reach one real server each."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from heartbus.events import Health
from heartbus.model import Check, CheckType, ForwardingMethod
from heartbus.probe_marks import probe_marks
from heartbus_ipvs_agent.entries import Forwarding
from heartbus_ipvs_agent.probe_services import answered_by_vip, probe_services
from tests.ipvs_agent.builders import virtual_service
from tests.ipvs_agent.test_service import start

PLAIN = virtual_service(5, 5)
CHECK = Check(type=CheckType.CONNECT, through_vip=True)
GATE, MASQ = PLAIN.real_servers
THROUGH = replace(
    PLAIN,
    check=CHECK,
    real_servers=(GATE, replace(MASQ, forwarding=ForwardingMethod.MASQ)),
)


def test_each_has_one_server_by_its_own_method_and_masq_alone_its_port() -> None:
    marks = probe_marks([THROUGH])
    found = {key.fwmark: entry for key, entry in probe_services([PLAIN, THROUGH]).items()}
    assert set(found) == set(marks.values())
    (gate,) = found[marks[THROUGH.name, GATE.name]].destinations.items()
    assert (gate[0].port, gate[1].forwarding, gate[1].weight) == (0, Forwarding.GATE, 1)
    (masq,) = found[marks[THROUGH.name, MASQ.name]].destinations.items()
    assert (masq[0].port, masq[1].forwarding) == (80, Forwarding.MASQ)


def test_only_answers_of_gate_and_ipip_come_from_the_vip() -> None:
    masq = replace(THROUGH, real_servers=THROUGH.real_servers[1:])
    assert answered_by_vip([THROUGH])
    assert not answered_by_vip([masq, PLAIN])


def test_they_are_there_whatever_a_check_says_and_come_back_when_somebody_takes_them(
    tmp_path: Path,
) -> None:
    setting = start(tmp_path, THROUGH)
    setting.says(Health.DOWN, Health.DOWN, service=THROUGH)
    wanted = probe_services([THROUGH])

    def there() -> dict[object, object]:
        services = setting.table.dump().services
        return {key: services[key] for key in wanted if key in services}

    assert there() == wanted
    again = start(tmp_path, PLAIN, table=setting.table)  # the check goes the short way now
    assert not any(key in again.table.dump().services for key in wanted)
