"""What the four transactions share, as state machines without I/O (RFC 3261 section 17).

Every machine is one table: (state, event) -> state. What is not in it cannot happen: an event of the
wire that is missing there is ignored, a missing event of our own is a mistake and raises.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from typing import ClassVar

from .message import Message, Request


@dataclass(frozen=True, slots=True)
class Timers:
    """T1, T2 and T4 in seconds (RFC 3261 table 4); every other timer follows from them."""

    t1: float = 0.5
    t2: float = 4.0
    t4: float = 5.0

    @property
    def life(self) -> float:
        """64*T1: timers B, D, F, H, J, L and M."""
        return 64 * self.t1


class State(Enum):
    """States of all four machines, named as in the RFCs."""

    CALLING = "calling"
    TRYING = "trying"
    PROCEEDING = "proceeding"
    ACCEPTED = "accepted"
    COMPLETED = "completed"
    CONFIRMED = "confirmed"
    TERMINATED = "terminated"


@dataclass(frozen=True, slots=True)
class Send:
    """Bytes for the wire; `repeat` when they have been there before."""

    data: bytes
    repeat: bool = False


@dataclass(frozen=True, slots=True)
class Deliver:
    """A message for the transaction user."""

    message: Message


@dataclass(frozen=True, slots=True)
class Failed:
    """The transaction ended without what it waited for: "timeout" or "transport_error"."""

    reason: str


Action = Send | Deliver | Failed
Moves = Mapping[tuple[State, str], State]


class IllegalMove(RuntimeError):
    """The transaction user asked for what the state does not allow; nothing has changed."""


class Transaction:
    """What the four machines share: the table, the state and the timers by their letter."""

    moves: ClassVar[Moves]
    start: ClassVar[State]

    def __init__(self, request: Request, now: float, timers: Timers, reliable: bool) -> None:
        self.request = request
        self.state = self.start
        self.timers = timers
        self.reliable = reliable
        self._deadlines: dict[str, float] = {}
        self._interval = timers.t1

    @property
    def next_deadline(self) -> float | None:
        """When `tick` must be called next, in seconds; None when no timer runs."""
        return min(self._deadlines.values(), default=None)

    def tick(self, now: float) -> list[Action]:
        """Fire every timer that is due."""
        actions: list[Action] = []
        for name in [name for name, when in self._deadlines.items() if when <= now]:
            if self._deadlines.pop(name, None) is not None:
                actions += self._fire(name, now)
        return actions

    def error(self, now: float) -> list[Action]:
        """The transport could not send."""
        if self._move("error") and self.state is State.TERMINATED:
            return [Failed("transport_error")]
        return []

    def terminate(self) -> None:
        """Drop the transaction without a word."""
        self.state = State.TERMINATED
        self._deadlines.clear()

    def _fire(self, name: str, now: float) -> list[Action]:
        raise NotImplementedError

    def _move(self, event: str) -> bool:
        """Take the move for `event`; False, and nothing changed, when there is none."""
        target = self.moves.get((self.state, event))
        if target is None:
            return False
        if target is not self.state:
            self._deadlines.clear()
        self.state = target
        return True

    def _demand(self, event: str) -> None:
        if not self._move(event):
            raise IllegalMove(f"{event} in state {self.state.value}")

    def _again(self, name: str, now: float, limit: float) -> None:
        """Restart a timer that repeats, at twice the interval up to `limit`."""
        self._interval = min(2 * self._interval, limit)
        self._deadlines[name] = now + self._interval

    def _linger(self, name: str, now: float, duration: float) -> None:
        """Stay for stragglers over UDP, end at once over a reliable transport."""
        if self.reliable:
            self.terminate()
        else:
            self._deadlines[name] = now + duration


def event_of(status: int) -> str:
    """The column of the tables for a status code."""
    return "1xx" if status < 200 else "2xx" if status < 300 else "final"
