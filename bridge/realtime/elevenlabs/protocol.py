"""ElevenLabs agents ("Conversational AI"), without I/O: frames of the socket in, events out, messages to send.

The agent (prompt, voice, tools, formats, turns) lives at ElevenLabs; the socket carries one conversation and what its
settings let us override. The server alone decides who speaks, believes that its audio is played in real time, and cuts
its own text at an interruption. Items are the agent's turns, as `elevenlabs_turns` finds them; not every one is said to
be over, so alarms ring while one is made.
Facts: other-providers reference, section 4.
"""

from __future__ import annotations

from binascii import a2b_base64
from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from enum import Enum
from typing import Any

import orjson

from bridge.audio.format import Format
from bridge.audio.g711 import Law
from bridge.realtime import events as ev
from bridge.realtime.elevenlabs import messages
from bridge.realtime.elevenlabs.faults import FINAL_CLOSE_CODES, error_of
from bridge.realtime.elevenlabs.turn_end import AFTERWORD_S, ANSWER_S
from bridge.realtime.elevenlabs.turns import Turns, keep
from bridge.realtime.faults import ID_LIMIT, Malformed, ident, member, text, words
from bridge.realtime.history import NOTHING, History, Remembered
from bridge.realtime.options import Json, SessionOptions
from bridge.realtime.protocol import Abilities, Alarm

GO_ON = (
    "The line broke while you were speaking. The caller has heard your last message as far as it stands above. "
    "Go on from there: do not greet again, and do not repeat what was heard."
)
TICK_S = 0.2
_OWN_MESSAGES = 16
"""Texts sent in the caller's place, by which they are known should they come back as his words."""


class Stage(Enum):
    """Where the conversation stands; audio may flow only in READY."""

    STARTING = "starting"  # waiting for conversation_initiation_metadata
    READY = "ready"
    FAILED = "failed"


class ElevenLabsProtocol:
    """One conversation's protocol state."""

    resumption = ""
    caller_speaking = False
    """The server does not say when the caller stops, so it is never claimed that he speaks."""

    def __init__(self, options: SessionOptions, history: History = NOTHING) -> None:
        self.options = options
        self.abilities = Abilities(hears_turns=False, decides_turns=True, told_what_was_heard=False)
        self.stage = Stage.STARTING
        self.malformed = 0
        """Frames and events that made no sense; each is dropped."""
        self.unknown = 0
        """Events of a type this version has no use for."""
        self.events_in = 0
        self._turns = Turns()
        self._ticking = False  # an alarm is set
        self._now = 0.0  # seconds of the alarms so far: a clock that stands while nothing is awaited
        self._history = history
        self._initiation = messages.initiation(options, history)
        self._out: list[bytes] = []
        self._format: Format = Law.PCMU  # of the agent's audio, known when READY
        self._calls: dict[str, bool] = {}  # id → whether the server waits for a result, and has none yet
        self._written: deque[str] = deque(maxlen=_OWN_MESSAGES)

    @property
    def late_deltas(self) -> int:
        """Audio of interrupted turns that came after the interruption."""
        return self._turns.late_deltas

    @property
    def response_active(self) -> bool:
        """Whether an answer is being made, or has been asked for."""
        return self._turns.active

    # In

    def begin(self) -> None:
        """The first message, and the only one that configures anything."""
        self._send(self._initiation)

    def receive(self, frame: bytes) -> Sequence[ev.Event]:
        """One frame of the server. Never raises for what a server sends."""
        self.events_in += 1
        try:
            return self._receive_event(orjson.loads(frame))
        except ValueError:  # not JSON, not Base64, or Malformed
            self.malformed += 1
            return ()

    def _receive_event(self, event: Any) -> Sequence[ev.Event]:
        if not isinstance(event, dict):
            raise Malformed("the event is not an object")
        name = text(event, "type")
        react = _ALWAYS.get(name)
        if react is None and name in _TABLE:
            if self.stage is not Stage.READY:
                raise Malformed(f"{name} before the conversation began")
            react = _TABLE[name]
        if react is not None:
            return react(self, event)
        if name not in messages.WITHOUT_EFFECT:
            self.unknown += 1
        return ()

    def alarms(self) -> Sequence[Alarm]:
        """A few times a second while an answer is awaited or made: not every end of one is told."""
        if self._ticking or not self.response_active:
            return ()
        self._ticking = True
        return (Alarm("tick", "", TICK_S),)

    def rang(self, alarm: Alarm) -> Sequence[ev.Event]:
        """Ends a turn of which nothing more comes, and gives up on an answer."""
        self._ticking = False
        self._now += alarm.after_s
        return self._turns.tick(self._now)

    def audio_message(self, audio: bytes) -> bytes:
        """`user_audio_chunk`."""
        return messages.audio_chunk(audio)

    def data_to_send(self) -> list[bytes]:
        """The messages that wait to be sent, each once."""
        out, self._out = self._out, []
        return out

    # Out

    def greet(self) -> None:
        """Ask for the greeting, unless `first_message` is set besides: then the server has said that by itself."""
        if self.options.greeting is not None and not messages.first_message(self._initiation):
            self.instruct(self.options.greeting)

    def respond(self) -> None:
        """Ask for an answer to what was said in the session before; what it hears, the server answers by itself."""
        if not self.response_active:
            self._write(messages.ANSWER)

    def go_on(self) -> None:
        """Ask for the rest of an answer that the loss of the session before has cut off."""
        self.instruct(GO_ON)

    def instruct(self, words: str) -> None:
        """Ask for an answer: the words as a note, which is not answered, and then a caller's turn without words."""
        self._send(messages.note(words))
        self._write(messages.NUDGE)

    def user_text(self, words: str, *, respond: bool = True) -> None:
        """Words in the caller's place; without `respond` only a note, because each turn of the caller is answered."""
        if respond:
            self._write(words)
        else:
            self._send(messages.note(words))

    def remember(self, turns: Iterable[Remembered], *, respond: bool = False) -> None:
        """What was said or done elsewhere, as one note; to have it answered, a caller's turn without words follows."""
        if account := messages.recounted(turns):
            self._send(messages.note(account))
            if respond:
                self._write(messages.NUDGE)

    def correct(self, item_id: str, heard: str) -> None:
        """A note that takes back the end of what was remembered: nothing in the conversation can be changed."""
        what = f"only this: {heard}" if heard else "nothing"
        self._send(messages.note(f"Of your last message in the account above the caller has heard {what}"))

    def tool_result(self, call_id: str, output: Json, *, respond: bool = True) -> None:
        """Answer a tool call, once; results for calls that nobody waits for are dropped.

        The model may speak after it, `respond` or not, so something is awaited in either case.
        """
        if not self._calls.get(call_id, False):
            return
        self._calls[call_id] = False
        self._send(messages.tool_result(call_id, orjson.dumps(output).decode(), is_error="error" in output))
        self._turns.expect("incomplete" if respond else "completed", ANSWER_S if respond else AFTERWORD_S)

    def interrupted(self, heard: Iterable[ev.HeardItem], *, by_server: bool = True) -> list[ev.Truncated]:
        """The playout was flushed. The server is told nothing: it cuts its text by its own estimate.

        When the bridge interrupts, it cannot be stopped either: the rest of the turn is dropped as it comes, and
        `user_activity` keeps the agent from beginning anew.
        """
        cuts = self._turns.cut(heard, self.options.far_end_delay_ms, by_server=by_server)
        if cuts and not by_server:
            self._send({"type": "user_activity"})
        return cuts

    def forget(self, item_id: str) -> None:
        """Nothing: the server keeps what it has heard."""

    def hears(self, *, speaking: bool) -> None:
        """Nothing: the service alone decides who speaks."""

    def commit(self) -> None:
        """Nothing: the server alone decides when the caller has finished."""

    def is_final_close(self, code: int, reason: str) -> bool:
        """Whether another session would end the same way, or is not wanted."""
        return code in FINAL_CLOSE_CODES

    def finish(self) -> None:
        """Nothing: the socket is simply closed."""

    def _write(self, words: str) -> None:
        self._written.append(words.strip())
        self._send(messages.user_message(words))
        self._turns.unmute()
        self._turns.expect("incomplete", ANSWER_S)

    def _send(self, message: Json) -> None:
        self._out.append(orjson.dumps(message))

    # Handshake

    def _on_metadata(self, event: Json) -> Sequence[ev.Event]:
        if self.stage is not Stage.STARTING:
            raise Malformed("a second conversation_initiation_metadata")
        said = member(event, "conversation_initiation_metadata_event")
        names = [words(said, f"{side}_audio_format") or "unknown" for side in ("user_input", "agent_output")]
        heard, spoken = (messages.FORMATS.get(name) for name in names)
        are = f"the agent is set to {names[0]} in and {names[1]} out"
        if heard is None or spoken is None:
            self.stage = Stage.FAILED
            return [ev.SessionError("unusable_format", f"{are}: use {', '.join(messages.FORMATS)}", fatal=True)]
        self.stage = Stage.READY
        self._format = spoken
        self._turns.conversation_id = words(said, "conversation_id")[: ID_LIMIT // 2]
        self.remember(self._history.turns)
        asked = self.options.audio
        fell_back = "" if heard == spoken == asked else f"asked for {asked.name}, {are}"
        return [ev.Ready(self._turns.conversation_id, self.options.model, heard, spoken, fell_back)]

    def _on_ping(self, event: Json) -> Sequence[ev.Event]:
        event_id = member(event, "ping_event").get("event_id")
        if not isinstance(event_id, int | str) or len(str(event_id)) > ID_LIMIT:
            raise Malformed("a ping without a usable event_id")
        self._send({"type": "pong", "event_id": event_id})
        return ()

    def _on_error(self, event: Json) -> Sequence[ev.Event]:
        error = error_of(event, began=self.stage is Stage.READY)
        if error.fatal:
            self.stage = Stage.FAILED
        return [error]

    # The agent's turns

    def _on_audio(self, event: Json) -> Sequence[ev.Event]:
        said = member(event, "audio_event")
        audio = a2b_base64(text(said, "audio_base_64"), strict_mode=True)
        ms = len(audio) / self._format.bytes_per_ms
        return self._turns.audio(audio, ms, _event_id(said), is_final=said.get("is_final") is True)

    def _on_agent_response(self, event: Json) -> Sequence[ev.Event]:
        said = member(event, "agent_response_event")
        spoken = text(said, "agent_response").strip()
        return self._turns.text(spoken, _event_id(said)) if spoken else ()

    def _on_correction(self, event: Json) -> Sequence[ev.Event]:
        said = member(event, "agent_response_correction_event")
        original, corrected = text(said, "original_agent_response"), text(said, "corrected_agent_response")
        return self._turns.corrected(original.strip(), corrected.strip())

    def _on_complete(self, event: Json) -> Sequence[ev.Event]:
        return self._turns.end(_event_id(event.get("agent_response_complete_event")))

    def _on_interruption(self, event: Json) -> Sequence[ev.Event]:
        return self._turns.interruption(_event_id(event.get("interruption_event")))

    # The caller and the tools

    def _on_user_transcript(self, event: Json) -> Sequence[ev.Event]:
        said = text(member(event, "user_transcription_event"), "user_transcript").strip()
        if not said:
            return ()
        events = self._turns.end()
        if said in self._written:  # our own user_message, come back as if it had been heard
            self._written.remove(said)
            return events
        item_id = self._turns.new_item("caller")
        return [*events, ev.Placed(item_id, "caller"), ev.Committed(item_id), ev.CallerSaid(item_id, said)]

    def _on_tool_call(self, event: Json) -> Sequence[ev.Event]:
        call = member(event, "client_tool_call")
        call_id, name, parameters = ident(call, "tool_call_id"), ident(call, "tool_name"), call.get("parameters")
        if not isinstance(parameters, dict | None):
            raise Malformed("the parameters are no object")
        try:
            arguments = orjson.dumps(parameters or {}).decode()
        except orjson.JSONEncodeError as error:  # nested more deeply than can be written
            raise Malformed("parameters too deep") from error
        if call_id in self._calls:
            return ()
        keep(self._calls, call_id, call.get("expects_response") is not False)
        return [ev.ToolCall(call_id, name, arguments)]

    def _on_mcp_tool_call(self, event: Json) -> Sequence[ev.Event]:
        call = member(event, "mcp_tool_call")
        if call.get("state") == "awaiting_approval":
            approved = messages.approves(self.options.tools, call)
            self._send(messages.approval(ident(call, "tool_call_id"), approved=approved))
        return ()


_Reaction = Callable[[ElevenLabsProtocol, Json], Sequence[ev.Event]]
_TABLE: Mapping[str, _Reaction] = {
    "agent_response": ElevenLabsProtocol._on_agent_response,
    "agent_response_complete": ElevenLabsProtocol._on_complete,
    "agent_response_correction": ElevenLabsProtocol._on_correction,
    "audio": ElevenLabsProtocol._on_audio,
    "client_tool_call": ElevenLabsProtocol._on_tool_call,
    "interruption": ElevenLabsProtocol._on_interruption,
    "mcp_tool_call": ElevenLabsProtocol._on_mcp_tool_call,
    "user_transcript": ElevenLabsProtocol._on_user_transcript,
}
"""Type of an event in the conversation → what it does."""
_ALWAYS: Mapping[str, _Reaction] = {
    "client_error": ElevenLabsProtocol._on_error,
    "conversation_initiation_metadata": ElevenLabsProtocol._on_metadata,
    "error": ElevenLabsProtocol._on_error,
    "ping": ElevenLabsProtocol._on_ping,
}
"""Of one that may also come before."""


def _event_id(said: Any) -> int | None:
    """The number that orders what the server sends; None where there is none."""
    value = said.get("event_id") if isinstance(said, dict) else None
    return value if isinstance(value, int) and not isinstance(value, bool) else None
