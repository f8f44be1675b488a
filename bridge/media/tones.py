"""Keys that come as tones in the audio: told like others, and silence to the model."""

from __future__ import annotations

from collections.abc import Callable

from bridge.audio.format import Format, silence_of
from bridge.media.inband import ToneDetector


class Tones:
    """Hears the caller before the call does (`incoming.Filter`); `press` gets each key once."""

    def __init__(self, audio_format: Format, press: Callable[[str], None]) -> None:
        self._detector = ToneDetector(audio_format)
        self._millisecond = silence_of(1, audio_format)
        self._press = press

    def heard(self, audio: bytes) -> bytes:
        """Silence of the same length while a tone is on: a model takes it for speech (quirk D10)."""
        for key in self._detector.hear(audio):
            self._press(key)
        return self._millisecond * (len(audio) // len(self._millisecond)) if self._detector.talking else audio
