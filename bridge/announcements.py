"""What the bridge itself plays, made ready at the start: files read, sentences spoken by the built-in voice."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from pathlib import Path

from bridge.agent.formats import AudioFormat
from bridge.agent.orders import Speak
from bridge.agent.voice import Voice
from bridge.config import Agent, Config
from bridge.config.tools import FunctionTool
from bridge.media.codecs import CODECS
from bridge.profile import Profile
from bridge.sounds import FAREWELL, G711, MUSIC, TONE, Sounds, Wanted, warm


async def prepare(config: Config, profiles: Mapping[str, Profile]) -> None:
    """Give each profile its sounds. Raises SoundError, which tells all faults."""
    formats = {
        CODECS[name].audio_format for profile in profiles.values() for tier in profile.wishes.codecs for name in tier
    } | set(G711)
    await asyncio.to_thread(warm, (TONE, FAREWELL), formats)
    if any(_plays_music(agent) for agent in config.agents.values()):
        await asyncio.to_thread(warm, (MUSIC,), formats)
    sounds, voice = Sounds(), _Spoken()
    try:
        await sounds.prepare(_wanted(config), voice.speak, formats)
    finally:
        await voice.close()
    for name, profile in profiles.items():
        profile.sounds = sounds.below(f"agents.{name}.plan_b")
        if profile.agent.hold_music is not None:
            profile.music = sounds[f"agents.{name}.hold_music"]


def _plays_music(agent: Agent) -> bool:
    """Whether its callers may be put on hold: the music takes the better part of a second to make."""
    return "hold" in agent.tools or any(
        isinstance(tool, FunctionTool) and tool.webhook.filler is not None and tool.webhook.filler.sound == "music"
        for tool in agent.tools
    )


def _wanted(config: Config) -> list[Wanted]:
    wanted = []
    for name, agent in config.agents.items():
        if agent.hold_music is not None:
            wanted.append(Wanted(f"agents.{name}.hold_music", file=agent.hold_music))
        announcements = agent.plan_b.announcements() if agent.plan_b is not None else {}
        for key, value in announcements.items():
            place, language = f"agents.{name}.plan_b.{key}", agent.language or ""
            if isinstance(value, Path):
                wanted.append(Wanted(place, file=value))
            else:
                wanted.append(Wanted(place, value, language=language))
    return wanted


class _Spoken:
    """The built-in voice, started with the first sentence."""

    def __init__(self) -> None:
        self._voice: Voice | None = None

    async def speak(self, text: str, language: str) -> bytes | None:
        """PCM at 24000 Hz. Raises ExtraMissing, a RuntimeError, when the extra is not installed."""
        self._voice = self._voice or Voice()
        voice = f"espeak:{language.lower()}" if language else "marin"
        return await self._voice.speak(Speak("", text, AudioFormat("audio/pcm"), voice, 1.0))

    async def close(self) -> None:
        """End the child process."""
        if self._voice is not None:
            await self._voice.pool.close()
