"""Down: in each slot one packet of the model's audio, of a key, or of silence."""

from __future__ import annotations

import secrets
from collections.abc import Callable

from bridge.audio.format import silence_of
from bridge.media.codecs import encoder
from bridge.media.endpoint import RtpEndpoint
from bridge.media.keypad import Keypad
from bridge.media.playout import Playout
from bridge.media.reports import RtcpReporter
from bridge.media.rtp import HEADER_BYTES, RtpWriter
from bridge.media.terms import Terms


class Outgoing:
    """The stream that we send. One SSRC from beginning to end, whatever the terms become.

    `on_sent` gets the audio of each frame that left, in the leg's format, for a recording and the like.
    """

    __slots__ = (
        "_codec",
        "_encode",
        "_endpoint",
        "_payload_type",
        "_started",
        "_talking",
        "_ticks",
        "_wanted",
        "keypad",
        "on_sent",
        "on_talkspurt",
        "permitted",
        "playout",
        "reporter",
        "silence",
        "writer",
    )  # fmt: skip

    def __init__(self, endpoint: RtpEndpoint, terms: Terms, lead_ms: int) -> None:
        self.playout = Playout(lead_ms=lead_ms, audio_format=terms.audio_format)
        self.keypad = Keypad(None)
        self.permitted = True
        """Whether audio may leave. False until the other side has shown that it is there; the playout waits."""
        self.on_sent: Callable[[bytes], None] | None = None
        self.on_talkspurt: Callable[[], None] | None = None
        """The first packet of the model's audio after silence has left."""
        # The lower half of the sequence numbers: so soon nobody wonders how often they have wrapped (RFC 3711 3.3.1).
        self.writer = RtpWriter(secrets.randbits(32), secrets.randbits(15), secrets.randbits(32))
        self.reporter: RtcpReporter | None = None
        """Counts what left, for the sender reports."""
        self._endpoint = endpoint
        self._talking = False  # whether the last slot carried the model's audio
        self._started = False
        self._codec = terms.codec
        self._encode = encoder(terms.codec)
        self.adopt(terms)

    def adopt(self, terms: Terms) -> None:
        """Send by these terms from now on; what is queued is put into their format."""
        if terms.codec != self._codec:
            self._codec = terms.codec
            self._encode = encoder(terms.codec)
        self._wanted = terms.direction in ("sendrecv", "sendonly")
        self._payload_type = terms.sends_as
        self._ticks = terms.ptime_ms * terms.codec.clock_rate // 1000
        self.silence = silence_of(terms.ptime_ms, terms.audio_format)
        """The audio of a slot in which nobody speaks."""
        self.playout.change(terms.audio_format, len(self.silence))
        events = terms.events
        self.keypad.retype(
            events.payload_type if events else None, terms.ptime_ms, events.clock_rate if events else 8000
        )
        self._talking = False

    def skip(self, slots: int) -> None:
        """So many slots passed without us."""
        self.writer.skip(slots * self._ticks)

    def send_slot(self) -> bytes:
        """One slot: what the other side hears in it, in the leg's format."""
        if not self._may_send():
            self.writer.skip(self._ticks)
            return self.silence
        if self.keypad.busy:
            if (key := self.keypad.packet(self.writer, self._ticks)) is not None:
                self._send_key(key)
                return self.silence
            frame = None  # speech that is cut into pieces between the keys helps nobody: it waits for the last one
        else:
            frame = self.playout.pull()
        audio = frame.payload if frame is not None else self.silence
        payload = audio if self._encode is None else self._encode(audio)
        # RFC 3551 section 4.1: the marker shows where a talkspurt begins after silence.
        marker = (frame is not None and not self._talking) or not self._started
        if not self._endpoint.send(self.writer.packet(payload, self._payload_type, self._ticks, marker)):
            # Only what left the machine counts as heard: the frame is next again, its number too.
            self._retract()
            if frame is not None:
                self.playout.put_back(frame)
            return self.silence
        if frame is not None and not self._talking and self.on_talkspurt is not None:
            self.on_talkspurt()
        self._talking = frame is not None
        self._started = True
        if self.reporter is not None:
            self.reporter.sent(len(payload))
        if self.on_sent is not None:
            self.on_sent(audio)
        return audio

    def close(self) -> None:
        """Nobody is told anything any more."""
        self.on_sent = self.on_talkspurt = self.playout.on_drained = None

    def _may_send(self) -> bool:
        return self.permitted and self._wanted and self._endpoint.latch.reachable

    def _send_key(self, packet: bytes) -> None:
        self._talking = False
        if self._endpoint.send(packet):
            self._started = True
            if self.reporter is not None:
                self.reporter.sent(len(packet) - HEADER_BYTES)
        else:
            # The packets of a key repeat each other: the next one makes up for it.
            self._retract()

    def _retract(self) -> None:
        """Use the number of the last packet again, unless a keystream belongs to it (RFC 3711 section 9.1)."""
        if not self._endpoint.sealed:
            self.writer.retract()
