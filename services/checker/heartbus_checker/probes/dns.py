"""DNS check: the server answers a question, by UDP or TCP.

Sans-I/O; dnspython writes and reads the messages. ldirectord ``service=dns``: a name is asked for
its addresses, an address for its name; any of them must match ``receive``. Unlike there an answer
without ``receive`` passes, and AAAA is asked for where A has no answer.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Callable

import dns.exception
import dns.flags
import dns.message
import dns.name
import dns.rcode
import dns.rdatatype
import dns.reversename

from .pattern import ReceivePattern
from .script import Exactly, Failed, Say, Script, Something

SHOWN_MAX = 5


def dns_query(
    name: str,
    receive: ReceivePattern | None,
    *,
    udp: bool,
    random_number: Callable[[], int],
) -> Script:
    """Ask for A, then AAAA, of a name, or for PTR of an address."""
    try:
        address = ipaddress.ip_address(name)
    except ValueError:
        kinds = [dns.rdatatype.A, dns.rdatatype.AAAA]
        asked = dns.name.from_text(name)
    else:
        kinds = [dns.rdatatype.PTR]
        asked = dns.reversename.from_address(str(address))
    seen: list[str] = []
    for kind in kinds:
        query = dns.message.make_query(asked, kind)
        query.id = random_number() & 0xFFFF
        wire = query.to_wire()
        words = f"{dns.rdatatype.to_text(kind)} {name}"
        yield Say(wire if udp else len(wire).to_bytes(2, "big") + wire, words)
        while True:
            if udp:
                packet = yield Something()
            else:
                size = int.from_bytes((yield Exactly(2)), "big")
                packet = (yield Exactly(size)) if size else b""
            answer = _parsed(packet)
            if query.is_response(answer):
                break
            if not udp:
                raise Failed("an answer to another question")
        if answer.rcode() != dns.rcode.NOERROR:
            raise Failed(dns.rcode.to_text(answer.rcode()))
        found = [
            str(item).rstrip(".")
            for rrset in answer.answer
            if rrset.rdtype == kind
            for item in rrset
        ]
        seen += found
        matching = [
            text for text in found if receive is None or receive.problem(text.encode()) is None
        ]
        if matching:
            return f"{name} is {', '.join(matching[:SHOWN_MAX])}"
        if answer.flags & dns.flags.TC:
            raise Failed("the answer is cut off; check with protocol=tcp")
    if not seen:
        raise Failed("no address in the answer")
    assert receive is not None
    raise Failed(f"{', '.join(seen[:SHOWN_MAX])} without {receive.text!r}")


def _parsed(packet: bytes) -> dns.message.Message:
    try:
        return dns.message.from_wire(packet, ignore_trailing=True)
    except (dns.exception.DNSException, ValueError, IndexError) as error:
        raise Failed(f"not DNS: {error}") from None
