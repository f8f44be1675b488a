"""OpenAI Realtime and what is compatible, without I/O: text frames in, events out, messages to send.

The owner feeds `receive`, acts on the events, and sends what `data_to_send` gives. Nothing here knows a socket or a
clock. Facts: Realtime reference, sections 7 and 8 (events), 10 (truncate), 11 (cancel), 13 (errors), 17 (MCP).
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Sequence
from typing import Any

import orjson

from bridge.realtime import events as ev
from bridge.realtime.bounded import keep_newest
from bridge.realtime.faults import FATAL_CODES, Malformed, is_harmless, is_not_truncatable, text, words
from bridge.realtime.history import NOTHING, AgentWords, History, Remembered
from bridge.realtime.openai import messages
from bridge.realtime.openai.caller_turns import CallerTurns
from bridge.realtime.openai.conversation import DELETED, Conversation
from bridge.realtime.openai.dialect import GA, Dialect
from bridge.realtime.openai.handshake import Handshake, Stage
from bridge.realtime.openai.outbox import REMEMBERED, Outbox
from bridge.realtime.openai.reactions import TABLE, Reactions
from bridge.realtime.openai.response_slot import ResponseSlot
from bridge.realtime.openai.tool_calls import CANCELLED, ToolCalls, written
from bridge.realtime.options import Json, SessionOptions
from bridge.realtime.protocol import GO_ON, Abilities, Alarm

__all__ = ["GO_ON", "OpenAIProtocol", "Stage"]

_ALARMS = 32


FINAL_CLOSE_CODES = frozenset({1000, 3000, 4000})
"""Goodbye, a refused key, a refused request."""


class OpenAIProtocol:
    """One session's protocol state."""

    resumption = ""

    def __init__(self, options: SessionOptions, history: History = NOTHING, dialect: Dialect = GA) -> None:
        self.options = options
        self.dialect = dialect
        self.abilities = Abilities(told_what_was_heard=dialect.truncate != "no")
        self.conversation = Conversation(keep_words=dialect.truncate in ("replace", "note"))
        self.malformed = 0
        """Frames and events that made no sense; each is dropped."""
        self.unknown = 0
        """Events of a type this version has no use for."""
        self.events_in = 0
        self._outbox = Outbox(dialect)
        self.handshake = Handshake(options, dialect, self._outbox.send)
        self.slot = ResponseSlot(self._outbox.send)
        self.calls = ToolCalls()
        self.turns = CallerTurns()
        self._history = history
        self._alarms: deque[Alarm] = deque(maxlen=_ALARMS)
        self._expired = False  # the service has said that the session has reached its longest time
        self._originals: dict[str, str] = {}
        self._reactions = Reactions()

    @property
    def stage(self) -> Stage:
        """Where the handshake stands."""
        return self.handshake.stage

    @property
    def late_deltas(self) -> int:
        """Audio deltas of interrupted items that came after the interruption."""
        return self.conversation.late_deltas

    @property
    def response_active(self) -> bool:
        """Whether a response is being made, or has been asked for."""
        return self.slot.busy

    @property
    def caller_speaking(self) -> bool:
        """Whether the service hears the caller speak."""
        return self.slot.caller_speaking

    # In

    def begin(self) -> None:
        """Nothing: the server speaks first."""

    def receive(self, frame: bytes) -> Sequence[ev.Event]:
        """One frame of the server. Never raises for what a server sends."""
        self.events_in += 1
        try:
            return self._react(orjson.loads(frame))
        except ValueError:  # not JSON, not Base64, or Malformed
            self.malformed += 1
            return ()

    def _react(self, event: Any) -> Sequence[ev.Event]:
        if not isinstance(event, dict):
            raise Malformed("the event is not an object")
        name = text(event, "type")
        react = TABLE.get(name)
        if react is not None:
            return react(self._reactions, self, event)
        if name not in messages.WITHOUT_EFFECT:
            self.unknown += 1
        return ()

    def audio_message(self, audio: bytes) -> bytes:
        """`input_audio_buffer.append`."""
        return messages.append_message(audio)

    def data_to_send(self) -> list[bytes]:
        """The messages that wait to be sent, each once."""
        return self._outbox.take()

    def alarms(self) -> Sequence[Alarm]:
        """The alarms to be set, each once."""
        if not self._alarms:
            return ()
        new = list(self._alarms)
        self._alarms.clear()
        return new

    def rang(self, alarm: Alarm) -> Sequence[ev.Event]:
        """The time of an alarm is over."""
        return self._reactions.rang(self, alarm)

    # Out

    def greet(self) -> None:
        """Open the conversation as configured; without a greeting the caller speaks first."""
        if self.options.greeting is not None:
            self._ask_with(self.options.greeting, {"metadata": dict(self.options.metadata)})

    def instruct(self, words: str) -> None:
        """Ask for an answer for which these words are instructions besides the session's own."""
        self._ask_with(words, {})

    def go_on(self) -> None:
        """Ask for the rest of an answer that the loss of the session before has cut off."""
        self.instruct(GO_ON)

    def remember(self, turns: Iterable[Remembered], *, respond: bool = False) -> None:
        """Put what was said or done elsewhere at the end of the conversation; `respond` asks for an answer to it."""
        turns = list(turns)
        for turn in turns:
            if isinstance(turn, AgentWords):
                self._stands_for(messages.remembered_id(turn.item_id), turn.item_id)
        for message in messages.put_back(turns):
            self.send(message)
        if respond:
            self.slot.ask({})

    def correct(self, item_id: str, heard: str) -> None:
        """Of a remembered item of the agent, only this much was heard after all."""
        known = messages.remembered_id(item_id)
        if heard:
            item = messages.agent_item(AgentWords(f"{item_id}'", heard, cut=True))
            self.send(messages.created(item, after=known))
        self.send(messages.delete(known))

    def hears(self, *, speaking: bool) -> None:
        """The caller begins or stops to speak, where the bridge finds that out by itself."""
        if speaking:
            self.slot.caller_starts()
        else:
            self.slot.caller_stops(server_answers=False)

    def commit(self) -> None:
        """The caller's turn is over, where the bridge decides that."""
        self.send({"type": "input_audio_buffer.commit"})
        self.turns.asked()
        self.slot.covers_caller = False

    def is_final_close(self, code: int, reason: str) -> bool:
        """Whether another session would end the same way, or is not wanted (reference section 14)."""
        return code in FINAL_CLOSE_CODES and not self._expired

    def finish(self) -> None:
        """Nothing: the socket is simply closed."""

    def user_text(self, words: str, *, respond: bool = True) -> None:
        """Put words into the conversation as the caller's, and ask for an answer."""
        self.send(messages.user_text(words))
        if respond:
            self.slot.ask({})

    def respond(self) -> None:
        """Ask for an answer to what the caller has said, where the server does not answer by itself.

        One that was asked for since he spoke, as for a tool's result, is that answer.
        """
        self.slot.answer()

    def forget(self, item_id: str) -> None:
        """What the caller seemed to say was noise: take it out of the conversation, as soon as it is in it."""
        if self.options.turn_detection is None:
            item_id = item_id or self.turns.own  # of a turn that it has found itself the bridge knows no name
        if self.turns.forget(item_id):
            self.send(messages.delete(item_id))

    def tool_result(self, call_id: str, output: Json, *, respond: bool = True) -> None:
        """Answer a tool call; `respond` lets the model speak once all calls of that response have their results.

        A call of which this session knows nothing (quirk F9) is answered by a note.
        """
        result = written(output)
        if self.calls.knows(call_id):
            self.send(messages.tool_output(call_id, result))
            self.calls.answered(call_id, speak=respond)
            self.ask_for_results()
            return
        self.send(messages.system_text(f"What you asked a tool for earlier in this call has come: {result}"))
        if respond:
            self.slot.ask({})

    def interrupted(self, heard: Iterable[ev.HeardItem], *, by_server: bool = True) -> list[ev.Truncated]:
        """The playout was flushed: tell the server what was heard, and stop the response if it does not itself.

        `by_server` is False when the bridge interrupts (a key press), of which the server knows nothing.
        """
        active, size = self.slot.active, self.handshake.audio_out.bytes_per_ms
        cuts = self.conversation.interrupt(
            heard, active, bytes_per_ms=size, far_end_delay_ms=self.options.far_end_delay_ms
        )
        self.slot.interrupted()
        if active is not None and not (by_server and self.options.server_cancels):
            self.cancel(active)
        for cut in cuts:
            self._tell(cut, size)
        return cuts

    def _tell(self, cut: ev.Truncated, bytes_per_ms: int) -> None:
        """What was heard of an item, as the server can be told."""
        match self.dialect.truncate:
            case "yes":
                self.send(messages.cut(cut))
            case "replace":
                self._stands_for(messages.remembered_id(cut.item_id), cut.item_id)
                for message in messages.replaced(cut, self.conversation.heard_words(cut, bytes_per_ms)):
                    self.send(message)
            case "note" if cut.heard_ms != DELETED:
                self.send(messages.noted(self.conversation.heard_words(cut, bytes_per_ms)))

    def _ask_with(self, words: str, response: Json) -> None:
        """Ask for an answer with instructions of its own.

        They replace the session's (quirk B9), so the persona is repeated before them.
        """
        if self.dialect.greeting == "message":
            self.send(messages.system_text(words))
            self.slot.ask(response)
            return
        persona = f"{self.options.instructions}\n\n" if self.options.instructions else ""
        self.slot.ask({"instructions": persona + words} | response)

    def _stands_for(self, item_id: str, original: str) -> None:
        self._originals[item_id] = original
        keep_newest(self._originals, REMEMBERED)

    # For the reactions

    def send(self, message: Json) -> str:
        """Send an event that was made in GA's shape; its id."""
        return self._outbox.send(message)

    def cancel(self, response_id: str) -> None:
        """Stop a response, where the server can."""
        if self.dialect.cancel:
            self.send(messages.cancel(response_id))

    def set_alarm(self, name: str, about: str, after_s: float) -> None:
        """Ask to be woken."""
        self._alarms.append(Alarm(name, about, after_s))

    def ask_for_results(self) -> None:
        """One response for the results of all calls of a response, once it is over (quirk F2)."""
        if self.calls.due(self.slot.active):
            self.slot.ask({})

    def call_off(self, call_ids: Iterable[str]) -> None:
        """Answer calls that were interrupted before they were whole (quirk F5)."""
        for call_id in call_ids:
            self.send(messages.tool_output(call_id, written(CANCELLED)))
            self.calls.answered(call_id, speak=False)

    def original(self, item_id: str | None) -> str | None:
        """The item of an earlier session, or of before it was cut, that this one stands for."""
        return self._originals.get(item_id, item_id) if item_id else None

    def put_back(self) -> None:
        """Tell a new session what was said before."""
        self.remember(self._history.turns)

    def complaint(self, error: Json) -> tuple[ev.Event, ...]:
        """An `error` event: what it means, and what is tried instead."""
        code, message = words(error, "code", "type") or "unknown", words(error, "message")
        request = self._outbox.refused(error.get("event_id"))
        if code not in FATAL_CODES and (tried := self._other_try(error, request)) is not None:
            return tried
        if request is not None:
            self._after_refusal(request, code, message)
        ready = self.stage is Stage.READY
        fatal = code in FATAL_CODES or not ready
        if fatal:
            self.handshake.stage = Stage.FAILED
        if param := words(error, "param"):
            message = f"{message} ({param})"
        told = ev.SessionError(code, message, fatal, not fatal and is_harmless(code, message))
        if code == "session_expired" and ready:
            self._expired = True  # whatever the socket is closed with now
            return told, ev.GoingAway(0.0)
        return (told,)

    def _other_try(self, error: Json, request: Json | None) -> tuple[ev.Event, ...] | None:
        about_update = request is None or request["type"] == "session.update"
        return self.handshake.refused(error) if about_update else None

    def _after_refusal(self, request: Json, code: str, message: str) -> None:
        if request["type"] == "conversation.item.truncate" and is_not_truncatable(message):
            self.send(messages.delete(request["item_id"]))
        elif request["type"] == "response.create":
            self.slot.refused(request, code)
