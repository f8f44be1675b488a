"""What an OpenAI Live session costs: seconds of the session, and tokens of the model behind the voice.

The service counts both from the beginning: what is told here is what came since the last time (reference section 5).
"""

from __future__ import annotations

from bridge.realtime.events import Usage
from bridge.realtime.faults import amount, inner, words
from bridge.realtime.options import Json


class Meter:
    """`model` is the voice's, `backend` that of the model behind it, where the service does not name it."""

    def __init__(self, model: str, backend: str) -> None:
        self._model = model
        self._backend = backend
        self._seconds = 0.0

    def session(self, event: Json) -> list[Usage]:
        """A report of the session so far."""
        seconds = amount(inner(event, "usage"), "seconds")
        more, self._seconds = seconds - self._seconds, max(seconds, self._seconds)
        return [Usage(self._model, seconds=more)] if more > 0 else []

    def response(self, response: Json) -> list[Usage]:
        """A response of the model behind the voice is over."""
        usage = inner(response, "usage")
        cached = int(amount(inner(usage, "input_tokens_details"), "cached_tokens"))
        counts = {
            "text_in": max(0, int(amount(usage, "input_tokens")) - cached),
            "text_cached": cached,
            "text_out": int(amount(usage, "output_tokens")),
        }
        tokens = {kind: count for kind, count in counts.items() if count}
        return [Usage(words(response, "model") or self._backend, tokens)] if tokens else []
