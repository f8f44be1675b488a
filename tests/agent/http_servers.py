"""Small HTTP servers for the pipeline: each request waits for what the test wants it answered."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Callable
from typing import Any

from aiohttp import web

SSE = "text/event-stream"
BYTES_PER_CHAR = 24 * 2 * 50
"""The voice that answers by itself: 50 ms for each letter, at 24 kHz."""


class Asked:
    """One request, and what it is answered: `reply` once, or `begin`, `write` ... `end`."""

    def __init__(self, request: web.Request, body: Any) -> None:
        self.body = body
        self.headers = request.headers
        self.connection = request.transport.get_extra_info("peername") if request.transport else None
        self.gone = asyncio.Event()
        """The client has closed the connection before the end."""
        self._request = request
        self._steps: asyncio.Queue[bytes | web.Response | str | None] = asyncio.Queue()
        self._type = SSE

    def reply(self, status: int = 200, data: Any = None, **headers: str) -> None:
        body = data if isinstance(data, bytes) else json.dumps(data).encode()
        kind = "application/octet-stream" if isinstance(data, bytes) else "application/json"
        sent = {name.replace("_", "-"): value for name, value in headers.items()}
        self._steps.put_nowait(web.Response(status=status, body=body, headers={"Content-Type": kind} | sent))

    def write(self, data: bytes, content_type: str = "application/octet-stream") -> None:
        self._type = content_type
        self._steps.put_nowait(data)

    def chunk(self, **delta: Any) -> None:
        """One chunk of a chat completion."""
        reason = delta.pop("finish_reason", None)
        choice = {"index": 0, "delta": delta, "finish_reason": reason}
        self.write(f"data: {json.dumps({'choices': [choice]})}\n\n".encode(), SSE)

    def say(self, *texts: str) -> None:
        for text in texts:
            self.chunk(content=text)

    def stop(self, reason: str = "stop") -> None:
        self.chunk(finish_reason=reason)
        self.write(b"data: [DONE]\n\n", SSE)
        self.end()

    def sound(self, chars: int = 0) -> None:
        """Sound of so many letters, or of the text that was asked for; then the end."""
        self.write(b"\x01\x00" * (BYTES_PER_CHAR // 2 * (chars or len(self.body["input"]))))
        self.end()

    def end(self) -> None:
        self._steps.put_nowait(None)

    def break_off(self) -> None:
        self._steps.put_nowait("break")

    async def serve(self) -> web.StreamResponse:
        try:
            return await self._serve()
        except asyncio.CancelledError:
            self.gone.set()
            raise
        except (ConnectionResetError, OSError):
            self.gone.set()
            return web.Response()

    async def _serve(self) -> web.StreamResponse:
        step = await self._steps.get()
        if isinstance(step, web.Response):
            return step
        if step == "break":
            return self._break(web.Response())
        response = web.StreamResponse(headers={"Content-Type": self._type})
        await response.prepare(self._request)
        while step is not None:
            if step == "break":
                return self._break(response)
            assert isinstance(step, bytes)
            await response.write(step)
            step = await self._steps.get()  # type: ignore[assignment]
        await response.write_eof()
        return response

    def _break(self, response: web.StreamResponse) -> web.StreamResponse:
        assert self._request.transport is not None
        self._request.transport.abort()
        return response


class Servers:
    """Ears, brain and voice on one port. A function in `hear`, `think`, `speak` answers by itself."""

    def __init__(self) -> None:
        self.ears: asyncio.Queue[Asked] = asyncio.Queue()
        self.brain: asyncio.Queue[Asked] = asyncio.Queue()
        self.voice: asyncio.Queue[Asked] = asyncio.Queue()
        self.hear: Callable[[Asked], None] | None = None
        self.think: Callable[[Asked], None] | None = None
        self.speak: Callable[[Asked], None] | None = None
        self.url = ""
        self.asked: dict[str, list[Asked]] = {"ears": [], "brain": [], "voice": []}

    def pipeline(self, **changes: Any) -> dict[str, Any]:
        """All three parts here, as JSON; a part that is None is left out."""
        parts: dict[str, Any] = {
            name: {"url": self.url, "key": f"sk-{name}", "model": f"{name}-1", "timeout_s": 120}
            for name in ("ears", "brain", "voice")
        }
        for name, change in changes.items():
            parts[name] = parts[name] | change if isinstance(change, dict) else change
        return {name: part for name, part in parts.items() if part is not None}

    async def _on(self, request: web.Request) -> web.StreamResponse:
        name = {"transcriptions": "ears", "completions": "brain", "speech": "voice"}[request.path.rpartition("/")[2]]
        asked = Asked(request, await _form(request) if name == "ears" else await request.json())
        self.asked[name].append(asked)
        by_itself = {"ears": self.hear, "brain": self.think, "voice": self.speak}[name]
        if by_itself is not None:
            by_itself(asked)
        else:
            {"ears": self.ears, "brain": self.brain, "voice": self.voice}[name].put_nowait(asked)
        return await asked.serve()


async def _form(request: web.Request) -> dict[str, Any]:
    fields: dict[str, Any] = {}
    for name, field in (await request.post()).items():
        fields[name] = field
        if isinstance(field, web.FileField):
            with field.file:
                fields[name] = field.file.read()
    return fields


@contextlib.asynccontextmanager
async def http_servers() -> AsyncIterator[Servers]:
    servers = Servers()
    app = web.Application(client_max_size=16 << 20)
    for path in ("/v1/audio/transcriptions", "/v1/chat/completions", "/v1/audio/speech"):
        app.router.add_post(path, servers._on)
    runner = web.AppRunner(app, handler_cancellation=True, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    port = runner.addresses[0][1]
    servers.url = f"http://127.0.0.1:{port}/v1"
    try:
        yield servers
    finally:
        await runner.cleanup()


def answers(*texts: str) -> Callable[[Asked], None]:
    """A brain that says these, one for each request."""
    left = list(texts)

    def think(asked: Asked) -> None:
        asked.say(left.pop(0))
        asked.stop()

    return think


def sounds(asked: Asked) -> None:
    """A voice that speaks everything."""
    asked.sound()
