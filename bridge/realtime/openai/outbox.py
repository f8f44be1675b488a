"""What one session sends: each event with an id of its own, by which an error names it."""

from __future__ import annotations

from typing import Any

import orjson

from bridge.realtime.bounded import keep_newest
from bridge.realtime.openai.dialect import Dialect
from bridge.realtime.options import Json

REMEMBERED = 64
"""Events that are remembered in case that one is refused."""


class Outbox:
    """Takes events from all parts of a session's protocol, which so need not know the whole of it."""

    def __init__(self, dialect: Dialect) -> None:
        self._dialect = dialect
        self._waiting: list[bytes] = []
        self._serial = 0
        self._sent: dict[str, Json] = {}

    def send(self, message: Json) -> str:
        """Send an event that was made in GA's shape; its id."""
        self._serial += 1
        event_id = f"br-{self._serial}"
        message["event_id"] = event_id
        self._sent[event_id] = message
        keep_newest(self._sent, REMEMBERED)
        self._waiting.append(orjson.dumps(self._dialect.message(message)))
        return event_id

    def take(self) -> list[bytes]:
        """The messages that wait to be sent, each once."""
        waiting, self._waiting = self._waiting, []
        return waiting

    def refused(self, event_id: Any) -> Json | None:
        """The event of ours that an error is about, once; None when it names none that is remembered."""
        return self._sent.pop(event_id, None) if isinstance(event_id, str) else None
