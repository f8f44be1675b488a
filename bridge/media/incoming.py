"""Up: the caller's packets become audio in order and keys told once."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Protocol

from bridge.media import dtmf
from bridge.media.codecs import Codec, Decoder, decoder
from bridge.media.dtmf import DtmfReceiver
from bridge.media.rtp import RtpPacket
from bridge.media.stats import MediaStats
from bridge.media.terms import Terms

COMFORT_NOISE = 13
"""Static payload type of RFC 3389: the caller's phone says that it is silent."""


class Filter(Protocol):
    """Looks at the caller's audio on its way up and may replace it, never its length."""

    def heard(self, audio: bytes) -> bytes:
        """What goes on instead; the very same bytes when there is nothing to do."""


class Incoming:
    """The stream that the caller sends: by payload type audio, keys, or comfort noise; all else is dropped.

    `on_audio` gets the audio in order, concealment and silence included, mostly one packet's payload at a time, after
    whatever listens before the call does. `on_digit` gets one key at a time.
    """

    __slots__ = (
        "_codecs",
        "_decoders",
        "_dtmf",
        "_emit",
        "_events",
        "_filters",
        "_format",
        "_newest_decoder",
        "_newest_type",
        "_on_audio",
        "_on_digit",
        "_on_raw",
        "_stats",
        "jitter",
    )  # fmt: skip

    def __init__(
        self,
        terms: Terms,
        stats: MediaStats,
        on_audio: Callable[[bytes], None],
        on_digit: Callable[[str], None],
    ) -> None:
        self.jitter = stats.jitter
        self._filters: tuple[Filter, ...] = ()
        self._on_raw: Callable[[bytes], None] | None = None
        self._stats = stats
        self._emit = on_audio
        """Where audio goes: straight to the call while nobody else listens."""
        self._on_audio = on_audio
        self._on_digit = on_digit
        self._dtmf = DtmfReceiver()
        self._format = terms.audio_format
        # Of every payload type of audio that was ever agreed on: what was is still under way (RFC 3264 section 8.3.2).
        self._codecs: dict[int, Codec] = {}
        self._decoders: dict[int, Decoder] = {}
        self._newest_type: int | None = None  # of the newest packet
        self._newest_decoder: Decoder | None = None
        self.adopt(terms)

    @property
    def payload_types(self) -> frozenset[int]:
        """What the caller's packets may have."""
        events = (self._events.payload_type,) if self._events is not None else ()
        return frozenset((*self._decoders, COMFORT_NOISE, *events))

    def adopt(self, terms: Terms) -> None:
        """Hear by these terms from now on."""
        changed = terms.audio_format != self._format
        if changed:
            self._format = terms.audio_format
            self._decoders.clear()
        codecs = self._codecs | dict(terms.receives_as)
        if terms.receive_events is not None:
            codecs.pop(terms.receive_events.payload_type, None)  # it may have been a codec's before
            self._decoders.pop(terms.receive_events.payload_type, None)
        for payload_type, codec in codecs.items():
            # One that goes on keeps its decoder, which may remember what came before.
            if payload_type not in self._decoders or self._codecs.get(payload_type) != codec:
                self._decoders[payload_type] = decoder(codec, terms.audio_format)
        self._newest_type, self._newest_decoder = None, None
        self._codecs = codecs
        self._events = terms.receive_events
        if changed:
            # A packet may be lost before the first one that could tell its codec.
            self._hand_up(self.jitter.change_format(terms.audio_format, self._expected(terms)))

    def _expected(self, terms: Terms) -> Decoder | None:
        """That of the codec which both sides prefer; None where the caller may not send it."""
        types = (number for number, codec in terms.receives_as.items() if codec == terms.codec)
        return next((self._decoders[number] for number in types), None)

    def receive(self, packet: RtpPacket, now: float) -> None:
        """One packet of the caller."""
        found = self._newest_decoder if packet.payload_type == self._newest_type else self._known(packet.payload_type)
        if found is not None:
            for audio in self.jitter.put(packet, now, found):
                self._emit(audio)
        elif self._events is not None and packet.payload_type == self._events.payload_type:
            self._receive_event(packet, self._events.clock_rate, now)
        elif packet.payload_type == COMFORT_NOISE:
            self._hand_up(self.jitter.put_silent(packet, 0, now))
        else:
            self._stats.drop("payload_type")

    def _known(self, payload_type: int) -> Decoder | None:
        """The decoder of a payload type; nearly always the next packet has the same one."""
        found = self._decoders.get(payload_type)
        if found is not None:
            self._newest_type, self._newest_decoder = payload_type, found
        return found

    def due(self, now: float) -> None:
        """What must leave by `now`, packets or not: concealment, silence, a key whose end was lost."""
        self._hand_up(self.jitter.due(now))
        self._hand_up_digits(self._dtmf.due(now))

    def is_calm(self, now: float) -> bool:
        """Whether `due` may wait for some slots: packets come, and no key is being pressed."""
        return self._dtmf.next_deadline is None and self.jitter.is_calm(now)

    def give_up(self, now: float) -> None:
        """The time of a gap is over."""
        # The clock rings up to a step before the time, and never after it.
        self._hand_up(self.jitter.give_up(max(now, self.jitter.gap_deadline or now)))

    def _receive_event(self, packet: RtpPacket, clock_rate: int, now: float) -> None:
        event, line = dtmf.parse(packet.payload), self.jitter.line
        duration = event.duration if event is not None else 0
        if clock_rate == line.clock:
            silent = self.jitter.put_silent(packet, duration, now)
        else:
            # Its timestamps count in another clock than the audio's, so they say nothing on the audio's time line.
            silent = self.jitter.put_silent(packet._replace(timestamp=line.timestamp), 0, now)
        self._hand_up(silent)
        self._hand_up_digits(self._dtmf.receive(packet, now))

    def _hand_up(self, pieces: list[bytes]) -> None:
        for audio in pieces:
            self._emit(audio)

    @property
    def on_audio(self) -> Callable[[bytes], None]:
        """Gets the audio in order."""
        return self._on_audio

    @on_audio.setter
    def on_audio(self, on_audio: Callable[[bytes], None]) -> None:
        self._on_audio = on_audio
        self.listen(self._filters, self._on_raw)

    def listen(self, filters: Iterable[Filter], on_raw: Callable[[bytes], None] | None) -> None:
        """What hears the audio before the call does: first `on_raw` (None: nobody), then the filters in their order."""
        self._filters, self._on_raw = tuple(filters), on_raw
        self._emit = self._pass_through if self._filters or on_raw is not None else self._on_audio

    def close(self) -> None:
        """Nobody is told anything any more."""
        self._filters, self._on_raw = (), None
        self._emit = self._on_audio = self._on_digit = _nothing

    def _pass_through(self, audio: bytes) -> None:
        if self._on_raw is not None:
            self._on_raw(audio)
        for stage in self._filters:
            audio = stage.heard(audio)
        self._on_audio(audio)

    def _hand_up_digits(self, digits: str) -> None:
        for digit in digits:
            self._stats.digits += 1
            self._on_digit(digit)


def _nothing(told: object) -> None:
    """For a stream that is closed."""
