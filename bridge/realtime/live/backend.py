"""The model behind the voice of OpenAI Live: which of its tool calls await a result, and when it may go on.

The voice delegates, a text model answers and calls the tools (reference section 9.2). Nothing goes on by itself: the
results of all calls of a response are sent, and then one `response.create`, never while a response is being made.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from bridge.realtime import events as ev
from bridge.realtime.bounded import keep_newest
from bridge.realtime.faults import ident, inner, member, text, words
from bridge.realtime.options import Json

_REMEMBERED = 64
_REMEMBERED_CALLS = 256


@dataclass(slots=True)
class _Response:
    awaited: set[str] = field(default_factory=set)
    over: bool = False
    wanted: bool = False  # somebody wants the model to speak about a result


class Backend:
    """The responses and tool calls of one session."""

    def __init__(self) -> None:
        self._responses: dict[str, _Response] = {}
        self._current: dict[str, str] = {}  # delegation → its newest response
        self._calls: dict[str, str] = {}  # call that awaits its result → its response
        self._seen: dict[str, None] = {}
        self._due = False  # the model is to go on, as soon as it may
        self._asked = False  # `response.create` was sent, and no response has begun since

    @property
    def busy(self) -> bool:
        """Whether a response is being made, or has been asked for, or waits for a result."""
        return self._asked or self._due or bool(self._responses)

    def created(self, delegation: str, event: Json) -> None:
        """A response has begun."""
        response_id = ident(member(event, "response"), "id")
        self._asked = False
        self._current[delegation] = response_id
        self._responses.setdefault(response_id, _Response())
        self._trim()

    def item_done(self, delegation: str, event: Json) -> list[ev.Event]:
        """A response has finished an item: a tool call, the first time it is seen, or nothing of interest."""
        item = member(event, "item")
        if item.get("type") != "function_call" or item.get("status") == "incomplete":
            return []
        call = ev.ToolCall(ident(item, "call_id"), ident(item, "name"), text(item, "arguments"))
        if call.call_id in self._seen:
            return []
        self._seen[call.call_id] = None
        response_id = self._current.setdefault(delegation, "")
        self._responses.setdefault(response_id, _Response()).awaited.add(call.call_id)
        self._calls[call.call_id] = response_id
        self._trim()
        return [call]

    def ended(self, delegation: str, wire: Json, *, failed: bool) -> list[ev.Event]:
        """A response is over; if it failed, nobody waits for the results of its calls, and the voice goes on."""
        void = self._end(delegation, words(wire, "id"), failed=failed)
        if not failed:
            return void
        error = inner(wire, "error")
        message = words(error, "message") or "the model behind the voice failed"
        return [*void, ev.SessionError(words(error, "code") or "response_failed", message)]

    def answered(self, call_id: str, *, respond: bool) -> bool:
        """The result of a call is here. False: nobody waits for it."""
        response_id = self._calls.pop(call_id, None)
        response = self._responses.get(response_id) if response_id is not None else None
        if response_id is None or response is None:
            return False
        response.awaited.discard(call_id)
        response.wanted = response.wanted or respond
        self._settle(response_id, response)
        return True

    def take_turn(self) -> bool:
        """Whether `response.create` must be sent now; asked once for each time."""
        making = any(not response.over for response in self._responses.values())
        if not self._due or self._asked or making:
            return False
        self._due, self._asked = False, True
        return True

    def refused(self) -> None:
        """`response.create` was refused: it is tried again when the next response is over or the next result comes."""
        self._asked = False
        self._due = bool(self._responses)

    def _end(self, delegation: str, response_id: str, *, failed: bool) -> list[ev.Event]:
        if response_id not in self._responses:
            response_id = self._current.get(delegation, "")
        response = self._responses.get(response_id)
        if response is None:
            return []
        response.over = True
        void = sorted(response.awaited) if failed else []
        for call_id in void:
            response.awaited.discard(call_id)
            self._calls.pop(call_id, None)
        self._settle(response_id, response)
        return [ev.ToolCancelled(call_id) for call_id in void]

    def _trim(self) -> None:
        keep_newest(self._responses, _REMEMBERED)
        keep_newest(self._current, _REMEMBERED)
        keep_newest(self._calls, _REMEMBERED_CALLS)
        keep_newest(self._seen, _REMEMBERED_CALLS)

    def _settle(self, response_id: str, response: _Response) -> None:
        if response.over and not response.awaited:
            del self._responses[response_id]
            self._due = self._due or response.wanted
