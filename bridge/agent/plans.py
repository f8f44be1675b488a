"""What a response is asked for, what it will say, and what the responses of one session share."""

import random
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from bridge.agent import checks
from bridge.agent import configuration as settings
from bridge.agent.configuration import Configuration
from bridge.agent.conversation import Conversation
from bridge.agent.events import Event
from bridge.agent.formats import AudioFormat
from bridge.agent.identifiers import Identifiers
from bridge.agent.items import Item
from bridge.agent.refusal import wrong_value


def _metadata(value: Any, path: str) -> dict[str, str]:
    pairs = checks.mapping(value, path)
    if len(pairs) > 16:
        raise wrong_value(path, "at most 16 pairs")
    for key, entry in pairs.items():
        checks.text_up_to(64)(key, path)
        checks.text_up_to(512)(entry, f"{path}.{key}")
    return pairs


_REQUEST = checks.record(
    {
        "instructions": checks.text,
        "output_modalities": settings.modalities,
        "audio": checks.record({"output": checks.record({"format": settings.audio_format, "voice": settings.voice})}),
        "conversation": checks.one_of("auto", "none"),
        "input": checks.list_of(checks.mapping),
        "metadata": checks.nullable(_metadata),
        "tools": settings.tools,
        "tool_choice": settings.tool_choice,
        "parallel_tool_calls": checks.boolean,
        "max_output_tokens": settings.max_output_tokens,
        "prompt": checks.nullable(settings.prompt),
        "reasoning": checks.nullable(settings.reasoning),
    }
)


@dataclass(frozen=True, slots=True)
class Speech:
    """A spoken (or, in a text response, written) message. `audio` gets the item's number and the format."""

    transcript: str
    audio: Callable[[int, AudioFormat], bytes]
    chunk_ms: tuple[int, int] = (40, 400)
    gaps: tuple[tuple[int, int], ...] = ()
    item_id: str | None = None


@dataclass(frozen=True, slots=True)
class Call:
    """A function call; `arguments` is the JSON text."""

    name: str
    arguments: str
    call_id: str | None = None
    item_id: str | None = None


@dataclass(frozen=True, slots=True)
class Plan:
    """All that one response will do."""

    outputs: tuple[Speech | Call, ...] = ()
    # Audio seconds sent per second; None: the session's own.
    speed: float | None = None
    status: str = "completed"
    status_details: Event | None = None
    # Event types that are left out on the wire.
    skip: frozenset[str] = frozenset()
    # The done events of an item come only when the next item has been said.
    overlap: bool = False
    # Wait before the first output item, in ms.
    first_byte_ms: int = 0


class Request:
    """A `response.create`, or the automatic answer to a turn (no members)."""

    def __init__(self, given: Any, configuration: Configuration) -> None:
        fields = _REQUEST({} if given is None else given, "response")
        output = fields.get("audio", {}).get("output", {})
        self.instructions: str | None = fields.get("instructions")
        self.modalities: list[str] = fields.get("output_modalities", configuration.output_modalities)
        self.format: AudioFormat = output.get("format", configuration.output_format)
        self.voice: Any = output.get("voice", configuration.voice)
        self.in_conversation: bool = fields.get("conversation", "auto") == "auto"
        # None: the conversation is the context.
        self.input: list[dict[str, Any]] | None = fields.get("input")
        self.metadata: dict[str, str] | None = fields.get("metadata")
        self.tools: list[dict[str, Any]] = fields.get("tools", configuration.tools)
        self.tool_choice: Any = fields.get("tool_choice", configuration.tool_choice)
        self.max_output_tokens: int | str = fields.get("max_output_tokens", configuration.max_output_tokens)


@dataclass(slots=True)
class Stage:
    """What the responses of one session share."""

    conversation: Conversation
    configuration: Configuration
    ids: Identifiers
    chance: random.Random
    speed: float
    audio_items: int = 0
    # Assistant audio items by age: the journal of a test reads them.
    spoken: list[Item] = field(default_factory=list)
    keep_spoken: bool = False
