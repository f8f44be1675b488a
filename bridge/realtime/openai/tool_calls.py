"""The model's calls of tools: each told once, each answered, and one response after the last answer (quirks F1, F2).

Reference section 9.4. A call that was cut off with its response (F5) is answered by `cancelled` and never executed; one
whose arguments met the length limit (F6) is told as it is, so that whoever executes it can say what is wrong.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import orjson

from bridge.realtime.bounded import keep_newest
from bridge.realtime.events import ToolCall
from bridge.realtime.faults import Malformed, ident, text
from bridge.realtime.options import Json

_KEPT = 256
ARGUMENTS_LIMIT = 100_000
"""Characters of a call's arguments; what is longer is cut, and so no JSON any more."""
OUTPUT_LIMIT = 20_000
"""Characters of a result; each turn after it pays for them again (quirk F8)."""
CANCELLED: Json = {"status": "cancelled"}


@dataclass(slots=True)
class _Turn:
    """The calls of one response that have no result yet, and whether the model is to speak about those that have."""

    open: dict[str, None]
    speak: bool = False


class ToolCalls:
    """The calls of one session, by `call_id`."""

    def __init__(self) -> None:
        self._known: dict[str, str] = {}  # call_id → response_id
        self._turns: dict[str, _Turn] = {}
        self._unfinished: dict[str, tuple[ToolCall, str]] = {}

    def item_done(self, item: Json, response_id: str) -> ToolCall | None:
        """A function_call item as it ended; the call, the first time it is seen whole. Raises Malformed."""
        call = ToolCall(ident(item, "call_id"), ident(item, "name"), text(item, "arguments")[:ARGUMENTS_LIMIT])
        if call.call_id in self._known:
            return None
        if item.get("status") == "incomplete":  # why, its response will tell
            self._unfinished[call.call_id] = (call, response_id)
            keep_newest(self._unfinished, 8)
            return None
        return self._tell(call, response_id)

    def response_done(self, response_id: str, status: str, output: Any) -> tuple[list[ToolCall], list[str]]:
        """The calls that only the response's end has told, and the ids of those to be answered by `CANCELLED`."""
        told: list[ToolCall] = []
        cancelled: list[str] = []
        for item in output if isinstance(output, list) else ():
            with suppress(Malformed):  # what is wrong with an item must not hide that the response is over
                if isinstance(item, dict) and item.get("type") == "function_call":
                    call = self.item_done(item, response_id)
                    told += [call] if call else []
        for call, of_response in [each for each in self._unfinished.values() if each[1] == response_id]:
            if status == "cancelled":
                del self._unfinished[call.call_id]
                self._known[call.call_id] = of_response
                cancelled.append(call.call_id)
            else:
                told += [self._tell(call, of_response)]
        return told, cancelled

    def knows(self, call_id: str) -> bool:
        """Whether this session's model has made the call."""
        return call_id in self._known

    def answered(self, call_id: str, *, speak: bool) -> None:
        """A result was sent; `speak`: the model may say something about it."""
        turn = self._turns.get(self._known.get(call_id, ""))
        if turn is not None:
            turn.open.pop(call_id, None)
            turn.speak = turn.speak or speak

    def due(self, active: str | None) -> bool:
        """Whether a response is due: all calls of a response have their results, and it is over. Once for each."""
        ready = [each for each, turn in self._turns.items() if not turn.open and each != active]
        return any([self._turns.pop(each).speak for each in ready])

    def _tell(self, call: ToolCall, response_id: str) -> ToolCall:
        self._unfinished.pop(call.call_id, None)
        self._known[call.call_id] = response_id
        keep_newest(self._known, _KEPT)
        turn = self._turns.setdefault(response_id, _Turn({}))
        turn.open[call.call_id] = None
        keep_newest(turn.open, _KEPT)
        keep_newest(self._turns, _KEPT)
        return call


def written(output: Json) -> str:
    """A result as JSON text; of one that is too long, its beginning."""
    whole = orjson.dumps(output).decode()
    if len(whole) <= OUTPUT_LIMIT:
        return whole
    return orjson.dumps({"beginning": whole[:OUTPUT_LIMIT], "note": "The rest was too long."}).decode()


def approves(tools: tuple[Json, ...], server_label: str, name: str) -> bool:
    """Whether the configuration lets the model call this MCP tool without asking: nobody can click on a telephone."""
    for tool in tools:
        if tool.get("type") == "mcp" and tool.get("server_label") == server_label:
            rule = tool.get("require_approval")
            never = rule.get("never") if isinstance(rule, Mapping) else None
            names = never.get("tool_names") if isinstance(never, Mapping) else None
            return rule == "never" or (isinstance(names, list | tuple) and name in names)
    return False
