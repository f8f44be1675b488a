"""The asyncio face of all webhooks: one HTTP client for the service, and what must finish after its call."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Coroutine

import aiohttp
from yarl import URL

from bridge.config.tools import Webhook
from bridge.tools import reply as ended
from bridge.tools.reply import Repeat, Reply
from bridge.tools.request import Request

CONNECT_S = 3.0
"""For the connection alone, TLS included: where nobody is, the caller waits for nothing."""
PAUSE_S = 0.2
"""Before a request is sent again."""
MOST_REDIRECTS = 3
KEEPALIVE_S = 4.0
"""Less than the 5 s after which common servers drop a quiet connection: a POST into such a one is not repeated."""
GRACE_S = 5.0
"""How long `close` waits for what was to finish after its call."""


class Webhooks:
    """Sends requests to webhooks. One for the whole service; the client is made when first needed.

    `on_answer` gets the seconds that each use of a tool took, tries included.
    """

    def __init__(
        self,
        *,
        on_answer: Callable[[float], None] = lambda seconds: None,
        clock: Callable[[], float] = time.time,
        pause_s: float = PAUSE_S,
        connect_s: float = CONNECT_S,
    ) -> None:
        self.late: dict[str, int] = {}
        """Outcomes of what finished after its call, by word."""
        self._on_answer = on_answer
        self._clock = clock
        self._pause_s = pause_s
        self._connect_s = connect_s
        self._client: aiohttp.ClientSession | None = None
        self._kept: set[asyncio.Task[Reply]] = set()

    async def ask(self, webhook: Webhook, request: Request) -> Reply:
        """Send a request, again where that may help and cannot harm. Never raises for what the other side does."""
        began = time.monotonic()
        for left in reversed(range(1 + webhook.retries)):
            reply = await self._try(webhook, request)
            again = reply.repeat is Repeat.ALWAYS or (reply.repeat is Repeat.IF_IDEMPOTENT and webhook.idempotent)
            if not again or not left:
                break
            await asyncio.sleep(self._pause_s)
        self._on_answer(time.monotonic() - began)
        return reply

    def keep(self, work: Coroutine[None, None, Reply]) -> asyncio.Task[Reply]:
        """Run it to its end, whatever becomes of its call."""
        task = asyncio.create_task(work)
        self._kept.add(task)
        task.add_done_callback(self._kept.discard)
        return task

    def count_late(self, task: asyncio.Task[Reply]) -> None:
        """The call of this task is over: its outcome is counted here."""
        task.add_done_callback(self._ended_late)

    async def close(self, grace_s: float = GRACE_S) -> None:
        """End what still runs, after `grace_s` seconds, and the client. Idempotent."""
        if self._kept:
            await asyncio.wait(set(self._kept), timeout=grace_s)
        for task in list(self._kept):
            task.cancel()
        await asyncio.gather(*self._kept, return_exceptions=True)
        client, self._client = self._client, None
        if client is not None:
            await client.close()

    def _ended_late(self, task: asyncio.Task[Reply]) -> None:
        if task.cancelled():
            outcome = "cancelled"
        else:
            outcome = "failed" if task.exception() is not None else task.result().outcome
        self.late[outcome] = self.late.get(outcome, 0) + 1

    async def _try(self, webhook: Webhook, request: Request) -> Reply:
        try:
            return await self._follow(webhook, request)
        except (aiohttp.ClientConnectorError, aiohttp.ConnectionTimeoutError) as error:
            error.__traceback__ = None  # the library keeps the error in a frame, and the error would keep that
            return ended.unreachable(type(error).__name__)
        except TimeoutError:
            return ended.too_late()
        except aiohttp.ClientError as error:
            return ended.broken(type(error).__name__)

    async def _follow(self, webhook: Webhook, request: Request) -> Reply:
        """One try. A redirection is followed to the same server only, where it asks for the same request there."""
        url = URL(webhook.url)
        timeout = aiohttp.ClientTimeout(sock_connect=self._connect_s)
        async with asyncio.timeout(webhook.timeout_s):
            for _ in range(1 + MOST_REDIRECTS):
                async with self._http().request(
                    webhook.method,
                    url,
                    data=request.body,
                    headers=request.headers(webhook, int(self._clock())),
                    allow_redirects=False,
                    timeout=timeout,
                ) as response:
                    elsewhere = _same_server(url, response)
                    if elsewhere is None:
                        return await _read(response, webhook.max_result_bytes)
                    url = elsewhere
        return ended.of_status(response.status)

    def _http(self) -> aiohttp.ClientSession:
        if self._client is None:
            # No limit of connections here: each call has its own, and one slow server must not hold up the others.
            connector = aiohttp.TCPConnector(limit=0, keepalive_timeout=KEEPALIVE_S)
            self._client = aiohttp.ClientSession(
                connector=connector, cookie_jar=aiohttp.DummyCookieJar(), auto_decompress=False
            )
        return self._client


async def _read(response: aiohttp.ClientResponse, limit: int) -> Reply:
    """The reply in a response; of a body no more is read than is needed to see that it is too long."""
    if response.status // 100 != 2:
        return ended.of_status(response.status)
    if response.headers.get("Content-Encoding", "identity").lower() != "identity":
        return ended.unreadable(response.status)
    body = bytearray()
    while len(body) <= limit and (piece := await response.content.read(limit + 1 - len(body))):
        body += piece
    return ended.read(response.status, response.headers.get("Content-Type", ""), bytes(body), limit)


def _same_server(url: URL, response: aiohttp.ClientResponse) -> URL | None:
    """Where a response sends the very same request, if that is the same server."""
    if response.status not in (307, 308):
        return None
    try:
        target = url.join(URL(response.headers.get("Location", "")))
        return target if target.origin() == url.origin() and not target.user else None
    except ValueError:
        return None
