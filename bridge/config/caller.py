"""How an agent takes what the caller does: his codec, his interruptions, his keys, the echo of his phone."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field

from .section import Section

CodecName = Literal["pcmu", "pcma", "g722", "opus"]


class BargeIn(Section):
    """What happens when the caller speaks while the agent does."""

    mode: Literal["immediate", "reversible"] = "immediate"
    """`immediate`: silence, and the model is told at once. `reversible`: silence at once; when it was no speech the
    agent goes on where it stopped, and the model never knows. The bridge then decides when the model answers."""
    min_speech_ms: int = Field(default=300, ge=0, le=5000)
    """What is shorter was no speech."""
    words: bool = False
    """Whether it also needs words; needs `transcription`."""
    words_wait_ms: int = Field(default=2000, ge=100, le=10000)
    """How long after the end of the speech its words may come; without any answer it counts as speech."""


class Digits(Section):
    """What becomes of the keys that the caller presses."""

    to: Literal["message", "event", "tool", "nothing"] = "message"
    """`message`: the model is told and answers; `event`: the log only; `tool`: what the tool read_digits gives back."""
    pause_s: float = Field(default=1.5, gt=0, le=30)
    """A number is complete when no key came for so long."""
    end: str = Field(default="#", pattern=r"^[0-9A-D*#]?$")
    """The key that completes a number at once; empty: none."""
    interrupt: bool = True
    """Whether a key interrupts the agent."""
    inband: bool = False
    """Listen for the tones too, for callers whose gateway sends no telephone-events."""


def short_barge_in(value: Any) -> Any:
    """`reversible` alone means that mode."""
    return {"mode": value} if isinstance(value, str) else value


def short_digits(value: Any) -> Any:
    """`tool` alone means where they go."""
    return {"to": value} if isinstance(value, str) else value
