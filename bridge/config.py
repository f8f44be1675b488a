"""The configuration's shape: frozen models, one per section, with ranges and defaults.

How files and the environment become these models is in `settings`. Every key can come from the environment as
`BRIDGE_<SECTION>__<KEY>`.
"""

from __future__ import annotations

import ipaddress
import re
from typing import Annotated, Any, Literal
from urllib.parse import urlsplit

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    SecretStr,
    field_validator,
    model_validator,
)

Json = dict[str, Any]

DEFAULT_MODEL = "gpt-realtime-2.1"
OPENAI_URL = "wss://api.openai.com/v1/realtime"
BUILT_IN_TOOLS = ("hang_up", "transfer")
_LATER_PROVIDERS = ("azure", "live", "gemini", "elevenlabs")
_LISTEN = re.compile(r"(?P<scheme>udp|tcp|tls)://(?P<host>\[[0-9a-fA-F:.]+\]|[^:/\[\]]+)(?::(?P<port>\d{1,5}))?/?$")


class Misplaced(ValueError):
    """A fault that only the whole configuration shows, with the place it stands at."""

    def __init__(self, place: tuple[str | int, ...], words: str) -> None:
        super().__init__(words)
        self.place = place


class Section(BaseModel):
    """A part of the configuration: unknown keys are refused, nothing changes after the start."""

    model_config = ConfigDict(frozen=True, extra="forbid", coerce_numbers_to_str=True)


class Endpoint(BaseModel):
    """One address to listen on."""

    model_config = ConfigDict(frozen=True)
    transport: str
    host: str
    port: int


def _as_list(value: Any) -> Any:
    """One value, or several with commas between, where a list is meant: the environment has only text."""
    return [part.strip() for part in value.split(",")] if isinstance(value, str) else value


def _some(value: tuple[str, ...]) -> tuple[str, ...]:
    if not value:
        raise ValueError("name an address to listen on, for example udp://0.0.0.0:5060")
    return value


def _endpoint(text: str) -> str:
    match = _LISTEN.match(text)
    if match is None or int(match["port"] or 0) > 65535:
        raise ValueError("write it as udp://HOST:PORT, for example udp://0.0.0.0:5060")
    return text


def _network(text: str) -> str:
    try:
        ipaddress.ip_network(text, strict=False)
    except ValueError:
        raise ValueError("write a network as 10.0.0.0/8, or an address as 10.1.2.3") from None
    return text


def _web_socket_url(text: str) -> str:
    try:
        parts = urlsplit(text)
        if parts.scheme in ("ws", "wss") and parts.hostname and parts.port != 0:
            return text
    except ValueError:
        pass
    raise ValueError("write it as wss://HOST/v1/realtime")


def _ports(text: str) -> str:
    first, dash, last = text.partition("-")
    if not (dash and first.strip().isdigit() and last.strip().isdigit()):
        raise ValueError("write a range as 20000-20999")
    if not 1024 <= int(first) < int(last) <= 65535:
        raise ValueError("the range must lie within 1024-65535 and hold two ports or more, the lower one first")
    return text


class Sip(Section):
    """Where calls come in."""

    listen: Annotated[
        tuple[Annotated[str, AfterValidator(_endpoint)], ...], BeforeValidator(_as_list), AfterValidator(_some)
    ] = ("udp://0.0.0.0:5060",)
    advertise: str = "auto"
    """The address in Contact, Via and SDP: an IP address, or `auto` to find the one that faces each peer."""

    @field_validator("advertise")
    @classmethod
    def _reachable(cls, value: str) -> str:
        if value == "auto":
            return value
        try:
            address = ipaddress.ip_address(value.strip("[]"))
        except ValueError:
            raise ValueError("write an IP address, or auto") from None
        if address.is_unspecified:
            raise ValueError("peers cannot send to this address: write the one they reach, or auto")
        return str(address)

    def endpoints(self) -> list[Endpoint]:
        """The listen addresses, taken apart."""
        matches = [match for text in self.listen if (match := _LISTEN.match(text))]
        return [
            Endpoint(
                transport=match["scheme"],
                host=match["host"].strip("[]"),
                port=int(match["port"]) if match["port"] else (5061 if match["scheme"] == "tls" else 5060),
            )
            for match in matches
        ]


class Register(Section):
    """Where a trunk wants us to register."""

    server: str
    user: str
    password: SecretStr


class Trunk(Section):
    """A peer that sends us calls."""

    peers: Annotated[tuple[Annotated[str, AfterValidator(_network)], ...], BeforeValidator(_as_list)] = ()
    """Networks this trunk's calls come from."""
    register_: Register | None = Field(default=None, alias="register")


class Media(Section):
    """RTP."""

    ports: Annotated[str, AfterValidator(_ports)] = "20000-20999"
    append_ms: int = Field(default=20, ge=20, le=100)
    """Milliseconds of the caller's audio in one event to the session."""
    rtp_timeout_s: float = Field(default=30, ge=1, le=3600)
    """A call with no packet for so long is ended."""
    lead_ms: int = Field(default=60, ge=0, le=500)
    """Audio of an item that must be there before it starts, so that an uneven network makes no holes."""
    jitter_ms: int = Field(default=60, ge=0, le=500)
    """How long a gap in the caller's packets waits for the late one before it is concealed."""

    @property
    def port_range(self) -> tuple[int, int]:
        """First and last port, both included."""
        first, _, last = self.ports.partition("-")
        return int(first), int(last)


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


class Agent(Section):
    """Who answers: a model with a voice, instructions and tools."""

    provider: str = "openai"
    """`openai`, `builtin`, or the ws:// or wss:// URL of a compatible server."""
    url: Annotated[str, AfterValidator(_web_socket_url)] | None = None
    """Another address for the provider's service."""
    key: SecretStr | None = None
    """Default: the environment's OPENAI_API_KEY."""
    model: str = DEFAULT_MODEL
    voice: str | None = None
    speed: float | None = Field(default=None, ge=0.25, le=1.5)
    instructions: str | None = None
    greeting: str | None = None
    turn_detection: Annotated[ServerVad | SemanticVad, Field(discriminator="type")] | None = ServerVad()
    transcription: Transcription | None = None
    noise_reduction: NoiseReduction | None = None
    tools: tuple[str | Json, ...] = ()
    tool_choice: str | Json | None = None
    parallel_tool_calls: bool | None = None
    max_output_tokens: int | str | None = None
    reasoning_effort: Literal["minimal", "low", "medium", "high", "xhigh"] | None = None
    truncation: str | Json | None = None
    far_end_delay_ms: int = Field(default=0, ge=0, le=1000)
    law: Literal["caller", "pcmu", "pcma"] = "caller"
    """The session's G.711 law; `caller` passes the caller's bytes through untouched."""
    session: Json = {}
    """More members of session.update, sent as they are."""

    @field_validator("provider")
    @classmethod
    def _known_provider(cls, value: str) -> str:
        if value in ("openai", "builtin"):
            return value
        if value.startswith(("ws://", "wss://")):
            return _web_socket_url(value)
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


class Route(Section):
    """Which agent takes a call. The first route that fits wins."""

    to: str = "*"
    """The dialled user part; `*` and `?` stand for any characters and for one."""
    agent: str


class Limits(Section):
    """What the service takes on."""

    calls: int = Field(default=200, ge=1)
    calls_per_second: float = Field(default=50, gt=0)
    minutes: float = Field(default=60, gt=0)
    """The longest call."""
    session_timeout_s: float = Field(default=8, gt=0, le=60)
    """How long the phone may ring while the session is opened; then the caller gets a 503."""
    drain_s: float = Field(default=30, ge=0)
    """After SIGTERM: how long running calls may go on."""


class Http(Section):
    """Metrics and health."""

    listen: str = "127.0.0.1:8080"

    @field_validator("listen")
    @classmethod
    def _host_and_port(cls, value: str) -> str:
        host, colon, port = value.rpartition(":")
        if not (host and colon and port.isdigit() and int(port) <= 65535):
            raise ValueError("write it as HOST:PORT, for example 127.0.0.1:8080")
        return value

    @property
    def address(self) -> tuple[str, int]:
        """Host and port."""
        host, _, port = self.listen.rpartition(":")
        return host.strip("[]"), int(port)


class Log(Section):
    """What the log tells."""

    level: Literal["debug", "info", "warning", "error"] = "info"
    format: Literal["auto", "json", "text"] = "auto"
    """`auto` writes text to a terminal and JSON to anything else."""
    callers: bool = False
    """Write callers' numbers."""
    transcripts: bool = False
    """Write what caller and agent say."""


DEFAULT_AGENT = Agent(
    instructions="You answer the telephone. Be friendly and brief.",
    greeting="Greet the caller in one short sentence and ask how you can help.",
    tools=("hang_up",),
)
"""Who answers when nobody is configured."""


class Config(Section):
    """The whole configuration."""

    sip: Sip = Sip()
    trunks: dict[str, Trunk] = {}
    media: Media = Media()
    agents: dict[str, Agent] = {"default": DEFAULT_AGENT}
    routes: tuple[Route, ...] = ()
    limits: Limits = Limits()
    http: Http = Http()
    log: Log = Log()

    @model_validator(mode="after")
    def _routes_lead_to_agents(self) -> Config:
        if not self.agents:
            raise Misplaced(("agents",), "at least one agent must answer")
        for number, route in enumerate(self.routes):
            if route.agent not in self.agents:
                known = ", ".join(sorted(self.agents))
                raise Misplaced(("routes", number, "agent"), f"there is no agent {route.agent!r}; there are: {known}")
        return self
