"""What was said and done so far, as a new session must be told it. Made by `transcript`, spoken by each provider."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class CallerWords:
    """What the caller said. `audio` (the session's format) takes the place of words that were never transcribed."""

    item_id: str
    text: str
    audio: bytes = b""


@dataclass(frozen=True, slots=True)
class AgentWords:
    """What the agent said, as far as it was heard; `cut`: that was not all of it."""

    item_id: str
    text: str
    cut: bool = False


@dataclass(frozen=True, slots=True)
class ToolUse:
    """A finished tool call. `arguments` and `output` are JSON text."""

    call_id: str
    name: str
    arguments: str
    output: str


@dataclass(frozen=True, slots=True)
class Note:
    """Something that neither of them said, as words for the model."""

    text: str


Remembered = CallerWords | AgentWords | ToolUse | Note


@dataclass(frozen=True, slots=True)
class History:
    """What a session goes on from. `resumption` is what the one before left (`Provider.resumption`), else empty."""

    turns: tuple[Remembered, ...] = ()
    resumption: str = ""

    def __bool__(self) -> bool:
        """Whether there is anything to go on from."""
        return bool(self.turns or self.resumption)


NOTHING = History()
