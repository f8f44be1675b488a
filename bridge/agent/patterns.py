"""Test signals for the script mode: silence, tones, and a byte pattern that tells item and position.

The `counter` pattern is a run of 8-byte words. Word k of item n is

    0x80 | (n ^ k) % 32,  k % 128,  n // 32 % 128,  k // 128 % 128,  k // 128**2 % 128,  check,  0x2A,  0x55

with check = (k // 128**2 + k // 128 + k + 0x11) % 128. Only the first byte has the top bit set, and it is
never a code word of silence (0xFF µ-law, 0xD5 A-law), so any 15 bytes of it tell the item number and the byte
position, and silence beside it is seen as such. In PCM each of these bytes is one sample, (byte - 128) * 128.
"""

import math
from array import array
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from bridge.agent.formats import AudioFormat
from bridge.audio.resample import Resampler
from bridge.audio.wav import read

WORD = 8
_TAIL = b"\x2a\x55"


def _word(number: int, k: int) -> bytes:
    high, middle, low = k >> 14 & 127, k >> 7 & 127, k & 127
    first = 0x80 | (number ^ k) & 31
    return bytes((first, low, number >> 5 & 127, middle, high, high + middle + low + 0x11 & 127)) + _TAIL


_BLOCK = 128
_LOW = bytes(range(_BLOCK))


@lru_cache(maxsize=4)
def _template(blocks: int) -> bytes:
    """The words of item 0, in blocks of 128 that differ only in three columns."""
    block = bytearray(b"".join(_word(0, k) for k in range(_BLOCK)))
    made = []
    for index in range(blocks):
        middle, high = index & 127, index >> 7 & 127
        first = middle + high + 0x11 & 127
        block[3::WORD] = bytes((middle,)) * _BLOCK
        block[4::WORD] = bytes((high,)) * _BLOCK
        block[5::WORD] = (_LOW + _LOW)[first : first + _BLOCK]
        made.append(bytes(block))
    return b"".join(made)


def counter(number: int, size: int) -> bytes:
    """The first `size` bytes of the pattern of audio item `number` (1, 2, 3 ...)."""
    words = -(-size // WORD)
    # Templates in powers of two: many lengths share one.
    blocks = -(-words // _BLOCK)
    data = bytearray(_template(1 << max(0, blocks - 1).bit_length())[: words * WORD])
    data[0::WORD] = data[0::WORD].translate(bytes(first ^ number & 31 for first in range(256)))
    data[2::WORD] = bytes((number >> 5 & 127,)) * words
    return bytes(data[:size])


@dataclass(frozen=True, slots=True)
class Place:
    """Bytes `start` to `end` of some data are bytes `position` ... of item `number` (modulo 4096)."""

    number: int
    position: int
    start: int
    end: int


def locate(data: bytes) -> list[Place]:
    """All runs of the counter pattern in `data`, also those that begin or end inside a word."""
    places: list[Place] = []
    start = 0
    while start < len(data):
        place = _run_at(data, start)
        if place is None:
            start += 1
            continue
        places.append(place)
        start = place.end
    return places


def _run_at(data: bytes, start: int) -> Place | None:
    """The longest run that begins at `start`, if one whole word in it proves where it is."""
    for offset in range(WORD):
        first = start + offset
        word = data[first : first + WORD]
        if len(word) < WORD or not word.endswith(_TAIL):
            continue
        k = word[4] << 14 | word[3] << 7 | word[1]
        number = word[2] << 5 | (word[0] ^ k) & 31
        position = k * WORD - offset
        if position < 0 or word != _word(number, k):
            continue
        end = start + _same(data, start, number, position)
        if end >= first + WORD:
            return Place(number, position, start, end)
    return None


def _same(data: bytes, start: int, number: int, position: int) -> int:
    """How many bytes from `start` on are the pattern of `number` from `position` on."""
    count = 0
    while start + count < len(data) and data[start + count] == _byte(number, position + count):
        count += 1
    return count


def _byte(number: int, position: int) -> int:
    return _word(number, position // WORD)[position % WORD]


def tone(hz: float, ms: int, rate: int, amplitude: int = 8000) -> bytes:
    """A sine, 16 bit PCM."""
    step = 2 * math.pi * hz / rate
    return array("h", (int(amplitude * math.sin(step * n)) for n in range(rate * ms // 1000))).tobytes()


def make(pattern: str, ms: int, number: int, form: AudioFormat) -> bytes:
    """`ms` of a named pattern in wire bytes: silence, counter, tone:HZ or wav:PATH (cut or filled up)."""
    kind, _, detail = pattern.partition(":")
    if kind == "counter":
        data = counter(number, ms * form.rate // 1000)
        return data if form.law else array("h", ((byte - 128) * 128 for byte in data)).tobytes()
    if kind == "tone":
        return form.from_pcm(_tone(float(detail or 440), ms, form.rate))
    if kind == "wav":
        audio = form.from_pcm(_wav(detail, form.rate))[: ms * form.bytes_per_ms]
        return audio + form.silence(ms)[len(audio) :]
    return form.silence(ms)


@lru_cache(maxsize=16)
def _tone(hz: float, ms: int, rate: int) -> bytes:
    return tone(hz, ms, rate)


@lru_cache(maxsize=16)
def _wav(path: str, rate: int) -> bytes:
    wav = read(Path(path)).mono()
    return Resampler(wav.rate, rate).process(wav.pcm, last=True)
