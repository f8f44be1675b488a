"""The classic pipeline of the built-in agent: whose ears, brain and voice an agent uses."""

from __future__ import annotations

from typing import Annotated, Literal
from urllib.parse import urlsplit

from pydantic import AfterValidator, Field, SecretStr

from .section import Json, Section


def _http_url(text: str) -> str:
    try:
        parts = urlsplit(text)
        if parts.scheme in ("http", "https") and parts.hostname and parts.port != 0 and not parts.query:
            return text.rstrip("/")
    except ValueError:
        pass
    raise ValueError("write it as http://HOST:PORT/v1")


HttpUrl = Annotated[str, AfterValidator(_http_url)]
"""The base of an OpenAI-compatible API, without a slash at the end."""


class HttpPart(Section):
    """An OpenAI-compatible HTTP server."""

    url: HttpUrl
    key: SecretStr | None = None
    timeout_s: float = Field(default=10, gt=0, le=120)
    """The longest silence of the server before its first word and between two."""


class PipelineEars(HttpPart):
    """Speech to text: POST {url}/audio/transcriptions."""

    model: str = "whisper-1"
    language: str | None = None
    """Default: that of the session's transcription."""


class PipelineBrain(HttpPart):
    """The language model: POST {url}/chat/completions."""

    model: str
    temperature: float | None = Field(default=None, ge=0, le=2)
    max_tokens: int | None = Field(default=None, ge=1, le=4096)


class PipelineVoice(HttpPart):
    """Text to speech: POST {url}/audio/speech."""

    model: str = "tts-1"
    voice: str | None = None
    """Default: the agent's voice."""


class Pipeline(Section):
    """What is left out is done by the built-in agent itself."""

    ears: PipelineEars | None = None
    brain: PipelineBrain | None = None
    voice: PipelineVoice | None = None
    turns: Literal["energy", "webrtcvad"] = "energy"
    aggressiveness: int = Field(default=2, ge=0, le=3)
    """Of webrtcvad: how much it takes to be called speech."""

    def keys(self) -> list[str]:
        """Everything in it that must never be shown."""
        parts = (self.ears, self.brain, self.voice)
        return [part.key.get_secret_value() for part in parts if part is not None and part.key is not None]

    def revealed(self) -> Json:
        """As plain JSON, keys in clear: for the standard input of the built-in agent and for nothing else."""
        made = self.model_dump(mode="json", exclude_none=True)
        for name, part in (("ears", self.ears), ("brain", self.brain), ("voice", self.voice)):
            if part is not None and part.key is not None:
                made[name]["key"] = part.key.get_secret_value()
        return made
