"""One m=audio section: what an offered one gives us, and ours in writing (RFC 3551, RFC 4733, RFC 7587, RFC 5761)."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from ipaddress import IPv6Address

from .literals import literal
from .sdes import Crypto, usable
from .sdp import DIRECTIONS, Attribute, Connection, Media

PTIME_MS = 20
PTIMES_MS = (10, 20, 30, 40, 60)
"""Packets that we can send."""
CLOCKS = {"PCMU": 8000, "PCMA": 8000, "G722": 8000, "OPUS": 48000}
"""The codecs that we know, with the clock of their timestamps in Hz (RFC 3551 section 4.5.2 on G722)."""
OFFERED = {"PCMU": 0, "PCMA": 8, "G722": 9, "OPUS": 107}
"""Their payload types in offers of ours."""
Tiers = Sequence[Sequence[str]]
"""Codecs by preference: of the first tier that the peer has, its own first. An offer of ours has them in this order."""
G711: Tiers = (("PCMU", "PCMA"),)
TELEPHONE_EVENT = 101
"""The payload type for events of 8000 Hz in offers of ours; those of other clocks come after it."""

PLAIN = ("RTP/AVP", "RTP/AVPF")
SECURE = ("RTP/SAVP", "RTP/SAVPF")
"""Profiles that we speak; the feedback of the F ones is a right, not a duty: we send none (RFC 4585 section 3)."""

_EVENTS = "0-15"
_SPELLED = {"OPUS": "opus/48000/2"}
_PARAMETERS = {"OPUS": "maxplaybackrate=24000;sprop-stereo=0;stereo=0;useinbandfec=1"}
"""RFC 7587 section 6.1: always written as two channels; mono is what we send and like to get."""
_RTCP = re.compile(r"(\d{1,5})(?:\s+IN\s+IP[46]\s+(\S+))?\s*\Z")

Fault = tuple[int, str]
"""Code and text of a Warning header (RFC 3261 section 20.43)."""
NO_AUDIO: Fault = (304, "Media type not available")
PROTOCOL: Fault = (302, "Incompatible transport protocol")
ADDRESS: Fault = (301, "Incompatible network address formats")
NETWORK: Fault = (300, "Incompatible network protocol")
FORMAT: Fault = (305, "Incompatible media format")
KEYS: Fault = (306, "Attribute not understood")


def codecs(media: Media) -> list[tuple[str, int]]:
    """What we know among the formats, in their order: name and payload type."""
    known = media.encodings()
    found = []
    for payload_type in media.formats:
        name, rate = known.get(payload_type, ("", 0))
        if CLOCKS.get(name) == rate and _is_payload_type(payload_type):
            found.append((name, int(payload_type)))
    return found


def telephone_event(media: Media, codec: str = "PCMU") -> tuple[int, int] | None:
    """Payload type and clock in Hz of RFC 4733 events beside a codec; None when there are none.

    Those of the codec's own clock; else those of 8000 Hz, which phones offer beside every codec.
    """
    known = media.encodings()
    found: dict[int, int] = {}
    for payload_type in media.formats:
        name, rate = known.get(payload_type, ("", 0))
        if name == "TELEPHONE-EVENT" and _is_payload_type(payload_type):
            found.setdefault(rate, int(payload_type))
    for rate in (CLOCKS[codec], 8000):
        if rate in found:
            return found[rate], rate
    return None


def rtcp(media: Media, host: str) -> tuple[str, int, bool] | None:
    """Where the peer takes RTCP: host, port, and whether it is the port of RTP (RFC 5761, RFC 3605).

    None when it wants none (RFC 3556). `host` is that of its RTP; another one in a=rtcp is passed over, because nothing
    that comes from there would show that it wants our reports.
    """
    if {"b=RS:0", "b=RR:0"} <= set(media.others):
        return None
    port = min(media.port + 1, 65535)
    if media.attribute("rtcp-mux") is not None:
        return host, media.port, True
    stated = _RTCP.match(media.attribute("rtcp") or "")
    if stated is not None and 0 < int(stated[1]) <= 65535 and stated[2] in (None, host):
        port = int(stated[1])
    return host, port, False


def keys(media: Media) -> list[Crypto]:
    """The a=crypto lines that we can use."""
    return usable(media.values("crypto"))


def packet_time(media: Media) -> int:
    """Milliseconds of audio in our packets: what the peer wants, and never more; the shortest where it wants less."""
    asked = _milliseconds(media.attribute("ptime")) or PTIME_MS
    limit = _milliseconds(media.attribute("maxptime"))
    asked = min(asked, limit) if limit else asked
    return max((ptime for ptime in PTIMES_MS if ptime <= asked), default=PTIMES_MS[0])


def is_nowhere(host: str) -> bool:
    """Whether it is the unspecified address: an old-style hold (RFC 2543)."""
    address = literal(host)
    return address is not None and address.is_unspecified


def fault_of(connection: Connection | None, local_address: str) -> Fault | None:
    """Why nothing can be sent there from `local_address`; None when it can.

    A name says nothing about its address, and the nowhere of an old-style hold is fine.
    """
    if connection is None:
        return ADDRESS
    address = literal(connection.host)
    if address is None:
        return None
    if "%" in connection.host:
        return ADDRESS  # a zone means something on one machine only (RFC 4007 section 11.2)
    if address.is_unspecified:
        return None
    if (address.version == 6) != (connection.family == "IP6"):
        return ADDRESS
    if isinstance(address, IPv6Address):
        nobody = address.is_multicast or address.ipv4_mapped is not None
    else:
        # Class D and E, the broadcast address among them, and "this network": nobody's phone.
        nobody = address.is_multicast or address.is_reserved or address.packed[0] == 0
    if nobody:
        return ADDRESS
    return None if (address.version == 6) == (":" in local_address) else NETWORK


def written(
    port: int,
    protocol: str,
    encodings: Sequence[tuple[int, str]],
    events: Sequence[tuple[int, int]],
    direction: str,
    ptime_ms: int,
    lines: Sequence[Crypto] = (),
    mux: bool = False,
) -> Media:
    """A section of ours; `encodings` are payload types and names, best first, `events` payload types and clocks."""
    formats = [str(number) for number, _ in (*encodings, *events)]
    attributes: list[Attribute] = []
    for number, name in encodings:
        attributes.append(("rtpmap", f"{number} {_SPELLED.get(name, f'{name}/{CLOCKS[name]}')}"))
        if name in _PARAMETERS:
            attributes.append(("fmtp", f"{number} {_PARAMETERS[name]}"))
    for number, clock in events:
        attributes += [("rtpmap", f"{number} telephone-event/{clock}"), ("fmtp", f"{number} {_EVENTS}")]
    attributes += [("crypto", line.value) for line in lines]
    attributes += [("ptime", str(ptime_ms)), (direction, None)]
    if mux:
        attributes.append(("rtcp-mux", None))
    return Media("audio", port, protocol, tuple(formats), attributes=tuple(attributes))


def events_for(encodings: Sequence[tuple[int, str]], known: Mapping[int, int]) -> list[tuple[int, int]]:
    """Events of every clock that the codecs have, as payload types and clocks; `known` is the other way round."""
    taken = {number for number, _ in encodings} | set(known.values())
    free = (number for number in range(TELEPHONE_EVENT, 128) if number not in taken)
    clocks = dict.fromkeys(CLOCKS[name] for _, name in encodings)
    return [(known[clock] if clock in known else next(free), clock) for clock in clocks]


def intersection(one: str, other: str) -> str:
    """The direction that both allow."""
    sends = "send" in one and "send" in other
    receives = "recv" in one and "recv" in other
    return DIRECTIONS[(0 if receives else 1) if sends else (2 if receives else 3)]


def _is_payload_type(text: str) -> bool:
    """Those of 64 to 95 look like RTCP when they carry a marker (RFC 5761 section 4)."""
    return text.isascii() and text.isdigit() and len(text) <= 3 and int(text) < 128 and not 64 <= int(text) <= 95


def _milliseconds(text: str | None) -> int | None:
    whole = (text or "").strip().partition(".")[0]
    if not whole.isascii() or not whole.isdigit() or len(whole) > 4:
        return None
    return int(whole) or None
