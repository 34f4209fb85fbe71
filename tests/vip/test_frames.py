from __future__ import annotations

import pytest

from heartbus_vip.frames import ArpForm, gratuitous_arp

MAC = bytes.fromhex("02aabbccdd01")
ETHERNET = "ffffffffffff 02aabbccdd01 0806"
ARP = "0001 0800 06 04"


def test_the_request_form_is_an_arp_announcement_of_rfc_5227() -> None:
    expected = f"{ETHERNET} {ARP} 0001 02aabbccdd01 c0a8076e 000000000000 c0a8076e"
    frame = gratuitous_arp(address="192.168.7.110", mac=MAC, form=ArpForm.REQUEST)
    assert frame == bytes.fromhex(expected)


def test_the_reply_form_names_us_as_target_too_so_that_linux_takes_it_for_gratuitous() -> None:
    expected = f"{ETHERNET} {ARP} 0002 02aabbccdd01 c0a8076e 02aabbccdd01 c0a8076e"
    frame = gratuitous_arp(address="192.168.7.110", mac=MAC, form=ArpForm.REPLY)
    assert frame == bytes.fromhex(expected)


@pytest.mark.parametrize("mac", [b"", MAC[:5], MAC + b"\0"])
def test_a_mac_of_another_length_is_refused(mac: bytes) -> None:
    with pytest.raises(ValueError, match="6 bytes"):
        gratuitous_arp(address="192.168.7.110", mac=mac, form=ArpForm.REQUEST)
