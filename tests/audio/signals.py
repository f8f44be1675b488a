"""Signals that are put through codecs and filters, and how much of them came out again."""

import random
from typing import Any

import pytest

numpy: Any = pytest.importorskip("numpy", reason="numpy makes the signals: pip install sipbridge[wideband]")


def tone(rate: int, hz: float, seconds: float, level: float = 10000) -> bytes:
    return pcm(level * numpy.sin(2 * numpy.pi * hz * numpy.arange(int(rate * seconds)) / rate))


def speech(rate: int, seconds: float, seed: int = 1) -> bytes:
    """Like a voice: the harmonics of 140 Hz and some breath, in three syllables a second."""
    at = numpy.arange(int(rate * seconds)) / rate
    voice = sum(numpy.sin(2 * numpy.pi * 140 * k * at + k * k) / k for k in range(1, 25))
    breath = numpy.convolve(numpy.random.default_rng(seed).standard_normal(len(at)), numpy.ones(4) / 8, "same")
    return pcm(4000 * (voice + breath) * (0.55 + 0.45 * numpy.sin(2 * numpy.pi * 3 * at)))


def pcm(wave: Any) -> bytes:
    return bytes(numpy.rint(numpy.clip(wave, -32768, 32767)).astype("<i2").tobytes())


def wave(audio: bytes) -> Any:
    return numpy.frombuffer(audio, "<i2").astype(float)


def level(audio: bytes) -> float:
    """Root of the mean square."""
    return float(numpy.sqrt((wave(audio) ** 2).mean()))


def delay(sent: bytes, heard: bytes, most: int = 600) -> int:
    """Samples by which `heard` is behind `sent`, by the best correlation."""
    before, after = wave(sent)[2000:8000], wave(heard)[2000 : 8000 + most]
    return int(numpy.correlate(after, before).argmax())


def snr(sent: bytes, heard: bytes, late: int = 0) -> float:
    """dB between `sent` and what `heard`, `late` samples behind, has besides; a tenth at either end is left out."""
    before, after = wave(sent), wave(heard)[late:]
    count = min(len(before), len(after))
    inner = slice(count // 10, count - count // 10)
    error = (after[:count] - before[:count])[inner]
    return float(10 * numpy.log10((before[:count][inner] ** 2).mean() / max((error**2).mean(), 1e-3)))


def likeness(sent: bytes, heard: bytes, late: int = 0) -> float:
    """Like `snr`, but of the strength of each 50 Hz in each 20 ms: a codec for voices may turn phases."""

    def strengths(audio: Any) -> Any:
        size = len(audio) // 50
        return abs(numpy.fft.rfft(audio[: size * 50].reshape(50, size) * numpy.hanning(size)))

    before, after = wave(sent), wave(heard)[late:]
    count = min(len(before), len(after)) // 50 * 50
    one, other = strengths(before[:count])[2:], strengths(after[:count])[2:]
    return float(10 * numpy.log10((one**2).sum() / ((one - other) ** 2).sum()))


def frames(audio: bytes, size: int) -> list[bytes]:
    """Whole frames of `size` bytes."""
    return [audio[start : start + size] for start in range(0, len(audio) - size + 1, size)]


def mutated(payload: bytes, luck: random.Random) -> bytes:
    """`payload` with bits turned, cut short, made longer, or its first bytes exchanged."""
    damaged = bytearray(payload)
    match luck.randrange(5):
        case 0:
            del damaged[luck.randrange(len(damaged) + 1) :]
        case 1:
            damaged += luck.randbytes(luck.randrange(1, 40))
        case 2:
            damaged[:2] = luck.randbytes(2)
        case 3:
            damaged = bytearray(luck.randbytes(luck.randrange(200)))
        case _:
            for _ in range(luck.randrange(1, 6)):
                damaged[luck.randrange(len(damaged))] ^= 1 << luck.randrange(8)
    return bytes(damaged)
