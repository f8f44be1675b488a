"""What the caller waits for when a session is lost, so that the next one can be asked for it."""

from __future__ import annotations

from collections import deque
from enum import Enum

from bridge.realtime import events as ev
from bridge.realtime.protocol import Provider

MOST_INSTRUCTIONS = 4


class Owed(Enum):
    """What the caller waits for."""

    NOTHING = "nothing"
    GREETING = "greeting"
    ANSWER = "answer"
    REST = "rest"  # of an answer that he has heard in part


class Debt:
    """Follows one call. `owed` says something only between `leave` and `pay`."""

    def __init__(self) -> None:
        self.owed = Owed.NOTHING
        self._greeting = False  # it was asked for, and nothing has followed
        self._begun = False  # audio of the answer in the making has come
        self._turn_waits = False  # the caller has spoken, and no answer has begun
        self._turn_open = False  # he was speaking when the session was lost
        self._instructions: deque[str] = deque(maxlen=MOST_INSTRUCTIONS)

    def observe(self, event: ev.Event) -> None:
        """An event of the session."""
        match event:
            case ev.Committed():
                self._turn_waits, self._greeting = True, False
            case ev.ResponseEnded():
                self._begun = self._turn_waits = False

    def audio_came(self) -> None:
        """Audio of an answer: the hot half of `observe`."""
        self._begun, self._turn_waits, self._greeting = True, False, False

    def greeting_asked(self) -> None:
        """The greeting is due."""
        self._greeting = True

    def interrupted(self) -> None:
        """The caller wants no more of the answer."""
        self._begun = False
        self.owed = Owed.NOTHING

    def leave(self, *, response_active: bool, turn_open: bool = False) -> None:
        """The session is gone; `response_active`: with an answer in the making.

        `turn_open`: with a turn of the caller that the next session hears again, and answers when it is over.
        """
        self._turn_open = turn_open
        if response_active or self._turn_waits:
            self.owed = Owed.REST if self._begun else Owed.GREETING if self._greeting else Owed.ANSWER
        self._begun = self._turn_waits = False

    def turn_ended(self) -> None:
        """The turn that was open is over, as the bridge has found: the next session is told so."""
        self._turn_open = False

    def owe(self, what: Owed) -> None:
        """It is asked for while there is no session."""
        self.owed = what

    def instruct(self, words: str) -> None:
        """The model shall say something, as soon as there is a session; the newest few are kept."""
        self._instructions.append(words)

    def pay(self, protocol: Provider, *, tools_run: bool) -> None:
        """Ask the new session. A tool that still runs asks for the answer itself, when its result is there."""
        owed, self.owed = self.owed, Owed.NOTHING
        if owed is Owed.REST and not tools_run:
            protocol.go_on()
        elif owed is Owed.GREETING and not self._turn_open:
            protocol.greet()
        elif owed is Owed.ANSWER and not self._turn_open and not tools_run:
            protocol.respond()
        while self._instructions:
            protocol.instruct(self._instructions.popleft())
