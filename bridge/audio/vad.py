"""Whether a few milliseconds of audio are speech, by the detector of WebRTC (package `webrtcvad`). No clock."""

from __future__ import annotations

from typing import Any

from bridge.audio._audioop import audioop
from bridge.audio.format import SAMPLE_BYTES

FRAME_MS = 20
MODEL_RATE = 8000
"""What the detector looks at, whatever it is given: up to 4 kHz (WebRTC, vad_core.c)."""
_BY_ITSELF = (8000, 16000)


class VadMissing(RuntimeError):
    """The package is not installed; the text names the extra."""

    def __init__(self) -> None:
        super().__init__("finding speech with webrtcvad needs its package: pip install 'sipbridge[turns]'")


class SpeechDetector:
    """Judges frames of `FRAME_MS`, in order: it learns what the noise of the line is like.

    `aggressiveness` 0 to 3: how much it takes to be called speech. It says "speech" for the first 80 to 140 ms of any
    noise that begins, and for about as long after speech ended: who uses it must wait out both.
    """

    __slots__ = ("_judge", "_third", "frame_bytes", "rate")

    def __init__(self, rate: int, aggressiveness: int = 2) -> None:
        """`rate` 8000, 16000 or 24000 Hz. Raises VadMissing, ValueError."""
        if rate not in (*_BY_ITSELF, 3 * MODEL_RATE):
            raise ValueError(f"speech is found at 8000, 16000 or 24000 Hz, not at {rate}")
        if aggressiveness not in range(4):
            raise ValueError(f"aggressiveness goes from 0 to 3, not {aggressiveness}")
        self._judge = _load()(aggressiveness)
        self._third = rate == 3 * MODEL_RATE
        self.rate = MODEL_RATE if self._third else rate
        self.frame_bytes = rate * FRAME_MS // 1000 * SAMPLE_BYTES
        """Bytes of one frame."""

    def is_speech(self, frame: bytes) -> bool:
        """One frame of 16-bit little-endian PCM. ValueError when it is not of `frame_bytes` bytes."""
        if len(frame) != self.frame_bytes:
            raise ValueError(f"a frame has {self.frame_bytes} bytes, not {len(frame)}")
        return bool(self._judge.is_speech(_a_third(frame) if self._third else frame, self.rate))


def _a_third(pcm: bytes) -> bytes:
    """24000 Hz to 8000 Hz by the mean of three samples: what folds back is weak, and no matter to a yes or no."""
    samples = memoryview(pcm).cast("h")
    mixed = bytes(len(pcm) // 3)
    for offset in range(3):
        mixed = audioop.add(mixed, audioop.mul(samples[offset::3].tobytes(), SAMPLE_BYTES, 1 / 3), SAMPLE_BYTES)
    return mixed


def _load() -> Any:
    try:
        import webrtcvad
    except ImportError:
        raise VadMissing from None
    return webrtcvad.Vad
