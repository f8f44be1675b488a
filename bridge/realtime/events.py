"""What a session tells the call: one small frozen class per thing that can happen.

The protocol objects (one file per provider) translate the provider's events into these, so that `call` never
sees a provider's JSON.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol


class HeardItem(Protocol):
    """What the playout ledger knows of one item that was not heard to its end."""

    @property
    def item_id(self) -> str: ...
    @property
    def sent_ms(self) -> int:
        """Milliseconds of the item's audio that left as RTP, rounded down."""
        ...


@dataclass(frozen=True, slots=True)
class Unheard:
    """An item of which nothing was played (a `HeardItem`)."""

    item_id: str
    sent_ms: int = 0


@dataclass(frozen=True, slots=True)
class Ready:
    """The session speaks the formats that were asked for: audio may flow."""

    session_id: str
    model: str


@dataclass(frozen=True, slots=True)
class AudioDelta:
    """A piece of an item's audio, in the session's format, of any length."""

    item_id: str
    audio: bytes


@dataclass(frozen=True, slots=True)
class AudioEnd:
    """No more audio of this item will come."""

    item_id: str


@dataclass(frozen=True, slots=True)
class SpeechStarted:
    """The server heard the caller begin to speak: the barge-in signal. `item_id` is what his words will be."""

    audio_start_ms: int
    item_id: str = ""


@dataclass(frozen=True, slots=True)
class SpeechStopped:
    """The server heard the caller stop."""

    audio_end_ms: int


@dataclass(frozen=True, slots=True)
class CallerIdle:
    """The caller has said nothing for `idle_timeout_ms`; an answer is due as if he had."""


@dataclass(frozen=True, slots=True)
class ResponseEnded:
    """A response is over; status as on the wire (completed, cancelled, incomplete, failed).

    `detail` is the reason or the error code of an end that was not `completed`, else empty.
    """

    response_id: str
    status: str
    detail: str


@dataclass(frozen=True, slots=True)
class CallerSaid:
    """What the caller said, as the transcription understood it."""

    item_id: str
    text: str


@dataclass(frozen=True, slots=True)
class NotTranscribed:
    """What the caller said in this item could not be told."""

    item_id: str


@dataclass(frozen=True, slots=True)
class AgentSaid:
    """The whole text of an item of the agent, heard or not."""

    item_id: str
    text: str


@dataclass(frozen=True, slots=True)
class Truncated:
    """The bridge told the server how much of an item was heard. -1 ms: the item was deleted."""

    item_id: str
    heard_ms: int


@dataclass(frozen=True, slots=True)
class ToolCall:
    """The model calls a tool. `arguments` is JSON text as the model wrote it."""

    call_id: str
    name: str
    arguments: str


@dataclass(frozen=True, slots=True)
class SessionError:
    """The server reported an error.

    fatal: the session cannot go on (or never began). harmless: known to happen in good sessions.
    """

    code: str
    message: str
    fatal: bool = False
    harmless: bool = False


@dataclass(frozen=True, slots=True)
class Lost:
    """The socket is gone. `code` is the WebSocket close code (1006 without a close frame)."""

    code: int
    reason: str


Event = (
    Ready
    | AudioDelta
    | AudioEnd
    | SpeechStarted
    | SpeechStopped
    | CallerIdle
    | ResponseEnded
    | CallerSaid
    | NotTranscribed
    | AgentSaid
    | Truncated
    | ToolCall
    | SessionError
    | Lost
)
