"""What came of a webhook's request, in the words the model is told. Without I/O."""

from __future__ import annotations

import codecs
from dataclasses import dataclass
from enum import Enum
from typing import Any

import orjson

from bridge.tools.arguments import is_deep

Json = dict[str, Any]

_MOST_DEPTH = 64
"""Encoders give up at some 250, and each provider wraps the result in a few levels of its own."""


class Repeat(Enum):
    """Whether a request may be sent again: always when nothing of the first can have been carried out."""

    NEVER = "never"
    IF_IDEMPOTENT = "if_idempotent"
    ALWAYS = "always"


@dataclass(frozen=True, slots=True)
class Reply:
    """How a request ended: a word for log and metrics, and what the model is told."""

    outcome: str
    output: Json
    status: int = 0
    """Of HTTP; 0: there was none."""
    repeat: Repeat = Repeat.NEVER
    fault: str = ""
    """For the log: the name of what went wrong, without addresses."""


_PERHAPS = "it may have been done or not"


def unreachable(fault: str) -> Reply:
    """No connection: no name, nobody there, or a certificate that proves nothing."""
    words = "the service cannot be reached: nothing was done"
    return Reply("unreachable", {"error": words}, repeat=Repeat.ALWAYS, fault=fault)


def broken(fault: str) -> Reply:
    """The connection broke, or what came was no HTTP."""
    words = f"the connection to the service broke: {_PERHAPS}"
    return Reply("broken", {"error": words}, repeat=Repeat.IF_IDEMPOTENT, fault=fault)


def too_late() -> Reply:
    """No complete answer in time."""
    return Reply("timeout", {"error": f"the service took too long: {_PERHAPS}"}, repeat=Repeat.IF_IDEMPOTENT)


def of_status(status: int) -> Reply:
    """An answer that is no success. Its body is for people, and may say what a caller must not hear."""
    if status < 400:
        return Reply("redirected", {"error": "the service has failed"}, status)
    if status < 500:
        return Reply("http_error", {"error": f"the service refused it ({status})"}, status)
    repeat = Repeat.IF_IDEMPOTENT if status in (502, 503, 504) else Repeat.NEVER
    return Reply("http_error", {"error": f"the service has failed ({status})"}, status, repeat)


def read(status: int, content_type: str, body: bytes, limit: int) -> Reply:
    """The result in a body: JSON or text; of one longer than `limit` bytes the beginning, which says so.

    A JSON object is the result as it is, anything else its member `result`. UTF-8 alone; a web page is no result.
    """
    cut = len(body) > limit
    try:
        text = codecs.getincrementaldecoder("utf-8-sig")().decode(body[:limit], not cut).strip()
    except UnicodeDecodeError:
        return unreadable(status)
    if "\0" in text or content_type.partition(";")[0].strip().lower() == "text/html":
        return unreadable(status)
    if cut:
        note = f"cut: these are the first {limit} bytes"
        return Reply("ok", {"result": text, "note": note}, status)
    return Reply("ok", _result(text), status)


def _result(text: str) -> Json:
    if not text:
        return {"status": "done"}
    try:
        value = orjson.loads(text)
    except ValueError:
        return {"result": text}
    if is_deep(value, _MOST_DEPTH):
        return {"result": text}
    return value if isinstance(value, dict) else {"result": value}


def unreadable(status: int) -> Reply:
    return Reply("unreadable", {"error": f"the service's answer cannot be read: {_PERHAPS}"}, status)
