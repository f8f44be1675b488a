"""One m=audio section of G.711: what an offered one gives us, and ours in writing (RFC 3551, RFC 4733)."""

from __future__ import annotations

from collections.abc import Sequence
from ipaddress import IPv6Address, ip_address

from .sdes import Crypto, usable
from .sdp import DIRECTIONS, Attribute, Connection, Media

PTIME_MS = 20
TELEPHONE_EVENT = 101
"""The payload type for events in offers of ours."""

PLAIN = ("RTP/AVP", "RTP/AVPF")
SECURE = ("RTP/SAVP", "RTP/SAVPF")
"""Profiles that we speak; the feedback of the F ones is a right, not a duty: we send none (RFC 4585 section 3)."""

_EVENTS = "0-15"

Fault = tuple[int, str]
"""Code and text of a Warning header (RFC 3261 section 20.43)."""
NO_AUDIO: Fault = (304, "Media type not available")
PROTOCOL: Fault = (302, "Incompatible transport protocol")
ADDRESS: Fault = (301, "Incompatible network address formats")
NETWORK: Fault = (300, "Incompatible network protocol")
FORMAT: Fault = (305, "Incompatible media format")
KEYS: Fault = (306, "Attribute not understood")


def codecs(media: Media) -> list[tuple[str, int]]:
    """G.711 among the formats, in their order: "PCMU" or "PCMA", and its payload type."""
    known = media.encodings()
    found = []
    for payload_type in media.formats:
        name, rate = known.get(payload_type, ("", 0))
        if name in ("PCMU", "PCMA") and rate == 8000 and _is_payload_type(payload_type):
            found.append((name, int(payload_type)))
    return found


def telephone_event(media: Media) -> int | None:
    """Payload type of RFC 4733 events at 8000 Hz; None when there is none."""
    known = media.encodings()
    for payload_type in media.formats:
        if known.get(payload_type) == ("TELEPHONE-EVENT", 8000) and _is_payload_type(payload_type):
            return int(payload_type)
    return None


def keys(media: Media) -> list[Crypto]:
    """The a=crypto lines that we can use."""
    return usable(media.values("crypto"))


def packet_time(media: Media) -> int:
    """Milliseconds of audio that the peer wants in a packet."""
    asked = _milliseconds(media.attribute("ptime")) or PTIME_MS
    limit = _milliseconds(media.attribute("maxptime"))
    return min(asked, limit) if limit else asked


def is_nowhere(host: str) -> bool:
    """Whether it is the unspecified address: an old-style hold (RFC 2543)."""
    try:
        return ip_address(host).is_unspecified
    except ValueError:
        return False


def fault_of(connection: Connection | None, local_address: str) -> Fault | None:
    """Why nothing can be sent there from `local_address`; None when it can.

    A name says nothing about its address, and the nowhere of an old-style hold is fine.
    """
    if connection is None:
        return ADDRESS
    try:
        address = ip_address(connection.host)
    except ValueError:
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
    event: int | None,
    direction: str,
    ptime_ms: int,
    lines: Sequence[Crypto] = (),
) -> Media:
    """A section of ours; `encodings` are payload types and names, best first."""
    attributes: list[Attribute] = [("rtpmap", f"{number} {name}/8000") for number, name in encodings]
    formats = [str(number) for number, _ in encodings]
    if event is not None:
        formats.append(str(event))
        attributes += [("rtpmap", f"{event} telephone-event/8000"), ("fmtp", f"{event} {_EVENTS}")]
    attributes += [("crypto", line.value) for line in lines]
    attributes += [("ptime", str(ptime_ms)), (direction, None)]
    return Media("audio", port, protocol, tuple(formats), attributes=tuple(attributes))


def intersection(one: str, other: str) -> str:
    """The direction that both allow."""
    sends = "send" in one and "send" in other
    receives = "recv" in one and "recv" in other
    return DIRECTIONS[(0 if receives else 1) if sends else (2 if receives else 3)]


def _is_payload_type(text: str) -> bool:
    return text.isascii() and text.isdigit() and len(text) <= 3 and int(text) < 128


def _milliseconds(text: str | None) -> int | None:
    whole = (text or "").strip().partition(".")[0]
    if not whole.isascii() or not whole.isdigit() or len(whole) > 4:
        return None
    return int(whole) or None
