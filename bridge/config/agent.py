"""Who answers: a model with a voice, instructions and tools."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, SecretStr, field_validator, model_validator

from .caller import BargeIn, CodecName, Digits, short_barge_in, short_digits
from .section import AsList, Json, Section, TransferTarget, WebSocketUrl, web_socket_url
from .template import Template

DEFAULT_MODEL = "gpt-realtime-2.1"
OPENAI_URL = "wss://api.openai.com/v1/realtime"
BUILT_IN_TOOLS = ("hang_up", "transfer", "send_digits", "read_digits")
_LATER_PROVIDERS = ("azure", "live", "gemini", "elevenlabs")


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
    """`openai`, `builtin`, or the ws:// or wss:// URL of a compatible server."""
    url: WebSocketUrl | None = None
    """Another address for the provider's service."""
    key: SecretStr | None = None
    """Default: the environment's OPENAI_API_KEY."""
    model: str = DEFAULT_MODEL
    voice: str | None = None
    speed: float | None = Field(default=None, ge=0.25, le=1.5)
    instructions: str | None = None
    """With variables, see `template`; so has the greeting."""
    greeting: str | None = None
    turn_detection: Annotated[ServerVad | SemanticVad, Field(discriminator="type")] | None = ServerVad()
    transcription: Transcription | None = None
    noise_reduction: NoiseReduction | None = None
    tools: tuple[str | Json, ...] = ()
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
    session: Json = Field(default={})
    """More members of session.update, sent as they are."""

    @field_validator("provider")
    @classmethod
    def _known_provider(cls, value: str) -> str:
        if value in ("openai", "builtin"):
            return value
        if value.startswith(("ws://", "wss://")):
            return web_socket_url(value)
        if value in _LATER_PROVIDERS:
            raise ValueError("not in this version: use openai, builtin, or the ws:// URL of a compatible server")
        raise ValueError("use openai, builtin, or the ws:// URL of a compatible server")

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

    @field_validator("tools")
    @classmethod
    def _known_tools(cls, value: tuple[str | Json, ...]) -> tuple[str | Json, ...]:
        for tool in value:
            if isinstance(tool, str) and tool not in BUILT_IN_TOOLS:
                raise ValueError(f"there is no built-in tool {tool!r}: use {' or '.join(BUILT_IN_TOOLS)}")
            if isinstance(tool, dict) and tool.get("type") not in ("function", "mcp"):
                raise ValueError("a tool of your own needs `type: function` or `type: mcp`")
        return value

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
