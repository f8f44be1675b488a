"""Via: reading, stamping, and the way back (RFC 3261 18.2.2, RFC 3581)."""

from __future__ import annotations

import pytest

from bridge.sip.errors import SipError
from bridge.sip.via import Via, reply_to, stamp

SOURCE = ("192.0.2.7", 40000)


def test_parts() -> None:
    via = Via.parse("SIP/2.0/udp Host.Example:5070;branch=z9hG4bKx;rport")
    assert (via.transport, via.sent_by, via.branch) == ("UDP", ("host.example", 5070), "z9hG4bKx")
    assert Via.parse("SIP/2.0/UDP [2001:db8::1]").sent_by == ("2001:db8::1", 5060)
    assert Via.parse("SIP/2.0/UDP h").branch == ""


@pytest.mark.parametrize("text", ["", "SIP/2.0 h", "SIP/3.0/UDP h", "SIP/2.0/UDP", "SIP/2.0/UDP h;branch=a;=", "x"])
def test_malformed(text: str) -> None:
    with pytest.raises(SipError):
        Via.parse(text)


@pytest.mark.parametrize(
    ("text", "to"),
    [
        ("SIP/2.0/UDP 10.0.0.1:5070;rport", SOURCE),
        ("SIP/2.0/UDP 10.0.0.1:5070;rport=1", SOURCE),
        ("SIP/2.0/UDP 10.0.0.1:5070", ("192.0.2.7", 5070)),
        ("SIP/2.0/UDP 10.0.0.1", ("192.0.2.7", 5060)),
        ("SIP/2.0/UDP 10.0.0.1;maddr=239.1.1.1;received=9.9.9.9", ("192.0.2.7", 5060)),
    ],
)
def test_the_way_back(text: str, to: tuple[str, int]) -> None:
    assert reply_to(Via.parse(text), SOURCE) == to


@pytest.mark.parametrize(
    ("text", "stamped"),
    [
        ("SIP/2.0/UDP 192.0.2.7;branch=b", "SIP/2.0/UDP 192.0.2.7;branch=b"),
        ("SIP/2.0/UDP h;branch=b", "SIP/2.0/UDP h;branch=b;received=192.0.2.7"),
        ("SIP/2.0/UDP 192.0.2.7;rport;branch=b", "SIP/2.0/UDP 192.0.2.7;branch=b;rport=40000;received=192.0.2.7"),
        ("SIP/2.0/UDP h;received=x;rport=7", "SIP/2.0/UDP h;rport=40000;received=192.0.2.7"),
        ("SIP/2.0/UDP h;rportal=7", "SIP/2.0/UDP h;rportal=7;received=192.0.2.7"),
    ],
)
def test_stamp(text: str, stamped: str) -> None:
    assert stamp(text, SOURCE) == stamped


def test_a_scope_stays_out_of_received() -> None:
    assert stamp("SIP/2.0/UDP h", ("fe80::1%eth0", 5060)).endswith(";received=fe80::1")
