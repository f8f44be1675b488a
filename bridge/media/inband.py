"""The caller's keys as tones in the audio (ITU-T Q.23, limits of Q.24), for lines without telephone-events.

Every 5 ms the last 20 ms are compared with the eight tones; `audioop.findfactor` is the dot product, fast and exact. A
key is one tone of each group that together are nearly all of the energy: speech hardly ever is, for 40 ms on end.
"""

import math
from array import array
from typing import Any

from bridge.audio._audioop import audioop
from bridge.audio.format import SAMPLE_BYTES, Format
from bridge.audio.g711 import RATE, Law, decode

ROWS = (697, 770, 852, 941)
COLUMNS = (1209, 1336, 1477, 1633)
"""Hz."""
KEYS = ("123A", "456B", "789C", "*0#D")
WINDOW, HOP = RATE // 50, RATE // 200
HEARD = 4
"""Windows in a row with the same key that make a press: 40 ms, of which some 3 ms at either end may be missing."""
RELEASED = 7
"""Windows without it that end a press: more than a break of 10 ms, less than a pause of 40 ms."""
QUIETEST = 350
"""RMS. Two tones of -30 dBm0 have 700."""
PURE = 0.82
"""Share of a window's energy that is the key's two tones."""
TWIST = 10 ** (11 / 10)
"""Most that one tone may be stronger than the other: 8 dB, as Q.24 wants one way, and what a short window blurs."""
ALONE = 3.0
"""How much stronger the tone is than each other one of its group."""
OFF = 0.012
"""Tones are also looked for this much higher and lower: 1.5 % off must be heard."""

_AMPLITUDE = 16384


class ToneDetector:
    """Hears the keys in one caller's audio, in pieces of any length."""

    def __init__(self, audio_format: Format) -> None:
        self.presses = 0
        self._law = audio_format if isinstance(audio_format, Law) else None
        self._rate = audio_format.rate
        self._resampling: Any = None  # audioop's state
        self._odd = b""  # half a sample
        self._pcm = b""  # not yet a window
        self._key = ""  # of the windows counted in `_hits`
        self._hits = 0
        self._misses = 0
        self._pressed = ""  # told, and not yet released

    @property
    def talking(self) -> bool:
        """Whether a tone is on now, be it told or not yet."""
        return bool(self._pressed) or self._hits > 1

    def hear(self, audio: bytes) -> str:
        """The keys that this audio completes: each press once, when 40 ms of it were heard."""
        pcm = self._pcm + self._at_8_khz(audio)
        told, at, last = "", 0, len(pcm) - WINDOW * SAMPLE_BYTES
        while at <= last:
            told += self._count(_key_of(pcm[at : at + WINDOW * SAMPLE_BYTES]))
            at += HOP * SAMPLE_BYTES
        self._pcm = pcm[at:]
        self.presses += len(told)
        return told

    def _at_8_khz(self, audio: bytes) -> bytes:
        if self._law is not None:
            return decode(audio, self._law)
        if self._odd or len(audio) % SAMPLE_BYTES:
            audio = self._odd + audio
            whole = len(audio) - len(audio) % SAMPLE_BYTES
            audio, self._odd = audio[:whole], audio[whole:]
        if self._rate == RATE or not audio:
            return audio
        out, self._resampling = audioop.ratecv(audio, SAMPLE_BYTES, 1, self._rate, RATE, self._resampling)
        return bytes(out)

    def _count(self, key: str) -> str:
        """Take what one window says; the key when its press is complete."""
        if key and key == self._pressed:
            self._misses = self._hits = 0
            return ""
        if self._pressed:
            self._misses += 1
            if self._misses >= RELEASED:
                self._pressed = ""
        self._hits = self._hits + 1 if key and key == self._key else bool(key)
        self._key = key
        if self._hits < HEARD:
            return ""
        self._pressed = key
        self._misses = self._hits = 0
        return key


def _key_of(window: bytes) -> str:
    """The key whose two tones are the window; empty if none."""
    energy = audioop.rms(window, SAMPLE_BYTES) ** 2
    if energy < QUIETEST**2:
        return ""
    # The columns first: speech has less there.
    column, high = _strongest(window, _COLUMN_WAVES)
    if high < energy * PURE / (1 + TWIST) / 2:
        return ""
    row, low = _strongest(window, _ROW_WAVES)
    if not column or not row:
        return ""
    high = max(high, *(_tone(window, wave) for wave in _NEIGHBOURS[column]))
    low = max(low, *(_tone(window, wave) for wave in _NEIGHBOURS[row]))
    if low + high < PURE * energy or low > TWIST * high or high > TWIST * low:
        return ""
    return KEYS[ROWS.index(row)][COLUMNS.index(column)]


_Wave = tuple[bytes, bytes]


def _strongest(window: bytes, waves: dict[int, _Wave]) -> tuple[int, float]:
    """The strongest tone in Hz and its power; 0 Hz if another one is nearly as strong."""
    powers = {frequency: _tone(window, wave) for frequency, wave in waves.items()}
    best = max(powers, key=powers.__getitem__)
    second = max(power for frequency, power in powers.items() if frequency != best)
    return best if powers[best] > ALONE * second else 0, powers[best]


def _tone(window: bytes, wave: _Wave) -> float:
    """Power of one tone in the window."""
    cosine, sine = audioop.findfactor(window, wave[0]), audioop.findfactor(window, wave[1])
    return float(cosine * cosine + sine * sine) * (_AMPLITUDE * _AMPLITUDE / 2)


def _wave(frequency: float) -> _Wave:
    turns = [2 * math.pi * frequency * at / RATE for at in range(WINDOW)]
    return (
        array("h", (round(_AMPLITUDE * math.cos(turn)) for turn in turns)).tobytes(),
        array("h", (round(_AMPLITUDE * math.sin(turn)) for turn in turns)).tobytes(),
    )


_ROW_WAVES = {frequency: _wave(frequency) for frequency in ROWS}
_COLUMN_WAVES = {frequency: _wave(frequency) for frequency in COLUMNS}
_NEIGHBOURS = {
    frequency: (_wave(frequency * (1 - OFF)), _wave(frequency * (1 + OFF))) for frequency in (*ROWS, *COLUMNS)
}
