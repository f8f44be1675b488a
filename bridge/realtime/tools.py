"""The tools that are built in, as the model sees them."""

from __future__ import annotations

from bridge.realtime.options import Json

HANG_UP = "hang_up"

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
}


def definition(tool: str | Json) -> Json | None:
    """What the model is told of a configured tool; None: this version cannot do it, so it is not offered."""
    return dict(tool) if isinstance(tool, dict) else _BUILT_IN.get(tool)
