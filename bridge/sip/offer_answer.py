"""Offer and answer for one stream of audio (RFC 3264, RFC 3551, RFC 4733, RFC 4568)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from . import audio_line
from .audio_line import G711, OFFERED, PLAIN, PTIME_MS, SECURE, TELEPHONE_EVENT, Fault, Tiers, intersection
from .errors import SipError
from .literals import spelled
from .sdes import Crypto, Policy, Security, accepted, answered
from .sdp import Connection, Media, Origin, SessionDescription
from .uri import host_port

EVENTS: Mapping[int, int] = {8000: TELEPHONE_EVENT}

_REVERSED = {"sendrecv": "sendrecv", "sendonly": "recvonly", "recvonly": "sendonly", "inactive": "inactive"}


@dataclass(frozen=True, slots=True)
class Negotiated:
    """What both sides agreed on, seen from here.

    `codec` is one of `audio_line.CLOCKS`. `direction` is ours: recvonly means that nothing is sent.
    `receive_payload_type` is the codec's in what comes; `receives_as` has every payload type that may come with its
    codec, because the answer to an offer of both may use both. `telephone_event` is the payload type of RFC 4733
    events that we send, with their clock in Hz, None when the peer has none; `receive_telephone_event` that of those
    that come.
    `remote_host` is as the peer wrote it (a literal or a name); on an old-style hold it is the unspecified address.
    `ptime_ms` is the length of our packets, by what the peer asks for. `security` are the keys of SRTP, None for plain
    RTP. `rtcp` is where the peer takes RTCP (`audio_line.rtcp`).
    """

    codec: str
    send_payload_type: int
    receive_payload_type: int
    telephone_event: tuple[int, int] | None
    remote_host: str
    remote_port: int
    direction: str
    ptime_ms: int
    receives_as: tuple[tuple[int, str], ...] = ()
    receive_telephone_event: tuple[int, int] | None = None
    security: Security | None = None
    rtcp: tuple[str, int, bool] | None = None

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
    preferences: Tiers = G711,
    *,
    session_id: int,
    version: int = 0,
    direction: str = "sendrecv",
    ptime_ms: int = PTIME_MS,
    payload_types: Mapping[str, int] = OFFERED,
    events: Mapping[int, int] = EVENTS,
    crypto: Sequence[Crypto] = (),
    previous: SessionDescription | None = None,
) -> SessionDescription:
    """An offer of one audio stream with the codecs of `preferences`, under these `payload_types`.

    `events` are the payload types of telephone-events by their clock in Hz.

    With lines of `crypto` it asks for SRTP. Within a session `previous` is our last description: its declined streams
    keep their places, and the audio its place and profile (RFC 3264 section 8).
    """
    encodings = [(payload_types.get(name, OFFERED[name]), name) for tier in preferences for name in tier]
    telephone_events = audio_line.events_for(encodings, events)
    sections = [media.declined for media in previous.media] if previous is not None else []
    place = 0 if previous is None else _place(previous)
    protocol = SECURE[0] if crypto else PLAIN[0]
    if previous is not None and previous.media[place].protocol.endswith("F"):
        protocol += "F"
    sections[place : place + 1] = [
        audio_line.written(port, protocol, encodings, telephone_events, direction, ptime_ms, lines=crypto, mux=True)
    ]
    return SessionDescription(
        _origin(local_address, session_id, version), tuple(sections), Connection.of(local_address)
    )


def answer(
    offer: SessionDescription,
    local_address: str,
    port: int,
    preferences: Tiers = G711,
    *,
    session_id: int,
    version: int = 0,
    ptime_ms: int = PTIME_MS,
    direction: str = "sendrecv",
    srtp: Policy = "off",
    security: Security | None = None,
) -> tuple[SessionDescription, Negotiated]:
    """The answer to `offer`: the first audio stream we can serve, every other m= declined.

    The codec is of the first tier of `preferences` that the offer has anything of; within it the offer's order counts.
    `direction` is the most that we want: sendonly while we hold.
    With `srtp` optional a protected stream comes before a plain one; `security` are the keys of the session so far.
    SipError 488 with a Warning when no stream can be served.
    """
    chosen, codec = _choose(offer, preferences, local_address, srtp)
    lines = audio_line.keys(chosen) if chosen.protocol in SECURE else []
    agreed = _negotiated(offer, chosen, codec)
    event = agreed.telephone_event
    agreed = replace(
        agreed,
        direction=intersection(agreed.direction, direction),
        receive_telephone_event=event,
        security=answered(lines[0], security) if lines else None,
    )
    ours = audio_line.written(
        port,
        chosen.protocol,
        [(codec[1], codec[0])],
        [event] if event is not None else [],
        agreed.direction,
        ptime_ms,
        lines=(agreed.security.ours,) if agreed.security is not None else (),
        mux=agreed.rtcp is not None and agreed.rtcp[2],
    )
    sections = tuple(ours if media is chosen else media.declined for media in offer.media)
    origin, times = _origin(local_address, session_id, version), offer.times or ("0 0",)
    return SessionDescription(origin, sections, Connection.of(local_address), times=times), agreed


def accept(offer: SessionDescription, answer: SessionDescription) -> Negotiated:
    """What the peer's `answer` to our `offer` means; SipError 488 when it leaves no audio."""
    here = offer.origin.address
    if len(answer.media) != len(offer.media):
        raise _refusal(audio_line.NO_AUDIO, here)
    place = _place(offer)
    mine, theirs = offer.media[place], replace(answer, media=(answer.media[place],))
    offered = audio_line.codecs(mine)
    srtp: Policy = "required" if mine.protocol in SECURE else "off"
    chosen, codec = _choose(theirs, [[name for name, _ in offered]], here, srtp)
    agreed = _negotiated(theirs, chosen, codec)
    event = audio_line.telephone_event(mine, codec[0])
    security = accepted(audio_line.keys(mine), audio_line.keys(chosen)) if srtp == "required" else None
    if security is None and srtp == "required":
        raise _refusal(audio_line.KEYS, here)
    return replace(
        agreed,
        receive_payload_type=next((number for name, number in offered if name == codec[0]), codec[1]),
        receives_as=tuple((number, name) for name, number in offered),
        telephone_event=agreed.telephone_event if event is not None else None,
        receive_telephone_event=event,
        direction=intersection(offer.direction_of(mine), agreed.direction),
        security=security,
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


def refusal_of_address(local_address: str) -> SipError:
    """488 for a place that this machine cannot send to."""
    return _refusal(audio_line.ADDRESS, local_address)


def _choose(
    description: SessionDescription, preferences: Tiers, local_address: str, srtp: Policy
) -> tuple[Media, tuple[str, int]]:
    """The stream to serve and its codec; SipError 488 with the Warning of the last one that fails."""
    fault = audio_line.NO_AUDIO
    candidates = [media for media in description.media if media.kind == "audio" and media.port != 0]
    if srtp != "off":
        candidates.sort(key=lambda media: media.protocol not in SECURE)
    for media in candidates:
        found = _fault(description, media, local_address, srtp)
        codec = _codec(media, preferences)
        if found is None and codec is not None:
            return media, codec
        fault = found or audio_line.FORMAT
    raise _refusal(fault, local_address)


def _fault(description: SessionDescription, media: Media, local_address: str, srtp: Policy) -> Fault | None:
    secure = media.protocol in SECURE
    if (not secure and media.protocol not in PLAIN) or srtp == ("off" if secure else "required"):
        return audio_line.PROTOCOL
    fault = audio_line.fault_of(description.connection_of(media), local_address)
    if fault is None and secure and not audio_line.keys(media):
        return audio_line.KEYS
    return fault


def _negotiated(description: SessionDescription, media: Media, codec: tuple[str, int]) -> Negotiated:
    name, number = codec
    connection = description.connection_of(media)
    assert connection is not None, "a stream without one is not chosen"
    direction = _REVERSED[description.direction_of(media)]
    if audio_line.is_nowhere(connection.host):
        # RFC 2543 hold: nowhere to send to, but the peer may still speak.
        direction = intersection(direction, "recvonly")
    return Negotiated(
        name,
        number,
        number,
        audio_line.telephone_event(media, name),
        spelled(connection.host),
        media.port,
        direction,
        audio_line.packet_time(media),
        receives_as=((number, name),),
        rtcp=audio_line.rtcp(media, spelled(connection.host)),
    )


def _codec(media: Media, preferences: Tiers) -> tuple[str, int] | None:
    found = audio_line.codecs(media)
    return next((codec for tier in preferences for codec in found if codec[0] in tier), None)


def _place(description: SessionDescription) -> int:
    """Which m= of a description of ours is the audio: the one that is on."""
    return next((at for at, media in enumerate(description.media) if media.port != 0), 0)


def _origin(local_address: str, session_id: int, version: int) -> Origin:
    family = "IP6" if ":" in local_address else "IP4"
    return Origin("-", str(session_id), str(version), local_address, family)


def _refusal(fault: Fault, local_address: str) -> SipError:
    code, text = fault
    warning = f'{code} {host_port(local_address)} "{text}"'
    return SipError(488, reason="not_acceptable", headers=(("Warning", warning),))
