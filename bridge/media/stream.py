"""The media of one call: the caller's audio and keys come up, the model's audio goes down on the slot clock."""

from __future__ import annotations

import socket
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Protocol

from bridge.audio.format import Format, silence_of
from bridge.media.control import ControlChannel, new_reporter, no_socket
from bridge.media.echo import EchoGuard
from bridge.media.endpoint import RtpEndpoint
from bridge.media.incoming import Filter, Incoming
from bridge.media.jitter import JitterBuffer
from bridge.media.keypad import Keypad
from bridge.media.outgoing import Outgoing
from bridge.media.pacer import Handle, SlotClock
from bridge.media.playout import Playout
from bridge.media.rtp import RtpPacket
from bridge.media.source import SourceLatch
from bridge.media.srtp import Keys, Opener, Sealer
from bridge.media.stats import MediaStats
from bridge.media.terms import Direction, Terms


class Tap(Protocol):
    """Listens to both sides on the wire clock, as a recording does. All audio is in the leg's format."""

    def slot(self, ms: int, missed: int = 0) -> None:
        """A slot begins; `missed` ones before it passed without us."""

    def sent(self, audio: bytes) -> None:
        """The frame that left in it."""

    def heard(self, audio: bytes) -> None:
        """The caller's audio, as it came."""

    def follow(self, audio_format: Format) -> None:
        """The format changes here."""


PACKETS_PER_S = 200
"""Of one caller: packets of 10 ms are 100. More would let one call take the time of the others."""
BURST = 400
"""What may come at once: two seconds that the network, or a stall of ours, has held up."""
LOOK_S = 0.055
"""Seconds between two looks at what is not to the slot, while the caller's packets come as they should. A look goes
through objects that no cache holds when hundreds of calls run: in every slot it would be a third of the slot's cost."""


def _nothing() -> None:
    """For a stream that is closed."""


class MediaStream:
    """RTP and RTCP of one call on sockets that it owns and closes; protected when the terms have keys.

    From `start` to `close` one packet leaves per slot, silence between talkspurts. `on_audio` gets the caller's audio
    in order and in the leg's format, concealment and silence included, mostly one packet's payload at a time; it also
    gets what comes while we are on hold (`recvonly`: look at `direction`). `on_digit` gets one key at a time.
    `on_timeout` is called once when nothing valid came for `rtp_timeout_s` (0: never); hold does not count. `on_fault`
    is called when a slot raised: the stream has then lost its clock, and the call is over.
    """

    __slots__ = (
        "_ahead",
        "_alarmed",
        "_clock",
        "_control",
        "_down",
        "_echo",
        "_endpoint",
        "_event_type",
        "_filters",
        "_handle",
        "_heard_at",
        "_hears",
        "_jitter",
        "_look_at",
        "_on_fault",
        "_on_timeout",
        "_pacer",
        "_reception",
        "_refill",
        "_tap",
        "_timeout",
        "_unseen",
        "_up",
        "direction",
        "stats",
        "terms",
    )  # fmt: skip

    def __init__(
        self,
        *,
        sock: socket.socket,
        pacer: SlotClock,
        terms: Terms,
        signalling_host: str,
        on_audio: Callable[[bytes], None],
        on_digit: Callable[[str], None],
        on_timeout: Callable[[], None],
        on_fault: Callable[[Exception], None] | None = None,
        rtp_timeout_s: float = 30,
        lead_ms: int = 60,
        jitter_ms: float = 60,
        clock: Callable[[], float] = time.monotonic,
        open_rtcp: Callable[[], socket.socket | None] = no_socket,
    ) -> None:
        self.terms = terms
        """What holds now."""
        self.direction: Direction = terms.direction
        self._tap: Tap | None = None
        self._pacer = pacer
        self._on_timeout = on_timeout
        self._on_fault = on_fault
        self._timeout = rtp_timeout_s
        self._clock = clock
        self._echo: EchoGuard | None = None
        self._filters: list[Filter] = []
        self._heard_at: float | None = None  # while the time-out does not count
        self._unseen = False  # he has not shown yet that he is there
        self._ahead = 0  # packets that came, less those for which time has passed; small numbers cost nothing to keep
        self._look_at = 0.0
        self._handle: Handle | None = None  # while not on the clock
        self._alarmed: float | None = None  # the gap whose end the clock will ring for
        self._jitter = JitterBuffer(terms.audio_format, jitter_ms)
        self.stats = MediaStats(self._jitter)
        latch = SourceLatch(terms.remote, signalling_host, frozenset())
        self._endpoint = RtpEndpoint(sock, latch, self.stats, clock, self._receive)
        self._down = Outgoing(self._endpoint, terms, lead_ms)
        self._up = Incoming(terms, self.stats, on_audio, on_digit)
        self.stats.playout = self._down.playout
        self.stats.reports = self._down.reporter = new_reporter(self._down.writer.ssrc, terms.codec.clock_rate)
        self._reception = self.stats.reports.reception
        self._control = ControlChannel(self._endpoint, self.stats.reports, self.stats, clock, open_rtcp)
        self._adopt(terms, None)

    @property
    def playout(self) -> Playout:
        """The queue and the ledger of what we say."""
        return self._down.playout

    @property
    def keypad(self) -> Keypad:
        """The keys that we press."""
        return self._down.keypad

    @property
    def permitted(self) -> bool:
        """Whether audio may leave. False until the other side has shown that it is there; the playout waits."""
        return self._down.permitted

    @permitted.setter
    def permitted(self, permitted: bool) -> None:
        self._down.permitted = permitted
        self._unseen = not permitted

    @property
    def on_sent(self) -> Callable[[bytes], None] | None:
        """Gets each frame of audio that left, in the leg's format."""
        return self._down.on_sent

    @on_sent.setter
    def on_sent(self, on_sent: Callable[[bytes], None]) -> None:
        self._down.on_sent = on_sent

    @property
    def on_audio(self) -> Callable[[bytes], None]:
        """Gets the caller's audio."""
        return self._up.on_audio

    @on_audio.setter
    def on_audio(self, on_audio: Callable[[bytes], None]) -> None:
        self._up.on_audio = on_audio

    @property
    def remote(self) -> tuple[str, int]:
        """Where our packets go now."""
        return self._endpoint.latch.destination

    @property
    def audio_format(self) -> Format:
        """Of the audio up and down."""
        return self.terms.audio_format

    def start(self) -> None:
        """Receive and send from now on; needs a running loop. Started again, as by an answer after early media, the
        time-out alone begins anew."""
        self._heard_at = self._clock()
        if self._handle is None:
            self._endpoint.start()
            self._control.start()
            self._join_clock()

    def guard(self, echo: EchoGuard) -> None:
        """Let `echo` hear both sides and decide what of the caller's audio goes up."""
        self._echo = echo
        self.filter(echo)
        self.stats.watch(echo)

    def filter(self, stage: Filter) -> None:
        """Let `stage` hear the caller's audio, and change it."""
        self._filters.append(stage)
        self._listen()

    def unfilter(self) -> None:
        """Nothing stands between the jitter buffer and the call any more."""
        self._echo = None
        self._filters.clear()
        self._listen()

    def attend_talkspurts(self, told: Callable[[], None]) -> None:
        """`told` hears when the first packet of the model's audio after silence has left."""
        self._down.on_talkspurt = told

    def record(self, tap: Tap | None) -> None:
        """Let `tap` listen to both sides, from the next slot on; None: nobody any more."""
        self._tap = tap
        self._down.on_sent = tap.sent if tap is not None else None
        self._listen()

    def _listen(self) -> None:
        tap = self._tap
        heard = None if tap is None else tap.heard if self.direction == "sendrecv" else self._tap_silence
        self._up.listen(self._filters, heard)

    def _tap_silence(self, audio: bytes) -> None:
        """On hold the caller is not on the line: what comes is the music of his PBX."""
        if self._tap is not None:
            self._tap.heard(silence_of(1, self.audio_format) * (len(audio) // self.audio_format.bytes_per_ms))

    def follow(self, terms: Terms) -> None:
        """Follow a re-INVITE: another place, direction, codec, payload type or key; SSRC, numbers and time go on.

        Unless we may send, nothing leaves and the model's audio waits where it is. Terms that change nothing, as of
        a refresh of the session, disturb nothing.
        """
        previous, self.terms = self.terms, terms
        if terms == previous:
            return
        self._endpoint.latch.retarget(terms.remote)
        self.direction = terms.direction
        self._listen()
        self._up.adopt(terms)
        self._down.adopt(terms)
        if self._tap is not None and terms.audio_format != previous.audio_format:
            self._tap.follow(terms.audio_format)
        self._adopt(terms, previous.keys)
        if terms.ptime_ms != previous.ptime_ms and self._handle is not None:
            self._pacer.remove(self._handle)
            self._join_clock()
        self._heard_at = self._clock()
        self._jitter.expect_silence(self._heard_at)

    def retarget(self, remote: tuple[str, int], *, direction: Direction = "sendrecv") -> None:
        """Follow a re-INVITE that changed no more than the place and the direction."""
        self.follow(replace(self.terms, remote=remote, direction=direction))

    def _join_clock(self) -> None:
        self._handle = self._pacer.add(self._tick, self._on_fault, period_ms=self.terms.ptime_ms)
        self._alarmed = None

    def _adopt(self, terms: Terms, keys: Keys | None) -> None:
        """What both directions share; `keys` are those of before."""
        self._hears = terms.direction in ("sendrecv", "recvonly")
        self._refill = PACKETS_PER_S * terms.ptime_ms // 1000
        self._endpoint.latch.payload_types = self._up.payload_types
        self._event_type = terms.receive_events.payload_type if terms.receive_events is not None else None
        self._protect(terms.keys, keys)
        assert self.stats.reports is not None
        self.stats.reports.codec = terms.codec.name
        self.stats.reports.retime(terms.codec.clock_rate)
        self._control.adopt(terms.rtcp)

    def _protect(self, keys: Keys | None, previous: Keys | None) -> None:
        """New keys begin new contexts; the same ones go on counting their packets."""
        opener, sealer = self._endpoint.opener, self._endpoint.sealer
        suite = previous.suite if previous is not None else None
        if keys is None:
            opener = sealer = None
        else:
            if previous is None or (suite, previous.receive) != (keys.suite, keys.receive):
                opener = Opener(keys.suite, keys.receive)
            if previous is None or (suite, previous.send) != (keys.suite, keys.send):
                sealer = Sealer(keys.suite, keys.send)
        self._endpoint.protect(opener, sealer)

    def permit(self) -> None:
        """The other side is there: audio may leave, and its silence counts from now."""
        if not self.permitted:
            self.permitted = True
            self._heard_at = self._clock()

    def close(self) -> None:
        """Leave the clock and close the sockets, and let go of whoever was told anything; a second call does nothing.

        What is left refers to nothing that refers to it, so that it goes with its owner: `stats` and `playout` stay.
        """
        if self._handle is not None:
            self._pacer.remove(self._handle)
            self._handle = None
        self._control.close(self._down.writer.timestamp)
        self._endpoint.close()
        self._up.close()
        self._down.close()
        self._on_timeout, self._on_fault, self._tap, self._echo = _nothing, None, None, None
        self._filters.clear()

    def _receive(self, packet: RtpPacket, now: float) -> None:
        if not self._hears:
            self.stats.drop("direction")
            return
        if self._ahead >= BURST:
            self.stats.drop("flood")
            return
        self._ahead += 1
        if self._unseen:
            self.permit()
        self._heard_at = now
        if packet.payload_type == self._event_type:
            self._reception.received_event(packet.sequence, packet.ssrc, now)
            self._look_at = now
        else:
            self._reception.received(packet.sequence, packet.timestamp, packet.ssrc, now)
        self._up.receive(packet, now)
        if self._jitter.gap_deadline != self._alarmed:
            self._set_alarm()

    def _set_alarm(self) -> None:
        """The end of a gap lies between two slots: the caller's audio shall not wait for the second."""
        deadline = self._alarmed = self._jitter.gap_deadline
        if deadline is not None and self._handle is not None:
            self._pacer.alarm(self._handle, deadline, lambda now: self._end_gap(deadline))

    def _end_gap(self, deadline: float) -> None:
        if self._jitter.gap_deadline == deadline:
            self._up.give_up(deadline)
            self._set_alarm()

    def _tick(self, now: float, missed: int) -> None:
        """One slot: first what must leave on time, then what may wait some microseconds."""
        down = self._down
        ahead = self._ahead - self._refill * (missed + 1)
        self._ahead = ahead if ahead > 0 else 0
        if missed:
            self.stats.skipped += missed
            down.skip(missed)
        if self._tap is not None:
            self._tap.slot(self.terms.ptime_ms, missed)
        audio = down.send_slot()
        if self._echo is not None:
            self._echo.sent(audio)
        if now >= self._look_at:
            self._look(now)

    def _look(self, now: float) -> None:
        """Silence for a caller who sends none, a key whose end was lost, reports, time-outs."""
        self._up.due(now)
        if self._down.permitted:
            self._control.tick(now, self._down.writer.timestamp)
        self._check_timeout(now)
        self._look_at = now + LOOK_S if self._up.is_calm(now) else now

    def _check_timeout(self, now: float) -> None:
        if not self._timeout or self._heard_at is None or self.direction != "sendrecv" or not self._down.permitted:
            return
        if now - self._heard_at >= self._timeout:
            self._heard_at = None
            self._on_timeout()
