"""OpenAI Realtime, GA dialect, without I/O: text frames in, events out, messages to send.

The owner feeds `receive`, acts on the events, and sends what `data_to_send` gives. Nothing here knows a socket or a
clock. Facts: Realtime reference, sections 2 (handshake), 5 (session.update), 7 and 8 (events), 10 (truncate),
11 (cancel), 13 (errors).
"""

from __future__ import annotations

from binascii import a2b_base64
from collections import deque
from collections.abc import Callable, Iterable
from enum import Enum
from typing import Any

import orjson

from bridge.realtime import events as ev
from bridge.realtime import messages
from bridge.realtime.conversation import Conversation
from bridge.realtime.faults import (
    FATAL_CODES,
    Malformed,
    is_harmless,
    is_not_truncatable,
    member,
    number,
    text,
)
from bridge.realtime.options import Json, SessionOptions

_REMEMBERED_REQUESTS = 64


class Stage(Enum):
    """Where the handshake stands; audio may flow only in READY."""

    CONNECTING = "connecting"  # waiting for session.created
    CONFIGURING = "configuring"  # session.update sent, waiting for its echo
    READY = "ready"
    FAILED = "failed"


_MOVES = {
    (Stage.CONNECTING, "session.created"): Stage.CONFIGURING,
    (Stage.CONFIGURING, "session.updated"): Stage.READY,
}


class OpenAIProtocol:
    """One session's protocol state."""

    def __init__(self, options: SessionOptions) -> None:
        self.options = options
        self.stage = Stage.CONNECTING
        self.conversation = Conversation()
        self.caller_speaking = False
        self.malformed = 0
        """Frames and events that made no sense; each is dropped."""
        self.unknown = 0
        """Events of a type this version has no use for."""
        self.events_in = 0
        self._out: list[bytes] = []
        self._serial = 0
        self._requests: dict[str, Json] = {}
        self._wanted: deque[Json] = deque()
        self._asked: str | None = None
        self._covers_caller = False  # whether a response was asked for after the caller's last words
        self._tool_calls: dict[str, None] = {}
        self._committed: deque[str] = deque(maxlen=_REMEMBERED_REQUESTS)
        self._unwanted: deque[str] = deque(maxlen=_REMEMBERED_REQUESTS)
        self._retried = False
        self._session_id = ""
        self._dispatch: dict[str, Callable[[Json], ev.Event | None]] = {
            "error": self._on_error,
            "session.created": self._on_session_created,
            "session.updated": self._on_session_updated,
            "input_audio_buffer.speech_started": self._on_speech_started,
            "input_audio_buffer.speech_stopped": self._on_speech_stopped,
            "input_audio_buffer.committed": self._on_committed,
            "input_audio_buffer.timeout_triggered": self._on_timeout_triggered,
            "conversation.item.input_audio_transcription.failed": self._on_no_transcript,
            "conversation.item.input_audio_transcription.completed": self._on_caller_transcript,
            "response.created": self._on_response_created,
            "response.output_item.added": self._on_item_added,
            "response.output_item.done": self._on_item_done,
            "response.output_audio.delta": self._on_audio_delta,
            "response.output_audio.done": self._on_audio_done,
            "response.output_audio_transcript.done": self._on_agent_transcript,
            "response.done": self._on_response_done,
        }

    @property
    def response_active(self) -> bool:
        """Whether a response is being made, or has been asked for."""
        return self.conversation.active is not None or self._asked is not None or bool(self._wanted)

    # In

    def receive(self, frame: bytes) -> ev.Event | None:
        """One frame of the server; None when it means nothing to the call. Never raises for what a server sends."""
        self.events_in += 1
        try:
            event = orjson.loads(frame)
            return self._receive_event(event)
        except ValueError:  # not JSON, not Base64, or Malformed
            self.malformed += 1
            return None

    def _receive_event(self, event: Any) -> ev.Event | None:
        if not isinstance(event, dict):
            raise Malformed("the event is not an object")
        name = text(event, "type")
        react = self._dispatch.get(name)
        if react is not None:
            return react(event)
        if name not in messages.WITHOUT_EFFECT:
            self.unknown += 1
        return None

    def data_to_send(self) -> list[bytes]:
        """The messages that wait to be sent, each once."""
        out, self._out = self._out, []
        return out

    # Out

    def greet(self) -> None:
        """Open the conversation as configured; without a greeting the caller speaks first.

        The instructions of a response replace the session's (quirk B9), so the persona is repeated before them.
        """
        if self.options.greeting is None:
            return
        persona = f"{self.options.instructions}\n\n" if self.options.instructions else ""
        self._ask(
            {"instructions": persona + self.options.greeting, "metadata": dict(self.options.metadata)},
        )

    def user_text(self, words: str, *, respond: bool = True) -> None:
        """Put words into the conversation as the caller's, and ask for an answer."""
        self._send(messages.user_text(words))
        if respond:
            self._ask({})

    def respond(self) -> None:
        """Ask for an answer to what the caller has said, where the server does not answer by itself.

        One that was asked for since he spoke, as for a tool's result, is that answer.
        """
        if not self._wanted and not self._covers_caller:
            self._ask({})

    def forget(self, item_id: str) -> None:
        """What the caller seemed to say was noise: take it out of the conversation, as soon as it is in it."""
        if item_id in self._committed:
            self._send(messages.delete(item_id))
        elif item_id:
            self._unwanted.append(item_id)

    def tool_result(self, call_id: str, output: Json, *, respond: bool = True) -> None:
        """Answer a tool call; `respond` lets the model speak about it once it may."""
        self._send(messages.tool_output(call_id, orjson.dumps(output).decode()))
        if respond:
            self._ask({})

    def interrupted(self, heard: Iterable[ev.HeardItem], *, by_server: bool = True) -> list[ev.Truncated]:
        """The playout was flushed: tell the server what was heard, and stop the response if it does not itself.

        `by_server` is False when the bridge interrupts (a key press), of which the server knows nothing.
        """
        active = self.conversation.active
        cuts = self.conversation.interrupt(heard, self.options.far_end_delay_ms)
        if active is not None:
            self._covers_caller = False
        if active is not None and not (by_server and self.options.server_cancels):
            self._send(messages.cancel(active))
        for cut in cuts:
            self._send(messages.cut(cut))
        return cuts

    def _ask(self, response: Json) -> None:
        self._wanted.append(response)
        self._release()

    def _release(self) -> None:
        """Send the next `response.create` if the one response slot is free (quirks B2, B10)."""
        if self._wanted and not self._asked and not self.conversation.active and not self.caller_speaking:
            response = self._wanted.popleft()
            message: Json = {"type": "response.create"}
            if response:
                message["response"] = response
            self._asked = self._send(message)
            self._covers_caller = True

    def _send(self, message: Json) -> str:
        self._serial += 1
        event_id = f"br-{self._serial}"
        message["event_id"] = event_id
        self._requests[event_id] = message
        if len(self._requests) > _REMEMBERED_REQUESTS:
            del self._requests[next(iter(self._requests))]
        self._out.append(orjson.dumps(message))
        return event_id

    # Handshake

    def _on_session_created(self, event: Json) -> None:
        session = member(event, "session")
        self._session_id = str(session.get("id", ""))
        if self._move("session.created"):
            self._send({"type": "session.update", "session": self.options.session_update()})

    def _on_session_updated(self, event: Json) -> ev.Event | None:
        session = member(event, "session")
        echoed = _formats(session)
        wanted = self.options.audio_format["type"]
        if any(echo != wanted for echo in echoed):
            self.stage = Stage.FAILED
            words = f"asked for {wanted} both ways, the service says {' in, '.join(echoed)} out"
            return ev.SessionError("format_mismatch", words, fatal=True)
        if not self._move("session.updated"):
            return None
        return ev.Ready(self._session_id, str(session.get("model", "")))

    def _move(self, name: str) -> bool:
        stage = _MOVES.get((self.stage, name))
        if stage is None:
            return False
        self.stage = stage
        return True

    def _on_error(self, event: Json) -> ev.SessionError:
        error = member(event, "error")
        code, message = str(error.get("code") or error.get("type") or "unknown"), str(error.get("message", ""))
        request = self._requests.pop(str(error.get("event_id")), None)
        self._after_refusal(request, code, message)
        fatal = code in FATAL_CODES or self.stage is not Stage.READY
        if fatal:
            self.stage = Stage.FAILED
        if param := error.get("param"):
            message = f"{message} ({param})"
        return ev.SessionError(code, message, fatal, not fatal and is_harmless(code, message))

    def _after_refusal(self, request: Json | None, code: str, message: str) -> None:
        if request is None:
            return
        if request["type"] == "conversation.item.truncate" and is_not_truncatable(message):
            self._send(messages.delete(request["item_id"]))
        elif request["type"] == "response.create":
            self._asked = None
            if code == "conversation_already_has_active_response" and not self._retried:
                self._retried = True
                self._wanted.appendleft(request.get("response", {}))

    # Turns

    def _on_speech_started(self, event: Json) -> ev.SpeechStarted:
        self.caller_speaking, self._covers_caller = True, False
        return ev.SpeechStarted(number(event, "audio_start_ms"), str(event.get("item_id") or ""))

    def _on_speech_stopped(self, event: Json) -> ev.SpeechStopped:
        self.caller_speaking = False
        stopped = ev.SpeechStopped(number(event, "audio_end_ms"))
        if not (self.options.turn_detection or {}).get("create_response", True):
            self._release()  # else the server answers by itself, and the slot frees at that response's end
        return stopped

    def _on_committed(self, event: Json) -> None:
        item_id = text(event, "item_id")
        self._committed.append(item_id)
        if item_id in self._unwanted:
            self._unwanted.remove(item_id)
            self._send(messages.delete(item_id))

    def _on_timeout_triggered(self, event: Json) -> ev.CallerIdle:
        self._covers_caller = False
        return ev.CallerIdle()

    def _on_no_transcript(self, event: Json) -> ev.NotTranscribed:
        return ev.NotTranscribed(text(event, "item_id"))

    def _on_caller_transcript(self, event: Json) -> ev.CallerSaid:
        return ev.CallerSaid(text(event, "item_id"), text(event, "transcript"))

    # Responses

    def _on_response_created(self, event: Json) -> None:
        self._asked = None
        self.conversation.response_created(text(member(event, "response"), "id"))

    def _on_response_done(self, event: Json) -> ev.ResponseEnded:
        response = member(event, "response")
        response_id, status = text(response, "id"), text(response, "status")
        self.conversation.response_done(response_id, status)
        detail = _detail(response.get("status_details"))
        if status != "failed":
            self._retried = False
        elif not self._retried and detail not in FATAL_CODES:
            self._retried = True
            self._wanted.appendleft({})
        self._release()
        return ev.ResponseEnded(response_id, status, detail)

    def _on_item_added(self, event: Json) -> None:
        item = member(event, "item")
        item_id = text(item, "id")
        is_message = item.get("type") == "message"
        wanted = self.conversation.item_added(text(event, "response_id"), item_id, is_message=is_message)
        if not wanted:
            self._send(messages.delete(item_id))

    def _on_item_done(self, event: Json) -> ev.ToolCall | ev.AudioEnd | None:
        item = member(event, "item")
        item_id = text(item, "id")
        self.conversation.item_done(item_id)
        if item.get("type") == "message":
            return ev.AudioEnd(item_id)
        if item.get("type") != "function_call" or item.get("status") == "incomplete":
            return None
        call_id = text(item, "call_id")
        if call_id in self._tool_calls:  # the same call is visible in several events (reference 9.4)
            return None
        self._tool_calls[call_id] = None
        return ev.ToolCall(call_id, text(item, "name"), text(item, "arguments"))

    def _on_audio_delta(self, event: Json) -> ev.AudioDelta | None:
        item_id = text(event, "item_id")
        audio = a2b_base64(text(event, "delta"), strict_mode=True)
        if not self.conversation.accepts_audio(item_id, text(event, "response_id")):
            return None
        return ev.AudioDelta(item_id, audio)

    def _on_audio_done(self, event: Json) -> ev.AudioEnd:
        return ev.AudioEnd(text(event, "item_id"))

    def _on_agent_transcript(self, event: Json) -> ev.AgentSaid:
        return ev.AgentSaid(text(event, "item_id"), text(event, "transcript"))


def _formats(session: Json) -> tuple[str, str]:
    """The formats in force, in and out; `nothing` where the service does not say."""
    found = []
    for side in ("input", "output"):
        value: Any = session
        for name in ("audio", side, "format", "type"):
            value = value.get(name) if isinstance(value, dict) else None
        found.append(value if isinstance(value, str) else "nothing")
    return found[0], found[1]


def _detail(details: Any) -> str:
    """The reason in `status_details`, which some servers send as a plain string (quirk B11)."""
    if isinstance(details, str):
        return details
    if not isinstance(details, dict):
        return ""
    error = details.get("error")
    if isinstance(error, dict):
        return str(error.get("code") or error.get("type") or "")
    return str(details.get("reason") or "")
