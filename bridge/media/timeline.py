"""The caller's time line: packets in order become audio, as long as the timestamps say.

What is lost is concealed, what was not sent is silence, and what the phone's clock is too fast or too slow is left out
or put in (`drift`): milliseconds of the call are milliseconds of audio. A tick is a unit of the RTP timestamp.
"""

from collections import deque
from dataclasses import dataclass

from bridge.audio.format import SAMPLE_BYTES, Format, Linear
from bridge.audio.g711 import Law, decode
from bridge.audio.level import rms
from bridge.audio.wideband import CodecError
from bridge.media.codecs import Decoder, G711Decoder
from bridge.media.drift import FRAME_S, Drift
from bridge.media.rtp import TIMESTAMP_MASK, timestamp_ahead

AHEAD_S = 5.0
"""Seconds. As much more than the time that has passed a caller may give: what a network held up, and no flood."""
MAX_GAP_S = 1.0
"""Seconds. A longer jump of the timestamp is a new time line, not a second of silence to invent."""
HISTORY = 5
"""Pieces of audio kept to conceal from: 50 ms or more."""
QUIET = 200
"""RMS of 16-bit samples below which a frame more or less is not heard: -44 dB of full scale."""


@dataclass(frozen=True, slots=True)
class Arrival:
    """A packet, once it is clear that it cannot simply be passed on."""

    sequence: int
    timestamp: int
    payload: bytes | None
    """None for a packet without audio, which stands for `ticks` of silence."""
    ticks: int
    at: float
    decoder: Decoder


class TimeLine:
    """What has been given of one caller, and what comes next. `out` lists take the audio, in the leg's format."""

    __slots__ = (
        "_event_end",
        "_format",
        "_left_out_ms",
        "_max_gap",
        "_reached",
        "_silence",
        "clock",
        "concealed_s",
        "damaged",
        "decoder",
        "default",
        "drift",
        "drift_dropped_ms",
        "drift_inserted_ms",
        "flooded",
        "flowed",
        "frame",
        "given",
        "history",
        "plain",
        "resyncs",
        "silence_s",
        "tick_s",
        "timestamp",
    )  # fmt: skip

    def __init__(self, audio_format: Format) -> None:
        self.damaged = 0
        self.resyncs = 0
        self.concealed_s = 0.0
        self.silence_s = 0.0
        self.drift_inserted_ms = 0
        self.drift_dropped_ms = 0
        self.flooded = 0
        """Packets dropped because more audio came than time passed."""
        self._reached = 0.0  # up to when there is audio, on the clock of the arrivals
        self.timestamp = 0
        """Of the audio that is next."""
        self.given = 0
        """Ticks of audio given since the time line began."""
        self.flowed = 0
        """Ticks of silence since the last packet, as none came; known to who let it flow."""
        self.history: deque[bytes] = deque(maxlen=HISTORY)
        """The newest audio that was really heard."""
        self.drift = Drift()
        self._event_end: int | None = None  # timestamp up to which silence stands for an event
        self.change_format(audio_format, None)

    def change_format(self, audio_format: Format, decoder: Decoder | None) -> None:
        """Give another format from now on; `decoder` is the one to expect, None that of the format's own law."""
        law = audio_format if isinstance(audio_format, Law) else Law.PCMU
        self._format = audio_format
        self._silence = bytes((law.silence,)) if isinstance(audio_format, Law) else bytes(SAMPLE_BYTES)
        self.history.clear()
        self.default = decoder or G711Decoder(law, law)
        self._decode_by(self.default)
        self._set_clock(self.default.clock_rate)

    def begin(self, arrival: Arrival) -> None:
        """A new time line, from this packet on."""
        self._decode_by(arrival.decoder)
        self.timestamp = arrival.timestamp
        self._event_end = None
        self._set_clock(arrival.decoder.clock_rate)

    def _decode_by(self, decoder: Decoder) -> None:
        self.decoder = decoder
        self.plain = decoder if decoder.is_plain else None
        """The same where it gives the very bytes of the packets."""

    def _set_clock(self, rate: int) -> None:
        self.clock = rate
        self.tick_s = 1 / rate
        self.frame = int(rate * FRAME_S)
        self._max_gap = int(rate * MAX_GAP_S)
        self.given = 0
        self._left_out_ms = 0  # of the frame that is owed
        self.drift.restart()

    def play(self, arrival: Arrival, out: list[bytes]) -> None:
        """The next packet in order."""
        if arrival.payload is None:
            self._play_event(arrival, out)
        else:
            self._decode_by(arrival.decoder)
            self._play_audio(arrival, arrival.payload, out)

    def takes(self, ticks: int, now: float) -> bool:
        """Whether so much audio may come now; then it counts. Asked for each packet: it must cost nothing."""
        reached = self._reached
        if reached < now:
            reached = now
        reached += ticks * self.tick_s
        if reached > now + AHEAD_S:
            self.flooded += 1
            return False
        self._reached = reached
        return True

    def conceal_until(self, timestamp: int, now: float, out: list[bytes]) -> None:
        """Packets are lost; the first one behind them has this timestamp."""
        gap = timestamp_ahead(timestamp, self.timestamp)
        if 0 < gap <= self._max_gap:
            if (ticks := self._room(gap, now)) > 0:
                out.append(self.decoder.conceal(b"".join(self.history), ticks))
                self.concealed_s += ticks * self.tick_s
                self.given += ticks
            self.timestamp = timestamp

    def silence(self, ticks: int, now: float, out: list[bytes]) -> None:
        """Nothing was sent for so long."""
        self.timestamp = (self.timestamp + ticks) & TIMESTAMP_MASK
        if (ticks := self._room(ticks, now)) > 0:
            out.append(self._silent(ticks))
            self.silence_s += ticks * self.tick_s
            self.given += ticks

    def _room(self, ticks: int, now: float) -> int:
        """How much of it there is room for; that counts."""
        reached = max(self._reached, now)
        ticks = min(ticks, int((now + AHEAD_S - reached) * self.clock))
        self._reached = reached + max(0, ticks) * self.tick_s
        return ticks

    def settle(self, out: list[bytes], now: float) -> None:
        """The clocks' difference is settled where it is not heard, or where it has waited long enough."""
        drift = self.drift
        if drift.owed and (drift.is_pressing(now) or self._is_quiet(out[-1])):
            if drift.owed > 0:
                self._put_in(self.decoder.conceal(b"".join(self.history), self.frame), out, now)
            elif self._leave_out(out):
                drift.settled(now)
        drift.least = min(drift.least, now - self.given * self.tick_s)

    def settle_in_pause(self, out: list[bytes], now: float) -> None:
        """The same where silence has just flowed, and no frame more or less can be heard."""
        if self.drift.owed > 0:
            self._put_in(self._silent(self.frame), out, now)
        elif self.drift.owed and self._leave_out(out):
            self.drift.settled(now)

    def _put_in(self, frame: bytes, out: list[bytes], now: float) -> None:
        out.append(frame)
        self.drift_inserted_ms += round(FRAME_S * 1000)
        self.given += self.frame
        self.drift.settled(now)

    def _leave_out(self, out: list[bytes]) -> bool:
        """Whether a whole frame is out now; a packet may be shorter."""
        per_ms = self._format.bytes_per_ms
        ms = min(round(FRAME_S * 1000) - self._left_out_ms, len(out[-1]) // per_ms)
        out[-1] = out[-1][: len(out[-1]) - ms * per_ms]
        self.drift_dropped_ms += ms
        self.given -= ms * self.clock // 1000
        self._reached -= ms / 1000
        if not out[-1]:
            out.pop()
        self._left_out_ms = (self._left_out_ms + ms) % round(FRAME_S * 1000)
        return self._left_out_ms == 0

    def _is_quiet(self, audio: bytes) -> bool:
        pcm = decode(audio, self._format) if isinstance(self._format, Law) else audio
        return rms(pcm) < QUIET

    def _silent(self, ticks: int) -> bytes:
        return self._silence * (self._size(ticks) // len(self._silence))

    def _size(self, ticks: int) -> int:
        """Bytes of so much audio, whole samples."""
        size = ticks * self._format.rate // self.clock
        return size * SAMPLE_BYTES if isinstance(self._format, Linear) else size

    def _play_event(self, arrival: Arrival, out: list[bytes]) -> None:
        end = (arrival.timestamp + arrival.ticks) & TIMESTAMP_MASK
        gap = timestamp_ahead(end, self.timestamp)
        if 0 < gap <= self._max_gap:
            self.silence(gap, arrival.at, out)
            self._event_end = end

    def _play_audio(self, arrival: Arrival, payload: bytes, out: list[bytes]) -> None:
        timestamp, ticks = arrival.timestamp, arrival.ticks
        if not self.takes(ticks, arrival.at):
            self.timestamp = (timestamp + ticks) & TIMESTAMP_MASK
            return
        audio = self._decoded(payload, ticks)
        if self._event_end is not None:
            # Some phones send audio beside an event; the silence of the event has taken its place.
            covered = timestamp_ahead(self._event_end, timestamp)
            if 0 < covered <= self._max_gap:
                covered = min(covered, ticks)
                timestamp = (timestamp + covered) & TIMESTAMP_MASK
                audio, ticks = audio[self._size(covered) :], ticks - covered
                if not ticks:
                    return
            self._event_end = None
        gap = timestamp_ahead(timestamp, self.timestamp)
        if 0 < gap <= self._max_gap:
            self.silence(gap, arrival.at, out)
        elif not -self._max_gap - self.flowed <= gap <= 0:
            self.resyncs += 1
            self.drift.restart()
        elif gap < 0:
            # Silence has flowed in a pause that the caller's clock does not count, or for packets that were only late.
            self.drift.suspect(min(-gap, self.flowed) * self.tick_s)
        self.timestamp = (timestamp + ticks) & TIMESTAMP_MASK
        self.given += ticks
        if audio:
            self.history.append(audio)
            out.append(audio)

    def _decoded(self, payload: bytes, ticks: int) -> bytes:
        try:
            return self.decoder.decode(payload)
        except CodecError:
            self.damaged += 1
            self.concealed_s += ticks * self.tick_s
            return self.decoder.conceal(b"".join(self.history), ticks)
