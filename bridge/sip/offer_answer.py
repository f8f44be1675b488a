"""Offer and answer for one G.711 stream (RFC 3264, RFC 3551, RFC 4733)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from ipaddress import ip_address

from .errors import SipError
from .sdp import DIRECTIONS, STATIC, Attribute, Connection, Media, Origin, SessionDescription
from .uri import host_port

PTIME_MS = 20
TELEPHONE_EVENT = 101
"""The payload type for events in offers of ours."""

_PROTOCOL = "RTP/AVP"
_EVENTS = "0-15"
_UNSPECIFIED = ("0.0.0.0", "::")
_REVERSED = {"sendrecv": "sendrecv", "sendonly": "recvonly", "recvonly": "sendonly", "inactive": "inactive"}


@dataclass(frozen=True, slots=True)
class Negotiated:
    """What both sides agreed on, seen from here.

    `codec` is "PCMU" or "PCMA". `direction` is ours: recvonly means that nothing is sent.
    `telephone_event` is the payload type of RFC 4733 events, None when the peer has none.
    `remote_host` is as the peer wrote it (a literal or a name); on an old-style hold it is 0.0.0.0.
    `ptime_ms` is the packet time the peer asks for.
    """

    codec: str
    send_payload_type: int
    receive_payload_type: int
    telephone_event: int | None
    remote_host: str
    remote_port: int
    direction: str
    ptime_ms: int

    @property
    def sends(self) -> bool:
        """Whether our audio may flow."""
        return self.direction in ("sendrecv", "sendonly")

    @property
    def receives(self) -> bool:
        """Whether the peer's audio may come."""
        return self.direction in ("sendrecv", "recvonly")


def offer(
    local_address: str,
    port: int,
    preferences: Sequence[int] = (0, 8),
    *,
    session_id: int,
    version: int = 0,
    direction: str = "sendrecv",
    ptime_ms: int = PTIME_MS,
) -> SessionDescription:
    """An offer of one audio stream; `preferences` are static payload types (0 PCMU, 8 PCMA)."""
    encodings = [(str(number), STATIC[str(number)][0]) for number in preferences]
    media = _audio(port, encodings, TELEPHONE_EVENT, direction, ptime_ms)
    return SessionDescription(_origin(local_address, session_id, version), (media,), Connection.of(local_address))


def answer(
    offer: SessionDescription,
    local_address: str,
    port: int,
    preferences: Sequence[int] = (0, 8),
    *,
    session_id: int,
    version: int = 0,
    prefer_ours: bool = False,
    ptime_ms: int = PTIME_MS,
) -> tuple[SessionDescription, Negotiated]:
    """The answer to `offer`: the first audio stream we can serve, every other m= declined.

    The codec is the first of the offer that is in `preferences`, or with `prefer_ours` the first of
    `preferences` that is in the offer. SipError 488 with a Warning when no stream can be served.
    """
    wanted = tuple(STATIC[str(number)][0] for number in preferences)
    chosen, negotiated = _choose(offer, wanted, prefer_ours, local_address)
    sections = []
    for media in offer.media:
        if media is chosen:
            encodings = [(str(negotiated.receive_payload_type), negotiated.codec)]
            ours = _audio(port, encodings, negotiated.telephone_event, negotiated.direction, ptime_ms)
            sections.append(ours)
        else:
            sections.append(Media(media.kind, 0, media.protocol, media.formats))
    description = SessionDescription(
        _origin(local_address, session_id, version),
        tuple(sections),
        Connection.of(local_address),
        times=offer.times or ("0 0",),
    )
    return description, negotiated


def accept(offer: SessionDescription, answer: SessionDescription) -> Negotiated:
    """What the peer's `answer` to our `offer` means; SipError 488 when it leaves no audio."""
    if len(answer.media) != len(offer.media):
        raise _refusal(304, "Media type not available", offer.origin.address)
    wanted = tuple(encoding[0] for encoding in _g711(offer.media[0]))
    _, theirs = _choose(answer, wanted, False, offer.origin.address)
    mine = _payload_type(offer.media[0], theirs.codec)
    event = _telephone_event(offer.media[0])
    allowed = _intersection(offer.direction_of(offer.media[0]), theirs.direction)
    return replace(
        theirs,
        receive_payload_type=theirs.receive_payload_type if mine is None else mine,
        telephone_event=theirs.telephone_event if event is not None else None,
        direction=allowed,
    )


def continued(previous: bytes, new: bytes) -> bytes:
    """`new` as the next description of the same session (RFC 3264 section 8).

    The o= line of `previous` goes on: unchanged when nothing else changed, one version up otherwise.
    """
    before, after = SessionDescription.parse(previous), SessionDescription.parse(new)
    same = replace(after, origin=before.origin)
    if same == before:
        return previous
    version = int(before.origin.version) + 1
    return bytes(replace(after, origin=replace(before.origin, version=str(version))))


def _choose(
    description: SessionDescription, wanted: Sequence[str], prefer_ours: bool, local_address: str
) -> tuple[Media, Negotiated]:
    warning = (304, "Media type not available")
    for media in description.media:
        if media.kind != "audio" or media.port == 0:
            continue
        connection = description.connection_of(media)
        if media.protocol != _PROTOCOL:
            warning = (302, "Incompatible transport protocol")
        elif connection is None or _is_no_host(connection.host):
            warning = (301, "Incompatible network address formats")
        elif not _same_family(connection.host, local_address):
            warning = (300, "Incompatible network protocol")
        elif (codec := _codec(media, wanted, prefer_ours)) is None:
            warning = (305, "Incompatible media format")
        else:
            return media, _negotiated(media, codec, connection, description.direction_of(media))
    raise _refusal(*warning, local_address)


def _negotiated(media: Media, codec: tuple[str, int], connection: Connection, direction: str) -> Negotiated:
    local = _REVERSED[direction]
    if connection.host in _UNSPECIFIED:
        # RFC 2543 hold: nowhere to send to, but the peer may still speak.
        local = _intersection(local, "recvonly")
    return Negotiated(
        codec[0], codec[1], codec[1], _telephone_event(media), connection.host, media.port, local, _ptime(media)
    )


def _g711(media: Media) -> list[tuple[str, int]]:
    found = []
    for payload_type in media.formats:
        encoding = media.encoding(payload_type)
        if encoding in (("PCMU", 8000), ("PCMA", 8000)) and _is_payload_type(payload_type):
            found.append((encoding[0], int(payload_type)))
    return found


def _codec(media: Media, wanted: Sequence[str], prefer_ours: bool) -> tuple[str, int] | None:
    usable = [codec for codec in _g711(media) if codec[0] in wanted]
    if prefer_ours:
        usable.sort(key=lambda codec: wanted.index(codec[0]))
    return usable[0] if usable else None


def _payload_type(media: Media, codec: str) -> int | None:
    return next((number for name, number in _g711(media) if name == codec), None)


def _telephone_event(media: Media) -> int | None:
    for payload_type in media.formats:
        if media.encoding(payload_type) == ("TELEPHONE-EVENT", 8000) and _is_payload_type(payload_type):
            return int(payload_type)
    return None


def _is_payload_type(text: str) -> bool:
    return text.isascii() and text.isdigit() and len(text) <= 3 and int(text) < 128


def _ptime(media: Media) -> int:
    asked = _milliseconds(media.attribute("ptime")) or PTIME_MS
    limit = _milliseconds(media.attribute("maxptime"))
    return min(asked, limit) if limit else asked


def _milliseconds(text: str | None) -> int | None:
    whole = (text or "").strip().partition(".")[0]
    if not whole.isascii() or not whole.isdigit() or len(whole) > 4:
        return None
    return int(whole) or None


def _intersection(one: str, other: str) -> str:
    sends = "send" in one and "send" in other
    receives = "recv" in one and "recv" in other
    return DIRECTIONS[(0 if receives else 1) if sends else (2 if receives else 3)]


def _is_no_host(host: str) -> bool:
    """Whether it is the address of many: nobody's phone."""
    try:
        address = ip_address(host)
    except ValueError:
        return False
    return address.is_multicast or str(address) == "255.255.255.255"


def _same_family(host: str, local_address: str) -> bool:
    """Whether our socket can send there; a name, or the nowhere of an old-style hold, says nothing about it."""
    if host in _UNSPECIFIED:
        return True
    try:
        return ip_address(host).version == ip_address(local_address).version
    except ValueError:
        return True


def _origin(local_address: str, session_id: int, version: int) -> Origin:
    family = "IP6" if ":" in local_address else "IP4"
    return Origin("-", str(session_id), str(version), local_address, family)


def _audio(port: int, encodings: list[tuple[str, str]], event: int | None, direction: str, ptime_ms: int) -> Media:
    attributes: list[Attribute] = [("rtpmap", f"{number} {name}/8000") for number, name in encodings]
    formats = [number for number, _ in encodings]
    if event is not None:
        formats.append(str(event))
        attributes += [("rtpmap", f"{event} telephone-event/8000"), ("fmtp", f"{event} {_EVENTS}")]
    attributes += [("ptime", str(ptime_ms)), (direction, None)]
    return Media("audio", port, _PROTOCOL, tuple(formats), attributes=tuple(attributes))


def _refusal(code: int, text: str, local_address: str) -> SipError:
    warning = f'{code} {host_port(local_address)} "{text}"'
    return SipError(488, reason="not_acceptable", headers=(("Warning", warning),))
