"""The jitter buffer of the caller's audio: no delay for what is in order, a true time line for what is not.

A model does not play audio on a clock, so there is no playout delay: a packet in order leaves in the call that
brings it. Only behind a gap packets wait, at most `wait_ms`; then the gap is concealed (`concealment`).
Milliseconds in are milliseconds out, because the model tells time by the audio that it got.
"""

from dataclasses import dataclass, replace

from bridge.audio.g711 import BYTES_PER_MS, RATE, Law, silence, translation
from bridge.media.concealment import conceal
from bridge.media.rtp import SEQUENCE_MASK, TIMESTAMP_MASK, RtpPacket, sequence_ahead, timestamp_ahead

MAX_GAP = RATE
"""Samples. A longer jump of the timestamp is a new time line, not a second of silence to invent."""
MAX_MISORDER = 100
"""Packets. A sequence number further off is a stray or a new beginning (RFC 3550 appendix A.1)."""
FRAME = 160
OWN_STALL = 0.1
"""Seconds between two `due` calls that mean that we were away, not the caller."""


@dataclass(frozen=True, slots=True)
class _Arrival:
    sequence: int
    timestamp: int
    payload: bytes | None
    """None for a packet without audio, which stands for `samples` of silence."""
    samples: int
    at: float


class JitterBuffer:
    """Puts the packets of one caller in order. `put` and `due` give G.711 bytes, oldest first.

    When packets stop altogether (silence suppression, mute), silence flows in real time from `starve_ms` on,
    so that the model can hear that the caller has stopped speaking; None turns that off.
    """

    def __init__(self, law: Law, wait_ms: float = 60, *, starve_ms: float | None = 200) -> None:
        self.law = law
        self.received = 0
        self.concealed = 0
        """Packets that were not there in time, whether they came later or not."""
        self.late = 0
        """Of those concealed, the ones that came after all."""
        self.duplicate = 0
        self.reordered = 0
        self.resyncs = 0
        """New beginnings: another source, a jump of sequence or timestamp."""
        self.strays = 0
        self.concealed_samples = 0
        self.silence_samples = 0
        """Silence put in place of events and of pauses in which nothing was sent."""
        self._lost = 0
        self._wait = wait_ms / 1000
        self._starve = None if starve_ms is None else max(starve_ms, wait_ms) / 1000
        self._ssrc: int | None = None  # until the first packet
        self._sequence = 0  # of the packet that is next in order
        self._timestamp = 0  # where the time line has got to
        self._last = b""
        self._held: dict[int, _Arrival] = {}
        self._gap_deadline: float | None = None  # while nothing is held
        self._given_up: dict[int, None] = {}  # concealed sequence numbers, oldest first
        self._probation: _Arrival | None = None  # the last packet far out of order
        self._event_end: int | None = None  # timestamp up to which silence stands for an event
        self._heard_at: float | None = None  # before the first packet and while suspended
        self._due_at = 0.0
        self._ahead = 0  # samples of silence that flowed since the last packet

    @property
    def lost(self) -> int:
        """Packets concealed that never came. It never goes down, so that it can be read as a counter."""
        self._lost = max(self._lost, self.concealed - self.late)
        return self._lost

    @property
    def concealed_ms(self) -> int:
        """Audio made up for lost packets."""
        return self.concealed_samples // BYTES_PER_MS

    @property
    def silence_ms(self) -> int:
        """Silence in place of events and pauses."""
        return self.silence_samples // BYTES_PER_MS

    @property
    def next_deadline(self) -> float | None:
        """When `due` has something to give at the latest, if no packet comes; None before the first packet."""
        starved = None
        if self._starve is not None and self._heard_at is not None:
            behind = self._wait + (self._ahead + FRAME) / RATE
            starved = self._heard_at + max(self._starve, behind)
        return min((at for at in (self._gap_deadline, starved) if at is not None), default=None)

    def put(self, packet: RtpPacket, now: float) -> list[bytes]:
        """Take a packet of audio; what can leave now, leaves. In order that is the payload itself, untouched."""
        self.received += 1
        payload = packet.payload
        if (
            packet.sequence == self._sequence
            and packet.timestamp == self._timestamp
            and packet.ssrc == self._ssrc
            and not self._held
        ):
            self._sequence = (packet.sequence + 1) & SEQUENCE_MASK
            self._timestamp = (packet.timestamp + len(payload)) & TIMESTAMP_MASK
            self._last = payload
            self._heard_at = now
            self._ahead = 0
            return [payload]
        arrival = _Arrival(packet.sequence, packet.timestamp, payload, len(payload), now)
        return self._accept(packet.ssrc, arrival)

    def put_silent(self, packet: RtpPacket, samples: int, now: float) -> list[bytes]:
        """Take a packet without audio (telephone-event, comfort noise) that shares the sequence.

        Silence fills the time line up to `samples` after the packet's timestamp.
        """
        self.received += 1
        arrival = _Arrival(packet.sequence, packet.timestamp, None, samples, now)
        return self._accept(packet.ssrc, arrival)

    def due(self, now: float) -> list[bytes]:
        """What must leave by `now`: concealment and what waited behind it, silence for a silent caller."""
        out: list[bytes] = []
        while self._gap_deadline is not None and now >= self._gap_deadline:
            self._give_up_gap(out)
        if self._starve is not None and self._heard_at is not None and now - self._heard_at >= self._starve:
            self._flow_silence(now, out)
        self._due_at = now
        return out

    def change_law(self, law: Law) -> None:
        """The caller speaks another law from now on; what waits is put into it."""
        table = translation(self.law, law)
        self.law = law
        if table is None:
            return
        self._last = self._last.translate(table)
        for sequence, held in self._held.items():
            if held.payload is not None:
                self._held[sequence] = replace(held, payload=held.payload.translate(table))

    def suspend(self) -> None:
        """Nobody is expected to send (hold): let no silence flow until the next packet."""
        self._heard_at = None
        self._ahead = 0

    def _accept(self, ssrc: int, arrival: _Arrival) -> list[bytes]:
        out: list[bytes] = []
        ahead = sequence_ahead(arrival.sequence, self._sequence)
        if ssrc != self._ssrc:
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
        self._heard_at = arrival.at
        self._ahead = 0
        return out

    def _begin(self, ssrc: int, arrival: _Arrival, out: list[bytes]) -> None:
        """Start a time line at `arrival`; what the old one still held goes before it."""
        while self._held:
            self._give_up_gap(out)
        self.resyncs += self._ssrc is not None
        self._ssrc = ssrc
        self._sequence = arrival.sequence
        self._timestamp = arrival.timestamp
        self._given_up.clear()
        self._event_end = None
        self._probation = None
        self._play(arrival, out)

    def _try_new_beginning(self, ssrc: int, arrival: _Arrival, out: list[bytes]) -> None:
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

    def _hold(self, arrival: _Arrival, ahead: int) -> None:
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
        self._gap_deadline = min(arrival.at for arrival in held) + self._wait if held else None

    def _give_up_gap(self, out: list[bytes]) -> None:
        """Conceal what is missing before the first packet held, then play on from there."""
        first = min(self._held, key=self._distance)
        for missing in range(self._distance(first)):
            self._given_up[(self._sequence + missing) & SEQUENCE_MASK] = None
            self.concealed += 1
        while len(self._given_up) > 2 * MAX_MISORDER:
            del self._given_up[next(iter(self._given_up))]
        timestamp = self._held[first].timestamp
        gap = timestamp_ahead(timestamp, self._timestamp)
        if 0 < gap <= MAX_GAP:
            out.append(conceal(self._last, gap, self.law))
            self.concealed_samples += gap
            self._timestamp = timestamp
        self._sequence = first
        self._play_held(out)

    def _play_held(self, out: list[bytes]) -> None:
        while (arrival := self._held.pop(self._sequence, None)) is not None:
            self._play(arrival, out)
        self._set_gap_deadline()

    def _play(self, arrival: _Arrival, out: list[bytes]) -> None:
        self._sequence = (arrival.sequence + 1) & SEQUENCE_MASK
        if arrival.payload is None:
            self._play_event(arrival, out)
        else:
            self._play_audio(arrival.timestamp, arrival.payload, out)

    def _play_event(self, arrival: _Arrival, out: list[bytes]) -> None:
        end = (arrival.timestamp + arrival.samples) & TIMESTAMP_MASK
        gap = timestamp_ahead(end, self._timestamp)
        if 0 < gap <= MAX_GAP:
            self._append_silence(gap, out)
            self._event_end = end

    def _play_audio(self, timestamp: int, payload: bytes, out: list[bytes]) -> None:
        if self._event_end is not None:
            # Some phones send audio beside an event; the silence of the event has taken its place.
            covered = timestamp_ahead(self._event_end, timestamp)
            if 0 < covered <= MAX_GAP:
                timestamp = (timestamp + min(covered, len(payload))) & TIMESTAMP_MASK
                payload = payload[covered:]
                if not payload:
                    return
            self._event_end = None
        gap = timestamp_ahead(timestamp, self._timestamp)
        if 0 < gap <= MAX_GAP:
            self._append_silence(gap, out)
        else:
            # Backwards is not far when silence flowed in a pause that the caller's clock does not count.
            self.resyncs += abs(gap) > MAX_GAP
        self._timestamp = (timestamp + len(payload)) & TIMESTAMP_MASK
        if payload:
            self._last = payload
            out.append(payload)

    def _flow_silence(self, now: float, out: list[bytes]) -> None:
        """Let silence flow, `wait_ms` behind the clock so that the next timestamp can still set the length."""
        assert self._heard_at is not None
        if now - self._due_at > OWN_STALL:
            # The packets of our own stall wait in the socket: they come first.
            return
        owed = int((now - self._heard_at - self._wait) * RATE) - self._ahead
        samples = min(owed - owed % FRAME, MAX_GAP)
        if samples > 0:
            self._append_silence(samples, out)
            self._ahead += samples

    def _append_silence(self, samples: int, out: list[bytes]) -> None:
        out.append(silence(samples, self.law))
        self.silence_samples += samples
        self._timestamp = (self._timestamp + samples) & TIMESTAMP_MASK
