"""Which errors of the service matter, and how to read events without trusting them.

Codes and their meaning: OpenAI Realtime reference, "Errors" and "Truncate".
"""

from __future__ import annotations

from typing import Any

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
        "session_expired",
    }
)
HARMLESS_CODES = frozenset(
    {
        "response_cancel_not_active",
        "conversation_already_has_active_response",
        "item_truncate_invalid_item_id",
        "item_delete_invalid_item_id",
        "input_audio_buffer_commit_empty",
    }
)

ADVICE = {
    "invalid_api_key": "the key was refused: check OPENAI_API_KEY or the agent's `key`",
    "invalid_model": "the service does not know this model: check the agent's `model`",
    "model_not_found": "the service does not know this model: check the agent's `model`",
    "insufficient_quota": "the account has no credit left",
    "billing_hard_limit_reached": "the account has reached its spending limit",
    "format_mismatch": "the service chose another audio format than G.711: use another model or provider",
    "closed": "the service closed the connection instead of answering: its reason stands in the detail",
    "timeout": "the service did not answer in time: check the network, or raise limits.session_timeout_s",
    "unreachable": "no connection: check the agent's `url`, DNS, proxy and firewall",
    "http_401": "the key was refused: check OPENAI_API_KEY or the agent's `key`",
    "http_403": "the key may not use this service: check the key and its project",
    "http_404": "nothing answers at this path: check the agent's `url`",
}
"""Reason → the next step, for log lines and `sipbridge check`."""


CLOSE_ADVICE = {
    1000: "the service ended the session by itself",
    1001: "the service went away, or the session reached its longest time",
    1006: "the connection broke, or an event was larger than 16 MiB: check the network between",
    1009: "an event was larger than 16 MiB",
    3000: "the service refused the key",
    4000: "the service refused a request: its reason stands beside",
    1011: "the service had a fault, or did not answer a ping",
}
"""Close code of the WebSocket → what it means."""


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


def number(event: dict[str, Any], name: str) -> int:
    """A member that must be a whole number. Raises Malformed."""
    value = event.get(name)
    if not isinstance(value, int) or isinstance(value, bool):
        raise Malformed(f"{name} is not a whole number")
    return value


def member(event: dict[str, Any], name: str) -> dict[str, Any]:
    """A member that must be an object. Raises Malformed."""
    value = event.get(name)
    if not isinstance(value, dict):
        raise Malformed(f"{name} is not an object")
    return value
