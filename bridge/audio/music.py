"""Sounds made by the project itself, for moments in which nobody speaks: a soft tone, a piece of music, a farewell.

All are 16-bit little-endian mono PCM at any rate, computed when asked for. Tone and music are loops: what is left of a
note at the end goes on at the beginning, so that the seam is no seam.
"""

from __future__ import annotations

import cmath
import math
from array import array
from itertools import accumulate, repeat
from operator import mul

from bridge.audio._audioop import audioop
from bridge.audio.format import SAMPLE_BYTES
from bridge.audio.level import FULL_SCALE, rms

TONE_MS = 3000
"""One period of the tone."""
MUSIC_MS = 19_200
"""One turn of the music: eight bars."""
FAREWELL_MS = 2100
MUSIC_DBFS = -20.0
"""Its RMS: as loud as a voice on the telephone."""
TONE_PEAK_DBFS = -26.0
"""A breath beside a voice."""

_NOTE_MS = 1400
_ATTACK_MS = 12
_RELEASE_MS = 60
_DECAY_S = 0.35
"""After so long a note has 1/e of its strength."""
_PARTIALS = ((1, 1.0), (2, 0.28), (3, 0.08))
"""Multiples of the pitch, with their strengths: round, with little that a telephone would cut off."""
_EIGHTH_MS = 300
_BARS = (
    (48, (60, 64, 67, 72, 67, 64, 67, 64)),
    (45, (57, 60, 64, 69, 64, 60, 64, 60)),
    (53, (60, 65, 69, 72, 69, 65, 69, 65)),
    (55, (59, 62, 67, 71, 74, 71, 67, 62)),
    (48, (64, 67, 72, 76, 72, 67, 72, 67)),
    (57, (60, 64, 69, 72, 69, 64, 69, 64)),
    (50, (62, 65, 69, 74, 69, 65, 69, 65)),
    (55, (62, 67, 71, 74, 71, 67, 62, 59)),
)
"""Eight bars of broken chords: bass and eighths, as MIDI numbers."""
_TONE = ((0, 72), (260, 79))
"""A fifth, rising: nothing that a telephone network says. (ms, MIDI number)."""
_FAREWELL = ((0, 79), (320, 76), (640, 72))


def waiting_tone(rate: int) -> bytes:
    """TONE_MS: two soft notes, then silence."""
    return _at_peak(_mixed(_TONE, TONE_MS, rate), TONE_PEAK_DBFS)


def hold_music(rate: int) -> bytes:
    """MUSIC_MS of quiet broken chords."""
    notes: list[tuple[int, int]] = []
    for number, (bass, eighths) in enumerate(_BARS):
        begin = number * len(eighths) * _EIGHTH_MS
        notes.append((begin, bass))
        notes += ((begin + at * _EIGHTH_MS, pitch) for at, pitch in enumerate(eighths))
    mixed = _mixed(notes, MUSIC_MS, rate)
    return audioop.mul(mixed, SAMPLE_BYTES, _strength(MUSIC_DBFS) / rms(mixed))


def farewell(rate: int) -> bytes:
    """FAREWELL_MS: three soft notes, falling, for a caller to whom nothing else can be said."""
    return _at_peak(_mixed(_FAREWELL, FAREWELL_MS, rate), MUSIC_DBFS)


def _mixed(notes: list[tuple[int, int]] | tuple[tuple[int, int], ...], length_ms: int, rate: int) -> bytes:
    """Notes (ms, MIDI number) laid over each other on a circle of `length_ms`."""
    size = length_ms * rate // 1000 * SAMPLE_BYTES
    made: dict[int, bytes] = {}
    mixed = bytes(size)
    for begin_ms, pitch in notes:
        note = made.get(pitch) or made.setdefault(pitch, _note(pitch, rate))
        begin = begin_ms * rate // 1000 * SAMPLE_BYTES
        end = begin + len(note)
        head, over = note[: size - begin], note[size - begin :]
        mixed = mixed[:begin] + audioop.add(mixed[begin:end], head, SAMPLE_BYTES) + mixed[end:]
        if over:
            mixed = audioop.add(mixed[: len(over)], over, SAMPLE_BYTES) + mixed[len(over) :]
    return mixed


def _note(pitch: int, rate: int) -> bytes:
    """A struck note that dies away, from silence to silence."""
    count = _NOTE_MS * rate // 1000
    hertz = 440 * 2 ** ((pitch - 69) / 12)
    waves = [
        # Turning and dying away are one multiplication each.
        accumulate(
            repeat(cmath.exp(complex(-1 / _DECAY_S, 2 * math.pi * hertz * multiple) / rate), count - 1),
            mul,
            initial=complex(strength * _LOUDEST, 0),
        )
        for multiple, strength in _PARTIALS
    ]
    wave = [sum(parts).imag for parts in zip(*waves, strict=True)]
    for at in range(attack := _ATTACK_MS * rate // 1000):
        wave[at] *= (1 - math.cos(math.pi * at / attack)) / 2
    for at in range(release := _RELEASE_MS * rate // 1000):
        wave[count - 1 - at] *= at / release
    return array("h", map(round, wave)).tobytes()


_LOUDEST = 2600
"""Of one note, so low that five together stay in range."""


def _at_peak(pcm: bytes, dbfs: float) -> bytes:
    return audioop.mul(pcm, SAMPLE_BYTES, _strength(dbfs) / audioop.max(pcm, SAMPLE_BYTES))


def _strength(dbfs: float) -> float:
    return FULL_SCALE * float(10 ** (dbfs / 20))
