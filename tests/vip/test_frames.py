from __future__ import annotations

import struct

import pytest

from heartbus_vip.frames import ArpForm, gratuitous_arp, neighbour_advertisement

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


ADVERTISEMENT = (
    "333300000001 02aabbccdd01 86dd"  # all nodes
    " 60000000 0020 3a ff"  # 32 bytes of ICMPv6, hop limit 255
    " 20010db8000000000000000000000110 ff020000000000000000000000000001"
    " 88 00 {checksum} {flags} 20010db8000000000000000000000110"
    " 02 01 02aabbccdd01"  # target link-layer address, 8 bytes
)


@pytest.mark.parametrize(
    ("router", "flags", "checksum"), [(False, "20000000", "5d95"), (True, "a0000000", "dd94")]
)
def test_a_neighbour_advertisement_is_unsolicited_and_overrides(
    router: bool, flags: str, checksum: str
) -> None:
    frame = neighbour_advertisement(address="2001:db8::110", mac=MAC, router=router)
    assert frame == bytes.fromhex(ADVERTISEMENT.format(checksum=checksum, flags=flags))


@pytest.mark.parametrize("address", ["2001:db8::", "::1", "2001:db8:ffff:ffff:ffff:ffff:ffff:fffe"])
def test_its_checksum_is_right_for_every_address(address: str) -> None:
    frame = neighbour_advertisement(address=address, mac=MAC, router=False)
    source_to_end = frame[22:54] + struct.pack("!II", 32, 58) + frame[54:]
    total = sum(struct.unpack(f"!{len(source_to_end) // 2}H", source_to_end))
    assert total % 0xFFFF == 0  # RFC 1071: all ones, the checksum included


def test_an_advertisement_with_a_mac_of_another_length_is_refused() -> None:
    with pytest.raises(ValueError, match="6 bytes"):
        neighbour_advertisement(address="2001:db8::110", mac=MAC[:5], router=False)
