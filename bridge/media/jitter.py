"""The jitter buffer of the caller's audio: no delay for what is in order, a true time line for what is not.

A model does not play audio on a clock, so there is no playout delay: a packet in order leaves in the call that brings
it. Only behind a gap packets wait, at most `wait_ms`; then the gap is concealed. Here sequence numbers are put in
order; what the packets then become is the time line's (`timeline`).
"""

from bridge.audio.format import Format
from bridge.media.codecs import Decoder
from bridge.media.rtp import SEQUENCE_MASK, TIMESTAMP_MASK, RtpPacket, sequence_ahead
from bridge.media.timeline import Arrival, TimeLine

PATIENT_S = 60.0
"""How long silence flows later, in seconds, after the network has held up packets for which it had flowed."""
LONGEST_HOLD_UP = 1.5
"""Seconds: a silence that comes later than that is of no use."""
MAX_MISORDER = 100
"""Packets. A sequence number further off is a stray or a new beginning (RFC 3550 appendix A.1)."""
CALM_S = 0.1
"""Seconds since the last packet after which each slot counts: silence may have to flow soon."""
OWN_STALL = 0.1
"""Seconds between two `due` calls that mean that we were away, not the caller."""


class JitterBuffer:
    """Puts the packets of one caller in order. `put` and `due` give audio in the leg's format, oldest first.

    When packets stop altogether (silence suppression, mute), silence flows in real time from `starve_ms` on,
    so that the model can hear that the caller has stopped speaking; None turns that off.
    """

    __slots__ = (
        "_due_at",
        "_given_up",
        "_heard_at",
        "_held",
        "_lost",
        "_patient_until",
        "_pause",
        "_probation",
        "_sequence",
        "_silent",
        "_ssrc",
        "_starve",
        "_usual_starve",
        "_wait",
        "beginnings",
        "concealed",
        "duplicate",
        "gap_deadline",
        "late",
        "line",
        "received",
        "reordered",
        "strays",
    )  # fmt: skip

    def __init__(self, audio_format: Format, wait_ms: float = 60, *, starve_ms: float | None = 200) -> None:
        self.line = TimeLine(audio_format)
        self.received = 0
        self.concealed = 0
        """Packets that were not there in time, whether they came later or not."""
        self.late = 0
        """Of those concealed, the ones that came after all."""
        self.duplicate = 0
        self.reordered = 0
        self.beginnings = 0
        """Other sources, and jumps of the sequence."""
        self.strays = 0
        self.gap_deadline: float | None = None
        """When the gap that shows now is given up; None while nothing is held."""
        self._lost = 0
        self._silent = 0  # packets without audio
        self._wait = wait_ms / 1000
        self._starve = None if starve_ms is None else max(starve_ms, wait_ms) / 1000
        self._usual_starve = self._starve
        self._patient_until = 0.0
        self._pause = 0.0  # the last one that silence had filled, and the timestamps had not
        self._ssrc: int | None = None  # until the first packet
        self._sequence = 0  # of the packet that is next in order
        self._held: dict[int, Arrival] = {}
        self._given_up: dict[int, None] = {}  # concealed sequence numbers, oldest first
        self._probation: Arrival | None = None  # the last packet far out of order
        self._heard_at: float | None = None  # before the first packet
        self._due_at = 0.0

    @property
    def lost(self) -> int:
        """Packets concealed that never came. It never goes down, so that it can be read as a counter."""
        self._lost = max(self._lost, self.concealed - self.late)
        return self._lost

    @property
    def resyncs(self) -> int:
        """New beginnings: another source, a jump of sequence or timestamp."""
        return self.beginnings + self.line.resyncs

    @property
    def concealed_ms(self) -> int:
        """Audio made up for lost packets."""
        return round(self.line.concealed_s * 1000)

    @property
    def silence_ms(self) -> int:
        """Silence in place of events and pauses."""
        return round(self.line.silence_s * 1000)

    @property
    def next_deadline(self) -> float | None:
        """When `due` has something to give at the latest, if no packet comes; None before the first packet."""
        starved = None
        if self._starve is not None and self._heard_at is not None:
            behind = self._wait + (self.line.flowed + self.line.frame) * self.line.tick_s
            starved = self._heard_at + max(self._starve, behind)
        return min((at for at in (self.gap_deadline, starved) if at is not None), default=None)

    def put(self, packet: RtpPacket, now: float, decoder: Decoder | None = None) -> list[bytes]:
        """Take a packet of audio; what can leave now, leaves. In order and of the leg's law it is untouched."""
        self.received += 1
        payload, line = packet.payload, self.line
        decoder = decoder or line.default
        if (
            packet.sequence == self._sequence
            and packet.timestamp == line.timestamp
            and packet.ssrc == self._ssrc
            and decoder is line.plain
            and not self._held
            and not line.drift.owed
            and payload
        ):
            ticks = len(payload)
            self._sequence = (packet.sequence + 1) & SEQUENCE_MASK
            self._heard_at = now
            line.flowed = 0
            line.timestamp = (packet.timestamp + ticks) & TIMESTAMP_MASK
            if not line.takes(ticks, now):
                return []
            line.history.append(payload)
            line.given += ticks
            transit = now - line.given * line.tick_s
            if transit < line.drift.least:
                line.drift.least = transit
            return [payload]
        arrival = Arrival(packet.sequence, packet.timestamp, payload, decoder.ticks(payload), now, decoder)
        out = self._accept(packet.ssrc, arrival)
        if out:
            line.settle(out, now)
        return out

    def put_silent(self, packet: RtpPacket, ticks: int, now: float) -> list[bytes]:
        """Take a packet without audio (telephone-event, comfort noise) that shares the sequence.

        Silence fills the time line up to `ticks` after the packet's timestamp.
        """
        self.received += 1
        self._silent += 1
        arrival = Arrival(packet.sequence, packet.timestamp, None, ticks, now, self.line.decoder)
        return self._accept(packet.ssrc, arrival)

    def due(self, now: float) -> list[bytes]:
        """What must leave by `now`: concealment and what waited behind it, silence for a silent caller."""
        out: list[bytes] = self.give_up(now) if self._held else []
        if self._starve is not None and self._heard_at is not None and now - self._heard_at >= self._starve:
            self._flow_silence(now, out)
        if self._starve is not self._usual_starve:
            self._lose_patience(now)
        self._due_at = now
        drift = self.line.drift
        drift.judge(now, self.received - self._silent)
        if drift.held_up:
            drift.held_up = False
            self._be_patient(now)
        return out

    def is_calm(self, now: float) -> bool:
        """Whether `due` has nothing to do for some slots but what can wait: packets come, and the clocks agree."""
        if self._heard_at is None or now - self._heard_at >= CALM_S or self._starve is not self._usual_starve:
            return False
        return not (self.line.drift.unconfirmed or self.line.drift.owed)

    def give_up(self, now: float) -> list[bytes]:
        """Of that only what stands behind gaps whose time is up."""
        out: list[bytes] = []
        while self.gap_deadline is not None and now >= self.gap_deadline:
            self._give_up_gap(out)
        return out

    def change_format(self, audio_format: Format, decoder: Decoder | None = None) -> list[bytes]:
        """Give another format from now on, made by `decoder`. Returns what waited, in the format of before."""
        out: list[bytes] = []
        while self._held:
            self._give_up_gap(out)
        self.line.change_format(audio_format, decoder)
        return out

    def expect_silence(self, now: float) -> None:
        """The terms have changed: who is on hold may send nothing, and his time goes on all the same."""
        if self._heard_at is not None:
            self._heard_at = now
        self.line.flowed = 0
        self.line.drift.restart()

    def _accept(self, ssrc: int, arrival: Arrival) -> list[bytes]:
        out: list[bytes] = []
        unconfirmed = self.line.drift.unconfirmed
        ahead = sequence_ahead(arrival.sequence, self._sequence)
        if ssrc != self._ssrc or arrival.decoder.clock_rate != self.line.clock:
            self._begin(ssrc, arrival, out)
        elif not -MAX_MISORDER <= ahead <= MAX_MISORDER:
            self._try_new_beginning(ssrc, arrival, out)
        elif ahead < 0:
            self._count_old(arrival.sequence)
        elif ahead == 0:
            self.reordered += bool(self._held)
            self._play(arrival, out)
            self._play_held(out)
        else:
            self._hold(arrival, ahead)
        if self.line.drift.unconfirmed > unconfirmed and self._heard_at is not None:
            self._pause = arrival.at - self._heard_at
        self._heard_at = arrival.at
        self.line.flowed = 0
        return out

    def _be_patient(self, now: float) -> None:
        """A network that held packets up will do so again: let silence flow later, or it stands beside each of them."""
        if self._starve is not None and self._pause <= LONGEST_HOLD_UP:
            self._starve = max(self._starve, self._pause + self._wait)
            self._patient_until = now + PATIENT_S

    def _lose_patience(self, now: float) -> None:
        """A minute after the last packets that were held up."""
        if self._heard_at is not None and now - self._heard_at >= (self._usual_starve or 0.0):
            self._patient_until = now + PATIENT_S
        elif now > self._patient_until:
            self._starve = self._usual_starve

    def _begin(self, ssrc: int, arrival: Arrival, out: list[bytes]) -> None:
        """Start a time line at `arrival`; what the old one still held goes before it."""
        while self._held:
            self._give_up_gap(out)
        self.beginnings += self._ssrc is not None
        self.line.begin(arrival)
        self._ssrc = ssrc
        self._sequence = arrival.sequence
        self._given_up.clear()
        self._probation = None
        self._play(arrival, out)

    def _try_new_beginning(self, ssrc: int, arrival: Arrival, out: list[bytes]) -> None:
        """One packet far off may be a stray; two in a row are a sender that started over."""
        first = self._probation
        if first is not None and arrival.sequence == (first.sequence + 1) & SEQUENCE_MASK:
            self._begin(ssrc, first, out)
            self._play(arrival, out)
            return
        self.strays += first is not None
        self._probation = arrival

    def _count_old(self, sequence: int) -> None:
        if sequence in self._given_up:
            del self._given_up[sequence]
            self.late += 1
        else:
            self.duplicate += 1

    def _hold(self, arrival: Arrival, ahead: int) -> None:
        if arrival.sequence in self._held:
            self.duplicate += 1
            return
        self.reordered += any(self._distance(sequence) > ahead for sequence in self._held)
        self._held[arrival.sequence] = arrival
        self._set_gap_deadline()

    def _distance(self, sequence: int) -> int:
        return (sequence - self._sequence) & SEQUENCE_MASK

    def _set_gap_deadline(self) -> None:
        """The gap showed when the first packet behind it came."""
        held = self._held.values()
        self.gap_deadline = min(arrival.at for arrival in held) + self._wait if held else None

    def _give_up_gap(self, out: list[bytes]) -> None:
        """Conceal what is missing before the first packet held, then play on from there."""
        first = min(self._held, key=self._distance)
        for missing in range(self._distance(first)):
            self._given_up[(self._sequence + missing) & SEQUENCE_MASK] = None
            self.concealed += 1
        while len(self._given_up) > 2 * MAX_MISORDER:
            del self._given_up[next(iter(self._given_up))]
        self.line.conceal_until(self._held[first].timestamp, self._held[first].at, out)
        self._sequence = first
        self._play_held(out)

    def _play_held(self, out: list[bytes]) -> None:
        while (arrival := self._held.pop(self._sequence, None)) is not None:
            self._play(arrival, out)
        self._set_gap_deadline()

    def _play(self, arrival: Arrival, out: list[bytes]) -> None:
        self._sequence = (arrival.sequence + 1) & SEQUENCE_MASK
        self.line.play(arrival, out)

    def _flow_silence(self, now: float, out: list[bytes]) -> None:
        """Let silence flow, `wait_ms` behind the clock so that the next timestamp can still set the length."""
        assert self._heard_at is not None
        if now - self._due_at > OWN_STALL:
            # The packets of our own stall wait in the socket: they come first.
            return
        line = self.line
        owed = int((now - self._heard_at - self._wait) * line.clock) - line.flowed
        ticks = min(owed - owed % line.frame, line.clock)
        if ticks > 0:
            line.silence(ticks, now, out)
            line.flowed += ticks
            line.settle_in_pause(out, now)
