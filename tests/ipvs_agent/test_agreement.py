from __future__ import annotations

from pathlib import Path

from heartbus.events import Health, IpvsDiffers, IpvsDigests
from heartbus_ipvs_agent.agreement import DIFFERS_TELLINGS, Agreement
from tests.ipvs_agent.test_service import SERVICE, start

OURS = {"tcp:a": "1", "tcp:b": "2"}


def told(agreement: Agreement, theirs: dict[str, str], times: int = 1) -> list[IpvsDiffers]:
    return [e for _ in range(times) for e in agreement.peer_told("peer", theirs, OURS)]


def test_a_difference_that_lasts_is_told_once_and_its_end_too() -> None:
    agreement = Agreement()
    assert told(agreement, OURS, 5) == []
    assert told(agreement, OURS | {"tcp:b": "3"}, DIFFERS_TELLINGS - 1) == []
    differs = IpvsDiffers(director="peer", virtual_service="tcp:b")
    assert told(agreement, OURS | {"tcp:b": "3"}, 3) == [differs]
    assert list(agreement.standing) == ["tcp:b: the table of peer differs"]
    over = IpvsDiffers(director="peer", virtual_service="tcp:b", agreed=True)
    assert told(agreement, OURS, 3) == [over]
    assert list(agreement.standing) == []


def test_what_differs_for_a_moment_is_not_told() -> None:
    agreement = Agreement()
    for _ in range(10):
        assert told(agreement, OURS | {"tcp:b": "3"}, DIFFERS_TELLINGS - 1) == []
        assert told(agreement, OURS) == []


def test_a_service_that_one_director_lacks_differs() -> None:
    differs = IpvsDiffers(director="peer", virtual_service="tcp:b")
    assert told(Agreement(), {"tcp:a": "1"}, 9) == [differs]


def test_names_of_a_peer_are_bounded() -> None:
    agreement = Agreement()
    told(agreement, {f"s{n}": "x" for n in range(10_000)}, 9)
    assert len(agreement.standing) == 3


def test_agents_with_different_tables_say_so(tmp_path: Path) -> None:
    setting = start(tmp_path)
    setting.says(Health.UP, Health.UP)
    setting.agent.tell()
    (ours, *_more) = [e for e in setting.published() if isinstance(e, IpvsDigests)]
    assert list(ours.digests) == [SERVICE.name]
    peer = setting.hub.bus(node="linuxha2", service="ipvs-agent", clock=setting.clock)
    for _ in range(DIFFERS_TELLINGS):
        peer.publish(IpvsDigests(digests={SERVICE.name: "another"}))
        setting.turn()
    (differs,) = [e for e in setting.published() if isinstance(e, IpvsDiffers)]
    assert (differs.director, differs.virtual_service) == ("linuxha2", SERVICE.name)
    assert any("the table of linuxha2 differs" in f for f in setting.agent.state().failures)
