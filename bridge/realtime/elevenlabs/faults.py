"""Why an ElevenLabs conversation fails or ends, and what to do about it (reference section 4)."""

from __future__ import annotations

from collections.abc import Mapping

from bridge.realtime.events import SessionError
from bridge.realtime.faults import member, words
from bridge.realtime.options import Json

FINAL_CLOSE_CODES = frozenset({1000, 1008})
"""Close codes after which another session would end the same way, or is not wanted: the agent has hung up (its own
`end_call`, or its longest duration), the request is not allowed. 1002 and 1011 are worth another session."""

CLOSE_ADVICE: Mapping[int, str] = {
    1000: "the agent ended the conversation: its `end_call` tool, or its maximum duration",
    1002: "the service gave up: no audio of the caller for 60 s, or a model that did not answer",
    1008: "the service refused the request: check key, agent id, and whether the agent's settings allow the overrides",
    1011: "the service had a fault of its own",
}
"""Close code → what it means with this provider."""

ADVICE: Mapping[str, str] = {
    "unusable_format": "set the agent's input and output audio format to ulaw_8000, or to pcm_16000",
    "override_error": "allow these overrides in the agent's security settings, or leave the keys out here",
    "max_duration_exceeded": "raise the agent's maximum duration",
    "transport_receive_timeout": "no audio of the caller arrived for 60 s: check the network",
    "llm_timeout": "the agent's model did not answer for 20 s: choose another one, or a backup",
    "http_401": "the key was refused: check ELEVENLABS_API_KEY or the agent's `key`",
    "http_404": "there is no such agent: check its id",
    "bad_signed_url": "the answer holds no usable URL: check the base address",
}
"""Reason → the next step."""

_REFUSED = 1008


def error_of(event: Json, *, began: bool) -> SessionError:
    """An `error` event. Fatal is a refusal, and any before the conversation began; else the close code decides.

    Raises Malformed.
    """
    error = member(event, "error_event")
    code = error.get("code")
    number = code if isinstance(code, int) else 0
    name = words(error, "error_type", "error_name") or f"error_{number}"
    return SessionError(name, words(error, "message", "reason"), fatal=number == _REFUSED or not began)
