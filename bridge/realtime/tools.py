"""The tools that are built in, as the model sees them."""

from __future__ import annotations

from collections.abc import Sequence
from copy import deepcopy

from bridge.realtime.options import Json

HANG_UP = "hang_up"
TRANSFER = "transfer"
SEND_DIGITS = "send_digits"
READ_DIGITS = "read_digits"

_BUILT_IN: dict[str, Json] = {
    HANG_UP: {
        "type": "function",
        "name": HANG_UP,
        "description": "End the phone call. Say goodbye first; the call ends when the caller has heard it.",
        "parameters": {
            "type": "object",
            "properties": {"reason": {"type": "string", "description": "Why the call ends, in a few words."}},
            "required": [],
        },
    },
    TRANSFER: {
        "type": "function",
        "name": TRANSFER,
        "description": "Connect the caller to somebody else. Say so first; it happens when the caller has heard you.",
        "parameters": {
            "type": "object",
            "properties": {"target": {"type": "string", "description": "Whom to connect to."}},
            "required": ["target"],
        },
    },
    SEND_DIGITS: {
        "type": "function",
        "name": SEND_DIGITS,
        "description": "Press keys of the telephone.",
        "parameters": {
            "type": "object",
            "properties": {"digits": {"type": "string", "description": "One or more of 0-9, *, #, A-D."}},
            "required": ["digits"],
        },
    },
    READ_DIGITS: {
        "type": "function",
        "name": READ_DIGITS,
        "description": "Wait for keys that the caller presses. Say what to enter first.",
        "parameters": {
            "type": "object",
            "properties": {
                "max_digits": {"type": "integer", "description": "How many there are, 1 to 32; 0 if that varies."},
                "timeout_s": {"type": "number", "description": "How long to wait for the first one, in seconds."},
            },
            "required": [],
        },
    },
}


def definition(tool: str | Json, targets: Sequence[str] = ()) -> Json | None:
    """What the model is told of a configured tool; None: it is not offered.

    `targets` are the names that a transfer may use; without any there is nobody to transfer to.
    """
    if isinstance(tool, dict):
        return dict(tool)
    if tool == TRANSFER:
        return _transfer(targets) if targets else None
    return _BUILT_IN.get(tool)


def _transfer(targets: Sequence[str]) -> Json:
    known = deepcopy(_BUILT_IN[TRANSFER])
    words = f"Whom to connect to: {', '.join(targets)}; or a number, where one of these stands for numbers."
    known["parameters"]["properties"]["target"]["description"] = words
    return known
