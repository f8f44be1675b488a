"""The turns of an ElevenLabs conversation: what is played of which, and when one is over (reference section 4).

Theory: the wire has audio, texts and an `event_id` that grows, but no items. A turn of the agent opens with the first
audio or text after the one before, and is in one of three states:

    open      its audio is played                               ends when the server says so, or at `tick`
    muted     the bridge cut it off, of which the server knows  ends likewise, or when another answer is asked for
              nothing: what comes of it is dropped
    over      by `agent_response_complete`, `is_final`, the next text, words of the caller, an interruption, or silence

`is_final` and `agent_response_complete` are newer than the reference and come only where the agent is set to send them.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from bridge.realtime import events as ev
from bridge.realtime.bounded import keep_newest
from bridge.realtime.elevenlabs.turn_end import ANSWER_S, TurnEnd
from bridge.realtime.openai.conversation import DELETED

REMEMBERED = 64
"""Texts of turns and tool calls that are kept."""
_COMPARED = 1000
"""Characters of a turn's text by which a correction finds it."""


@dataclass(slots=True)
class _Turn:
    item_id: str
    has_audio: bool = False
    has_text: bool = False


class Turns:
    """The turns of one conversation."""

    def __init__(self) -> None:
        self.conversation_id = ""
        """Begins the ids of all items, for a call may have several conversations."""
        self.late_deltas = 0
        """Audio of interrupted turns that came after the interruption."""
        self._serial = 0
        self._open: _Turn | None = None
        self._muted: _Turn | None = None
        self._asked: str | None = None  # the status to report of an answer that is due, should none come
        self._unplayed = ""  # a turn that was interrupted before any of its audio came
        self._last_item = ""
        self._newest_id = self._dropped_id = 0  # of audio: the newest seen, the newest that must not be played
        self._end = TurnEnd()
        self._said: dict[str, str] = {}

    @property
    def active(self) -> bool:
        """Whether the agent's turn is not over, or an answer has been asked for."""
        return self._open is not None or self._muted is not None or self._asked is not None

    def new_item(self, role: str) -> str:
        """An id of our own for something that was said."""
        self._serial += 1
        return f"{self.conversation_id}:{role}-{self._serial}"

    # What the server says

    def audio(self, audio: bytes, ms: float, event_id: int | None, *, is_final: bool) -> list[ev.Event]:
        """A piece of the agent's audio, `ms` milliseconds long."""
        if event_id is not None:
            self._newest_id = max(self._newest_id, event_id)
            if event_id <= self._dropped_id:
                self.late_deltas += 1
                return []
        events: list[ev.Event] = []
        if self._muted is not None:
            self.late_deltas += 1
            self._end.heard(0)
        elif audio:
            turn = self._current(events)
            turn.has_audio = True
            self._end.heard(ms)
            events.append(ev.AudioDelta(turn.item_id, audio))
        return events + self.end() if is_final else events

    def text(self, words: str, event_id: int | None) -> list[ev.Event]:
        """What the agent is about to say, or is saying. A turn has one text: the next one is the next turn."""
        if event_id is not None and event_id <= self._dropped_id:
            return []
        turn = self._open or self._muted
        events = self.end() if turn is not None and turn.has_text else []
        turn = self._muted or self._current(events)
        turn.has_text = True
        if not turn.has_audio:
            self._end.expect(ANSWER_S)
        keep(self._said, turn.item_id, words[:_COMPARED])
        return [*events, ev.AgentSaid(turn.item_id, words)]

    def corrected(self, original: str, corrected: str) -> list[ev.Event]:
        """After an interruption: what the caller has heard of a text, by the server's estimate."""
        known = [item_id for item_id, words in self._said.items() if words == original[:_COMPARED]]
        item_id = known[-1] if known else self._last_item
        return [ev.AgentSaid(item_id, corrected)] if item_id else []

    def interruption(self, event_id: int | None) -> list[ev.Event]:
        """The caller has interrupted the agent; audio up to `event_id` is not to be played."""
        self._dropped_id = max(self._dropped_id, self._newest_id if event_id is None else event_id)
        turn, self._open, self._muted = self._open or self._muted, None, None
        self._end.cut()
        self._settle()
        if turn is None:
            return [ev.SpeechStarted(0)]
        self._unplayed = "" if turn.has_audio else turn.item_id
        return [ev.SpeechStarted(0), ev.ResponseEnded(turn.item_id, "cancelled", "turn_detected")]

    def end(self, event_id: int | None = None) -> list[ev.Event]:
        """The agent's turn is over; without effect when it is of a turn that was interrupted, or between turns."""
        turn, muted = self._open, self._muted
        if (turn is None and muted is None) or (event_id is not None and event_id <= self._dropped_id):
            return []
        self._open = self._muted = None
        self._settle()
        if turn is None:
            assert muted is not None
            return [ev.ResponseEnded(muted.item_id, "cancelled", "")]
        audio_end: list[ev.Event] = [ev.AudioEnd(turn.item_id)] if turn.has_audio else []
        return [*audio_end, ev.ResponseEnded(turn.item_id, "completed", "")]

    # What the bridge does

    def expect(self, status: str, seconds: float) -> None:
        """Something of the agent is due within so many seconds, else it ends as `status`."""
        self._asked = status
        self._end.expect(seconds)

    def unmute(self) -> None:
        """A new answer is asked for: what has come of the muted turn is dropped, what comes now is that answer."""
        if self._muted is not None:
            self._dropped_id, self._muted = max(self._dropped_id, self._newest_id), None

    def cut(self, heard: Iterable[ev.HeardItem], far_end_delay_ms: int, *, by_server: bool) -> list[ev.Truncated]:
        """The playout was flushed: what was heard of each item that was not heard to its end."""
        cuts = [ev.Truncated(item.item_id, max(0, item.sent_ms - far_end_delay_ms)) for item in heard]
        if not by_server and self._open is not None:
            self._muted, self._open = self._open, None
            self._unplayed = "" if self._muted.has_audio else self._muted.item_id
        if self._unplayed:
            cuts.append(ev.Truncated(self._unplayed, DELETED))
            self._unplayed = ""
        self._end.cut()
        return cuts

    def tick(self, now: float) -> list[ev.Event]:
        """At `now` seconds of a steady clock: ends a turn of which nothing more comes, and gives up on an answer."""
        if not self._end.tick(now):
            return []
        asked, self._asked = self._asked, None
        events = self.end()
        if not events and asked is not None:
            events = [ev.ResponseEnded("", asked, "no_answer" if asked == "incomplete" else "")]
        return events

    def _current(self, events: list[ev.Event]) -> _Turn:
        """The open turn; where there is none, one is opened, which `events` then say."""
        if self._open is None:
            self._open = _Turn(self.new_item("agent"))
            self._last_item = self._open.item_id
            self._asked = None
            events.append(ev.Placed(self._open.item_id, "agent"))
        return self._open

    def _settle(self) -> None:
        """A turn is over; what was asked for since is still due."""
        if self._asked is None:
            self._end.over()
        else:
            self._end.expect(ANSWER_S)


def keep(table: dict[str, Any], key: str, value: Any) -> None:
    """Add to a table that keeps the newest few."""
    table[key] = value
    keep_newest(table, REMEMBERED)
