"""What an agent's configuration asks of a session, and the `session.update` that says it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from bridge.audio.format import Format, Linear
from bridge.audio.g711 import Law

Json = dict[str, Any]

PCM = Linear(24000)
"""What every Realtime service speaks, whatever else (reference section 5)."""


@dataclass(frozen=True, slots=True)
class SessionOptions:
    """The wishes of one agent for its sessions; None means: leave it to the server's default."""

    audio: Format
    """Asked for, both ways; what the session really speaks is in `Ready`."""
    model: str = ""
    language: str | None = None
    """ISO 639-1, of both sides."""
    instructions: str | None = None
    greeting: str | None = None
    """How to open the conversation; None: the caller speaks first."""
    metadata: Mapping[str, str] = field(default_factory=lambda: {"purpose": "greeting"})
    """Goes with the greeting's response and comes back on its events: 16 pairs at most (reference section 2)."""
    voice: str | None = None
    speed: float | None = None
    turn_detection: Json | None = None
    """The complete `server_vad` or `semantic_vad` object; None turns detection off."""
    transcription: Json | None = None
    noise_reduction: Json | None = None
    tools: tuple[Json, ...] = ()
    tool_choice: str | Json | None = None
    parallel_tool_calls: bool | None = None
    max_output_tokens: int | str | None = None
    reasoning_effort: str | None = None
    truncation: str | Json | None = None
    far_end_delay_ms: int = 0
    """Taken off the heard milliseconds: what the network and the phone still hold back from the ear."""
    extra: Json = field(default_factory=dict)
    """Session fields this version has no name for, for the dialect to merge in as they are."""

    @property
    def server_cancels(self) -> bool:
        """Whether the server itself cancels a running response at `speech_started`."""
        return bool((self.turn_detection or {}).get("interrupt_response", True)) and bool(self.turn_detection)

    def session_update(self, audio: Format | None = None) -> Json:
        """The `session` member of `session.update` but for `extra`, GA shape (reference section 5).

        `audio` takes the place of the format that is wished for.
        """
        spoken = wire_format(audio or self.audio)
        audio_input: Json = {
            "format": spoken,
            "transcription": dict(self.transcription) if self.transcription else None,
            "noise_reduction": dict(self.noise_reduction) if self.noise_reduction else None,
            "turn_detection": dict(self.turn_detection) if self.turn_detection else None,
        }
        audio_output: Json = {"format": dict(spoken)}
        session: Json = {
            "type": "realtime",
            "output_modalities": ["audio"],
            "audio": {"input": audio_input, "output": audio_output},
            "tools": list(self.tools),
        }
        _put(audio_output, voice=self.voice, speed=self.speed)
        _put(
            session,
            instructions=self.instructions,
            tool_choice=self.tool_choice,
            parallel_tool_calls=self.parallel_tool_calls,
            max_output_tokens=self.max_output_tokens,
            reasoning={"effort": self.reasoning_effort} if self.reasoning_effort else None,
            truncation=self.truncation,
        )
        return session


def _put(target: Json, **members: Any) -> None:
    target.update({name: value for name, value in members.items() if value is not None})


def wire_format(audio: Format) -> Json:
    """The GA name of a format (reference section 5): G.711 has no rate, linear PCM must have one."""
    if isinstance(audio, Law):
        return {"type": "audio/pcmu" if audio is Law.PCMU else "audio/pcma"}
    return {"type": "audio/pcm", "rate": audio.rate}
