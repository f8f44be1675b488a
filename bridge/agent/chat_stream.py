"""What a language model streams: server-sent events of chat completion chunks (OpenAI API, Chat, streaming)."""

from __future__ import annotations

from typing import Any

import orjson

from bridge.agent.fault import Fault
from bridge.agent.pieces import Called

MAX_LINE = 256 << 10
MAX_STREAM = 16 << 20
MAX_ANSWER_CHARS = 8000
"""About ten minutes of speech; the rest is not waited for."""
MAX_CALLS = 16
MAX_ARGUMENTS = 64 << 10
_OPEN, _CLOSE = "<think>", "</think>"


class ChatStream:
    """Bytes in, text out; calls and the reason of the end when it is `done`."""

    def __init__(self) -> None:
        self.events = 0
        """Chunks that made sense."""
        self.malformed = 0
        self.reason: str | None = None
        """finish_reason; None until it came."""
        self.done = False
        """Nothing that follows matters."""
        self._fault: Fault | None = None
        self._line = bytearray()
        self._bytes = 0
        self._chars = 0
        self._calls: list[_Call] = []
        self._by_index: dict[int, _Call] = {}
        self._thoughts = _Thoughts()

    def feed(self, data: bytes) -> str:
        """The text in the next bytes of the stream. A fault in it makes it `done`; `finish` raises it."""
        self._bytes += len(data)
        *lines, rest = data.split(b"\n")
        texts = []
        try:
            for line in lines:
                self._line += line
                texts.append(self._take_line())
            self._line += rest
            if len(self._line) > MAX_LINE or self._bytes > MAX_STREAM:
                raise Fault("server_error", "The model's stream does not end.")
        except Fault as fault:
            self._fault, self.done = fault, True
        return "".join(texts)

    def whole(self, data: bytes) -> str:
        """The text of an answer that is not streamed, from a server that cannot. Raises Fault."""
        given = _json(data)
        text = self._chunk(given, "message") if isinstance(given, dict) else ""
        if not self.events:
            raise Fault("server_error", "The model's answer makes no sense.")
        self.reason, self.done = self.reason or "stop", True
        return text

    def finish(self) -> str:
        """The stream is over: text that was held back. Raises Fault when the model told one, or had not finished."""
        text = self.feed(b"\n") if self._line and not self.done else ""
        if self._fault is not None:
            raise self._fault
        if self.reason is None and not self.done:
            raise Fault("server_error", "The model stopped in the middle.")
        return text + self._thoughts.finish()

    def calls(self) -> list[Called]:
        """The function calls, complete when it is done."""
        return [Called(call.name, call.arguments or "{}", call.id or None) for call in self._calls if call.name]

    def _take_line(self) -> str:
        line, self._line = bytes(self._line).strip(), bytearray()
        if self.done or not line.startswith(b"data:"):
            return ""
        payload = line[5:].strip()
        if payload == b"[DONE]":
            self.done = True
            return ""
        given = _json(payload)
        if not isinstance(given, dict):
            self.malformed += 1
            return ""
        return self._chunk(given, "delta")

    def _chunk(self, given: dict[str, Any], member: str) -> str:
        if given.get("error"):
            raise _told(given["error"])
        choices = given.get("choices")
        choice = choices[0] if isinstance(choices, list) and choices else None
        if not isinstance(choice, dict):
            # A last chunk with the usage alone has no choices.
            self.malformed += not isinstance(choices, list)
            return ""
        self.events += 1
        reason = choice.get("finish_reason")
        if isinstance(reason, str) and reason:
            self.reason = reason
        delta = choice.get(member)
        if not isinstance(delta, dict):
            return ""
        self._add_calls(delta.get("tool_calls"))
        content = delta.get("content")
        return self._within_bounds(self._thoughts.feed(content)) if isinstance(content, str) else ""

    def _within_bounds(self, text: str) -> str:
        left = MAX_ANSWER_CHARS - self._chars
        self._chars += len(text)
        if len(text) > left:
            self.reason, self.done = "length", True
        return text[: max(0, left)]

    def _add_calls(self, given: Any) -> None:
        entries = given if isinstance(given, list) else []
        for entry in entries:
            function = entry.get("function") if isinstance(entry, dict) else None
            if isinstance(function, dict):
                call = self._call_for(entry)
                if call is not None:
                    call.add(entry, function)

    def _call_for(self, entry: dict[str, Any]) -> _Call | None:
        """The call that an entry goes on with, or a new one: some servers give each the index 0."""
        index = entry.get("index")
        index = index if isinstance(index, int) else max(self._by_index, default=0)
        known = self._by_index.get(index)
        given = entry.get("id")
        if known is not None and not (isinstance(given, str) and given and known.id and given != known.id):
            return known
        if len(self._calls) >= MAX_CALLS:
            return None
        call = self._by_index[index] = _Call()
        self._calls.append(call)
        return call


class _Call:
    """A call whose pieces are still coming."""

    def __init__(self) -> None:
        self.id = ""
        self.name = ""
        self.arguments = ""

    def add(self, entry: dict[str, Any], function: dict[str, Any]) -> None:
        name, arguments, given = function.get("name"), function.get("arguments"), entry.get("id")
        if isinstance(given, str) and given and not self.id:
            self.id = given[:64]
        if isinstance(name, str) and not self.name:
            self.name = name[:64]
        if isinstance(arguments, dict):  # some servers give the object instead of its text
            arguments = orjson.dumps(arguments).decode()
        if isinstance(arguments, str):
            self.arguments += arguments
            if len(self.arguments) > MAX_ARGUMENTS:
                raise Fault("server_error", "The model's function call does not end.")


class _Thoughts:
    """Leaves out what a reasoning model thinks aloud at the beginning of its answer."""

    def __init__(self) -> None:
        self._held = ""
        """What may still be the beginning of thoughts, or of their end."""
        self._thinking = False
        self._blank = False
        """Thoughts are over, and what follows has not begun."""
        self._over = False

    def feed(self, text: str) -> str:
        if self._over:
            return text
        held, self._held = self._held + text, ""
        if not self._thinking and not self._blank:
            begun = held.lstrip()
            self._thinking = begun.startswith(_OPEN)
            if not self._thinking and _OPEN.startswith(begun):
                self._held = held
                return ""
        if self._thinking:
            if _CLOSE not in held:
                self._held = held[-len(_CLOSE) :]
                return ""
            held, self._thinking, self._blank = held.partition(_CLOSE)[2], False, True
        if self._blank:
            held = held.lstrip()
        self._over = bool(held)
        return held

    def finish(self) -> str:
        held, self._held = self._held, ""
        return "" if self._thinking else held


def _json(data: bytes) -> Any:
    try:
        return orjson.loads(data)
    except orjson.JSONDecodeError:
        return None


def _told(error: Any) -> Fault:
    code = error.get("code") if isinstance(error, dict) else None
    known = ("rate_limit_exceeded", "insufficient_quota", "model_not_found", "invalid_api_key")
    return Fault(code if code in known else "server_error", "The model told of a fault.")
