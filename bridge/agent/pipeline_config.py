"""Which servers a session listens, thinks and speaks with, and how a session chooses."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import orjson

from bridge.agent.refusal import Refusal
from bridge.agent.turns import Judge
from bridge.audio.vad import SpeechDetector

PREFIX = "pipeline-"
"""`?model=pipeline-NAME` in a session's URL chooses the pipeline NAME."""


@dataclass(frozen=True, slots=True)
class HttpPart:
    """An OpenAI-compatible server; `url` ends in /v1 or the like, `timeout_s` is its longest silence."""

    url: str
    model: str
    key: str = field(default="", repr=False)
    timeout_s: float = 10.0


@dataclass(frozen=True, slots=True)
class EarsPart(HttpPart):
    language: str | None = None


@dataclass(frozen=True, slots=True)
class BrainPart(HttpPart):
    temperature: float | None = None
    max_tokens: int | None = None


@dataclass(frozen=True, slots=True)
class VoicePart(HttpPart):
    voice: str | None = None


@dataclass(frozen=True, slots=True)
class Pipeline:
    """None: the built-in part does it."""

    ears: EarsPart | None = None
    brain: BrainPart | None = None
    voice: VoicePart | None = None
    turns: str = "energy"
    """Or `webrtcvad`."""
    aggressiveness: int = 2

    @classmethod
    def of(cls, given: Mapping[str, Any]) -> Pipeline:
        """From the JSON of `bridge.config.Pipeline.revealed`, which has checked it."""
        plain = {name: given[name] for name in ("turns", "aggressiveness") if name in given}
        return cls(
            ears=EarsPart(**given["ears"]) if given.get("ears") else None,
            brain=BrainPart(**given["brain"]) if given.get("brain") else None,
            voice=VoicePart(**given["voice"]) if given.get("voice") else None,
            **plain,
        )

    def packages(self) -> list[str]:
        """What it imports besides the service's own dependencies: to send and to convert audio, and to find speech."""
        wanted = {
            "soxr": self.ears is not None,
            "numpy": self.voice is not None,
            "webrtcvad": self.turns == "webrtcvad",
        }
        return [name for name, is_wanted in wanted.items() if is_wanted]

    def judge(self) -> Callable[[int], Judge] | None:
        """Makes a detector of speech for a rate in Hz; None: loudness decides. It raises VadMissing."""
        if self.turns != "webrtcvad":
            return None
        return lambda rate: SpeechDetector(rate, self.aggressiveness).is_speech


@dataclass(frozen=True, slots=True)
class Pipelines:
    """All that one server offers."""

    named: Mapping[str, Pipeline] = field(default_factory=dict)
    default: Pipeline | None = None
    """For every session that names none."""
    plain: bool = True
    """Whether sessions without any pipeline are served, by the built-in parts alone."""

    @classmethod
    def of(cls, line: bytes) -> Pipelines:
        """From one line of JSON, `{"plain": true, "pipelines": {NAME: PIPELINE}}`, as `bridge.builtin` writes it."""
        given = orjson.loads(line) if line.strip() else {}
        named = {name: Pipeline.of(each) for name, each in given.get("pipelines", {}).items()}
        return cls(named, plain=given.get("plain", True))

    def all(self) -> list[Pipeline]:
        """Every pipeline there is."""
        return [*self.named.values(), *([self.default] if self.default else [])]

    def choose(self, model: str) -> Pipeline | None:
        """The pipeline of a session by its model; None: the built-in parts alone. Raises Refusal."""
        chosen = self.named.get(model.removeprefix(PREFIX)) if model.startswith(PREFIX) else None
        if chosen is not None or self.default is not None:
            return chosen or self.default
        if model.startswith(PREFIX) or not self.plain:
            raise Refusal("invalid_model", "There is no such pipeline here.", "model")
        return None

    def uses_built_in(self, part: str) -> bool:
        """Whether any session may need the built-in `ears` or `voice`."""
        plain = self.plain and self.default is None
        return plain or any(getattr(each, part) is None for each in self.all())
