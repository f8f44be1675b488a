"""The tool calls of a Gemini Live session: each is carried out once and answered, unless it is cancelled.

A model that gets no answer says nothing any more (quirk F5). So what cannot be carried out is answered with an error.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import orjson

from bridge.realtime import events as ev
from bridge.realtime.bounded import keep_newest
from bridge.realtime.faults import Malformed, text
from bridge.realtime.gemini.messages import tool_response
from bridge.realtime.options import Json

NON_BLOCKING = "NON_BLOCKING"
"""`behavior` of a function for whose result the model does not wait."""
MOST_CALLS = 32
"""Calls that wait for their results; one more is answered with an error at once."""
_REMEMBERED = 256
_LONGEST_ID = 256


@dataclass(frozen=True, slots=True)
class _Called:
    """A call that waits for its result."""

    wire_id: str
    """Empty where the service gave none, as Vertex may."""
    name: str
    blocking: bool
    """The model waits for it."""


class ToolCalls:
    """The calls of one session."""

    def __init__(self, mark: str, tools: tuple[Json, ...]) -> None:
        """`mark` is the beginning of the names of calls that have none."""
        self.unwanted = 0
        """Results of calls that were cancelled, or never made."""
        self._mark = mark
        self._free = {tool.get("name") for tool in tools if tool.get("behavior") == NON_BLOCKING}
        self._waiting: dict[str, _Called] = {}
        self._known: dict[str, None] = {}
        self._named = 0

    @property
    def are_open(self) -> bool:
        """Whether any call waits for its result."""
        return bool(self._waiting)

    @property
    def is_blocked(self) -> bool:
        """Whether the model waits for a result."""
        return any(called.blocking for called in self._waiting.values())

    def received(self, event: Json) -> tuple[list[ev.ToolCall], list[Json], int]:
        """The calls of a `toolCall` to carry out, the answers to those that cannot be, and how many made no sense.

        Raises Malformed.
        """
        calls: list[ev.ToolCall] = []
        refusals: list[Json] = []
        malformed = 0
        for one in _listed(event, "functionCalls"):
            try:
                wire_id, name = _names(one)
            except Malformed:
                malformed += 1
                continue
            if wire_id in self._known:  # said twice (quirk F1)
                continue
            try:
                calls.append(self._taken(wire_id, name, one.get("args") or {}))
            except Malformed as fault:
                malformed += 1
                refusals.append(tool_response(wire_id, name, {"error": str(fault)}))
        return calls, refusals, malformed

    def cancelled(self, event: Json) -> list[ev.Event]:
        """The calls of a `toolCallCancellation` that wait: they are not answered. Raises Malformed."""
        ids = (call_id for call_id in _listed(event, "ids") if isinstance(call_id, str))
        return [ev.ToolCancelled(call_id) for call_id in ids if self._waiting.pop(call_id, None) is not None]

    def result(self, call_id: str, output: Json, *, respond: bool) -> tuple[Json | None, bool]:
        """The answer to send, None if nobody waits for it; and whether the model goes on to speak."""
        called = self._waiting.pop(call_id, None)
        if called is None:
            self.unwanted += 1
            return None, False
        silent = not (respond or called.blocking)
        answer = tool_response(called.wire_id, called.name, _writable(output), silent=silent)
        return answer, not silent and not self.is_blocked

    def _taken(self, wire_id: str, name: str, arguments: Any) -> ev.ToolCall:
        if not isinstance(arguments, dict):
            raise Malformed("args is not an object")
        if len(self._waiting) >= MOST_CALLS:
            raise Malformed("too many calls at once")
        try:
            written = orjson.dumps(arguments).decode()
        except orjson.JSONEncodeError as error:
            raise Malformed("args is nested too deeply") from error
        call_id = wire_id or self._own_name()
        self._known[call_id] = None
        keep_newest(self._known, _REMEMBERED)
        self._waiting[call_id] = _Called(wire_id, name, name not in self._free)
        return ev.ToolCall(call_id, name, written)

    def _own_name(self) -> str:
        self._named += 1
        return f"{self._mark}-t{self._named}"


def _writable(output: Json) -> Json:
    """A result comes from elsewhere, and may hold what no JSON can say; the model must have an answer."""
    try:
        orjson.dumps(output)
    except orjson.JSONEncodeError:
        return {"error": "the result cannot be told"}
    return output


def _listed(event: Json, name: str) -> list[Any]:
    value = event.get(name, [])
    if not isinstance(value, list):
        raise Malformed(f"{name} is no list")
    return value


def _names(call: Any) -> tuple[str, str]:
    """Id (empty: none) and name of a call. Raises Malformed."""
    if not isinstance(call, dict):
        raise Malformed("a call is not an object")
    wire_id, name = text(call, "id") if "id" in call else "", text(call, "name")
    if len(wire_id) > _LONGEST_ID or len(name) > _LONGEST_ID:
        raise Malformed("longer than any name")
    return wire_id, name
