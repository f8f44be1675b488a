"""The application at the far end of a webhook: a real HTTP server that keeps what it got, and one that misbehaves."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any, Self

import orjson
from aiohttp import web

Answer = Callable[[web.Request], Awaitable[web.StreamResponse]]


@dataclass
class Got:
    """One request as it came."""

    path: str
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return orjson.loads(self.body)


@dataclass
class Application:
    """`async with Application() as app:`; `answers` are used up one by one, the last for ever."""

    answers: list[Answer] = field(default_factory=lambda: [json_answer({"status": "fine"})])
    context: ssl.SSLContext | None = None
    got: list[Got] = field(default_factory=list)
    broken_off: int = 0
    """Requests whose sender left before their answer."""

    async def __aenter__(self) -> Self:
        app = web.Application(client_max_size=10_000_000)
        app.router.add_route("*", "/{path:.*}", self._answer)
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1, handler_cancellation=True)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", 0, ssl_context=self.context)
        await site.start()
        self.port = int(self._runner.addresses[0][1])
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._runner.cleanup()

    @property
    def url(self) -> str:
        return f"{'http' if self.context is None else 'https'}://127.0.0.1:{self.port}/tools"

    async def came(self, count: int = 1, within: float = 10) -> Got:
        """The last of so many requests, once they are there."""
        async with asyncio.timeout(within):
            while len(self.got) < count:
                await asyncio.sleep(0.005)
        return self.got[count - 1]

    async def _answer(self, request: web.Request) -> web.StreamResponse:
        self.got.append(Got(request.path_qs, dict(request.headers), await request.read()))
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        try:
            return await answer(request)
        except asyncio.CancelledError:
            self.broken_off += 1
            raise


def json_answer(value: Any, status: int = 200) -> Answer:
    """JSON."""
    return text_answer(orjson.dumps(value).decode(), status, "application/json")


def text_answer(text: str, status: int = 200, kind: str = "text/plain", **headers: str) -> Answer:
    """Text of some type."""

    async def answer(_: web.Request) -> web.Response:
        more = {name.replace("_", "-"): value for name, value in headers.items()}
        return web.Response(text=text, status=status, content_type=kind, headers=more)

    return answer


async def never(_: web.Request) -> web.StreamResponse:
    """No answer, ever."""
    await asyncio.Event().wait()
    raise AssertionError


async def endless(request: web.Request) -> web.StreamResponse:
    """A body without an end."""
    response = web.StreamResponse()
    await response.prepare(request)
    while True:
        await response.write(b"x" * 65536)


async def stalling(request: web.Request) -> web.StreamResponse:
    """The beginning of a body, and nothing more."""
    response = web.StreamResponse()
    await response.prepare(request)
    await response.write(b'{"status": ')
    await asyncio.Event().wait()
    return response


async def dropping(request: web.Request) -> web.StreamResponse:
    """The connection is cut off."""
    assert request.transport is not None
    request.transport.abort()
    return web.Response()


class Raw:
    """`async with Raw(b"...") as url:` answers every connection with these bytes and closes it."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self.connections = 0

    async def __aenter__(self) -> str:
        self._server = await asyncio.start_server(self._answer, "127.0.0.1", 0)
        return f"http://127.0.0.1:{self._server.sockets[0].getsockname()[1]}/"

    async def __aexit__(self, *_: object) -> None:
        self._server.close()
        await self._server.wait_closed()

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        await reader.read(65536)
        writer.write(self._data)
        try:
            await writer.drain()
            writer.close()
            await writer.wait_closed()
        except ConnectionError:
            pass
