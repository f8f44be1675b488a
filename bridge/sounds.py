"""What the bridge itself plays to a caller: made, read or spoken at the start, given in the format of any leg."""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Collection, Iterable
from dataclasses import dataclass
from pathlib import Path

from bridge.audio import wav
from bridge.audio.conversion import converter
from bridge.audio.format import SAMPLE_BYTES, Format, Linear
from bridge.audio.g711 import Law, encode
from bridge.audio.music import farewell, hold_music, waiting_tone

SPOKEN_HZ = 24_000
"""The rate at which the voice gives its sentences."""
LONGEST_S = 300
"""Of one file. In the widest format that is 14 MB."""
LOWEST_HZ, HIGHEST_HZ, RATE_STEP = 4000, 192_000, 25
"""Rates of files. One that has no divisor with those of calls would need a filter of gigabytes."""
MOST_FORMATS = 4
"""Formats in which one sound is kept; the one not asked for longest is made again."""
G711 = (Law.PCMU, Law.PCMA)

Speak = Callable[[str, str], Awaitable[bytes | None]]
"""Text and language (may be empty) → 16-bit PCM at SPOKEN_HZ; None: it could not. RuntimeError: there is no voice."""


class SoundError(Exception):
    """Sounds that cannot be had: one line each, with the key of the configuration, the file, and what is wrong."""


class Sound:
    """One sound. `name` is for the log; `pcm_at` gives it as 16-bit mono PCM at any rate in Hz."""

    def __init__(self, name: str, pcm_at: Callable[[int], bytes]) -> None:
        self.name = name
        self._pcm_at = pcm_at
        self._made: OrderedDict[Format, bytes] = OrderedDict()

    @classmethod
    def of_pcm(cls, name: str, pcm: bytes, rate: int) -> Sound:
        """A sound that is there at one rate."""
        pcm = pcm[: len(pcm) - len(pcm) % SAMPLE_BYTES]

        def pcm_at(wanted: int) -> bytes:
            convert = converter(Linear(rate), Linear(wanted))
            return pcm if convert is None else convert(pcm) + convert.finish()

        return cls(name, pcm_at)

    def in_format(self, audio_format: Format) -> bytes:
        """All of it; made once and then shared. RuntimeError names the extra to install, where that needs one."""
        audio = self._made.get(audio_format)
        if audio is None:
            pcm = self._pcm_at(audio_format.rate)
            audio = encode(pcm, audio_format) if isinstance(audio_format, Law) else pcm
            self._made[audio_format] = audio
            if len(self._made) > MOST_FORMATS:
                self._made.popitem(last=False)
        self._made.move_to_end(audio_format)
        return audio


TONE = Sound("tone", waiting_tone)
MUSIC = Sound("music", hold_music)
FAREWELL = Sound("farewell", farewell)
"""For a caller whose agent is lost where nothing else is configured: it needs no voice and no language."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """A sound that a key of the configuration asks for: a WAV file of any rate, else a sentence."""

    key: str
    text: str = ""
    file: Path | None = None
    language: str = ""


class Sounds:
    """The sounds of a configuration by their keys. Who names the same file or sentence shares it."""

    def __init__(self) -> None:
        self._sounds: dict[str, Sound] = {}
        self._shared: dict[tuple[str, Path | None, str], Sound] = {}

    async def prepare(self, wanted: Iterable[Wanted], speak: Speak, formats: Collection[Format] = G711) -> None:
        """Make all of them, in `formats` at once, so that no call waits for it. SoundError tells all faults."""
        faults = []
        for one in wanted:
            try:
                self._sounds[one.key] = await self._made(one, speak, formats)
            except OSError as error:
                faults.append(f"{one.key}: {one.file}: {error.strerror}")
            except (ValueError, RuntimeError) as error:
                faults.append(f"{one.key}: {one.file}: {error}" if one.file is not None else f"{one.key}: {error}")
        if faults:
            raise SoundError("\n".join(faults))

    def __getitem__(self, key: str) -> Sound:
        """The sound of a key; KeyError when nobody asked for it."""
        return self._sounds[key]

    def below(self, section: str) -> dict[str, Sound]:
        """The sounds of a section, by the rest of their keys."""
        start = f"{section}."
        return {key.removeprefix(start): sound for key, sound in self._sounds.items() if key.startswith(start)}

    async def _made(self, one: Wanted, speak: Speak, formats: Collection[Format]) -> Sound:
        source = (one.text, one.file, one.language)
        if source not in self._shared:
            sound = await self._spoken(one, speak) if one.file is None else await asyncio.to_thread(_read, one.file)
            await asyncio.to_thread(warm, (sound,), formats)
            self._shared[source] = sound
        return self._shared[source]

    @staticmethod
    async def _spoken(one: Wanted, speak: Speak) -> Sound:
        pcm = await speak(one.text, one.language)
        if not pcm:
            raise ValueError(f"the built-in voice could not speak {one.text!r}")
        return Sound.of_pcm(one.key, pcm, SPOKEN_HZ)


def warm(sounds: Iterable[Sound], formats: Collection[Format]) -> None:
    """Make sounds ready in these formats. It computes for a while: call it in a thread."""
    for sound in sounds:
        for audio_format in formats:
            sound.in_format(audio_format)


def _read(path: Path) -> Sound:
    """A WAV file, mixed down to mono. OSError, or ValueError for what cannot be used."""
    sound = wav.read(path).mono()
    if not sound.pcm:
        raise ValueError("there is no audio in it")
    if sound.rate % RATE_STEP or not LOWEST_HZ <= sound.rate <= HIGHEST_HZ:
        raise ValueError(f"{sound.rate} Hz cannot be converted: use 8000, 16000, 24000, 44100 or 48000 Hz")
    if sound.seconds > LONGEST_S:
        raise ValueError(f"{sound.seconds:.0f} s long: {LONGEST_S} s at most")
    return Sound.of_pcm(path.name, sound.pcm, sound.rate)
