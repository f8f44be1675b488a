"""The client events of the Realtime protocol, and the server events that change nothing here.

Reference sections 7 and 8. The protocol object adds an `event_id` to each but the appends.
"""

from __future__ import annotations

from binascii import b2a_base64

from bridge.realtime.conversation import DELETED
from bridge.realtime.events import Truncated
from bridge.realtime.options import Json

_APPEND_HEAD = b'{"type":"input_audio_buffer.append","audio":"'
_APPEND_TAIL = b'"}'

WITHOUT_EFFECT = frozenset(
    {
        "conversation.created",
        "conversation.item.added",
        "conversation.item.created",
        "conversation.item.deleted",
        "conversation.item.done",
        "conversation.item.input_audio_transcription.delta",
        "conversation.item.input_audio_transcription.segment",
        "conversation.item.retrieved",
        "conversation.item.truncated",
        "input_audio_buffer.cleared",
        "mcp_list_tools.completed",
        "mcp_list_tools.failed",
        "mcp_list_tools.in_progress",
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
        "response.output_audio_transcript.delta",
        "response.output_text.delta",
        "response.output_text.done",
    }
)
"""Events that are well known and change nothing here."""


def append_message(audio: bytes) -> bytes:
    """`input_audio_buffer.append` around raw audio bytes: a ready template, no JSON encoder on the way up."""
    return _APPEND_HEAD + b2a_base64(audio, newline=False) + _APPEND_TAIL


def user_text(words: str) -> Json:
    """A text in the conversation as if the caller had said it."""
    item = {"type": "message", "role": "user", "content": [{"type": "input_text", "text": words}]}
    return {"type": "conversation.item.create", "item": item}


def tool_output(call_id: str, output: str) -> Json:
    """The result of a tool call, as JSON text."""
    item = {"type": "function_call_output", "call_id": call_id, "output": output}
    return {"type": "conversation.item.create", "item": item}


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


def delete(item_id: str) -> Json:
    """Take an item out of the conversation."""
    return {"type": "conversation.item.delete", "item_id": item_id}
