"""What both sides say in wide band, and how much of it came: how late at each place, and how like the original.

A codec for voices turns phases and shapes noise, so samples cannot be compared: the strength of each band in each 20 ms
can, and only what was said there, by this voice at this time, correlates with it.
"""

from __future__ import annotations

from itertools import pairwise
from typing import Any

from tests.audio.signals import numpy, pcm, wave

SECONDS = 3.0
_RATE = 48000
_BANDS_HZ = ((150, 3400), (4000, 7000))
"""What a telephone always had, and what only wide band has."""
_WINDOW_S = 0.4


def voice(rate: int, seed: int = 1, seconds: float = SECONDS) -> bytes:
    """The same signal at each rate, up to 7.2 kHz: glides with their harmonics, and breath, in uneven syllables."""
    luck = numpy.random.default_rng(seed)
    at = numpy.arange(int(_RATE * seconds)) / _RATE
    knots = int(seconds * 6) + 2
    pitch = numpy.interp(at, numpy.linspace(0, seconds, knots), luck.uniform(110, 220, knots))
    loud = numpy.interp(at, numpy.linspace(0, seconds, 2 * knots), luck.uniform(0.25, 1, 2 * knots))
    hiss = numpy.interp(at, numpy.linspace(0, seconds, 2 * knots), luck.uniform(0.0, 1, 2 * knots))
    phase = 2 * numpy.pi * numpy.cumsum(pitch) / _RATE
    tune = sum(numpy.sin(phase * k + k * k) / k**0.8 for k in range(1, 32))
    whole = loud * tune + 0.8 * hiss * luck.standard_normal(len(at))
    spectrum = numpy.fft.rfft(whole)
    hz = numpy.fft.rfftfreq(len(whole), 1 / _RATE)
    spectrum[(hz > min(7200, 0.46 * rate)) | (hz < 100)] = 0
    # Fewer bins of the same spectrum are the same signal at a lower rate.
    size = int(rate * seconds)
    return pcm(2500 * numpy.fft.irfft(spectrum[: size // 2 + 1], size) * size / len(whole))


def lags_ms(said: bytes, heard: bytes, rate: int, places: int = 5) -> list[float]:
    """How many ms after the beginning of `heard` each of so many places of `said` came, 0 ms being its own place.

    Equal ones tell that nothing was left out or put in between. The ends are left alone: a phone begins when it can.
    """
    before, after = wave(said), wave(heard)
    size = int(rate * _WINDOW_S)
    starts = numpy.linspace(0.15 * len(before), 0.97 * len(before) - size, places).astype(int)
    return [1000 * (_place(before[at : at + size], after) - int(at)) / rate for at in starts]


def _place(piece: Any, whole: Any) -> int:
    """Where in `whole` it fits best, normalised by the strength of what is there."""
    count = len(whole) + len(piece)
    product = numpy.fft.irfft(numpy.fft.rfft(whole, count) * numpy.conj(numpy.fft.rfft(piece, count)), count)
    strength = numpy.sqrt(numpy.convolve(whole**2, numpy.ones(64), "same").clip(1)).mean()
    return int((product[: len(whole)] / strength).argmax())


def alike(said: bytes, heard: bytes, rate: int, late_ms: float) -> tuple[float, float]:
    """Correlation (0 to 1) of the strengths in narrow band and above it (0 where the rate has none)."""
    before, after = wave(said), wave(heard)
    start = round(late_ms * rate / 1000)
    after = numpy.pad(after, (max(0, -start), len(before)))[max(0, start) :][: len(before)]
    inner = slice(len(before) // 8, -len(before) // 16)
    narrow, wide = (_correlation(before[inner], after[inner], rate, *band) for band in _BANDS_HZ)
    return narrow, wide


def _correlation(one: Any, other: Any, rate: int, low: int, high: int) -> float:
    """Of decibels by 20 ms and 250 Hz, each band about its own mean: a wrong level of a band is another matter."""
    if high > rate / 2:
        return 0.0
    size, strengths = rate // 50, []
    edges = numpy.arange(low, high, 250) * size // rate
    for signal in (one, other):
        rows = signal[: len(signal) // size * size].reshape(-1, size) * numpy.hanning(size)
        power = numpy.abs(numpy.fft.rfft(rows)) ** 2
        bands = numpy.stack([power[:, a:b].sum(axis=1) for a, b in pairwise(edges)], axis=1)
        decibels = 10 * numpy.log10(bands + size * 100)
        strengths.append(decibels - decibels.mean(axis=0))
    return float(numpy.corrcoef(strengths[0].ravel(), strengths[1].ravel())[0, 1])
