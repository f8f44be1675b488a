"""The client messages of Gemini Live, and how its numbers are read. Provider reference, section 3."""

from __future__ import annotations

import re
from binascii import a2b_base64, b2a_base64
from collections.abc import Iterable

from bridge.realtime.faults import Malformed
from bridge.realtime.history import AgentWords, CallerWords, Remembered, ToolUse
from bridge.realtime.options import Json

_AUDIO_HEAD = b'{"realtimeInput":{"audio":{"mimeType":"audio/pcm;rate=16000","data":"'
_AUDIO_TAIL = b'"}}}'
_DURATION = re.compile(r"(\d{1,9}(?:\.\d{1,9})?)s\Z")
_PCM = re.compile(r"audio/(?:pcm|l16)\s*(?:;|\Z)", re.IGNORECASE)
_RATE = re.compile(r";\s*rate=(\d{4,6})\s*(?:;|\Z)", re.IGNORECASE)
_URL_SAFE = str.maketrans("-_", "+/")


def audio_message(audio: bytes) -> bytes:
    """`realtimeInput` around PCM of 16000 Hz: a ready template, no JSON encoder on the way up."""
    return _AUDIO_HEAD + b2a_base64(audio, newline=False) + _AUDIO_TAIL


def client_content(turns: list[Json], *, complete: bool) -> Json:
    """Words into the conversation; `complete` asks for an answer. It interrupts an answer that is being made."""
    content: Json = {"turnComplete": complete}
    if turns:
        content["turns"] = turns
    return {"clientContent": content}


def realtime_text(words: str) -> Json:
    """Words in the caller's place, which the model answers like speech."""
    return {"realtimeInput": {"text": words}}


def activity(*, start: bool) -> Json:
    """The caller's turn begins or ends, where the service does not listen for that."""
    return {"realtimeInput": {"activityStart" if start else "activityEnd": {}}}


def tool_response(call_id: str, name: str, response: Json, *, silent: bool = False) -> Json:
    """The result of a tool call. `silent`: the model need not speak about it, heeded of NON_BLOCKING functions only."""
    answer: Json = {"name": name, "response": response}
    if call_id:
        answer["id"] = call_id
    if silent:
        answer["scheduling"] = "SILENT"
    return {"toolResponse": {"functionResponses": [answer]}}


def said(words: str, role: str = "user") -> Json:
    """A turn of the conversation."""
    return {"role": role, "parts": [{"text": words}]}


def instruction(words: str) -> str:
    """Words that nobody said: there is no place for them but the caller's."""
    return f"[Instruction, not said by the caller: {words}]"


def contents(turns: Iterable[Remembered]) -> list[Json]:
    """What was said and done before, as turns. Tool calls are told in words: a call cannot be put back as one."""
    return [content for turn in turns if (content := _content(turn)) is not None]


def as_text(turn: Json) -> str:
    """A turn as words for a service that takes no turns any more."""
    words = " ".join(str(part["text"]) for part in turn["parts"])
    return f"[You said before: {words}]" if turn["role"] == "model" else words


def _content(turn: Remembered) -> Json | None:
    if isinstance(turn, AgentWords):
        return said(turn.text, "model") if turn.text else None
    if isinstance(turn, ToolUse):
        return said(f"[You called {turn.name} with {turn.arguments}; its result was {turn.output}]")
    if isinstance(turn, CallerWords):
        return said(turn.text or "[The caller said something that was not understood.]")
    return said(f"[{turn.text}]") if turn.text else None


# In


def seconds(value: object) -> float:
    """A duration as protobuf's JSON writes it, `50s` or `1.5s`. Raises Malformed."""
    found = _DURATION.match(value) if isinstance(value, str) else None
    if found is None:
        raise Malformed("not a duration")
    return float(found[1])


def audio_rate(mime_type: object) -> int | None:
    """Hz of linear PCM; None: it is something else. Without a rate it is what the service always sends, 24000."""
    if not isinstance(mime_type, str) or not _PCM.match(mime_type):
        return None
    found = _RATE.search(mime_type)
    return int(found[1]) if found else 24000


def decoded(data: str) -> bytes:
    """Base64 of either alphabet. Raises ValueError."""
    if "-" in data or "_" in data:
        data = data.translate(_URL_SAFE)
    return a2b_base64(data, strict_mode=True)
