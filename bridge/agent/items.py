"""Conversation items: what a client may create and what goes out on the wire."""

import base64
import binascii
from dataclasses import dataclass, field
from typing import Any

from bridge.agent import checks
from bridge.agent.formats import AudioFormat
from bridge.agent.refusal import wrong_type, wrong_value

MAX_TEXT = 1 << 20


@dataclass(slots=True)
class Item:
    """One item. Message items have `role` and `content`; the other fields belong to calls and their results."""

    id: str
    type: str
    status: str | None = None
    role: str | None = None
    content: list[dict[str, Any]] = field(default_factory=list)
    # function_call, function_call_output, mcp_approval_response: the members beside type, id and status.
    fields: dict[str, Any] = field(default_factory=dict)
    # Caller's audio of a user item, wire bytes; dropped when the conversation keeps too much of it.
    audio: bytes = b""
    # Audio of an assistant item that was sent so far, in bytes, and what one ms of it has.
    sent_bytes: int = 0
    bytes_per_ms: int = 8
    # What was said where, when it was spoken sentence by sentence: (first byte of its sound, text).
    marks: list[tuple[int, str]] = field(default_factory=list)
    # The sound of the last of them has been sent to its end.
    said_whole: bool = False
    # Set by a truncate: the item ends here for good, in ms.
    truncated_ms: int | None = None
    # 1, 2, 3 ... over the audio items of a session; 0 for items without audio of the assistant.
    number: int = 0
    # A user item whose words are still being worked out by the ears.
    unheard: bool = False
    # What the ears understood, or the text that was typed; None when nothing was understood.
    words: str | None = None

    @property
    def audio_ms(self) -> int:
        """Audio of an assistant item in ms, rounded down, as a truncate may ask for at most."""
        return self.sent_bytes // self.bytes_per_ms if self.truncated_ms is None else self.truncated_ms

    @property
    def has_output_audio(self) -> bool:
        return self.role == "assistant" and self.sent_bytes > 0

    def wire(self) -> dict[str, Any]:
        """The item as the service prints it in events."""
        if self.type == "message":
            content = [dict(part) for part in self.content]
            return {
                "id": self.id,
                "type": "message",
                "status": self.status,
                "role": self.role,
                "content": content,
            }
        status = {} if self.status is None else {"status": self.status}
        return {"id": self.id, "type": self.type, **status, **self.fields}

    def wire_with_audio(self) -> dict[str, Any]:
        """The item for `conversation.item.retrieved`: the caller's audio is in it, Base64."""
        wire = self.wire()
        if self.audio:
            wire["content"][0]["audio"] = base64.b64encode(self.audio).decode()
        return wire


_COMMON: dict[str, checks.Check] = {
    "type": checks.text,
    "id": checks.text_up_to(64),
    "status": checks.one_of("completed", "incomplete", "in_progress"),
    "object": checks.one_of("realtime.item"),
}
_PARTS: dict[str, checks.Check] = {
    "input_text": checks.record(
        {"type": checks.text, "text": checks.text_up_to(MAX_TEXT)},
        ("type", "text"),
    ),
    "input_audio": checks.record(
        {"type": checks.text, "audio": checks.text, "transcript": checks.nullable(checks.text)},
        ("type", "audio"),
    ),
    "input_image": checks.record(
        {
            "type": checks.text,
            "image_url": checks.text,
            "detail": checks.one_of("auto", "low", "high"),
        },
        ("type", "image_url"),
    ),
    "output_text": checks.record(
        {"type": checks.text, "text": checks.text_up_to(MAX_TEXT)},
        ("type", "text"),
    ),
}
_ROLES = {
    "user": ("input_text", "input_audio", "input_image"),
    "system": ("input_text",),
    "assistant": ("output_text",),
}
_OTHERS: dict[str, checks.Check] = {
    "function_call": checks.record(
        _COMMON | {"name": checks.text, "arguments": checks.text_up_to(MAX_TEXT), "call_id": checks.text},
        ("type", "name", "arguments"),
    ),
    "function_call_output": checks.record(
        _COMMON | {"call_id": checks.text, "output": checks.text_up_to(MAX_TEXT)},
        ("type", "call_id", "output"),
    ),
    "mcp_approval_response": checks.record(
        _COMMON
        | {
            "approval_request_id": checks.text,
            "approve": checks.boolean,
            "reason": checks.nullable(checks.text),
        },
        ("type", "id", "approval_request_id", "approve"),
    ),
}
_TYPE = checks.one_of("message", *_OTHERS)


def parse_item(value: Any, path: str, new_id: str, audio_format: AudioFormat) -> Item:
    """The item of a `conversation.item.create`. Raises Refusal. `new_id` serves when the client gives none."""
    given = checks.mapping(value, path)
    if "type" not in given:
        raise wrong_type(f"{path}.type", "a string", None)
    kind = _TYPE(given["type"], f"{path}.type")
    if kind == "message":
        return _parse_message(given, path, new_id, audio_format)
    fields = _OTHERS[kind](given, path)
    item = Item(id=fields.pop("id", new_id), type=kind)
    for name in ("type", "status", "object"):
        fields.pop(name, None)
    if kind == "function_call":
        fields.setdefault("call_id", "call_" + item.id[-16:])
        item.status = "completed"
    item.fields = fields
    return item


def _parse_message(given: dict[str, Any], path: str, new_id: str, audio_format: AudioFormat) -> Item:
    role = checks.one_of(*_ROLES)(given.get("role"), f"{path}.role")
    parts = checks.by_type({name: _PARTS[name] for name in _ROLES[role]})
    fields = checks.record(_COMMON | {"role": checks.text, "content": checks.list_of(parts)}, ("type", "content"))(
        given, path
    )
    item = Item(id=fields.get("id", new_id), type="message", status="completed", role=role)
    for index, part in enumerate(fields["content"]):
        if part["type"] == "input_audio":
            item.audio = decode_audio(part.pop("audio"), f"{path}.content[{index}].audio")
            item.bytes_per_ms = audio_format.bytes_per_ms
            part.setdefault("transcript", None)
        item.content.append(part)
    texts = [part["text"] for part in item.content if "text" in part]
    item.words = " ".join(texts) if texts else None
    return item


def decode_audio(value: Any, path: str) -> bytes:
    """Bytes of a Base64 string. Raises Refusal."""
    try:
        return binascii.a2b_base64(checks.text(value, path), strict_mode=True)
    except (binascii.Error, UnicodeEncodeError, ValueError):
        raise wrong_value(path, "valid Base64") from None
