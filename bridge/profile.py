"""Who answers: from an agent's configuration to its sessions."""

from __future__ import annotations

import re
import ssl
from collections.abc import Callable, Collection, Mapping
from urllib.parse import quote, urlsplit, urlunsplit

from bridge.audio.format import Format, Linear
from bridge.audio.g711 import Law
from bridge.config import OPENAI_URL, Agent, Config, NoiseReduction, Template, Transcription
from bridge.legs.wishes import G711_FIRST, Wishes
from bridge.logs import hide
from bridge.realtime.events import Event
from bridge.realtime.openai import OpenAIProtocol
from bridge.realtime.options import Json, SessionOptions
from bridge.realtime.session import Session
from bridge.realtime.tools import definition
from bridge.transfer.targets import Targets

PCM = Linear(24000)
"""What every session speaks besides G.711 (reference section 5)."""
_AS_CONFIGURED: Mapping[str, Format] = {"pcmu": Law.PCMU, "pcma": Law.PCMA, "pcm": PCM}
_WIRE: Mapping[Format, Json] = {
    Law.PCMU: {"type": "audio/pcmu"},
    Law.PCMA: {"type": "audio/pcma"},
    PCM: {"type": "audio/pcm", "rate": PCM.rate},
}
_NOBODY: Mapping[str, str] = {}
_HEADER = re.compile(r"header\[(.+)\]\Z")
METADATA_LENGTH = 512
"""Characters of one value that a response's metadata takes (reference: 16 pairs, key 64, value 512)."""


class Profile:
    """One agent, ready to open sessions. All of its sessions share one TLS context."""

    def __init__(
        self,
        name: str,
        agent: Agent,
        *,
        append_ms: int,
        environ: Mapping[str, str],
        builtin_url: str | None = None,
        phones: Collection[str] = (),
    ) -> None:
        """`phones` are the users of our own registrar."""
        self.name = name
        self.url = _session_url(agent, builtin_url)
        self._agent = agent
        self._append_ms = append_ms
        key = _key(agent, environ)
        hide(key)
        self._headers = {"Authorization": f"Bearer {key}"} if key else {}
        self._tls = ssl.create_default_context() if self.url.startswith("wss:") else None
        self.transfer = agent.transfer
        self.targets = Targets(agent.transfer.targets, phones)
        """Whom callers may be transferred to."""
        self._tools = tuple(tool for tool in map(self._defined, agent.tools) if tool is not None)
        self._instructions = Template.parse(agent.instructions) if agent.instructions else None
        self._greeting = Template.parse(agent.greeting) if agent.greeting else None

    @property
    def missing_tools(self) -> list[str]:
        """Configured tools that cannot be offered to the model: `transfer` with nobody to transfer to."""
        return [str(tool) for tool in self._agent.tools if self._defined(tool) is None]

    @property
    def is_builtin(self) -> bool:
        """Whether the built-in agent answers."""
        return self._agent.provider == "builtin"

    @property
    def lacks_key(self) -> bool:
        """Whether OpenAI's own service would be asked without a key."""
        return self.url.startswith(OPENAI_URL) and "Authorization" not in self._headers

    @property
    def wishes(self) -> Wishes:
        """What it wants of its callers' legs."""
        agent = self._agent
        codecs = tuple((name.upper(),) for name in agent.codecs) or G711_FIRST
        return Wishes(codecs, agent.echo_guard, agent.digits.inband)

    @property
    def agent(self) -> Agent:
        """How it was configured."""
        return self._agent

    def format_for(self, caller: Format) -> Format:
        """What the session speaks with a caller whose leg speaks `caller`: the same where the service can."""
        return _AS_CONFIGURED.get(self._agent.audio, caller if isinstance(caller, Law) else PCM)

    def session(
        self, audio: Format, on_event: Callable[[Event], None], variables: Mapping[str, str] = _NOBODY
    ) -> Session:
        """A session of this agent, not yet open. `variables` are the call's, by name (`records.Origin.variables`)."""
        return Session(
            OpenAIProtocol(self._options(audio, {**variables, "agent": self.name})),
            url=self.url,
            headers=self._headers,
            tls=self._tls,
            append_ms=self._append_ms,
            bytes_per_ms=audio.bytes_per_ms,
            on_event=on_event,
        )

    def metadata(self, variables: Mapping[str, str]) -> dict[str, str]:
        """What goes with the greeting's response: the headers the trunk takes over, and what the agent's texts name.

        A session itself has no place for metadata (only its tracing has, which would switch tracing on), and a caller's
        number does not leave unless the configuration names it.
        """
        texts = [text for text in (self._instructions, self._greeting) if text]
        named = frozenset[str]().union(*(text.keys for text in texts))
        chosen = {
            (header[1] if (header := _HEADER.match(name)) else name): value[:METADATA_LENGTH]
            for name, value in variables.items()
            if value and (name in named or _HEADER.match(name))
        }
        return chosen | {"purpose": "greeting"}

    def _defined(self, tool: str | Json) -> Json | None:
        """A tool as the model sees it; None when there is none, or nobody to transfer to."""
        return definition(tool, self.targets.names)

    def _options(self, audio: Format, variables: Mapping[str, str]) -> SessionOptions:
        agent = self._agent
        return SessionOptions(
            audio_format=_WIRE[audio],
            instructions=self._instructions.render(variables) if self._instructions else None,
            greeting=self._greeting.render(variables) if self._greeting is not None else agent.greeting,
            metadata=self.metadata(variables),
            voice=agent.voice,
            speed=agent.speed,
            turn_detection=_turn_detection(agent),
            transcription=_without_none(agent.transcription),
            noise_reduction=_without_none(agent.noise_reduction),
            tools=self._tools,
            tool_choice=agent.tool_choice,
            parallel_tool_calls=agent.parallel_tool_calls,
            max_output_tokens=agent.max_output_tokens,
            reasoning_effort=agent.reasoning_effort,
            truncation=agent.truncation,
            far_end_delay_ms=agent.far_end_delay_ms,
            extra=agent.session,
        )


def needs_builtin(config: Config) -> bool:
    """Whether any agent is the built-in one at an address of our choice, which must be started first."""
    return any(agent.provider == "builtin" and not agent.url for agent in config.agents.values())


def profiles(config: Config, environ: Mapping[str, str], builtin_url: str) -> dict[str, Profile]:
    """All agents of a configuration by name."""
    append_ms, phones = config.media.append_ms, config.registrar.users
    return {
        name: Profile(name, agent, append_ms=append_ms, environ=environ, builtin_url=builtin_url, phones=phones)
        for name, agent in config.agents.items()
    }


def _turn_detection(agent: Agent) -> Json | None:
    """The complete object: some servers reset what is left out (reference section 5).

    With an interruption on trial the bridge decides who speaks: both switches off, or the server still cancels (quirk
    B7).
    """
    if agent.turn_detection is None:
        return None
    ours = {"create_response": False, "interrupt_response": False} if agent.barge_in.mode == "reversible" else {}
    return agent.turn_detection.model_dump() | ours


def _without_none(section: Transcription | NoiseReduction | None) -> Json | None:
    return section.model_dump(exclude_none=True, mode="json") if section else None


def _session_url(agent: Agent, builtin_url: str | None) -> str:
    if agent.provider == "builtin":
        base = agent.url or builtin_url or "ws://127.0.0.1:0/v1/realtime"
    else:
        base = agent.url or (OPENAI_URL if agent.provider == "openai" else agent.provider)
    parts = urlsplit(base)
    if "model=" in parts.query:
        return base
    query = f"{parts.query}&" if parts.query else ""
    return urlunsplit(parts._replace(query=f"{query}model={quote(agent.model)}"))


def _key(agent: Agent, environ: Mapping[str, str]) -> str:
    if agent.key is not None:
        return agent.key.get_secret_value()
    return environ.get("OPENAI_API_KEY", "") if agent.provider == "openai" else ""
