"""Who answers: from an agent's configuration to its sessions."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Mapping
from dataclasses import replace
from datetime import UTC, datetime

from bridge.audio.format import Format
from bridge.config import Agent, Config, NoiseReduction, OwnTurns, Template, Transcription
from bridge.config.template import OF_THE_MOMENT, moment
from bridge.legs.wishes import G711_FIRST, Wishes
from bridge.logs import hide
from bridge.providers import address_of, find_of, key_of, model_of, service_of
from bridge.realtime.dialer import Dialer
from bridge.realtime.events import Event
from bridge.realtime.history import NOTHING, History
from bridge.realtime.lasting import LastingSession
from bridge.realtime.options import PCM, Json, SessionOptions
from bridge.realtime.patience import Patience
from bridge.realtime.session import Session
from bridge.realtime.transcript import Transcript
from bridge.realtime.warm import WarmSockets
from bridge.sounds import MUSIC, Sound
from bridge.tools.offered import Offered, secrets
from bridge.transfer.targets import Targets

_NOBODY: Mapping[str, str] = {}
_HEADER = re.compile(r"header\[(.+)\]\Z")
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]+")
VALUE_LENGTH = 2048
"""Characters of one variable in a text."""
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
        self._agent = agent
        self._service = service_of(agent)
        self._make = self._service.maker(agent)
        self._append_ms = append_ms
        self._key = key_of(self._service, agent, environ)
        hide(self._key)
        address = address_of(self._service, agent, name, self._key, builtin_url)
        self.url = address.url
        self._dialer = Dialer(address, find=find_of(agent, self._key))
        self.warm = WarmSockets(self._dialer.connect_now, agent.warm) if agent.warm else None
        """Connections that are open before somebody calls, between `open` and `close`."""
        self._dialer.warm = self.warm
        self.sounds: Mapping[str, Sound] = {}
        """What the bridge itself plays for this agent, by the keys of plan_b; set at the start."""
        self.music = MUSIC
        """For callers on hold; set at the start."""
        self.transfer = agent.transfer
        self.targets = Targets(agent.transfer.targets, phones)
        """Whom callers may be transferred to."""
        self.offered = Offered(agent.tools, self.targets.names)
        """What the model can do."""
        for secret in (*secrets(agent.tools), *(agent.pipeline.keys() if agent.pipeline is not None else ())):
            hide(secret)
        self._instructions = Template.parse(agent.instructions) if agent.instructions else None
        self._greeting = Template.parse(agent.greeting) if agent.greeting else None
        self._named = frozenset[str]().union(*(text.keys for text in (self._instructions, self._greeting) if text))
        self._plain_options = self._options_of_all()

    def open(self) -> None:
        """Begin to keep connections ready."""
        if self.warm is not None:
            self.warm.open()

    async def close(self) -> None:
        """Let go of them."""
        if self.warm is not None:
            await self.warm.close()

    @property
    def is_builtin(self) -> bool:
        """Whether the built-in agent answers."""
        return self._agent.provider == "builtin"

    @property
    def lacks_key(self) -> bool:
        """Whether the provider's own service would be asked without a key."""
        return bool(self._service.url) and self.url.startswith(self._service.url) and not self._key

    @property
    def key_variable(self) -> str:
        """The environment's name of the key."""
        return self._service.key_variable

    @property
    def wishes(self) -> Wishes:
        """What it wants of its callers' legs."""
        agent = self._agent
        codecs = tuple((name.upper(),) for name in agent.codecs) or G711_FIRST
        return Wishes(codecs, agent.echo_guard, agent.digits.inband)

    @property
    def _patience(self) -> Patience:
        settings = self._agent.recovery
        return Patience(
            seconds=settings.patience_s,
            keep_ms=round(settings.keep_s * 1000),
            change_before_s=settings.change_before_s,
        )

    @property
    def agent(self) -> Agent:
        """How it was configured."""
        return self._agent

    def format_for(self, caller: Format) -> Format:
        """What the session is asked to speak with a caller whose leg speaks `caller`."""
        return self._service.asks_for(self._agent, caller)

    def session(self, audio: Format, variables: Mapping[str, str] = _NOBODY, history: History = NOTHING) -> Session:
        """A session of this agent, not yet open. `variables` are the call's, by name (`records.Origin.variables`)."""
        # What a caller has written is one line: he must not add lines of his own to the instructions.
        told = {name: _CONTROL.sub(" ", value)[:VALUE_LENGTH] for name, value in variables.items()}
        options = self._options(audio, {**self._moment(), **told, "agent": self.name})
        return Session(self._make(options, history), self._dialer, append_ms=self._append_ms)

    def lasting(
        self,
        audio: Format,
        variables: Mapping[str, str],
        transcript: Transcript,
        *,
        on_event: Callable[[Event], None],
        is_quiet: Callable[[], bool],
    ) -> LastingSession:
        """A conversation with this agent, over as many sessions as it takes."""
        return LastingSession(
            lambda history: self.session(audio, variables, history),
            transcript,
            self._patience,
            on_event=on_event,
            is_quiet=is_quiet,
        )

    def metadata(self, variables: Mapping[str, str]) -> dict[str, str]:
        """What goes with the greeting's response: the headers the trunk takes over, and what the agent's texts name.

        A session itself has no place for metadata (only its tracing has, which would switch tracing on), and a caller's
        number does not leave unless the configuration names it.
        """
        chosen = {
            (header[1] if (header := _HEADER.match(name)) else name): value[:METADATA_LENGTH]
            for name, value in variables.items()
            if value and name not in OF_THE_MOMENT and (name in self._named or _HEADER.match(name))
        }
        return chosen | {"purpose": "greeting"}

    def _moment(self) -> Mapping[str, str]:
        """Time and date of now, where a text names them."""
        if self._named.isdisjoint(OF_THE_MOMENT):
            return _NOBODY
        return moment(datetime.now(UTC), self._agent.timezone, self._agent.language)

    def _options(self, audio: Format, variables: Mapping[str, str]) -> SessionOptions:
        return replace(
            self._plain_options,
            audio=audio,
            instructions=self._instructions.render(variables) if self._instructions else None,
            greeting=self._greeting.render(variables) if self._greeting is not None else self._agent.greeting,
            metadata=self.metadata(variables),
        )

    def _options_of_all(self) -> SessionOptions:
        """What all sessions are asked for alike."""
        agent = self._agent
        return SessionOptions(
            audio=PCM,
            model=model_of(self._service, agent, self.name),
            language=agent.language,
            voice=agent.voice,
            speed=agent.speed,
            turn_detection=_turn_detection(agent),
            transcription=_transcription(agent),
            noise_reduction=_without_none(agent.noise_reduction),
            tools=self.offered.definitions,
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


def needs_plain_agent(config: Config) -> bool:
    """Whether any agent listens, thinks or speaks with what is built in, beside those that have pipelines."""
    plain = (
        agent.pipeline is None and not agent.url for agent in config.agents.values() if agent.provider == "builtin"
    )
    return any(plain)


def pipelines_of(config: Config) -> dict[str, Json]:
    """For the built-in agent: the pipelines by the names of their agents, keys in clear."""
    return {name: agent.pipeline.revealed() for name, agent in config.agents.items() if agent.pipeline is not None}


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
    if agent.turn_detection is None or isinstance(agent.turn_detection, OwnTurns):
        return None
    ours = {"create_response": False, "interrupt_response": False} if agent.barge_in.mode == "reversible" else {}
    return agent.turn_detection.model_dump() | ours


def _transcription(agent: Agent) -> Json | None:
    """With the agent's language, where the section names none."""
    told = _without_none(agent.transcription)
    if told is not None and agent.language is not None and "languages" not in told:
        told.setdefault("language", agent.language.partition("-")[0])
    return told


def _without_none(section: Transcription | NoiseReduction | None) -> Json | None:
    return section.model_dump(exclude_none=True, mode="json") if section else None
