"""Who is speaking: the energy ear behind server_vad and semantic_vad. The clock is the audio appended, in ms."""

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from bridge.audio.level import rms

FRAME_MS = 20
# Speech begins with three loud frames out of five: 60 ms, so that a click is none.
_WINDOW, _LOUD = 5, 3
# A detector of speech is also fooled by the first 140 ms of any noise: eight out of ten.
_JUDGED_WINDOW, _JUDGED_LOUD = 10, 8
# It needs no loudness to tell speech from noise, only that there is something to hear.
_JUDGED_LOWER_DB = 15
# The quietest frame of the last 5 s counts as the line's noise.
_NOISE_FRAMES = 250
_ABOVE_NOISE = 2.5
_SILENCE_BY_EAGERNESS = {"high": 250, "auto": 500, "medium": 500, "low": 1000}


@dataclass(frozen=True, slots=True)
class Started:
    """Speech began; the ms include the prefix padding."""

    audio_start_ms: int


@dataclass(frozen=True, slots=True)
class Stopped:
    """Speech ended; the ms include the silence that proved it."""

    audio_end_ms: int


@dataclass(frozen=True, slots=True)
class TurnSettings:
    """The part of `turn_detection` that the ear needs."""

    threshold: float = 0.5
    prefix_padding_ms: int = 300
    silence_duration_ms: int = 200

    @classmethod
    def of(cls, turn_detection: dict[str, Any]) -> "TurnSettings":
        """From the wire object; semantic_vad waits by its eagerness."""
        if turn_detection["type"] == "semantic_vad":
            return cls(silence_duration_ms=_SILENCE_BY_EAGERNESS[turn_detection["eagerness"]])
        return cls(
            turn_detection["threshold"],
            turn_detection["prefix_padding_ms"],
            turn_detection["silence_duration_ms"],
        )

    @property
    def loudness(self) -> int:
        """RMS that speech must reach: 0.0 is -55 dBFS, 0.5 is -40 dBFS, 1.0 is -25 dBFS."""
        return self.lowered(0)

    def lowered(self, db: float) -> int:
        """`loudness`, so many dB lower."""
        return int(32768 * 10 ** ((-55 + 30 * self.threshold - db) / 20))


Judge = Callable[[bytes], bool]
"""Whether a frame of 20 ms is speech; it is asked about every frame in order."""


class TurnDetector:
    """Finds the beginning and the end of speech in PCM. Frames of 20 ms; `origin_ms` is where its audio begins.

    With a judge a frame must please it, too, and may be 15 dB less loud.
    """

    def __init__(self, settings: TurnSettings, rate: int, origin_ms: int = 0, judge: Judge | None = None) -> None:
        self.settings = settings
        self._judge = judge
        window, self._enough = (_WINDOW, _LOUD) if judge is None else (_JUDGED_WINDOW, _JUDGED_LOUD)
        self._needed = settings.loudness if judge is None else settings.lowered(_JUDGED_LOWER_DB)
        self.speaking = False
        self._frame_bytes = rate * FRAME_MS // 1000 * 2
        self._rest = b""
        self._now_ms = origin_ms
        self._origin_ms = origin_ms
        self._loud: deque[bool] = deque(maxlen=window)
        self._levels: deque[int] = deque(maxlen=_NOISE_FRAMES)
        self._quiet_ms = 0

    def feed(self, pcm: bytes) -> list[Started | Stopped]:
        """What changed with this audio, in order."""
        data = self._rest + pcm if self._rest else pcm
        whole = len(data) - len(data) % self._frame_bytes
        self._rest = data[whole:]
        found: list[Started | Stopped] = []
        for start in range(0, whole, self._frame_bytes):
            self._now_ms += FRAME_MS
            change = self._frame(self._is_speech(data[start : start + self._frame_bytes]))
            if change is not None:
                found.append(change)
        return found

    def _is_speech(self, frame: bytes) -> bool:
        judged = self._judge is None or self._judge(frame)
        return self._is_loud(rms(frame)) and judged

    def _frame(self, loud: bool) -> Started | Stopped | None:
        if self.speaking:
            self._quiet_ms = 0 if loud else self._quiet_ms + FRAME_MS
            # At least one quiet frame, whatever the settings say.
            if self._quiet_ms >= max(FRAME_MS, self.settings.silence_duration_ms):
                self.speaking = False
                self._loud.clear()
                return Stopped(self._now_ms)
            return None
        self._loud.append(loud)
        if sum(self._loud) < self._enough:
            return None
        self.speaking = True
        self._quiet_ms = 0
        began = self._now_ms - FRAME_MS * (len(self._loud) - list(self._loud).index(True))
        return Started(max(self._origin_ms, began - self.settings.prefix_padding_ms))

    def _is_loud(self, level: int) -> bool:
        """Louder than the threshold and than the noise; the noise raises the bar by 14 dB at most."""
        needed = self._needed
        self._levels.append(level)
        if level < needed:
            return False
        noise = min(min(self._levels), 2 * needed) if len(self._levels) == _NOISE_FRAMES else 0
        return level >= _ABOVE_NOISE * noise
