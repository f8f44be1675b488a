"""Who speaks in a Gemini Live session, which names neither responses nor items: names and ends of our own.

A turn of the model begins with its first content and ends with `turnComplete`, perhaps long after
`generationComplete`, as some models wait until it would have been heard. A tool call ends a response but not the turn:
the model waits for the result, so that nothing is being made meanwhile.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from bridge.realtime import events as ev

WORDS_LIMIT = 20_000
"""Characters kept of one item."""


class Stage(Enum):
    """Where the model's turn stands."""

    IDLE = "idle"
    SPEAKING = "speaking"  # content comes, or the model waits for a tool
    SPOKEN = "spoken"  # all content is made, the turn is not over
    CUT = "cut"  # nobody wants the rest of the turn


@dataclass(slots=True)
class _Words:
    """An item of either side, and its words as far as they are known."""

    item_id: str
    text: str = ""
    told: int = 0
    """Characters in the last `CallerSaid`."""
    committed: bool = False
    """An answer to it has begun."""
    has_audio: bool = False
    """The item's audio has begun, and has not ended."""

    def add(self, words: str) -> str:
        """What was added: all, as long as there is room."""
        words = words[: WORDS_LIMIT - len(self.text)]
        self.text += words
        return words


class Turns:
    """The turns of one session. Each method says what has happened, and gives the events that follow from it."""

    def __init__(self, mark: str) -> None:
        """`mark` is the beginning of all names, other than that of any session of the same call."""
        self.stage = Stage.IDLE
        self.asked = False
        """An answer was asked for, and nothing of it has come."""
        self.caller_speaking = False
        self.late_deltas = 0
        self.now_ms = 0
        """Of the caller's audio: how much of it was sent."""
        self._mark = mark
        self._names = 0
        self._response = ""  # empty: none is being made
        self._item: _Words | None = None
        self._caller: _Words | None = None
        self._signals = False  # the service says when the caller stops

    @property
    def active(self) -> bool:
        """Whether an answer is being made, or was asked for."""
        return self.asked or bool(self._response)

    @property
    def busy(self) -> bool:
        """Whether words to the model would interrupt what the caller is to hear."""
        return self.stage in (Stage.SPEAKING, Stage.SPOKEN)

    # The model

    def thought(self) -> list[ev.Event]:
        """The model thinks: an answer is being made."""
        return [] if self.stage is Stage.CUT else self._content()

    def agent_words(self, words: str) -> list[ev.Event]:
        """A piece of what the model says; it may come before or after its audio."""
        if self.stage is Stage.CUT:
            return []
        events = [] if self.stage is Stage.SPOKEN and self._item else self._content()
        item = self._opened(events)
        if added := item.add(words):
            events.append(ev.AgentSaying(item.item_id, added))
        return events

    def audio(self, audio: bytes) -> list[ev.Event]:
        """A piece of the model's voice."""
        if self.stage is Stage.CUT:
            self.late_deltas += 1
            return []
        events = self._content()
        item = self._opened(events)
        item.has_audio = True
        events.append(ev.AudioDelta(item.item_id, audio))
        return events

    def tools(self, calls: list[ev.ToolCall]) -> list[ev.Event]:
        """The model calls tools, and waits for the results; in a turn that was cut it goes on anew behind them."""
        was_cut = self.stage is Stage.CUT
        events = [] if was_cut else self._content()
        self.stage = Stage.SPEAKING
        return [*events, *self._close_item(), *calls, *self._end("cancelled" if was_cut else "completed")]

    def generation_complete(self) -> list[ev.Event]:
        """All of the turn's content was made."""
        if self.stage not in (Stage.SPEAKING, Stage.CUT):
            return []
        events = self._end_audio() + self._end("completed" if self.stage is Stage.SPEAKING else "cancelled")
        self.stage = Stage.SPOKEN
        return events

    def turn_complete(self, failure: str = "") -> list[ev.Event]:
        """The turn is over; `failure` is why, when that is not its natural end."""
        was_cut = self.stage is Stage.CUT
        events = self._close_item()
        if not was_cut and self.stage is not Stage.SPOKEN and self.asked:
            self._response = self._response or self._name("r")  # asked for, and nothing was made
            self.asked = False
        status = "cancelled" if was_cut else "failed" if failure else "completed"
        events += self._end(status, failure) + self._close_caller()
        self.stage = Stage.IDLE
        if self.caller_speaking and not self._signals:
            events += self._stop(self.now_ms)
        return events

    def given_up(self) -> list[ev.Event]:
        """No answer comes to what was asked."""
        self.asked, self.stage = False, Stage.IDLE
        return [ev.ResponseEnded(self._name("r"), "failed", "no_answer")]

    def cut(self) -> None:
        """The bridge wants no more of this turn."""
        if self.stage is Stage.SPEAKING and self._response:
            self.stage = Stage.CUT

    # The caller

    def caller_words(self, words: str, *, finished: bool) -> list[ev.Event]:
        """A piece of what the caller says."""
        caller = self._caller
        events: list[ev.Event] = []
        if caller is None:
            caller = self._caller = _Words(self._name("c"))
            events.append(ev.Placed(caller.item_id, "caller"))
        caller.add(words)
        return events + (self._told(caller) if finished else [])

    def interrupted(self) -> list[ev.Event]:
        """The service heard the caller speak into the answer. What was cut already is not interrupted again."""
        if self.stage is Stage.CUT:
            return self._close_item() + self._end("cancelled", "interrupted")
        events = self._speech(self.now_ms)
        if self.stage is Stage.IDLE:
            events += self._stop(self.now_ms)  # no turn will end and say so
        return events

    def activity(self, *, start: bool, at_ms: int) -> list[ev.Event]:
        """The service says that the caller starts or stops to speak."""
        self._signals = True
        if not start:
            return self._stop(at_ms) if self.caller_speaking else []
        return [] if self.caller_speaking else self._speech(at_ms)

    def _speech(self, at_ms: int) -> list[ev.Event]:
        was_made = self.stage is Stage.SPOKEN or bool(self._response)
        self.asked = False
        events = self._close_item() + self._end("cancelled", "interrupted") + self._close_caller()
        self.stage = Stage.CUT if was_made else Stage.IDLE
        if self._caller is None:
            self._caller = _Words(self._name("c"))
        self.caller_speaking = True
        return [*events, ev.SpeechStarted(at_ms, self._caller.item_id)]

    def _stop(self, at_ms: int) -> list[ev.Event]:
        self.caller_speaking = False
        return [ev.SpeechStopped(at_ms)]

    # Items and responses

    def _content(self) -> list[ev.Event]:
        """Something of the model has come: a response is being made."""
        events: list[ev.Event] = []
        if self.stage is Stage.SPOKEN:
            events += self._close_item()
        elif self.stage is Stage.IDLE:
            events += self._answer_begins()
        self.stage = Stage.SPEAKING
        self.asked = False
        self._response = self._response or self._name("r")
        return events

    def _answer_begins(self) -> list[ev.Event]:
        """The caller's turn ends where the answer begins. His words may be late: then there is a place for them."""
        events = self._stop(self.now_ms) if self.caller_speaking else []
        if self._caller is None:
            if self.asked:
                return events
            self._caller = _Words(self._name("c"))
            events.append(ev.Placed(self._caller.item_id, "caller"))
        self._caller.committed = True
        return [*events, ev.Committed(self._caller.item_id), *self._told(self._caller)]

    def _told(self, caller: _Words) -> list[ev.Event]:
        """All of the caller's words so far; said again when more have come."""
        if len(caller.text) == caller.told:
            return []
        caller.told = len(caller.text)
        return [ev.CallerSaid(caller.item_id, caller.text.strip())]

    def _close_caller(self) -> list[ev.Event]:
        """A turn of the caller that was answered is over; words from here are of the next one."""
        caller = self._caller
        if caller is None or not caller.committed:
            return []
        self._caller = None
        return self._told(caller) if caller.text else [ev.NotTranscribed(caller.item_id)]

    def _opened(self, events: list[ev.Event]) -> _Words:
        if self._item is None:
            self._item = _Words(self._name("a"))
            events.append(ev.Placed(self._item.item_id, "agent"))
        return self._item

    def _end_audio(self) -> list[ev.Event]:
        item = self._item
        if item is None or not item.has_audio:
            return []
        item.has_audio = False
        return [ev.AudioEnd(item.item_id)]

    def _close_item(self) -> list[ev.Event]:
        events, item = self._end_audio(), self._item
        self._item = None
        if item is not None and item.text:
            events.append(ev.AgentSaid(item.item_id, item.text.strip()))
        return events

    def _end(self, status: str, detail: str = "") -> list[ev.Event]:
        response, self._response = self._response, ""
        return [ev.ResponseEnded(response, status, detail)] if response else []

    def _name(self, kind: str) -> str:
        self._names += 1
        return f"{self._mark}-{kind}{self._names}"
