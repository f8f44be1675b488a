"""Requests to one OpenAI-compatible HTTP server: sent again where that may help, read with a limit on silence."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from typing import Any

import aiohttp
import orjson
import structlog

from bridge.agent.fault import Fault, Patience, of_status
from bridge.agent.pipeline_config import HttpPart

_MAX_ERROR_BYTES = 4096

_log = structlog.get_logger("sipbridge.agent")


def open_http() -> aiohttp.ClientSession:
    """One for all servers and sessions: connections are kept alive, cookies are not kept."""
    return aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(limit=0, keepalive_timeout=60),
        timeout=aiohttp.ClientTimeout(total=None),
        cookie_jar=aiohttp.DummyCookieJar(),
    )


class Body:
    """The body of one answer, as it comes. `alive` starts the server's time anew."""

    def __init__(self, response: aiohttp.ClientResponse, timeout_s: float) -> None:
        self.content_type = response.content_type
        self.timeout_s = timeout_s
        self._content = response.content
        self.alive()

    def alive(self) -> None:
        """Something useful came."""
        self._until = asyncio.get_running_loop().time() + self.timeout_s

    async def read(self) -> bytes:
        """The next bytes, at most 128 KiB; empty at the end. Raises Fault."""
        try:
            async with asyncio.timeout_at(self._until):
                return await self._content.readany()
        except TimeoutError:
            raise Fault("server_error", "The server stopped in the middle.") from None
        except (aiohttp.ClientError, OSError):
            raise Fault("server_error", "The connection broke in the middle.") from None

    async def read_all(self, limit: int) -> bytes:
        """The whole of a short body. Raises Fault, also when it is not short."""
        data = bytearray()
        while piece := await self.read():
            data += piece
            if len(data) > limit:
                raise Fault("server_error", "The server's answer is too long.")
        return bytes(data)


class Exchange:
    """One server."""

    def __init__(self, http: aiohttp.ClientSession, part: HttpPart, name: str) -> None:
        """`name` is what the server is for, in log lines."""
        self._http = http
        self._url = part.url.rstrip("/")
        self._headers = {"Authorization": f"Bearer {part.key}"} if part.key else {}
        self._timeout_s = part.timeout_s
        self._name = name

    @contextlib.asynccontextmanager
    async def post(self, path: str, body: Callable[[], dict[str, Any]]) -> AsyncIterator[Body]:
        """The answer to one request. `body` makes the arguments of each try. Raises Fault.

        Who leaves early, by a cancellation too, closes the connection.
        """
        response = await self._answer(path, body)
        try:
            yield Body(response, self._timeout_s)
        finally:
            response.release()

    async def _answer(self, path: str, body: Callable[[], dict[str, Any]]) -> aiohttp.ClientResponse:
        patience = Patience()
        while True:
            try:
                return await self._once(path, body())
            except Fault as fault:
                pause = patience.pause(fault)
                _log.warning("pipeline.failed", part=self._name, code=fault.code, detail=fault.message, again=pause)
                if pause is None:
                    raise
            await asyncio.sleep(pause)

    async def _once(self, path: str, body: dict[str, Any]) -> aiohttp.ClientResponse:
        try:
            async with asyncio.timeout(self._timeout_s):
                # A redirect would take the key somewhere else.
                response = await self._http.post(self._url + path, headers=self._headers, allow_redirects=False, **body)
        except TimeoutError:
            raise Fault("server_error", "The server did not answer in time.") from None
        except (aiohttp.ClientError, OSError):
            raise Fault("server_error", "The server cannot be reached.", may_retry=True) from None
        if response.status == 200:
            return response
        try:
            quota = _says_quota(await Body(response, min(1.0, self._timeout_s)).read_all(_MAX_ERROR_BYTES))
        except Fault:
            quota = False
        finally:
            response.release()
        raise of_status(response.status, response.headers.get("Retry-After"), quota)


def _says_quota(body: bytes) -> bool:
    try:
        given = orjson.loads(body)
    except orjson.JSONDecodeError:
        return False
    error = given.get("error") if isinstance(given, dict) else None
    return isinstance(error, dict) and error.get("code") == "insufficient_quota"
