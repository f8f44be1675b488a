"""What a session wants done on its socket, in order: events, and the faults of the script mode."""

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Raw:
    """A frame that is no event: a str goes out as a text frame, bytes as a binary frame."""

    payload: str | bytes


@dataclass(frozen=True, slots=True)
class Filler:
    """One text frame of `size` bytes, made only when it is sent."""

    size: int


@dataclass(frozen=True, slots=True)
class Close:
    """Close the WebSocket with this code and reason."""

    code: int
    reason: str


@dataclass(frozen=True, slots=True)
class Drop:
    """Reset the TCP connection without a close frame."""


@dataclass(frozen=True, slots=True)
class Stall:
    """Stop reading or sending for so many seconds."""

    reading: bool
    seconds: float


Outgoing = dict[str, Any] | Raw | Filler | Close | Drop | Stall
