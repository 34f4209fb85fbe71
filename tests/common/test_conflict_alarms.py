"""Another machine that answers for a virtual IP, as heartbus status shows it."""

from __future__ import annotations

import pytest

from heartbus.cli.status import document
from heartbus.events import ConflictView, Message, VipState
from tests.common.samples import sample_envelope
from tests.common.test_status import NODE, shown, view_at

MAC = "02:00:00:00:00:ff"


@pytest.mark.parametrize(
    ("address", "director", "words"),
    [
        ("192.168.7.110", "", "net.ipv4.conf.all.arp_ignore=1"),
        ("2001:db8::110", "", "a machine that is no director answers for 2001:db8::110"),
        ("192.168.7.110", "lb2", f"lb2 answers for 192.168.7.110 too, with {MAC}"),
    ],
)
def test_it_is_an_alarm_with_its_mac_and_what_to_do(
    address: str, director: str, words: str
) -> None:
    view = view_at(100.0)
    conflict = ConflictView(
        group="www", address=address, mac=MAC, interface="eth0", director=director, held=True
    )
    state = VipState(groups=(), conflicts=(conflict,))
    view.see(Message(envelope=sample_envelope(state.kind), body=state), now_s=100.0)
    (alarm,) = document(view, now_s=100.5)["alarms"]
    assert (alarm["kind"], alarm["seen_by"]) == ("vip.conflict", NODE)
    assert (alarm["mac"], alarm["address"]) == (MAC, address)
    assert alarm["director"] == (director or None)
    assert words in alarm["text"]
    assert f"{MAC} on eth0" in alarm["text"]
    assert MAC in shown(view, now_s=100.5)
    assert document(view, now_s=200.0)["alarms"] == []
