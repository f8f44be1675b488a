"""One place in a transcript: what was said or done there, and how much of it was heard.

How much was heard is known in milliseconds, the words only as a whole: which of them were heard is an estimate
(reference section 10). It errs to the side of too little, so that the agent rather repeats itself.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import Any

from bridge.realtime.events import Role, ToolCall

INTERRUPTED = "...[interrupted]"
"""Stands behind words of the agent that were not all, or not all heard."""
NOT_TRANSCRIBED = "(not transcribed)"
TEXT_LIMIT = 20_000
"""Characters kept of one item; tool arguments and results too."""
_UNSPACED = re.compile("[\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u2e80-\uffef\U00020000-\U0003ffff]")
"""Scripts that set no spaces between words, and their punctuation: such text may be cut anywhere."""


@dataclass(frozen=True, slots=True)
class Entry:
    """One line of a transcript. Times in ms of the call; `received_ms` and `heard_ms` of an agent's audio, else 0."""

    item_id: str
    role: Role
    text: str
    """As it is to be read: of the agent's words those that were heard, with a mark where they were cut."""
    at_ms: int
    """When it began: the caller to speak, the agent to be made."""
    received_ms: int = 0
    heard_ms: int = 0
    cut: bool = False
    """Not all of it was heard, or it was never finished."""
    heard: str = ""
    unheard: str = ""
    """What the agent said and nobody heard."""


@dataclass(slots=True, eq=False)
class Slot:
    """What is known of one item so far."""

    item_id: str
    role: Role
    arrival: int
    """The order of coming, for what has no place in the chain."""
    at_ms: int
    previous: str | None = None
    placed: bool = False
    deleted: bool = False
    text: str = ""
    final: bool = False
    """`text` is the whole, not what was collected so far."""
    spoken: bool = False
    """The caller spoke, whether or not his words are known."""
    audio: bytes = b""
    """The caller's, while his words are not known."""
    received: float = 0.0
    """Milliseconds of the agent's audio."""
    ended: bool = False
    """All of the agent's audio has come, and before any cut."""
    measured: bool = False
    """Its text and its audio are part of the agent's rate."""
    heard: int | None = None
    """Milliseconds that were heard, of an item that was cut."""
    told: int | None = None
    """Characters that were heard by the server's own estimate; None: it has not said."""
    call: ToolCall | None = None
    output: str | None = None
    """The result of the tool call as JSON text."""
    cancelled: bool = False

    @property
    def size(self) -> int:
        """Characters it holds."""
        arguments = len(self.call.arguments) if self.call is not None else 0
        return len(self.text) + arguments + len(self.output or "")

    @property
    def is_empty(self) -> bool:
        """Whether there is nothing to tell of it."""
        if self.role == "caller":
            return self.deleted or not (self.text or (self.spoken and not self.final))
        return self.call is None if self.role == "tool" else not self.text

    @property
    def received_ms(self) -> int:
        """Milliseconds of the agent's audio, rounded down."""
        return int(self.received)

    @property
    def heard_ms(self) -> int:
        """Milliseconds that were heard, as far as is known: all, until a cut says otherwise."""
        if self.deleted:
            return 0
        return self.received_ms if self.heard is None else min(self.heard, self.received_ms)

    @property
    def is_cut(self) -> bool:
        """Whether the agent's words were not all heard, or never finished."""
        return not (self.ended and self.heard_ms) or self.heard_ms < self.received_ms

    def heard_of(self, rate: float) -> str:
        """The words of the agent that were heard; `rate` in characters per ms of its speech."""
        return self.text[: self._heard_length(rate)].rstrip()

    def entry(self, rate: float) -> Entry:
        """As a line of the transcript."""
        if self.role == "agent":
            return self._agent_entry(rate)
        text = self._tool_text() if self.call is not None else self.text
        if self.role == "caller" and not text:
            text = NOT_TRANSCRIBED
        return Entry(self.item_id, self.role, text, self.at_ms, heard=text)

    def _agent_entry(self, rate: float) -> Entry:
        length = self._heard_length(rate)
        heard, unheard = self.text[:length].rstrip(), self.text[length:].strip()
        return Entry(
            self.item_id,
            "agent",
            marked(heard, cut=self.is_cut),
            self.at_ms,
            self.received_ms,
            self.heard_ms,
            self.is_cut,
            heard,
            unheard,
        )

    def _heard_length(self, rate: float) -> int:
        """Characters of `text`, down to a word's end.

        Text runs ahead of audio (quirk G8): of an item that was not finished only as much is taken for spoken as fits
        into the audio that has come.
        """
        if self.told is not None:
            return min(self.told, len(self.text))
        if not self.received_ms:
            return 0
        length = len(self.text)
        spoken = length if self.ended else min(length, int(self.received * rate))
        return word_end(self.text, spoken * self.heard_ms // self.received_ms)

    def _tool_text(self) -> str:
        assert self.call is not None
        outcome = "cancelled" if self.cancelled else self.output or "no result"
        return f"{self.call.name}({self.call.arguments}) -> {outcome}"


def marked(heard: str, *, cut: bool) -> str:
    """The words, with a mark behind them where they were cut."""
    return f"{heard}{INTERRUPTED}" if cut and heard else heard


def word_end(text: str, length: int) -> int:
    """The end of the last whole word within so many characters."""
    while 0 < length < len(text) and not _between_words(text[length - 1], text[length]):
        length -= 1
    return min(length, len(text))


def _between_words(before: str, behind: str) -> bool:
    return before.isspace() or behind.isspace() or bool(_UNSPACED.match(before) or _UNSPACED.match(behind))


def json_text(value: Any) -> str:
    """Any value as JSON text; what is too long becomes an object with its beginning."""
    text = json.dumps(value, ensure_ascii=False, default=str).encode(errors="replace").decode()
    return text if len(text) <= TEXT_LIMIT else json.dumps({"beginning": text[: TEXT_LIMIT // 2]}, ensure_ascii=False)


def arguments_text(arguments: str) -> str:
    """A tool's arguments as JSON text, whatever the model wrote (quirk F6)."""
    try:
        json.loads(arguments or "{}")
    except (ValueError, RecursionError):
        return json_text({"invalid": arguments})
    return (arguments or "{}") if len(arguments) <= TEXT_LIMIT else json_text({"beginning": arguments})
