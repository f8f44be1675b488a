"""How an answer leaves: uneven chunks faster than real time, the text ahead of the sound."""

import math
import random
import re
from collections.abc import Iterator
from dataclasses import dataclass

from bridge.agent.formats import AudioFormat

# What the text is ahead of the sound, in parts of the whole answer.
_LEAD = 0.15


@dataclass(frozen=True, slots=True)
class Wait:
    """Nothing leaves for so many seconds."""

    seconds: float


@dataclass(frozen=True, slots=True)
class Text:
    """A piece of the transcript."""

    text: str


@dataclass(frozen=True, slots=True)
class Sound:
    """A piece of the audio, wire bytes."""

    data: bytes


Piece = Wait | Text | Sound


def words(transcript: str) -> list[str]:
    """The transcript in pieces that join to the same text: words, signs apart, blanks before the word."""
    return re.findall(r"\s*(?:\w[\w']*|[^\w\s]+)\s*?|\s+", transcript)


def chunk_sizes(total: int, form: AudioFormat, chance: random.Random, chunk_ms: tuple[int, int]) -> Iterator[int]:
    """Sizes in bytes, of whole samples, uneven, no multiple of 160 except by a remainder."""
    low, high = (max(1, ms * form.bytes_per_ms) for ms in chunk_ms)
    while total > 0:
        size = chance.randint(low, max(low, high))
        size -= size % form.sample_bytes
        if size % 160 == 0:
            size += form.sample_bytes
        yield min(size, total)
        total -= size


def burst(
    audio: bytes,
    transcript: str,
    form: AudioFormat,
    chance: random.Random,
    *,
    speed: float,
    chunk_ms: tuple[int, int] = (40, 400),
    gaps: tuple[tuple[int, int], ...] = (),
) -> Iterator[Piece]:
    """The pieces of one spoken item in the order of sending.

    `speed` is audio seconds per second (inf: at once). `gaps` are pairs (after so many ms of audio, wait so
    many ms): a model that stops in the middle.
    """
    pieces = words(transcript)
    said, sent = 0, 0
    waits = sorted(gaps)
    for size in chunk_sizes(len(audio), form, chance, chunk_ms):
        while waits and sent >= waits[0][0] * form.bytes_per_ms:
            yield Wait(waits.pop(0)[1] / 1000)
        wanted = math.ceil(len(pieces) * ((sent + size) / len(audio) + _LEAD))
        for piece in pieces[said:wanted]:
            yield Text(piece)
        said = max(said, min(wanted, len(pieces)))
        yield Sound(audio[sent : sent + size])
        sent += size
        yield Wait(size / form.bytes_per_ms / 1000 / speed)
    for piece in pieces[said:]:
        yield Text(piece)
