"""The tools that are built in, as the model sees them."""

from __future__ import annotations

from collections.abc import Sequence
from copy import deepcopy

from bridge.realtime.options import Json

HANG_UP = "hang_up"
TRANSFER = "transfer"
SEND_DIGITS = "send_digits"
READ_DIGITS = "read_digits"
HOLD = "hold"
HOLD_S = 30
"""How long music is heard unless the model says it."""
LONGEST_HOLD_S = 300


def _tool(name: str, description: str, required: Sequence[str] = (), **properties: Json) -> Json:
    parameters = {"type": "object", "properties": properties, "required": list(required)}
    return {"type": "function", "name": name, "description": description, "parameters": parameters}


_BUILT_IN: dict[str, Json] = {
    HANG_UP: _tool(
        HANG_UP,
        "End the phone call. Say goodbye first; the call ends when the caller has heard it.",
        reason={"type": "string", "description": "Why the call ends, in a few words."},
    ),
    TRANSFER: _tool(
        TRANSFER,
        "Connect the caller to somebody else. Say so first; it happens when the caller has heard you.",
        ["target"],
        target={"type": "string", "description": "Whom to connect to."},
    ),
    SEND_DIGITS: _tool(
        SEND_DIGITS,
        "Press keys of the telephone.",
        ["digits"],
        digits={"type": "string", "description": "One or more of 0-9, *, #, A-D."},
    ),
    READ_DIGITS: _tool(
        READ_DIGITS,
        "Wait for keys that the caller presses. Say what to enter first.",
        max_digits={"type": "integer", "description": "How many there are, 1 to 32; 0 if that varies."},
        timeout_s={"type": "number", "description": "How long to wait for the first one, in seconds."},
    ),
    HOLD: _tool(
        HOLD,
        "Let the caller hear music while he waits for something. Say so first: it begins when he has heard you, "
        "and ends as soon as you speak.",
        seconds={
            "type": "integer",
            "minimum": 1,
            "maximum": LONGEST_HOLD_S,
            "description": f"After how long you are asked to go on, {HOLD_S} by default.",
        },
    ),
}


def definition(tool: str, targets: Sequence[str] = ()) -> Json | None:
    """What the model is told of a built-in tool; None: it is not offered.

    `targets` are the names that a transfer may use; without any there is nobody to transfer to.
    """
    if tool == TRANSFER:
        return _transfer(targets) if targets else None
    return _BUILT_IN.get(tool)


def _transfer(targets: Sequence[str]) -> Json:
    known = deepcopy(_BUILT_IN[TRANSFER])
    words = f"Whom to connect to: {', '.join(targets)}; or a number, where one of these stands for numbers."
    known["parameters"]["properties"]["target"]["description"] = words
    return known
