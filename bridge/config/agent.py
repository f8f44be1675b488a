"""Who answers: a model with a voice, instructions and tools."""

from __future__ import annotations

import re
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, SecretStr, field_validator, model_validator

from .caller import BargeIn, CodecName, Digits, short_barge_in, short_digits
from .dialect import Server
from .pipeline import Pipeline
from .plan_b import PlanB, check_target, short_plan_b
from .recovery import Recovery
from .section import AsList, File, Json, Section, TransferTarget, WebSocketUrl, web_socket_url
from .template import Template, Timezone
from .tools import Tools, each_once, why_not
from .turns import Idle, TimeLimit, one_clock_for_idle, short_idle, short_limit

PROVIDERS = (
    "openai",
    "live",
    "azure",
    "azure-live",
    "azure-voice-live",
    "xai",
    "gemini",
    "elevenlabs",
    "localai",
    "speaches",
    "hf",
    "builtin",
)
_NEED_URL = ("azure", "azure-live", "azure-voice-live", "localai", "speaches", "hf")
_WITHOUT_TURNS = ("live", "azure-live", "gemini", "elevenlabs")
"""Providers that alone decide who speaks."""


_LANGUAGE = re.compile(r"[a-z]{2,3}(-[A-Za-z0-9]{2,8})*\Z")


def _language(value: Any) -> Any:
    """YAML reads a bare `no`, which is Norwegian, as false."""
    text = "no" if value is False else value
    if text is not None and not (isinstance(text, str) and _LANGUAGE.match(text)):
        raise ValueError("write a language as de or en-US")
    return text


class ServerVad(Section):
    """Turn detection by loudness."""

    type: Literal["server_vad"] = "server_vad"
    threshold: float = Field(default=0.5, ge=0, le=1)
    prefix_padding_ms: int = Field(default=300, ge=0)
    silence_duration_ms: int = Field(default=500, ge=0)
    idle_timeout_ms: int | None = Field(default=None, ge=5000, le=30000)
    create_response: bool = True
    interrupt_response: bool = True


class SemanticVad(Section):
    """Turn detection by meaning."""

    type: Literal["semantic_vad"]
    eagerness: Literal["low", "medium", "high", "auto"] = "auto"
    create_response: bool = True
    interrupt_response: bool = True


class OwnTurns(Section):
    """Turn detection by the bridge itself, for servers that have none, or a poor one."""

    type: Literal["manual"]
    aggressiveness: int = Field(default=2, ge=0, le=3)
    """How much it takes to be called speech."""
    min_speech_ms: int = Field(default=120, ge=20, le=2000)
    """What is shorter begins no turn."""
    silence_duration_ms: int = Field(default=600, ge=100, le=5000)
    """So much silence ends it."""


class Transcription(Section):
    """Transcription of the caller."""

    model: str
    language: str | None = None
    languages: tuple[str, ...] | None = None
    keywords: tuple[str, ...] | None = None
    prompt: str | None = None
    delay: Literal["minimal", "low", "medium", "high", "xhigh"] | None = None


class NoiseReduction(Section):
    """Noise reduction before turn detection and model."""

    type: Literal["near_field", "far_field"]
    strength: float | None = None


class Transfer(Section):
    """Where the agent may send a caller, and how."""

    targets: dict[str, TransferTarget] = Field(default={})
    """Name → a URI, or a number, or a pattern for numbers. Nobody is transferred to anything else; without targets the
    tool `transfer` is not offered."""
    method: Literal["auto", "refer", "attended", "bridge"] = "auto"
    """`refer` asks the caller's PBX to do it, `bridge` makes a second call; `auto`: REFER, and if refused the other.

    `attended` calls the target first, and then asks the PBX to join the two (REFER with Replaces)."""
    timeout_s: float = Field(default=30, gt=0, le=180)


class Agent(Section):
    """Who answers: a model with a voice, instructions and tools."""

    provider: str = "openai"
    """A name of PROVIDERS, or the ws:// or wss:// URL of a server that is compatible with OpenAI's."""
    url: WebSocketUrl | None = None
    """Another address for the provider's service."""
    server: Server = Server()
    """What a compatible server speaks and can do."""
    pipeline: Pipeline | None = None
    """Whose ears, brain and voice the built-in agent uses."""
    key: SecretStr | None = None
    """Default: the environment's OPENAI_API_KEY, or what the provider's is called there."""
    model: str | None = None
    """Default: the provider's own. With elevenlabs the agent's id there, with azure the deployment."""
    warm: int = Field(default=0, ge=0, le=20)
    """Connections that are open before somebody calls."""
    voice: str | None = None
    speed: float | None = Field(default=None, ge=0.25, le=1.5)
    instructions: str | None = None
    """With variables, see `template`; so has the greeting."""
    greeting: str | None = None
    greeting_wait_ms: int = Field(default=800, ge=0, le=5000)
    """How long the phone rings on for the first words of the greeting, so that they come with the answer."""
    language: Annotated[str | None, BeforeValidator(_language)] = None
    """Of both sides, for example de: told to the provider where it can be told, and `{language}` in texts."""
    timezone: Timezone | None = None
    """Of `{time}` and `{date}` in texts; default: the machine's."""
    turn_detection: Annotated[ServerVad | SemanticVad | OwnTurns, Field(discriminator="type")] | None = ServerVad()
    transcription: Transcription | None = None
    noise_reduction: NoiseReduction | None = None
    tools: Annotated[Tools, AsList] = ()
    transfer: Transfer = Transfer()
    tool_choice: str | Json | None = None
    parallel_tool_calls: bool | None = None
    max_output_tokens: int | str | None = None
    reasoning_effort: Literal["minimal", "low", "medium", "high", "xhigh"] | None = None
    truncation: str | Json | None = None
    far_end_delay_ms: int = Field(default=0, ge=0, le=1000)
    audio: Literal["caller", "pcmu", "pcma", "pcm"] = "caller"
    """What the session speaks. `caller` passes G.711 through untouched, and is PCM of 24 kHz for wider codecs."""
    codecs: Annotated[tuple[CodecName, ...], AsList] = ()
    """The caller's codecs, best first, and no others. Default: pcmu and pcma as the caller prefers, then g722, opus."""
    barge_in: Annotated[BargeIn, BeforeValidator(short_barge_in)] = BargeIn()
    digits: Annotated[Digits, BeforeValidator(short_digits)] = Digits()
    echo_guard: bool = False
    """Keep the echo of the agent's own voice from the model."""
    record: bool = False
    """Keep this agent's calls as files, see `recording`."""
    hold_music: File | None = None
    """A WAV file in the place of the built-in music."""
    idle: Annotated[Idle | None, BeforeValidator(short_idle)] = None
    """What a caller hears who says nothing; default: nothing, for ever."""
    limit: Annotated[TimeLimit | None, BeforeValidator(short_limit)] = None
    """The longest call of this agent, besides limits.minutes."""
    recovery: Recovery = Recovery()
    """What happens when the session is lost in the middle of a call."""
    plan_b: Annotated[PlanB | None, BeforeValidator(short_plan_b)] = None
    """What becomes of the caller when no session can be had any more."""
    session: Json = Field(default={})
    """More members of session.update, sent as they are."""

    @field_validator("provider")
    @classmethod
    def _known_provider(cls, value: str) -> str:
        if value in PROVIDERS:
            return value
        if value.startswith(("ws://", "wss://")):
            return web_socket_url(value)
        raise ValueError(f"use {', '.join(PROVIDERS)}, or the ws:// URL of a compatible server")

    @field_validator("max_output_tokens")
    @classmethod
    def _tokens(cls, value: int | str | None) -> int | str | None:
        if value is None or value == "inf" or (isinstance(value, int) and 1 <= value <= 4096):
            return value
        raise ValueError("use a number from 1 to 4096, or inf")

    @field_validator("turn_detection", mode="before")
    @classmethod
    def _default_type(cls, value: Any) -> Any:
        if isinstance(value, str):
            return {"type": value}
        return {"type": "server_vad", **value} if isinstance(value, dict) else value

    @field_validator("noise_reduction", mode="before")
    @classmethod
    def _short_form(cls, value: Any) -> Any:
        return {"type": value} if isinstance(value, str) else value

    @field_validator("codecs")
    @classmethod
    def _each_once(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        if len(set(value)) < len(value):
            raise ValueError("a codec stands in the list twice: keep one")
        return value

    @model_validator(mode="after")
    def _parts_fit(self) -> Agent:
        if self.barge_in.mode == "reversible" and self.turn_detection is None:
            raise ValueError(
                "barge_in: reversible needs turn_detection: without it nothing tells when the caller speaks"
            )
        if self.barge_in.words and self.transcription is None:
            raise ValueError("barge_in.words needs `transcription`: nothing else tells what the caller said")
        if self.digits.to == "tool" and "read_digits" not in self.tools:
            raise ValueError("digits: tool needs the tool read_digits: add it to `tools`")
        each_once(self.tools)
        if isinstance(self.turn_detection, ServerVad):
            one_clock_for_idle(self.idle, self.turn_detection.idle_timeout_ms)
        check_target(self.plan_b, self.transfer.targets)
        return self

    @model_validator(mode="after")
    def _the_provider_can(self) -> Agent:
        provider = self.provider
        if provider in _NEED_URL and self.url is None:
            raise ValueError(f"provider: {provider} needs `url`, where your server is")
        if provider == "elevenlabs" and self.model is None and self.url is None:
            raise ValueError("provider: elevenlabs needs `model`, the agent's id there")
        if self.pipeline is not None and (provider != "builtin" or self.url is not None):
            raise ValueError("pipeline belongs to `provider: builtin`, without `url`")
        if reason := why_not(provider, self.tools):
            raise ValueError(reason)
        if provider in (*_WITHOUT_TURNS, "builtin") and self.server.model_fields_set:
            raise ValueError(
                f"server is for services that speak OpenAI's protocol in their own way, not for {provider}"
            )
        if provider in _WITHOUT_TURNS:
            if self.barge_in.mode == "reversible":
                raise ValueError(f"barge_in: reversible cannot be had of {provider}, which alone decides who speaks")
            if isinstance(self.turn_detection, OwnTurns):
                raise ValueError(f"turn_detection: manual cannot be had of {provider}, which alone decides who speaks")
        return self

    @field_validator("instructions", "greeting")
    @classmethod
    def _variables(cls, value: str | None) -> str | None:
        if value is not None:
            Template.parse(value)
        return value


DEFAULT_AGENT = Agent(
    instructions="You answer the telephone. Be friendly and brief.",
    greeting="Greet the caller in one short sentence and ask how you can help.",
    tools=("hang_up",),
)
"""Who answers when nobody is configured."""
