"""The eleven client events: what a message must look like before anything looks at its meaning."""

from typing import Any

import orjson

from bridge.agent import checks
from bridge.agent.events import Event
from bridge.agent.refusal import Refusal, missing, unknown_parameter, wrong_value

MAX_EVENT_ID = 512


def _members(*required: str, optional: tuple[str, ...] = ()) -> tuple[frozenset[str], tuple[str, ...]]:
    return frozenset(("type", "event_id", *required, *optional)), required


# Type -> all members, and those that must be there.
MEMBERS = {
    "session.update": _members("session"),
    "input_audio_buffer.append": _members("audio"),
    "input_audio_buffer.commit": _members(),
    "input_audio_buffer.clear": _members(),
    "conversation.item.create": _members("item", optional=("previous_item_id",)),
    "conversation.item.retrieve": _members("item_id"),
    "conversation.item.truncate": _members("item_id", "content_index", "audio_end_ms"),
    "conversation.item.delete": _members("item_id"),
    "response.create": _members(optional=("response",)),
    "response.cancel": _members(optional=("response_id",)),
    "output_audio_buffer.clear": _members(),
}


def parse(message: str | bytes) -> Event:
    """The JSON object of a text frame. Raises Refusal."""
    if isinstance(message, bytes):
        raise Refusal("invalid_event", "Events are text frames, not binary ones.")
    try:
        event: Any = orjson.loads(message)
    except orjson.JSONDecodeError:
        raise Refusal("invalid_event", "The message is not valid JSON.") from None
    if not isinstance(event, dict):
        raise Refusal("invalid_event", "The message is not a JSON object.")
    return event


def check(event: Event) -> str:
    """The type of an event whose members are all there and known. Raises Refusal."""
    if "event_id" in event:
        checks.text_up_to(MAX_EVENT_ID)(event["event_id"], "event_id")
    kind: Any = event.get("type")
    if kind is None:
        raise Refusal("invalid_event", "The event has no type.", "type")
    if not isinstance(kind, str) or kind not in MEMBERS:
        raise wrong_value("type", "the type of a client event")
    known, required = MEMBERS[kind]
    for name in event.keys() - known:
        raise unknown_parameter(name)
    for name in required:
        if name not in event:
            raise missing(name)
    return kind


def event_id(event: Event | None) -> str | None:
    """The client's own id for the error that answers it; only a proper one is echoed."""
    given = None if event is None else event.get("event_id")
    return given if isinstance(given, str) and len(given) <= MAX_EVENT_ID else None
