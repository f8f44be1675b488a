"""OpenAI Live (`gpt-live-1`), without I/O: text frames in, events out, messages to send.

The service hears and speaks at once and decides alone who speaks: it names no turns, no items and no interruptions,
and nothing can be cancelled or cut at its side. So the items are made here, of sound (`live_track`) and of text
(`live_lines`), and an interrupted agent is only no longer heard. Its clock is the caller's audio. Facts: Live
reference, sections 2 (start), 4 and 5 (events), 6 (audio), 7 (interruption), 8 (transcripts), 9 (tools), 10 (end).
"""

from __future__ import annotations

from binascii import a2b_base64
from collections.abc import Callable, Iterable, Mapping, Sequence
from enum import Enum
from typing import Any

import orjson

from bridge.realtime import events as ev
from bridge.realtime.faults import FATAL_CODES, Malformed, ident, inner, member, some_id, text, words
from bridge.realtime.history import NOTHING, History, Remembered
from bridge.realtime.live import messages
from bridge.realtime.live.backend import Backend
from bridge.realtime.live.lines import Fragment, Lines
from bridge.realtime.live.meter import Meter
from bridge.realtime.live.session_start import BACKEND_MODEL, ready, session_start
from bridge.realtime.live.track import STALLED_MS, Track
from bridge.realtime.options import Json, SessionOptions
from bridge.realtime.protocol import Abilities, Alarm

_ASKED_MS = 5000
"""So long a request to speak counts as an answer on its way, if nothing is heard."""
_FATAL = FATAL_CODES | {"credit_balance_exhausted"}
_AT_THE_END = frozenset({"context_injection_incomplete"})
"""Errors that good sessions see when they close."""
_FINAL_CLOSES = frozenset({1002, 1003, 1007, 1008, 1009, 1010, 3000, 4000})
"""All that the vendor's own client does not take for worth another try, but 1000, which follows `expired` too."""
_NAME_LENGTH = 64


class Stage(Enum):
    """Where the session stands; audio may flow only in READY."""

    STARTING = "starting"  # waiting for session.started
    READY = "ready"
    CLOSING = "closing"  # session.close sent, waiting for session.closed
    CLOSED = "closed"
    FAILED = "failed"


class LiveProtocol:
    """One session's protocol state."""

    resumption = ""
    caller_speaking = False
    """The service does not say."""

    def __init__(self, options: SessionOptions, history: History = NOTHING) -> None:
        self.options = options
        self.abilities = Abilities(
            bursts=False,
            hears_turns=False,
            decides_turns=True,
            told_what_was_heard=False,
            needs_steady_audio=True,
            says_goodbye=True,
        )
        self.stage = Stage.STARTING
        self.malformed = 0
        """Frames and events that made no sense, or came at the wrong time; each is dropped."""
        self.unknown = 0
        """Events of a type this version has no use for."""
        self.events_in = 0
        self._session = session_start(options, history.turns)
        delegation = inner(self._session, "delegation")
        self._delegates = delegation.get("type") == "responses"
        self._out: list[bytes] = []
        self._serial = 0
        self._create_id = ""  # of the last `response.create`
        self._before_sound: list[ev.Event] = []  # of items that begin in the piece of audio at hand
        self._sent_bytes = 0  # of the caller's audio
        self._per_ms = options.audio.bytes_per_ms
        self._asked_until = 0  # on the session's clock
        self._was_active = False
        self._track = Track()
        self._lines = Lines()
        self._backend = Backend()
        backend = words(inner(delegation, "responses"), "model") or BACKEND_MODEL
        self._meter = Meter(words(self._session, "model"), backend)

    @property
    def clock_ms(self) -> int:
        """The session's clock: the caller's audio sent so far."""
        return self._sent_bytes // self._per_ms

    @property
    def late_deltas(self) -> int:
        """Pieces of interrupted items that came after the interruption."""
        return self._track.late

    @property
    def response_active(self) -> bool:
        """Whether the agent speaks, or has been asked to, or works on something."""
        return bool(self._track.item) or self._backend.busy or self.clock_ms < self._asked_until

    # In

    def begin(self) -> None:
        """The client speaks first."""
        self._send({"type": "session.start", "session": self._session})

    def receive(self, frame: bytes) -> Sequence[ev.Event]:
        """One frame of the server. Never raises for what a server sends."""
        self.events_in += 1
        try:
            found = list(self._receive_event(orjson.loads(frame)))
        except ValueError:  # not JSON, not Base64, or Malformed
            self.malformed += 1
            found = []
        if self.stage in (Stage.READY, Stage.CLOSING):
            found += self._track.check(self.clock_ms)
            found += self._lines.settle(self.clock_ms, heard_in=self._track.item)
            found += self._rest()
        return found

    def alarms(self) -> Sequence[Alarm]:
        """None: the session's clock is the caller's audio."""
        return ()

    def rang(self, alarm: Alarm) -> Sequence[ev.Event]:
        """Nothing."""
        return ()

    def audio_message(self, audio: bytes) -> bytes:
        """`session.input_audio.append`; the session's clock goes on by this audio."""
        self._sent_bytes += len(audio)
        return messages.append_message(audio)

    def data_to_send(self) -> list[bytes]:
        """The messages that wait to be sent, each once."""
        out, self._out = self._out, []
        return out

    # Out

    def greet(self) -> None:
        """Open the conversation as configured; without a greeting the caller speaks first."""
        if self.options.greeting is not None:
            self.instruct(messages.greeting(self.options.greeting))

    def respond(self) -> None:
        """Ask for the answer that the session before this one owes; to all else the service answers by itself."""
        self.instruct(messages.ANSWER)

    def instruct(self, words: str) -> None:
        """Let the agent speak now as these words say; it stops for that what it was saying."""
        self._append("instructions", words)
        self._asked_until = self.clock_ms + _ASKED_MS
        self._was_active = True

    def go_on(self) -> None:
        """Ask for the rest of an answer that the loss of the session before has cut off."""
        self.instruct(messages.GO_ON)

    def user_text(self, words: str, *, respond: bool = True) -> None:
        """Words that the caller entered, for the voice and for the model behind it."""
        if self._delegates:
            self._send(messages.backend_text(words))
        told = messages.entered(words, respond=respond)
        if respond:
            self.instruct(told)
        else:
            self._append("thinking", told)

    def remember(self, turns: Iterable[Remembered], *, respond: bool = False) -> None:
        """Tell the voice silently what was said or done elsewhere."""
        self._append("thinking", "\n".join(map(messages.words_of, turns)))
        if respond:
            self.respond()

    def correct(self, item_id: str, heard: str) -> None:
        """Of a remembered item of the agent, only this much was heard after all."""
        self._append("thinking", messages.heard_only(heard))

    def tool_result(self, call_id: str, output: Json, *, respond: bool = True) -> None:
        """Answer a tool call; when all calls of a response are answered, the model goes on about them."""
        if self._backend.answered(call_id, respond=respond):
            self._send(messages.tool_output(call_id, output))
            self._let_backend_go_on()

    def interrupted(self, heard: Iterable[ev.HeardItem], *, by_server: bool = True) -> list[ev.Truncated]:
        """The playout was flushed. The service cannot be told: what it still says of that is dropped till it pauses."""
        items = list(heard)
        if self._track.sounding or any(item.item_id == self._track.item for item in items):
            self._track.cut()
        delay = self.options.far_end_delay_ms
        return [ev.Truncated(item.item_id, max(0, item.sent_ms - delay)) for item in items]

    def forget(self, item_id: str) -> None:
        """Nothing: what the service has heard stays heard."""

    def hears(self, *, speaking: bool) -> None:
        """Nothing: the service alone decides who speaks."""

    def commit(self) -> None:
        """Nothing: the service alone hears turns."""

    def is_final_close(self, code: int, reason: str) -> bool:
        """Whether another session would end the same way, as far as the codes are known (section 10)."""
        return code in _FINAL_CLOSES

    def finish(self) -> None:
        """Ask for the end; the final usage comes with `session.closed`, if somebody still reads."""
        if self.stage is Stage.READY:
            self.stage = Stage.CLOSING
            self._send({"type": "session.close"})

    def _append(self, kind: str, words: str, delegation: str | None = None) -> None:
        for message in messages.appends(kind, words, delegation):
            self._send(message)

    def _end_all(self) -> list[ev.Event]:
        """The session is over: the end of what was being said, and its words as far as they have come."""
        return [*self._track.check(self.clock_ms + STALLED_MS + 1), *self._lines.close()]

    def _let_backend_go_on(self) -> None:
        if self._backend.take_turn():
            self._create_id = self._send({"type": "response.create"})

    def _send(self, message: Json) -> str:
        self._serial += 1
        event_id = f"br-{self._serial}"
        self._out.append(orjson.dumps(message | {"event_id": event_id}))
        return event_id

    # Start, errors, end

    def _receive_event(self, event: Any) -> Sequence[ev.Event]:
        if not isinstance(event, dict):
            raise Malformed("the event is not an object")
        match text(event, "type"):
            case "error":
                return (self._on_error(member(event, "error")),)
            case "session.started":
                return (self._on_started(member(event, "session")),)
            case "session.closed":
                return self._on_closed(event)
            case name if name in _TABLE:
                if self.stage not in (Stage.READY, Stage.CLOSING):
                    raise Malformed(f"{name} outside the session")
                return _TABLE[name](self, event)
            case name:
                self.unknown += name not in messages.WITHOUT_EFFECT
                return ()

    def _on_started(self, session: Json) -> ev.Event:
        if self.stage is not Stage.STARTING:
            raise Malformed("the session has started before")
        started = ready(session, self.options.audio)
        if started is None:
            self.stage = Stage.FAILED
            told = str(inner(session, "audio").get("format"))[:_NAME_LENGTH]
            detail = f"asked for {self.options.audio.name}, the service says {told}"
            return ev.SessionError("format_mismatch", detail, fatal=True)
        self.stage = Stage.READY
        self._lines.name = started.session_id[:_NAME_LENGTH] or self._lines.name
        self._per_ms = started.audio_in.bytes_per_ms
        self._track.configure(started.audio_out)
        return started

    def _on_error(self, error: Json) -> ev.SessionError:
        code, message = words(error, "code", "type") or "unknown", words(error, "message")
        if self._create_id and error.get("client_event_id") == self._create_id:
            self._backend.refused()
        ending = self.stage in (Stage.CLOSING, Stage.CLOSED)
        fatal = not ending and (code in _FATAL or self.stage is not Stage.READY)
        if fatal:
            self.stage = Stage.FAILED
        if param := words(error, "param"):
            message = f"{message} ({param})"
        return ev.SessionError(code, message, fatal, not fatal and (ending or code in _AT_THE_END))

    def _on_closed(self, event: Json) -> list[ev.Event]:
        """The end. Another session may go on, but not after the safety filter's word, nor where none ever began."""
        before, self.stage = self.stage, Stage.CLOSED
        reason = words(event, "reason") or "closed"
        found = [*self._meter.session(event), *self._end_all()]
        if before in (Stage.CLOSING, Stage.CLOSED, Stage.FAILED):
            return found
        if before is Stage.STARTING or reason == "content":
            return [*found, ev.SessionError(reason, f"the service closed the session: {reason}", fatal=True)]
        return [*found, ev.GoingAway(0.0)]

    # Sound and text

    def _rest(self) -> list[ev.Event]:
        """The end of an answer, of which the service has no notion: neither sound nor work any more."""
        was, self._was_active = self._was_active, self.response_active
        return [ev.ResponseEnded(self._lines.name, "completed", "")] if was and not self._was_active else []

    def _sound(self) -> str:
        self._asked_until = 0
        item_id, before = self._lines.sound(self.clock_ms)
        self._before_sound += before
        return item_id

    def _on_audio(self, event: Json) -> list[ev.Event]:
        found = self._track.receive(a2b_base64(text(event, "delta"), strict_mode=True), self.clock_ms, self._sound)
        before, self._before_sound = self._before_sound, []
        return [*before, *found]

    def _on_caller_text(self, event: Json) -> list[ev.Event]:
        return self._lines.caller(Fragment.of(event), self.clock_ms)

    def _on_agent_text(self, event: Json) -> list[ev.Event]:
        track = self._track
        return self._lines.agent(Fragment.of(event), self.clock_ms, heard_in=track.item, sounding=track.sounding)

    # Delegation

    def _on_delegation(self, event: Json) -> Sequence[ev.Event]:
        delegation = member(event, "delegation")
        if delegation.get("target") == "client":
            self._append("commentary", messages.NOBODY, ident(delegation, "id"))
        return ()

    def _on_response_event(self, event: Json) -> Sequence[ev.Event]:
        delegation, nested = some_id(event, "delegation_id"), member(event, "event")
        match text(nested, "type"):
            case "response.created":
                self._backend.created(delegation, nested)
            case "response.output_item.done":
                return self._backend.item_done(delegation, nested)
            case "response.completed" | "response.incomplete":
                return self._on_response_over(delegation, member(nested, "response"))
            case "response.failed":
                return self._on_response_over(delegation, member(nested, "response"), failed=True)
        return ()

    def _on_response_over(self, delegation: str, response: Json, *, failed: bool = False) -> list[ev.Event]:
        found = self._backend.ended(delegation, response, failed=failed)
        self._let_backend_go_on()
        return [*found, *self._meter.response(response)]

    def _on_usage(self, event: Json) -> Sequence[ev.Event]:
        return self._meter.session(event)


_TABLE: Mapping[str, Callable[[LiveProtocol, Json], Sequence[ev.Event]]] = {
    "session.output_audio.delta": LiveProtocol._on_audio,
    "session.input_transcript.delta": LiveProtocol._on_caller_text,
    "session.output_transcript.delta": LiveProtocol._on_agent_text,
    "session.delegation.created": LiveProtocol._on_delegation,
    "response.event": LiveProtocol._on_response_event,
    "session.usage.updated": LiveProtocol._on_usage,
}
"""Type of an event → what it does."""
