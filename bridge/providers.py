"""The providers that can be named in the configuration: where each is, how it knows us, what it speaks."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from urllib.parse import quote, urlsplit, urlunsplit

from bridge.audio.format import Format, Linear
from bridge.audio.g711 import Law
from bridge.config import Agent
from bridge.realtime.dialer import Address, Find
from bridge.realtime.elevenlabs.protocol import ElevenLabsProtocol
from bridge.realtime.elevenlabs.signed_url import SignedUrl
from bridge.realtime.gemini.protocol import GeminiProtocol
from bridge.realtime.gemini.setup import KEY_HEADER
from bridge.realtime.gemini.setup import URL as GEMINI_URL
from bridge.realtime.history import History
from bridge.realtime.live.protocol import LiveProtocol
from bridge.realtime.openai.dialect import dialect_of
from bridge.realtime.openai.protocol import OpenAIProtocol
from bridge.realtime.options import PCM, SessionOptions
from bridge.realtime.protocol import Provider

Make = Callable[[SessionOptions, History], Provider]


def _openai(agent: Agent) -> Make:
    dialect = dialect_of(agent.provider, agent.server.changes())
    return lambda options, history: OpenAIProtocol(options, history, dialect)


def _live(agent: Agent) -> Make:
    return LiveProtocol


def _gemini(agent: Agent) -> Make:
    return GeminiProtocol


def _elevenlabs(agent: Agent) -> Make:
    return ElevenLabsProtocol


def bearer(key: str) -> dict[str, str]:
    """Most services know us by this header."""
    return {"Authorization": f"Bearer {key}"}


def _api_key(key: str) -> dict[str, str]:
    return {"api-key": key}


def _google_key(key: str) -> dict[str, str]:
    return {KEY_HEADER: key}


def _eleven_key(key: str) -> dict[str, str]:
    return {"xi-api-key": key}


@dataclass(frozen=True, slots=True)
class Service:
    """One provider."""

    maker: Callable[[Agent], Make]
    """What makes the sessions of one agent."""
    url: str = ""
    """Empty: it must be configured."""
    model: str = ""
    """The default; empty: it must be configured, or the server has one of its own."""
    key_variable: str = ""
    """The environment's name of its key; empty: it needs none."""
    headers: Callable[[str], dict[str, str]] = bearer
    """Of the upgrade, from the key."""
    parameter: str = "model"
    """Of the URL's query, for the model; empty: it is not in the URL."""
    laws: frozenset[Law] = field(default=frozenset(Law))
    """The laws of G.711 it can be asked for."""
    linear: Linear = PCM
    """What else it can be asked for."""

    def asks_for(self, agent: Agent, caller: Format) -> Format:
        """What a session is asked to speak with a caller whose leg speaks `caller`: the same where it can."""
        named: dict[str, Format] = {"pcmu": Law.PCMU, "pcma": Law.PCMA, "pcm": self.linear}
        wanted = named.get(agent.audio, caller)
        return wanted if isinstance(wanted, Law) and wanted in self.laws else self.linear


_OPENAI_MODEL = "gpt-realtime-2.1"
SERVICES: Mapping[str, Service] = {
    "openai": Service(_openai, "wss://api.openai.com/v1/realtime", _OPENAI_MODEL, "OPENAI_API_KEY"),
    "live": Service(_live, "wss://api.openai.com/v1/live/sessions", "gpt-live-1", "OPENAI_API_KEY", parameter=""),
    "azure": Service(_openai, "", _OPENAI_MODEL, "AZURE_OPENAI_API_KEY", _api_key),
    # Of Azure's Live only PCM at 24000 Hz is documented (Live reference, section 12).
    "azure-live": Service(_live, "", "gpt-live-1", "AZURE_OPENAI_API_KEY", _api_key, "", frozenset()),
    "azure-voice-live": Service(_openai, "", "gpt-realtime", "AZURE_OPENAI_API_KEY", _api_key),
    "xai": Service(_openai, "wss://api.x.ai/v1/realtime", "grok-voice-latest", "XAI_API_KEY"),
    "gemini": Service(
        _gemini, GEMINI_URL, "gemini-3.8-live", "GEMINI_API_KEY", _google_key, "", frozenset(), Linear(16000)
    ),
    "elevenlabs": Service(
        _elevenlabs,
        "wss://api.elevenlabs.io/v1/convai/conversation",
        "",
        "ELEVENLABS_API_KEY",
        _eleven_key,
        "agent_id",
        frozenset({Law.PCMU}),
        Linear(16000),
    ),
    "localai": Service(_openai, "", "", "LOCALAI_API_KEY"),
    "speaches": Service(_openai, "", "", "SPEACHES_API_KEY"),
    "hf": Service(_openai),
    "builtin": Service(_openai, "", "builtin"),
}
COMPATIBLE = Service(_openai, "", _OPENAI_MODEL)
"""A server that is named by its URL."""


def service_of(agent: Agent) -> Service:
    """The provider of an agent."""
    return SERVICES.get(agent.provider, COMPATIBLE)


def model_of(service: Service, agent: Agent, name: str) -> str:
    """What the session is asked for; the built-in agent has a pipeline of each agent's name."""
    return f"pipeline-{name}" if agent.pipeline is not None else agent.model or service.model


def address_of(service: Service, agent: Agent, name: str, key: str, builtin_url: str | None) -> Address:
    """Where the sessions of the agent `name` are had."""
    named = "" if agent.provider in SERVICES else agent.provider
    base = agent.url or named or service.url or builtin_url or "ws://127.0.0.1:0/v1/realtime"
    model, parts = model_of(service, agent, name), urlsplit(base)
    if service.parameter and model and f"{service.parameter}=" not in parts.query:
        query = f"{parts.query}&" if parts.query else ""
        base = urlunsplit(parts._replace(query=f"{query}{service.parameter}={quote(model)}"))
    dialect = dialect_of(agent.provider, agent.server.changes())
    return Address(base, (service.headers(key) if key else {}) | dict(dialect.headers))


def find_of(agent: Agent, key: str) -> Find | None:
    """Who is asked for the address before each session; None: the address serves all of them."""
    if agent.provider != "elevenlabs" or not key:
        return None
    if agent.url is None:
        return SignedUrl(agent.model or "", key)
    parts = urlsplit(agent.url)
    return SignedUrl(agent.model or "", key, f"{parts.scheme.replace('ws', 'http', 1)}://{parts.netloc}")


def key_of(service: Service, agent: Agent, environ: Mapping[str, str]) -> str:
    """The configured key, else the environment's."""
    if agent.key is not None:
        return agent.key.get_secret_value()
    return environ.get(service.key_variable, "") if service.key_variable else ""
