"""The client events of the Realtime protocol, and the server events that change nothing here.

Reference sections 7 and 8. The protocol object adds an `event_id` to each but the appends.
"""

from __future__ import annotations

from binascii import b2a_base64
from collections.abc import Iterable
from hashlib import blake2s

from bridge.realtime.events import Truncated
from bridge.realtime.history import AgentWords, CallerWords, Note, Remembered, ToolUse
from bridge.realtime.openai.conversation import DELETED
from bridge.realtime.options import Json

_APPEND_HEAD = b'{"type":"input_audio_buffer.append","audio":"'
_APPEND_TAIL = b'"}'
RECENT = 8
"""Turns that are put back one by one; those before them as one text (quirk I6)."""
_BACK = "back_"

WITHOUT_EFFECT = frozenset(
    {
        "conversation.created",
        "conversation.item.deleted",
        "conversation.item.input_audio_transcription.delta",
        "conversation.item.input_audio_transcription.segment",
        "conversation.item.input_audio_transcription.updated",
        "conversation.item.retrieved",
        "conversation.item.sound_detection",
        "conversation.item.speaker",
        "conversation.item.truncated",
        "input_audio_buffer.cleared",
        "input_audio_buffer.dtmf_event_received",
        "localai.classifier.result",
        "mcp_list_tools.completed",
        "mcp_list_tools.in_progress",
        "output_audio_buffer.cleared",
        "output_audio_buffer.started",
        "output_audio_buffer.stopped",
        "ping",
        "rate_limits.updated",
        "response.content_part.added",
        "response.content_part.done",
        "response.function_call_arguments.delta",
        "response.function_call_arguments.done",
        "response.mcp_call.completed",
        "response.mcp_call.failed",
        "response.mcp_call.in_progress",
        "response.mcp_call_arguments.delta",
        "response.mcp_call_arguments.done",
        "response.output_text.done",
    }
)
"""Events that are well known and change nothing here."""


def append_message(audio: bytes) -> bytes:
    """`input_audio_buffer.append` around raw audio bytes: a ready template, no JSON encoder on the way up."""
    return _APPEND_HEAD + b2a_base64(audio, newline=False) + _APPEND_TAIL


def created(item: Json, *, after: str = "") -> Json:
    """Put an item into the conversation, at its end or behind another."""
    return {"type": "conversation.item.create", "item": item} | ({"previous_item_id": after} if after else {})


def user_text(words: str) -> Json:
    """A text in the conversation as if the caller had said it."""
    return created({"type": "message", "role": "user", "content": [{"type": "input_text", "text": words}]})


def system_text(words: str) -> Json:
    """A text in the conversation that nobody said."""
    return created(_system_item(words))


def tool_output(call_id: str, output: str) -> Json:
    """The result of a tool call, as JSON text."""
    return created({"type": "function_call_output", "call_id": call_id, "output": output})


def approval(request_id: str, *, approve: bool) -> Json:
    """The answer to a request to let an MCP tool be called."""
    own_id = f"mcpa_{_hash(request_id)}"
    item = {"type": "mcp_approval_response", "id": own_id, "approval_request_id": request_id, "approve": approve}
    return created(item)


def cancel(response_id: str) -> Json:
    """Stop making a response."""
    return {"type": "response.cancel", "response_id": response_id}


def cut(told: Truncated) -> Json:
    """What was heard of an interrupted item: a truncate, or a delete when none of its audio had come."""
    if told.heard_ms == DELETED:
        return delete(told.item_id)
    return {
        "type": "conversation.item.truncate",
        "item_id": told.item_id,
        "content_index": 0,
        "audio_end_ms": told.heard_ms,
    }


def replaced(told: Truncated, heard: str) -> list[Json]:
    """The same for a server that cannot truncate: an item with the words that were heard takes the place of the cut."""
    words = AgentWords(told.item_id, heard, cut=True)
    return [*([created(agent_item(words), after=told.item_id)] if heard else []), delete(told.item_id)]


def noted(heard: str) -> Json:
    """The same for a server that cannot take an item out either."""
    part = f'heard only "{heard}"' if heard else "heard none"
    return system_text(f"The caller interrupted your last answer and {part} of it.")


def delete(item_id: str) -> Json:
    """Take an item out of the conversation."""
    return {"type": "conversation.item.delete", "item_id": item_id}


def put_back(turns: Iterable[Remembered]) -> list[Json]:
    """The events that put back what was said or done before, in order: the older part as one text."""
    every = list(turns)
    older, recent = every[:-RECENT], every[-RECENT:]
    if len(older) == 1:
        older, recent = [], every
    items = [] if not older else [_system_item("Earlier in this call:\n" + "\n".join(map(_line, older)))]
    for turn in recent:
        items += items_of(turn)
    return [created(item) for item in items]


def items_of(turn: Remembered) -> list[Json]:
    """The items that put back what was said or done before (reference section 14)."""
    if isinstance(turn, AgentWords):
        return [agent_item(turn)]
    if isinstance(turn, ToolUse):
        call = {"type": "function_call", "call_id": turn.call_id, "name": turn.name, "arguments": turn.arguments}
        output = {"type": "function_call_output", "call_id": turn.call_id, "output": turn.output}
        return [{"id": remembered_id(turn.call_id), **call}, {"id": remembered_id(f"{turn.call_id}=")} | output]
    if isinstance(turn, CallerWords):
        part: Json = {"type": "input_text", "text": turn.text}
        if turn.audio and not turn.text:
            part = {"type": "input_audio", "audio": b2a_base64(turn.audio, newline=False).decode()}
        return [{"id": remembered_id(turn.item_id), "type": "message", "role": "user", "content": [part]}]
    return [_system_item(turn.text)]


def agent_item(turn: AgentWords) -> Json:
    """What the agent said, under an id by which it can be corrected."""
    said = {"type": "output_text", "text": turn.text}
    return {"id": remembered_id(turn.item_id), "type": "message", "role": "assistant", "content": [said]}


def remembered_id(item_id: str) -> str:
    """The id that an item of an earlier session has in this one: 32 characters at most (reference section 4)."""
    return _BACK + _hash(item_id)


def is_remembered(item_id: str) -> bool:
    """Whether an item is one that was put back."""
    return item_id.startswith(_BACK)


def _hash(item_id: str) -> str:
    return blake2s(item_id.encode(), digest_size=12).hexdigest()


def _system_item(words: str) -> Json:
    return {"type": "message", "role": "system", "content": [{"type": "input_text", "text": words}]}


def _line(turn: Remembered) -> str:
    match turn:
        case AgentWords():
            return f"You: {turn.text}"
        case CallerWords():
            return f"Caller: {turn.text or '(not understood)'}"
        case ToolUse():
            return f"You called {turn.name}({turn.arguments}): {turn.output}"
        case Note():
            return turn.text
