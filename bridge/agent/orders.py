"""What a session wants done for it by ears, voice or a pipeline."""

from __future__ import annotations

from dataclasses import dataclass

from bridge.agent.brain import Answer
from bridge.agent.chat import Chat
from bridge.agent.formats import AudioFormat


@dataclass(frozen=True, slots=True)
class Listen:
    """Work for the ears: the words of this audio. `Session.heard` takes the result."""

    item_id: str
    audio: bytes
    format: AudioFormat
    # ISO 639-1; None: the client did not say.
    language: str | None = None


@dataclass(frozen=True, slots=True)
class Speak:
    """Work for the voice: say `text` in this format. `Session.voiced` takes the result."""

    response_id: str
    text: str
    format: AudioFormat
    voice: str
    speed: float


@dataclass(frozen=True, slots=True)
class Reply:
    """Work for a pipeline: answer piece by piece. `Session.piece` takes each of them.

    `answer` has the words when the built-in brain has found them, else `chat` is what a model is to be asked.
    """

    response_id: str
    answer: Answer | None
    chat: Chat | None
    spoken: bool
    format: AudioFormat
    voice: str
    speed: float


@dataclass(frozen=True, slots=True)
class Abandon:
    """The pipeline need not go on with this response."""

    response_id: str


Work = Listen | Speak | Reply | Abandon
"""What the asyncio face has to do, in order."""
