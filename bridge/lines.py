"""What the test phone says: from sentences and WAV files to audio."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from bridge.agent.formats import AudioFormat
from bridge.agent.orders import Speak
from bridge.agent.voice import ExtraMissing, Voice
from bridge.audio import wav
from bridge.audio.g711 import Law, decode
from bridge.audio.resample import Resampler
from bridge.tape import RATE, PhoneError

__all__ = ["Line", "PhoneError", "recorded", "synthesized"]


@dataclass(frozen=True, slots=True)
class Line:
    """Something to say: `pcm` is s16le at 8000 Hz; `words` is what the screen shows."""

    words: str
    pcm: bytes
    interrupt_after_s: float | None = None
    """Speak when the other side has spoken for so long; None: when it is silent."""


async def synthesized(sentences: Sequence[str]) -> list[Line]:
    """Sentences in the built-in agent's voice. Raises PhoneError when the extra `agent` is not installed."""
    if not sentences:
        return []
    try:
        voice = Voice()
    except ExtraMissing as error:
        raise PhoneError(str(error)) from error
    lines = []
    try:
        for words in sentences:
            audio = await voice.speak(Speak("", words, AudioFormat("audio/pcmu"), "marin", 1.0))
            if audio is None:
                raise PhoneError(f"the voice could not speak {words!r}")
            lines.append(Line(words, decode(audio, Law.PCMU)))
    finally:
        await voice.pool.close()
    return lines


def recorded(path: Path) -> Line:
    """A line from a WAV file of any rate, mixed down to mono. Raises PhoneError."""
    try:
        sound = wav.read(path).mono()
        pcm = sound.pcm if sound.rate == RATE else Resampler(sound.rate, RATE).process(sound.pcm, last=True)
    except OSError as error:
        raise PhoneError(f"{path}: {error.strerror}") from error
    except (ValueError, RuntimeError) as error:
        raise PhoneError(f"{path}: {error}") from error
    return Line(path.name, pcm)
