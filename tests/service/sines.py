"""Sines and what becomes of them: pitch, length, loudness and holes of each sound in some audio."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import pytest

from bridge.audio._audioop import audioop
from tests.phones.wire import Packet, in_order

numpy: Any = pytest.importorskip("numpy", reason="numpy measures the sounds: pip install sipbridge[wideband]")

AMPLITUDE = 8000
LOUD_RMS = 400
"""A twelfth of the sine's own."""
WINDOW_MS = 5
APART_MS = 160
"""More quiet than this is between two sounds; less is a hole in one."""


@dataclass(frozen=True)
class Sound:
    """One sound. `hz` of its strongest part, `ms` from its first to its last loud window."""

    hz: float
    ms: int
    holes_ms: int
    rms: float
    """Without the holes."""

    def is_like(self, hz: float, ms: float, *, holes: bool = False) -> bool:
        """Whether it is that sine, whole: its pitch, its loudness to a tenth, its length to a packet, no hole.

        `holes`: pauses may be in it, if nothing is missing.
        """
        loudness = self.rms / (AMPLITUDE / 2**0.5)
        length = self.ms - self.holes_ms if holes else self.ms
        whole = abs(length - ms) <= 20 and (holes or self.holes_ms == 0)
        return whole and abs(self.hz - hz) <= 4 and 0.9 < loudness < 1.1


def sine(hz: float, ms: float, rate: int) -> bytes:
    """16 bit PCM."""
    at = numpy.arange(round(rate * ms / 1000)) / rate
    return bytes(numpy.rint(AMPLITUDE * numpy.sin(2 * numpy.pi * hz * at)).astype("<i2").tobytes())


def ulaw(pcm: bytes) -> bytes:
    """As G.711 of the µ-law."""
    return audioop.lin2ulaw(pcm, 2)


def alaw(pcm: bytes) -> bytes:
    """As G.711 of the A-law."""
    return audioop.lin2alaw(pcm, 2)


def linear(coded: bytes, law: str = "PCMU") -> bytes:
    """From G.711."""
    return audioop.ulaw2lin(coded, 2) if law == "PCMU" else audioop.alaw2lin(coded, 2)


def sounds(pcm: bytes, rate: int) -> list[Sound]:
    """The sounds in some PCM, in order."""
    size = rate * WINDOW_MS // 1000
    samples = numpy.frombuffer(pcm[: len(pcm) // 2 * 2], "<i2").astype(float)
    windows = samples[: len(samples) // size * size].reshape(-1, size)
    loud = numpy.flatnonzero(numpy.sqrt((windows**2).mean(axis=1)) > LOUD_RMS)
    if not len(loud):
        return []
    runs = numpy.split(loud, numpy.flatnonzero(numpy.diff(loud) > APART_MS // WINDOW_MS) + 1)
    return [_sound(windows, run, rate) for run in runs]


def _sound(windows: Any, run: Any, rate: int) -> Sound:
    """One sound; its pitch by the strongest line of its windows put together, its holes left out."""
    samples = windows[run].reshape(-1)
    size = max(rate, len(samples))  # with zeros behind it, a Hz or less from line to line
    strength = abs(numpy.fft.rfft(samples * numpy.hanning(len(samples)), size))
    ms = int(run[-1] - run[0] + 1) * WINDOW_MS
    inner = windows[run[len(run) // 8 : len(run) - len(run) // 8]]
    level = float(numpy.sqrt((inner**2).mean()))
    return Sound(float(strength.argmax()) * rate / size, ms, ms - len(run) * WINDOW_MS, level)


def heard(packets: Sequence[Packet]) -> list[Sound]:
    """What a phone has heard, as its packets stand in order."""
    return sounds(b"".join(_linear(packet) for packet in in_order(packets)), 8000)


@functools.lru_cache(100_000)
def is_loud(packet: Packet) -> bool:
    """Whether there is more than the fall to silence in a packet."""
    return audioop.rms(_linear(packet)[80:], 2) > LOUD_RMS


def loud_after(packets: Sequence[Packet], t_ns: int) -> int:
    """Packets with sound that came later than a moment."""
    return sum(packet.t_ns > t_ns and is_loud(packet) for packet in packets)


def _linear(packet: Packet) -> bytes:
    return linear(packet.payload, "PCMA" if packet.payload_type == 8 else "PCMU")
