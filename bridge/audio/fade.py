"""A fall to silence in a few milliseconds, so that audio that is cut off ends without a click."""

from __future__ import annotations

from array import array

from bridge.audio.format import SAMPLE_BYTES, Format, Linear
from bridge.audio.g711 import decode, encode

FADE_MS = 5
"""Long enough to hide the click, and too short to be heard as speech."""


def faded(audio: bytes, audio_format: Format) -> bytes:
    """The same audio, from full volume at its first sample to nothing behind its last; as many bytes."""
    if isinstance(audio_format, Linear):
        return _ramp(audio[: len(audio) - len(audio) % SAMPLE_BYTES])
    return encode(_ramp(decode(audio, audio_format)), audio_format)


def _ramp(pcm: bytes) -> bytes:
    # Native order is little-endian on every machine that this runs on; a swap would only be a slower same.
    samples = array("h", pcm)
    count = len(samples)
    return array("h", [sample * (count - at) // count for at, sample in enumerate(samples)]).tobytes()
