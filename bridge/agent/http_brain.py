"""A brain by HTTP: POST /chat/completions with `stream: true` (OpenAI API, Chat)."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from typing import Any

import aiohttp

from bridge.agent.chat import Chat
from bridge.agent.chat_stream import ChatStream
from bridge.agent.fault import Fault
from bridge.agent.http_exchange import Body, Exchange
from bridge.agent.pieces import Called, Ended, Said
from bridge.agent.pipeline_config import BrainPart

_MAX_WHOLE_BYTES = 1 << 20
# After the last word only the end of the stream is waited for, so that the connection can be used again.
_CLOSING_S = 0.1
_REASONS = {"length": "max_output_tokens", "content_filter": "content_filter"}


class HttpBrain:
    """One language model."""

    def __init__(self, http: aiohttp.ClientSession, part: BrainPart) -> None:
        self._server = Exchange(http, part, "brain")
        self._part = part

    async def think(self, chat: Chat) -> AsyncGenerator[Said | Called | Ended]:
        """Text as it comes, then the calls, then the end. Raises Fault."""
        stream = ChatStream()
        request = self._request(chat)
        async with self._server.post("/chat/completions", lambda: {"json": request}) as body:
            if body.content_type == "application/json":
                yield Said(stream.whole(await body.read_all(_MAX_WHOLE_BYTES)))
            else:
                while not stream.done and (data := await _read(body, stream)):
                    seen = stream.events
                    text = stream.feed(data)
                    if text:
                        yield Said(text)
                    if stream.events > seen:
                        body.alive()
        yield Said(stream.finish())
        for call in stream.calls():
            yield call
        yield Ended(_REASONS.get(stream.reason or ""))

    def _request(self, chat: Chat) -> dict[str, Any]:
        part = self._part
        limits = [limit for limit in (part.max_tokens, chat.max_tokens) if limit is not None]
        request: dict[str, Any] = {"model": part.model, "messages": chat.messages, "stream": True}
        if part.temperature is not None:
            request["temperature"] = part.temperature
        if limits:
            request["max_tokens"] = min(limits)
        if chat.tools:
            request |= {"tools": chat.tools, "tool_choice": chat.tool_choice}
        return request


async def _read(body: Body, stream: ChatStream) -> bytes:
    """The next bytes. A server that does not close its stream after the last word has ended it all the same."""
    if stream.reason is None:
        return await body.read()
    body.timeout_s = min(body.timeout_s, _CLOSING_S)
    body.alive()
    try:
        return await body.read()
    except Fault:
        return b""
