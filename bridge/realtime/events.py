"""What a session tells the call: one small frozen class per thing that can happen.

The protocol objects (one file per provider) translate the provider's events into these, so that `call` never
sees a provider's JSON.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal, Protocol

from bridge.audio.format import Format

Role = Literal["caller", "agent", "tool", "note"]


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
    """The session is configured, what was said before is put back, and audio may flow.

    The two formats are those in force, which a service may choose against what was asked for.
    """

    session_id: str
    model: str
    audio_in: Format
    """Of the caller's audio, as `append` takes it."""
    audio_out: Format
    """Of `AudioDelta.audio`."""
    fell_back: str = ""
    """Why the formats are not those asked for; empty: they are."""
    expires_at: float | None = None
    """Unix seconds at which the service ends the session; None: it does not say."""


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
class Committed:
    """The caller's turn is complete: the service has it as this item."""

    item_id: str


@dataclass(frozen=True, slots=True)
class Placed:
    """An item has its place in the conversation: behind `previous_item_id`; None: behind all that is there."""

    item_id: str
    role: Role
    previous_item_id: str | None = None


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
class AgentSaying:
    """A piece of what an item of the agent says; pieces come before their audio."""

    item_id: str
    words: str


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
class ToolCancelled:
    """The service wants no result for this call any more."""

    call_id: str


@dataclass(frozen=True, slots=True)
class Usage:
    """What a response or a transcription has used.

    `tokens` by kind: `text_in`, `text_cached`, `audio_in`, `audio_cached`, `image_in`, `image_cached` (the cached ones
    are not in the others), `text_out`, `audio_out`; `seconds` of session or transcription where that is what is paid.
    """

    model: str
    tokens: Mapping[str, int] = field(default_factory=dict)
    seconds: float = 0.0


@dataclass(frozen=True, slots=True)
class GoingAway:
    """The service will end this session in so many seconds; another one should take its place before that."""

    seconds: float


@dataclass(frozen=True, slots=True)
class Away:
    """The session is lost, another one is being opened; the caller's audio is kept meanwhile."""

    code: int
    reason: str


@dataclass(frozen=True, slots=True)
class Back:
    """Another session has taken the place of the one before; `planned`: before that one's end.

    `away_s` seconds without a session, `kept_ms` of the caller's audio delivered afterwards, `lost_ms` not kept.
    """

    ready: Ready
    away_s: float = 0.0
    kept_ms: int = 0
    lost_ms: int = 0
    planned: bool = False


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
    | Committed
    | Placed
    | ResponseEnded
    | CallerSaid
    | NotTranscribed
    | AgentSaying
    | AgentSaid
    | Truncated
    | ToolCall
    | ToolCancelled
    | Usage
    | GoingAway
    | Away
    | Back
    | SessionError
    | Lost
)
