"""Which errors of the service matter, and how to read events without trusting them.

Codes and their meaning: OpenAI Realtime reference, "Errors" and "Truncate".
"""

from __future__ import annotations

from math import isfinite
from typing import Any

ID_LIMIT = 512
"""Characters of an id; no server has longer ones."""
WORDS_LIMIT = 1000
"""Characters of an error's text that are kept."""
_LARGEST = 1 << 53

FATAL_CODES = frozenset(
    {
        "invalid_api_key",
        "mismatched_project",
        "account_deactivated",
        "billing_hard_limit_reached",
        "insufficient_quota",
        "invalid_model",
        "model_not_found",
        "beta_api_shape_disabled",
    }
)
HARMLESS_CODES = frozenset(
    {
        "response_cancel_not_active",
        "conversation_already_has_active_response",
        "item_truncate_invalid_item_id",
        "item_delete_invalid_item_id",
        "item_retrieve_invalid_item_id",
        "item_create_invalid_tool_call_id",
        "invalid_item_id",
        "input_audio_buffer_commit_empty",
    }
)
RATE_LIMIT_CODES = frozenset({"inference_rate_limit_exceeded", "rate_limit_exceeded"})
"""The same request may be made again, but not at once."""

ADVICE = {
    "invalid_api_key": "the key was refused: check the agent's `key`, or the provider's variable of the environment",
    "invalid_model": "the service does not know this model: check the agent's `model`",
    "model_not_found": "the service does not know this model: check the agent's `model`",
    "insufficient_quota": "the account has no credit left",
    "billing_hard_limit_reached": "the account has reached its spending limit",
    "beta_api_shape_disabled": "the service no longer speaks the beta dialect: leave `server.dialect: beta` out",
    "session_limit_reached": "the server has no session left: wait, or let it have more",
    "model_load_error": "the server could not load the model: see its log",
    "format_mismatch": "the service speaks no audio format that is known here: use another model or provider",
    "format_changed": "the service changed its audio format during the call: look for `session` in the agent's keys",
    "closed": "the service closed the connection instead of answering: its reason stands in the detail",
    "timeout": "the service did not answer in time: check the network, or raise limits.session_timeout_s",
    "unreachable": "no connection: check the agent's `url`, DNS, proxy and firewall",
    "http_401": "the key was refused: check the agent's `key`, or the provider's variable of the environment",
    "http_403": "the key may not use this service: check the key and its project",
    "http_404": "nothing answers at this path: check the agent's `url`",
}
"""Reason → the next step, for log lines and `sipbridge check`."""


CLOSE_ADVICE = {
    1000: "the service ended the session by itself",
    1001: "the service went away, or the session reached its longest time",
    1002: "the service broke the WebSocket protocol: the reason stands beside",
    1006: "the connection broke: check the network between",
    1008: "something was sent that nobody may: the reason stands beside",
    1009: "an event was larger than 16 MiB",
    3000: "the service refused the key",
    4000: "the service refused a request: its reason stands beside",
    1011: "the service had a fault, or did not answer a ping",
}
"""Close code of the WebSocket → what it means."""

_RETIRED = ("gpt-4o-realtime-preview", "gpt-4o-mini-realtime-preview")


def retired(model: str) -> str:
    """What to do about a model that is no longer served (reference section 1); empty for all others."""
    if not model.startswith(_RETIRED):
        return ""
    return f"{model} is no longer served: use gpt-realtime-2.1, or leave `model` out"


class Malformed(ValueError):
    """An event of the server that cannot be what it says; the text names the field."""


def is_harmless(code: str, message: str) -> bool:
    """Whether an error is one that good sessions see too (too late a cancel, too long a truncate)."""
    return code in HARMLESS_CODES or is_already_shorter(message) or is_not_truncatable(message)


def is_already_shorter(message: str) -> bool:
    """The item holds less audio than the truncate asked for: nothing was changed."""
    return "already shorter" in message.lower()


def is_not_truncatable(message: str) -> bool:
    """The item has no audio (yet), so the server refuses to truncate it."""
    return "only model output audio" in message.lower()


def text(event: dict[str, Any], name: str) -> str:
    """A member that must be a string. Raises Malformed."""
    value = event.get(name)
    if not isinstance(value, str):
        raise Malformed(f"{name} is not a string")
    return value


def ident(event: dict[str, Any], name: str) -> str:
    """A member that must be an id. Raises Malformed."""
    value = text(event, name)
    if not 0 < len(value) <= ID_LIMIT:
        raise Malformed(f"{name} is not an id")
    return value


def some_id(event: dict[str, Any], name: str) -> str:
    """An id that may be missing: then empty. Raises Malformed."""
    return "" if event.get(name) in (None, "") else ident(event, name)


def words(event: dict[str, Any], *names: str) -> str:
    """The first of these members that is a text, cut to what a log line takes; empty without."""
    found = (value for name in names if isinstance(value := event.get(name), str) and value)
    return next(found, "")[:WORDS_LIMIT]


def milliseconds(event: dict[str, Any], name: str) -> int:
    """A member that must be a number of milliseconds: 0 where it is missing or below. Raises Malformed."""
    value = event.get(name, 0)
    if not _is_number(value):
        raise Malformed(f"{name} is not a number")
    return max(0, int(value))


def number(event: dict[str, Any], name: str) -> int:
    """A member that must be a whole number. Raises Malformed."""
    value = event.get(name)
    if not isinstance(value, int) or isinstance(value, bool):
        raise Malformed(f"{name} is not a whole number")
    return value


def amount(event: dict[str, Any], name: str) -> float:
    """A member that counts something: 0 where it is missing or no such number."""
    value: Any = event.get(name)
    return max(0.0, value) if _is_number(value) else 0


def member(event: dict[str, Any], name: str) -> dict[str, Any]:
    """A member that must be an object. Raises Malformed."""
    value = event.get(name)
    if not isinstance(value, dict):
        raise Malformed(f"{name} is not an object")
    return value


def inner(event: dict[str, Any], name: str) -> dict[str, Any]:
    """A member that should be an object; an empty one where it is not."""
    value = event.get(name)
    return value if isinstance(value, dict) else {}


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and isfinite(value) and abs(value) < _LARGEST
