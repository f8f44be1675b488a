"""The half of a leg that is the same for every call on RTP: its descriptions, its stream, its audio."""

from __future__ import annotations

import errno
import secrets
import socket
import time
from collections.abc import Callable
from functools import lru_cache

from bridge.audio.format import Format, silence_of
from bridge.config import Media as MediaSettings
from bridge.legs.agreement import terms_of
from bridge.legs.presses import Presses, Way
from bridge.legs.wishes import Wishes
from bridge.media.codecs import CODECS
from bridge.media.echo import EchoGuard
from bridge.media.pacer import Pacer
from bridge.media.playout import Heard
from bridge.media.ports import PortPool, RtpSocket
from bridge.media.stats import MediaStats
from bridge.media.stream import MediaStream, Tap
from bridge.media.terms import Direction, Terms
from bridge.media.tones import Tones
from bridge.sip import offer_answer, sdes
from bridge.sip.audio_line import OFFERED, Tiers
from bridge.sip.literals import literal
from bridge.sip.offer_answer import Negotiated
from bridge.sip.sdes import Policy
from bridge.sip.sdp import SessionDescription

WISHES = Wishes()
ROUTES_KEPT_S = 60.0
"""How long what the system's routes say of an address is believed: hosts move between networks."""
_DISCARD = 9


def nothing(*_: object) -> None:
    """A callback nobody has set yet."""


class RtpLeg:
    """One party of a call, as `call` hears and feeds it (see `leg.Leg`); how it is signalled is a subclass's.

    `open_port` comes first. Then each pair of descriptions, ours and theirs, is settled by `answer_to` or by
    `describe` and `accept`: the first opens the stream, the later ones change it. A pair that fails changes nothing.
    `srtp` says which descriptions are taken: off, optional or required.
    """

    def __init__(
        self,
        *,
        pacer: Pacer,
        ports: PortPool,
        media: MediaSettings,
        srtp: Policy = "off",
        wishes: Wishes = WISHES,
    ) -> None:
        self.codec = CODECS["PCMU"]
        self.on_connected: Callable[[], None] = nothing
        self.on_format: Callable[[], None] = nothing
        self._on_audio: Callable[[bytes], None] = nothing
        self.on_digit: Callable[[str], None] = nothing
        self.on_digits_refused: Callable[[], None] = nothing
        self.on_drained: Callable[[], None] = nothing
        self.on_talkspurt: Callable[[], None] = nothing
        self.on_ended: Callable[[str, str], None] = nothing
        self.stream: MediaStream | None = None
        """The RTP stream; None until both descriptions are known."""
        self.agreed: Negotiated | None = None
        """What the last pair of descriptions says; None until both are known."""
        self.wanted: Direction = "sendrecv"
        """The most we want: sendonly while we hold the other side."""
        self._pacer = pacer
        self._ports = ports
        self._media = media
        self._srtp: Policy = srtp
        self._wishes = wishes
        self._codecs = wishes.at_hand
        self._socket: RtpSocket | None = None  # before `open_port`
        self._session_id = secrets.randbits(31)
        self._ours: SessionDescription | None = None  # until the first pair is settled
        self._no_stats = MediaStats()
        self._presses = Presses()
        self._connected = False
        self._released = False

    @property
    def format(self) -> Format:
        """Of the audio that comes and goes here."""
        return self.codec.audio_format

    # Descriptions

    def open_port(self, local_address: str, bind_host: str, signalling_host: str) -> None:
        """Take a port. `local_address` stands in our descriptions; `signalling_host` is the other side's address.

        `bind_host` is where the signalling listens, perhaps everywhere. NoPort, or OSError when it cannot be bound.
        """
        self._local_address = local_address
        self._signalling_host = signalling_host
        self._socket = self._ports.open(_host_to_bind(bind_host, local_address))
        self._port: int = self._socket.getsockname()[1]

    def describe(self, wanted: Direction | None = None) -> SessionDescription:
        """An offer of ours: everything that we can do, with what holds now coming first."""
        agreed = self.agreed
        events = agreed.receive_telephone_event if agreed is not None else None
        return offer_answer.offer(
            self._local_address,
            self._port,
            self._preferences(),
            session_id=self._session_id,
            direction=wanted or self.wanted,
            payload_types=OFFERED | ({name: number for number, name in agreed.receives_as} if agreed else {}),
            events={events[1]: events[0]} if events is not None else offer_answer.EVENTS,
            crypto=self._keys_to_offer(),
            previous=self._ours,
        )

    def answer_to(self, offer: SessionDescription) -> SessionDescription:
        """Our answer to an offer, which holds from now on; SipError 488 with a Warning, and all stays as it was."""
        description, agreed = offer_answer.answer(
            offer,
            self._local_address,
            self._port,
            self._preferences(),
            session_id=self._session_id,
            direction=self.wanted,
            srtp=self._srtp,
            security=self.agreed.security if self.agreed is not None else None,
        )
        self._settle(description, agreed)
        return description

    def accept(self, ours: SessionDescription, answer: SessionDescription) -> None:
        """What the other side says to an offer of `describe`; SipError 488 and all stays as it was."""
        self._settle(ours, offer_answer.accept(ours, answer))

    def _preferences(self) -> Tiers:
        """What flows goes on when the other side still has it: a change of codec for nothing may be heard."""
        if self.agreed is None:
            return self._codecs
        now = self.codec.name
        return [[now], *([name for name in tier if name != now] for tier in self._codecs)]

    def _keys_to_offer(self) -> tuple[sdes.Crypto, ...]:
        """With srtp optional a first offer is a plain one: few peers take one that asks for both."""
        if self.agreed is not None:
            return (self.agreed.security.ours,) if self.agreed.security is not None else ()
        return sdes.offered() if self._srtp == "required" else ()

    def _settle(self, ours: SessionDescription, agreed: Negotiated) -> None:
        terms = terms_of(agreed, self._signalling_host)
        if _is_broadcast(terms.remote[0], int(time.monotonic() / ROUTES_KEPT_S)):
            raise offer_answer.refusal_of_address(self._local_address)
        changes = terms.codec.audio_format != self.format
        if self.stream is None:
            self._ours, self.agreed, self.codec = ours, agreed, terms.codec
            self._open_stream(terms)
            self._join_audio()
            return
        self.stream.follow(terms)  # what waited comes up now, still in the format of before
        self._join_audio()
        self._ours, self.agreed, self.codec = ours, agreed, terms.codec
        if changes:
            self._fit_filters(self.stream)
            self.on_format()

    def _open_stream(self, terms: Terms) -> None:
        assert self._socket is not None
        self.stream = MediaStream(
            sock=self._socket,
            pacer=self._pacer,
            terms=terms,
            signalling_host=self._signalling_host,
            rtp_timeout_s=self._media.rtp_timeout_s,
            lead_ms=self._media.lead_ms,
            jitter_ms=self._media.jitter_ms,
            on_audio=self._on_audio,
            on_digit=lambda digit: self.press("rtp", digit),
            on_fault=lambda error: self.on_ended("fault", repr(error)),
            on_timeout=lambda: self.on_ended("rtp_timeout", f"no RTP for {self._media.rtp_timeout_s:g} s"),
            open_rtcp=self._open_rtcp,
        )
        self.stream.playout.on_drained = lambda: self.on_drained()
        self.stream.attend_talkspurts(lambda: self.on_talkspurt())
        self._fit_filters(self.stream)

    def _fit_filters(self, stream: MediaStream) -> None:
        """What hears the caller before the call does; made anew when the format changes."""
        stream.unfilter()
        if self._wishes.echo_guard:
            stream.guard(EchoGuard(self.format))
        if self._wishes.inband_digits:
            stream.filter(Tones(self.format, lambda digit: self.press("tone", digit)))

    def _open_rtcp(self) -> socket.socket | None:
        assert self._socket is not None
        return self._ports.companion(self._socket)

    def connect(self) -> None:
        """The call is answered: from here audio and keys count."""
        assert self.stream is not None
        self._connected = True
        self.on_connected()
        if not self._released:  # whoever is told may have no use for it any more
            self.stream.start()

    def release(self) -> None:
        """Close the stream, and so its socket; the port goes back, and nobody is told anything more. Idempotent."""
        self._released = True
        self.on_connected = self.on_format = self._on_audio = self.on_drained = self.on_talkspurt = nothing
        self.on_digit = self.on_digits_refused = self.on_ended = nothing
        if self.stream is not None:
            self.stream.close()
        elif self._socket is not None:
            self._ports.release(self._socket)

    # Audio and keys

    @property
    def on_audio(self) -> Callable[[bytes], None]:
        """Gets the caller's audio; while he holds us, silence of the same length instead of music."""
        return self._on_audio

    @on_audio.setter
    def on_audio(self, on_audio: Callable[[bytes], None]) -> None:
        self._on_audio = on_audio
        self._join_audio()

    def _join_audio(self) -> None:
        if self.stream is not None and not self._released:
            self.stream.on_audio = self._on_audio if self.stream.direction == "sendrecv" else self._hear_nothing

    def _hear_nothing(self, audio: bytes) -> None:
        self._on_audio(silence_of(1, self.format) * (len(audio) // self.format.bytes_per_ms))

    def play(self, item_id: str, audio: bytes) -> bool:
        """Queue audio of an item."""
        return self.stream is not None and self.stream.playout.push(item_id, audio)

    def end_item(self, item_id: str) -> None:
        """No more audio of the item comes."""
        if self.stream is not None:
            self.stream.playout.end(item_id)

    def end_all(self) -> None:
        """No more audio comes of anything that is queued."""
        if self.stream is not None:
            self.stream.playout.end_all()

    def flush(self) -> tuple[Heard, ...]:
        """Fall silent; what was sent of each item that was cut."""
        return self.stream.playout.flush() if self.stream is not None else ()

    def pause(self) -> None:
        """Fall silent and keep everything until `unpause` or `flush`."""
        if self.stream is not None:
            self.stream.playout.pause()

    def unpause(self) -> None:
        """Go on with the first byte that was not heard."""
        if self.stream is not None:
            self.stream.playout.resume()

    def record(self, tap: Tap | None) -> None:
        """Let `tap` listen to both sides; None: nobody any more."""
        if self.stream is not None:
            self.stream.record(tap)

    @property
    def drained(self) -> bool:
        """Whether nothing waits to be played."""
        return self.stream is None or self.stream.playout.drained

    @property
    def can_play(self) -> bool:
        """Whether both descriptions are known."""
        return self.stream is not None

    @property
    def queued_ms(self) -> int:
        """Audio that waits to be played, in ms."""
        return self.stream.playout.queued_ms if self.stream is not None else 0

    @property
    def stats(self) -> MediaStats:
        """The stream's counts, also after its end."""
        return self.stream.stats if self.stream is not None else self._no_stats

    def summary(self) -> dict[str, int]:
        """The counts that are worth a place in the log line of the call's end."""
        counts = self.stats.counts()
        shown = ("packets_in", "packets_out", "lost", "late", "concealed_ms", "underruns", "skipped")
        strangers = {"strangers": counts["dropped.stranger"]} if "dropped.stranger" in counts else {}
        drift = {"drift_ms": self.stats.drift_ms} if self.stats.drift_ms else {}
        return {name: counts[name] for name in shown} | drift | strangers

    def press(self, way: Way, key: str) -> None:
        """The other side pressed a key, as `way` tells it."""
        if self._connected and self._presses.is_new(way, key, time.monotonic()):
            self.on_digit(key)


def _host_to_bind(bind_host: str, local_address: str) -> str:
    """Where RTP is to arrive: the listener's own address, everywhere of our family when it has none or another."""
    host, local = literal(bind_host), literal(local_address)
    assert host is not None and local is not None
    if host.is_unspecified or host.version != local.version:
        return "::" if ":" in local_address else "0.0.0.0"
    return bind_host


@lru_cache(1024)
def _is_broadcast(host: str, moment: int) -> bool:
    """Whether it is the broadcast address of a network of ours; only the system's routes know. Asked once a `moment`.

    No route at all is another matter: behind a NAT the description may be wrong, and the packets show the way.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect((host, _DISCARD))
        except OSError as error:
            return error.errno == errno.EACCES
    return False
