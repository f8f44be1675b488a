"""What each server event of the Realtime protocol does: one method per event, and the table of them.

Reference sections 8 (events), 9 (turn recipes), 15 (usage), 17 (MCP). All beta names stand beside their GA names.
"""

from __future__ import annotations

from binascii import a2b_base64
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from bridge.realtime import events as ev
from bridge.realtime.bounded import keep_newest
from bridge.realtime.faults import ident, inner, member, milliseconds, some_id, text, words
from bridge.realtime.openai import messages, tallies
from bridge.realtime.openai.conversation import DELETED, role_of
from bridge.realtime.openai.dialect import EVENT_NAMES
from bridge.realtime.openai.tool_calls import approves
from bridge.realtime.options import Json

if TYPE_CHECKING:
    from bridge.realtime.openai.protocol import OpenAIProtocol
    from bridge.realtime.protocol import Alarm

Events = Sequence[ev.Event]

LONGEST_SPEECH_S = 30.0
"""Speech without an end for so long is line noise, or another format than the service was told (quirk D5)."""
TRANSCRIPT_S = 10.0
"""After a turn's commit its words are given up (quirk G6)."""
OWN_ANSWER_S = 4.0
"""After the caller has finished, the server's own answer is given up, where another one is wanted."""


@dataclass(slots=True)
class _Output:
    """What the active response has brought so far."""

    audio: bool = False
    mcp: bool = False
    message: bool = False
    written: str = ""
    """The item of it that came as text."""


class Reactions:
    """The server's events, for one protocol object, which it does not keep."""

    def __init__(self) -> None:
        self._output = _Output()
        self._approved: dict[str, None] = {}

    # Session

    def _error(self, protocol: OpenAIProtocol, event: Json) -> Events:
        return protocol.complaint(member(event, "error"))

    def _session_created(self, protocol: OpenAIProtocol, event: Json) -> Events:
        protocol.handshake.created(event)
        return ()

    def _session_updated(self, protocol: OpenAIProtocol, event: Json) -> Events:
        told = protocol.handshake.updated(event)
        if told and isinstance(told[0], ev.Ready):
            protocol.put_back()
        return told

    def _no_mcp_tools(self, protocol: OpenAIProtocol, event: Json) -> Events:
        item_id = some_id(event, "item_id")
        return (ev.SessionError("mcp_list_tools_failed", f"an MCP server does not tell its tools ({item_id})"),)

    # The caller

    def _speech_started(self, protocol: OpenAIProtocol, event: Json) -> Events:
        started = milliseconds(event, "audio_start_ms")
        item_id = some_id(event, "item_id")
        protocol.slot.caller_starts()
        protocol.turns.speech += 1
        protocol.set_alarm("speech", str(protocol.turns.speech), LONGEST_SPEECH_S)
        return (ev.SpeechStarted(started, item_id),)

    def _speech_stopped(self, protocol: OpenAIProtocol, event: Json) -> Events:
        stopped = milliseconds(event, "audio_end_ms")
        slot = protocol.slot
        answers = bool((protocol.options.turn_detection or {}).get("create_response", True))
        slot.caller_stops(server_answers=answers)
        if slot.waiting:
            protocol.set_alarm("answer", "", OWN_ANSWER_S)
        return (ev.SpeechStopped(stopped),)

    def _committed(self, protocol: OpenAIProtocol, event: Json) -> Events:
        item_id = ident(event, "item_id")
        noise: Events = ()
        if not protocol.turns.committed(item_id):
            protocol.send(messages.delete(item_id))
            noise = (ev.Truncated(item_id, DELETED),)
        if protocol.options.transcription is not None and protocol.turns.is_awaited(item_id):
            protocol.set_alarm("transcript", item_id, TRANSCRIPT_S)
        return (*self._placed(protocol, item_id, "caller", event), ev.Committed(item_id), *noise)

    def _timeout_triggered(self, protocol: OpenAIProtocol, event: Json) -> Events:
        protocol.slot.covers_caller = False
        return (ev.CallerIdle(),)

    def _no_transcript(self, protocol: OpenAIProtocol, event: Json) -> Events:
        turns, item_id = protocol.turns, ident(event, "item_id")
        turns.told(item_id)
        if turns.transcription_failed:
            return (ev.NotTranscribed(item_id),)
        turns.transcription_failed = True  # said once: it is mostly the configuration (quirk G3)
        error = inner(event, "error")
        said = f"{words(error, 'code')} {words(error, 'message')}"
        return (ev.NotTranscribed(item_id), ev.SessionError("transcription_failed", said))

    def _transcript(self, protocol: OpenAIProtocol, event: Json) -> Events:
        item_id, said = ident(event, "item_id"), text(event, "transcript")
        if event.get("status") == "in_progress":  # xAI: a guess, more will come
            return ()
        protocol.turns.told(item_id)
        model = (protocol.options.transcription or {}).get("model", "")
        usage = tallies.of_transcription(event, model)
        return (ev.CallerSaid(item_id, said), *([usage] if usage else []))

    # Items

    def _item_placed(self, protocol: OpenAIProtocol, event: Json) -> Events:
        item = member(event, "item")
        self._answer_approval(protocol, item)
        role = role_of(item)
        return self._placed(protocol, ident(item, "id"), role, event) if role is not None else ()

    def _placed(self, protocol: OpenAIProtocol, item_id: str, role: ev.Role, event: Json) -> Events:
        if messages.is_remembered(item_id):
            return ()
        previous = protocol.original(some_id(event, "previous_item_id") or None)
        placed = protocol.conversation.placed(item_id, role, previous)
        return (placed,) if placed is not None else ()

    def _answer_approval(self, protocol: OpenAIProtocol, item: Json) -> None:
        if item.get("type") != "mcp_approval_request" or (request_id := ident(item, "id")) in self._approved:
            return
        self._approved[request_id] = None
        keep_newest(self._approved, 64)
        approve = approves(protocol.options.tools, words(item, "server_label"), words(item, "name"))
        protocol.send(messages.approval(request_id, approve=approve))
        if not approve:
            protocol.slot.ask({})

    # Responses

    def _response_created(self, protocol: OpenAIProtocol, event: Json) -> Events:
        response_id = ident(member(event, "response"), "id")
        self._output = _Output()
        if not protocol.slot.created(response_id):
            protocol.conversation.kill(response_id)
            protocol.cancel(response_id)
        return ()

    def _output_item_added(self, protocol: OpenAIProtocol, event: Json) -> Events:
        item = member(event, "item")
        item_id, is_message = ident(item, "id"), item.get("type") == "message"
        wanted = protocol.conversation.item_added(_response_of(protocol, event), item_id, is_message=is_message)
        self._output.message = self._output.message or is_message
        if not wanted and protocol.dialect.truncate in ("yes", "replace"):
            protocol.send(messages.delete(item_id))
        role = role_of(item)
        return self._placed(protocol, item_id, role, event) if role is not None else ()

    def _output_item_done(self, protocol: OpenAIProtocol, event: Json) -> Events:
        item = member(event, "item")
        item_id, kind = ident(item, "id"), item.get("type")
        protocol.conversation.item_done(item_id)
        self._answer_approval(protocol, item)
        self._output.mcp = self._output.mcp or kind == "mcp_call"
        if kind == "message":
            return (ev.AudioEnd(item_id),)
        call = protocol.calls.item_done(item, _response_of(protocol, event)) if kind == "function_call" else None
        return (call,) if call is not None else ()

    def _audio_delta(self, protocol: OpenAIProtocol, event: Json) -> Events:
        item_id, response_id = ident(event, "item_id"), some_id(event, "response_id")
        audio = a2b_base64(text(event, "delta"), strict_mode=True)
        self._output.audio = True
        if not protocol.conversation.accepts_audio(item_id, response_id, len(audio)):
            return ()
        return (ev.AudioDelta(item_id, audio),) if audio else ()

    def _audio_done(self, protocol: OpenAIProtocol, event: Json) -> Events:
        return (ev.AudioEnd(ident(event, "item_id")),)

    def _saying(self, protocol: OpenAIProtocol, event: Json) -> Events:
        item_id, delta = ident(event, "item_id"), text(event, "delta")
        alive = protocol.conversation.says(item_id, some_id(event, "response_id"), delta)
        return (ev.AgentSaying(item_id, delta),) if alive and delta else ()

    def _said(self, protocol: OpenAIProtocol, event: Json) -> Events:
        return (ev.AgentSaid(ident(event, "item_id"), text(event, "transcript")),)

    def _writing(self, protocol: OpenAIProtocol, event: Json) -> Events:
        self._output.written = ident(event, "item_id")
        return ()

    def _response_done(self, protocol: OpenAIProtocol, event: Json) -> Events:
        response = member(event, "response")
        response_id, status = _response_of(protocol, response, "id"), words(response, "status") or "completed"
        code, message = reason_of(response.get("status_details"))
        told, cancelled = protocol.calls.response_done(response_id, status, response.get("output"))
        silent = self._unspoken(protocol, response_id, status)
        protocol.conversation.response_done(response_id, status)
        protocol.call_off(cancelled)
        if self._is_mute(protocol, response_id, status) and not told:
            protocol.slot.ask({})  # the model has not spoken about what its MCP tool gave (reference section 17)
        protocol.slot.done(response_id, status, code, message)
        protocol.ask_for_results()
        if protocol.slot.retry_after_s is not None:
            protocol.set_alarm("retry", response_id, protocol.slot.retry_after_s)
        usage = tallies.of_response(event, protocol.handshake.model)
        ended = ev.ResponseEnded(response_id, status, code if status != "completed" else "")
        return (*told, *silent, *([usage] if usage else []), ended)

    def _unspoken(self, protocol: OpenAIProtocol, response_id: str, status: str) -> Events:
        """A completed response that came as text only: the caller hears nothing (quirk C8)."""
        output = self._output
        if status != "completed" or response_id != protocol.slot.active or output.audio or not output.written:
            return ()
        if not protocol.slot.again_as_audio():
            return (ev.SessionError("text_without_audio", "an answer was written again instead of spoken"),)
        protocol.send(messages.delete(output.written))
        return (ev.SessionError("text_without_audio", "an answer was written instead of spoken; asked for again"),)

    def _is_mute(self, protocol: OpenAIProtocol, response_id: str, status: str) -> bool:
        """Whether the active response was completed with nothing but MCP calls."""
        output = self._output
        return response_id == protocol.slot.active and status == "completed" and output.mcp and not output.message

    # Time

    def rang(self, protocol: OpenAIProtocol, alarm: Alarm) -> Events:
        """The time of an alarm is over."""
        match alarm.name:
            case "retry":
                protocol.slot.retry()
            case "answer":
                protocol.slot.release()
            case "transcript" if protocol.turns.is_awaited(alarm.about):
                protocol.turns.told(alarm.about)
                return (ev.NotTranscribed(alarm.about),)
            case "speech" if protocol.caller_speaking and alarm.about == str(protocol.turns.speech):
                return _endless_speech(protocol)
        return ()


Reaction = Callable[[Reactions, "OpenAIProtocol", Json], Events]

_GA: dict[str, Reaction] = {
    "error": Reactions._error,
    "session.created": Reactions._session_created,
    "session.updated": Reactions._session_updated,
    "input_audio_buffer.speech_started": Reactions._speech_started,
    "input_audio_buffer.speech_stopped": Reactions._speech_stopped,
    "input_audio_buffer.committed": Reactions._committed,
    "input_audio_buffer.timeout_triggered": Reactions._timeout_triggered,
    "conversation.item.added": Reactions._item_placed,
    "conversation.item.done": Reactions._item_placed,
    "conversation.item.input_audio_transcription.failed": Reactions._no_transcript,
    "conversation.item.input_audio_transcription.completed": Reactions._transcript,
    "mcp_list_tools.failed": Reactions._no_mcp_tools,
    "response.created": Reactions._response_created,
    "response.output_item.added": Reactions._output_item_added,
    "response.output_item.done": Reactions._output_item_done,
    "response.output_audio.delta": Reactions._audio_delta,
    "response.output_audio.done": Reactions._audio_done,
    "response.output_audio_transcript.delta": Reactions._saying,
    "response.output_audio_transcript.done": Reactions._said,
    "response.output_text.delta": Reactions._writing,
    "response.done": Reactions._response_done,
}
TABLE: Mapping[str, Reaction] = _GA | {beta: _GA[ga] for beta, ga in EVENT_NAMES.items() if ga in _GA}
"""Type of an event → what it does. Functions of no protocol: bound to one, they would be what keeps it alive."""


def _response_of(protocol: OpenAIProtocol, event: Json, name: str = "response_id") -> str:
    return some_id(event, name) or protocol.slot.active or ""


def _endless_speech(protocol: OpenAIProtocol) -> Events:
    protocol.slot.caller_stops(server_answers=False)
    protocol.commit()
    protocol.slot.answer()
    said = f"speech has not ended for {LONGEST_SPEECH_S:g} s: line noise, or audio in another format than agreed on"
    return (ev.SessionError("endless_speech", said),)


def reason_of(details: Any) -> tuple[str, str]:
    """Code and text of `status_details`, which some servers send as a plain string (quirk B11)."""
    if isinstance(details, str):
        return details[:64], ""
    if not isinstance(details, dict):
        return "", ""
    error = inner(details, "error")
    return words(error, "code", "type") or words(details, "reason"), words(error, "message")
