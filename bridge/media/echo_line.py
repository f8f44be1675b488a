"""One direction of a call as the echo guard looks at it: 8 kHz, softened, on a clock that counts samples."""

from __future__ import annotations

from typing import Any

from bridge.audio._audioop import audioop
from bridge.audio.format import SAMPLE_BYTES, Format
from bridge.audio.g711 import RATE, Law, decode

KEPT = 10_240
"""Samples of each direction that are at hand at least."""
PIECE = RATE // 2
"""Samples that are kept at once."""
SOFTER = (0.25, 0.5, 0.25)
"""What is done to both directions: a hiss tells little of who speaks, and drift spoils its prediction first."""


class EchoLine:
    """The last second of one direction, addressed by its clock in samples."""

    def __init__(self, audio_format: Format, numpy: Any) -> None:
        if audio_format.rate % RATE:
            raise ValueError(f"the echo guard takes multiples of {RATE} Hz, not {audio_format.rate} Hz")
        self.clock = 0
        self._numpy = numpy
        self._law = audio_format if isinstance(audio_format, Law) else None
        self._factor = audio_format.rate // RATE
        self._unit = 1 if self._law else SAMPLE_BYTES * self._factor
        self._low_pass = _low_pass(self._factor, numpy)
        self._buffer = numpy.zeros(KEPT + PIECE, "f4")
        self._end = KEPT
        self._restart()

    def loudness(self, audio: bytes) -> int:
        """RMS."""
        return int(audioop.rms(decode(audio, self._law) if self._law else audio, SAMPLE_BYTES))

    def samples(self, count: int) -> int:
        """How many samples so many bytes are."""
        return count // self._unit

    def skip(self, audio: bytes) -> None:
        """Let the clock go on without looking."""
        self.clock += len(audio) // self._unit
        self._skipped = True

    def set_clock(self, clock: int) -> None:
        """Go on at another time."""
        self.clock = clock
        self._skipped = True

    def write(self, audio: bytes) -> None:
        """Keep audio. After a leap of the clock all before counts as silence."""
        if self._skipped:
            self._restart()
        samples = self._at_8_khz(audio)
        # A gap that was filled may be a second long, and so may what was held up in a stall.
        for start in range(0, len(samples), PIECE):
            self._keep(samples[start : start + PIECE])

    def _keep(self, samples: Any) -> None:
        buffer, count = self._buffer, len(samples)
        if self._end + count > len(buffer):
            buffer[:KEPT] = buffer[self._end - KEPT : self._end].copy()
            self._end = KEPT
        buffer[self._end : self._end + count] = samples
        self._end += count
        self.clock += count

    def read(self, start: int, end: int) -> Any:
        """Samples of [start, end) on the clock; silence where nothing is known."""
        behind = self._end - self.clock
        start, end = start + behind, end + behind
        if start >= 0 and end <= self._end:
            return self._buffer[start:end]
        out = self._numpy.zeros(end - start, "f4")
        low, high = max(start, 0), min(end, self._end)
        if low < high:
            out[low - start : high - start] = self._buffer[low:high]
        return out

    def _restart(self) -> None:
        self._buffer[:KEPT] = 0
        self._end = KEPT
        self._rest = b""
        self._before = self._numpy.zeros(len(self._low_pass) - 1, "f4")
        self._skipped = False

    def _at_8_khz(self, audio: bytes) -> Any:
        numpy = self._numpy
        audio = self._rest + audio
        whole = len(audio) - len(audio) % self._unit
        self._rest = audio[whole:]
        pcm = decode(audio, self._law) if self._law else audio[:whole]
        samples = numpy.concatenate((self._before, numpy.frombuffer(pcm, "<i2")))
        self._before = samples[len(samples) - len(self._before) :]
        if not whole:
            return samples[:0]
        return numpy.convolve(samples, self._low_pass, "valid")[:: self._factor]


def _low_pass(factor: int, numpy: Any) -> Any:
    """Lets every `factor`th sample stand for all, by a windowed sinc, and lowers the highs: `SOFTER`."""
    at = numpy.arange(-8 * factor, 8 * factor + 1) if factor > 1 else numpy.zeros(1)
    taps = numpy.sinc(0.9 * at / factor) * numpy.hanning(len(at) + 2)[1:-1]
    softer = numpy.zeros(2 * factor + 1)
    softer[::factor] = SOFTER
    return numpy.convolve(taps / taps.sum(), softer).astype("f4")
