"""Descriptions that change: hold, moves, codecs, more than audio (RFC 3264), in every INVITE of SIPp."""

from __future__ import annotations

import pytest

from tests.sip.phone import Answering, port_of, until

from .scenario import Sipp
from .serving import serving

pytestmark = pytest.mark.phone

HEAD = "v=0\no=sipp 1 2 IN IP4 127.0.0.1\ns=-\nc=IN IP4 127.0.0.1\nt=0 0\n"
AUDIO = "m=audio 6000 RTP/AVP 0 101\na=rtpmap:0 PCMU/8000\na=rtpmap:101 telephone-event/8000\na=fmtp:101 0-15"
BROWSER = (
    "v=0\no=- 1 2 IN IP4 127.0.0.1\ns=-\nt=0 0\na=group:BUNDLE 0 1\na=msid-semantic: WMS *\na=ice-options:trickle\n"
    f"{AUDIO}\nc=IN IP4 127.0.0.1\na=rtcp:9 IN IP4 0.0.0.0\na=ice-ufrag:abcd\na=ice-pwd:0123456789abcdef0123456789\n"
    "a=candidate:1 1 UDP 2122252543 127.0.0.1 6000 typ host\na=mid:0\na=rtcp-mux\na=extmap:1 urn:x\na=ssrc:1 cname:x\n"
    "m=video 6002 RTP/AVP 96\nc=IN IP4 127.0.0.1\na=rtpmap:96 VP8/90000\na=rtcp-fb:96 nack pli\na=mid:1"
)
MULTIPART = (
    "--x\nContent-Type: text/plain\nContent-Disposition: render;handling=optional\n\nhello\n"
    f"--x\nContent-Type: application/sdp\n\n{HEAD}{AUDIO}\n--x--"
)
SDP = "application/sdp"

# Name: the description, what the answer must have, how many m= lines of others the resuming offer repeats.
OFFERS = {
    "sendonly": (SDP, f"{HEAD}{AUDIO}\na=sendonly", "m=audio [1-9].*a=recvonly", ""),
    "recvonly": (SDP, f"{HEAD}{AUDIO}\na=recvonly", "m=audio [1-9].*a=sendonly", ""),
    "inactive": (SDP, f"{HEAD}{AUDIO}\na=inactive", "m=audio [1-9].*a=inactive", ""),
    "old hold": (
        SDP,
        f"{HEAD.replace('c=IN IP4 127.0.0.1', 'c=IN IP4 0.0.0.0')}{AUDIO}",
        "m=audio [1-9].*a=(recvonly|inactive)",
        "",
    ),
    "another port": (SDP, f"{HEAD}{AUDIO.replace('6000', '7000')}", "m=audio [1-9].*a=sendrecv", ""),
    "another address": (
        SDP,
        f"{HEAD.replace('c=IN IP4 127.0.0.1', 'c=IN IP4 127.0.0.2')}{AUDIO}",
        "m=audio [1-9].*a=sendrecv",
        "",
    ),
    "another codec": (
        SDP,
        f"{HEAD}{AUDIO.replace(' 0 101', ' 8 101').replace('0 PCMU', '8 PCMA')}",
        "m=audio [1-9][0-9]* RTP/AVP 8 101",
        "",
    ),
    "another number for digits": (
        SDP,
        f"{HEAD}{AUDIO.replace('101', '96')}",
        "RTP/AVP 0 96.*a=rtpmap:96 telephone-event/8000",
        "",
    ),
    "video": (SDP, f"{HEAD}{AUDIO}\nm=video 6002 RTP/AVP 31", "m=audio [1-9].*m=video 0 ", "\nm=video 0 RTP/AVP 31"),
    "video first": (
        SDP,
        f"{HEAD}m=video 6002 RTP/AVP 31\n{AUDIO}",
        "m=video 0 .*m=audio [1-9]",
        None,
    ),
    "unknown media": (
        SDP,
        f"{HEAD}{AUDIO}\nm=application 6004 TCP/BFCP *\nm=hologram 9 X/Y z",
        "m=audio [1-9].*m=application 0 .*m=hologram 0 ",
        "\nm=application 0 TCP/BFCP *\nm=hologram 0 X/Y z",
    ),
    "a second audio": (
        SDP,
        f"{HEAD}{AUDIO}\nm=audio 6006 RTP/AVP 0",
        "m=audio [1-9].*m=audio 0 ",
        "\nm=audio 0 RTP/AVP 0",
    ),
    "bundled, with ICE": (SDP, BROWSER, "m=audio [1-9].*m=video 0 ", "\nm=video 0 RTP/AVP 96"),
    "multipart": ("multipart/mixed;boundary=x", MULTIPART, "m=audio [1-9].*a=sendrecv", ""),
}


@pytest.mark.parametrize("name", OFFERS)
async def test_the_first_offer(phone: Sipp, name: str) -> None:
    kind, offer, expected, _ = OFFERS[name]
    application = Answering()
    async with serving(application) as service:
        await phone.call("offered", port_of(service), type=kind, offer=offer, expect=expected)
        await until(lambda: application.ended == ["bye"])


@pytest.mark.parametrize("name", [name for name, row in OFFERS.items() if row[3] is not None])
async def test_a_changed_offer_and_back(phone: Sipp, name: str) -> None:
    kind, offer, expected, lines = OFFERS[name]
    application = Answering()
    async with serving(application) as service:
        await phone.call("reoffered", port_of(service), type=kind, offer=offer, expect=expected, lines=f"{lines or ''}")
        await until(lambda: application.ended == ["bye"])


async def test_a_reinvite_without_a_description(phone: Sipp) -> None:
    application = Answering()
    async with serving(application) as service:
        await phone.call("delayed_reoffer", port_of(service))
        await until(lambda: application.ended == ["bye"])


REFUSED = {
    "no codec of ours": (SDP, f"{HEAD}m=audio 6000 RTP/AVP 18", "488", "Warning: 305 "),
    "video alone": (SDP, f"{HEAD}m=video 6000 RTP/AVP 31", "488", "Warning: 30"),
    "keys, which we do not take": (SDP, f"{HEAD}{AUDIO.replace('/AVP', '/SAVP')}", "488", "Warning: 30"),
    "nonsense": (SDP, "v=7", "400", "SIP/2.0 400"),
    "no description at all": ("text/plain", "hello", "415", "Accept: application/sdp"),
}


@pytest.mark.parametrize("name", REFUSED)
async def test_a_changed_offer_that_is_refused(phone: Sipp, name: str) -> None:
    kind, offer, status, expected = REFUSED[name]
    application = Answering()
    async with serving(application) as service:
        await phone.call("refused_reoffer", port_of(service), type=kind, offer=offer, status=status, expect=expected)
        await until(lambda: application.ended == ["bye"])
