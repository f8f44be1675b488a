"""Sample rate conversion by real filters, because plain interpolation aliases: one for files, one for calls."""

from __future__ import annotations

import math
from functools import cache
from typing import Any

from bridge.audio.format import SAMPLE_BYTES


class Resampler:
    """Converts one mono stream between two rates, block by block, without seams between the blocks, by soxr.

    For whole files: as a stream, soxr collects 20 to 120 ms before it gives any (a call takes `Polyphase`).
    It is imported on first use of two different rates; without it RuntimeError names the extra to install.
    """

    __slots__ = ("_stream", "rate_in", "rate_out")

    def __init__(self, rate_in: int, rate_out: int) -> None:
        _check_rates(rate_in, rate_out)
        self.rate_in = rate_in
        self.rate_out = rate_out
        self._stream: Any = None if rate_in == rate_out else _open_stream(rate_in, rate_out)

    def process(self, pcm: bytes, last: bool = False) -> bytes:
        """Convert 16-bit little-endian PCM.

        The filter keeps some of it back until `last`, after which the resampler starts over as if new.
        ValueError on an odd number of bytes.
        """
        _check_whole_samples(pcm)
        if self._stream is None:
            return pcm
        import numpy

        out = self._stream.resample_chunk(numpy.frombuffer(pcm, dtype="<i2"), last=last)
        if last:
            self._stream.clear()
        return bytes(out.astype("<i2", copy=False).tobytes())


_HALF_WIDTH = 16
"""Samples of the lower rate that the filter sees on either side: flat to 0.425 of that rate, 70 dB down at 0.575."""
_KAISER_BETA = 6.755
"""Kaiser's window for 70 dB."""


class Polyphase:
    """Converts one mono stream between two rates and keeps back only half a filter: 16 samples of the lower rate.

    That is 2 ms to or from 8000 Hz and about 1 ms between 16000 and 24000 Hz. A linear phase FIR filter: output is
    aligned with input. Needs numpy; without it RuntimeError names the extra to install.
    """

    __slots__ = ("_ahead", "_given", "_got", "_kept", "_matrix", "_numpy", "_step", "latency_ms", "rate_in", "rate_out")
    _kept: Any  # the newest input, as floats, that later output needs
    _got: int  # samples of input since the start
    _given: int  # samples of output since the start

    def __init__(self, rate_in: int, rate_out: int) -> None:
        """Rates in Hz; ValueError unless positive and different."""
        _check_rates(rate_in, rate_out)
        if rate_in == rate_out:
            raise ValueError(f"nothing to convert between {rate_in} and {rate_out} Hz")
        self._numpy = _import_numpy(rate_in, rate_out)
        self.rate_in = rate_in
        self.rate_out = rate_out
        self._step = rate_in // math.gcd(rate_in, rate_out)
        self._ahead, self._matrix = _filter(rate_in, rate_out)
        self.latency_ms = 1000 * self._ahead / rate_in
        self._start_over()

    def process(self, pcm: bytes) -> bytes:
        """Convert 16-bit little-endian PCM, as much as the filter can tell. ValueError on an odd number of bytes."""
        _check_whole_samples(pcm)
        numpy, matrix, step = self._numpy, self._matrix, self._step
        self._got += len(pcm) // SAMPLE_BYTES
        kept = numpy.concatenate((self._kept, numpy.frombuffer(pcm, "<i2")), dtype="f4", casting="unsafe")
        blocks = (len(kept) - len(matrix)) // step + 1
        if blocks <= 0:
            self._kept = kept
            return b""
        self._kept = kept[blocks * step :]
        # The windows overlap, so numpy multiplies by itself: BLAS would wake threads for so little.
        windows = numpy.ndarray((blocks, len(matrix)), "f4", kept, 0, (4 * step, 4))
        out = numpy.rint(windows @ matrix).clip(-32768, 32767).astype("<i2").tobytes()
        self._given += len(out) // SAMPLE_BYTES
        return bytes(out)

    def finish(self) -> bytes:
        """What was kept back; all that came out is then input * rate_out / rate_in samples. Then as if new."""
        total = (2 * self._got * self.rate_out + self.rate_in) // (2 * self.rate_in)
        missing = SAMPLE_BYTES * (total - self._given)
        tail = self.process(bytes(SAMPLE_BYTES * (self._ahead + self._step)))[:missing]
        self._start_over()
        return tail

    def _start_over(self) -> None:
        # Silence came before the first sample.
        self._kept = self._numpy.zeros(len(self._matrix) - self._ahead - 1, "f4")
        self._got = 0
        self._given = 0


@cache
def _filter(rate_in: int, rate_out: int) -> tuple[int, Any]:
    """How many samples of input the filter looks ahead, and its matrix: a window of input to a block of output.

    With the rates as the fraction out/in in lowest terms, a block is `in` samples in and `out` samples out.
    """
    import numpy

    divisor = math.gcd(rate_in, rate_out)
    ups, downs = rate_out // divisor, rate_in // divisor
    spread = max(ups, downs)  # samples of the common multiple of both rates in one of the lower rate
    centre = _HALF_WIDTH * spread
    behind, ahead = centre // ups, ((ups - 1) * downs + centre) // ups
    # Distance of each output of a block from each input, at the common rate.
    away = numpy.arange(ups) * downs - numpy.arange(-behind, ahead + 1)[:, None] * ups
    inside = numpy.clip(1 - (away / centre) ** 2, 0, None)
    matrix = numpy.sinc(away / spread) * numpy.i0(_KAISER_BETA * numpy.sqrt(inside)) * (abs(away) <= centre)
    return ahead, (matrix / matrix.sum(axis=0)).astype("f4")


def _check_rates(rate_in: int, rate_out: int) -> None:
    if rate_in <= 0 or rate_out <= 0:
        raise ValueError(f"sample rates must be positive, not {rate_in} and {rate_out} Hz")


def _check_whole_samples(pcm: bytes) -> None:
    if len(pcm) % SAMPLE_BYTES:
        raise ValueError(f"{len(pcm)} bytes are not whole 16-bit samples")


def _import_numpy(rate_in: int, rate_out: int) -> Any:
    try:
        import numpy
    except ImportError as error:
        raise RuntimeError(
            f"converting {rate_in} Hz to {rate_out} Hz needs numpy: pip install sipbridge[wideband]"
        ) from error
    return numpy


def _open_stream(rate_in: int, rate_out: int) -> Any:
    try:
        import soxr
    except ImportError as error:
        raise RuntimeError(
            f"converting {rate_in} Hz to {rate_out} Hz needs soxr: pip install sipbridge[agent]"
        ) from error
    return soxr.ResampleStream(rate_in, rate_out, 1, dtype="int16", quality="HQ")
