"""Sockets that are open before somebody calls: the handshakes of TCP, TLS and HTTP are done while nobody waits."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Awaitable, Callable

import structlog
from websockets.protocol import State

from bridge.realtime.connection import Connection
from bridge.realtime.dialer import SessionFailed

log = structlog.get_logger("sipbridge.realtime")

MOST_AGE_S = 300.0
"""A session's time may count from its connection; an older socket is replaced."""
CHECK_S = 5.0
PAUSES_S = (1.0, 2.0, 5.0, 15.0, 60.0)
"""After so many failures in a row the next attempt waits so long."""


class WarmSockets:
    """`size` sockets of one agent, kept open from `open` to `close`; nothing is ever sent on them here."""

    def __init__(
        self,
        connect: Callable[[], Awaitable[Connection]],
        size: int,
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.taken = 0
        self.missed = 0
        """Asked for when none was there."""
        self.expired = 0
        """Replaced for their age, or ended by the service."""
        self._connect = connect
        self._size = size
        self._clock = clock
        self._ready: deque[tuple[float, Connection]] = deque()
        self._wanted = asyncio.Event()
        self._keeper: asyncio.Task[None] | None = None

    def open(self) -> None:
        """Begin to keep them."""
        self._keeper = asyncio.create_task(self._keep())

    def take(self) -> Connection | None:
        """The freshest one that is alive; None when there is none."""
        self._wanted.set()
        while self._ready:
            _, socket = self._ready.pop()
            if socket.state is State.OPEN:
                self.taken += 1
                return socket
            self.expired += 1
        self.missed += 1
        return None

    async def close(self) -> None:
        """Close them all."""
        if self._keeper is not None:
            self._keeper.cancel()
            await asyncio.wait({self._keeper})
        while self._ready:
            await self._ready.pop()[1].close()

    async def _keep(self) -> None:
        failures = 0
        while True:
            await self._drop_old()
            pause_s = CHECK_S
            if len(self._ready) < self._size:
                try:
                    self._ready.append((self._clock(), await self._connect()))
                    failures = 0
                    continue
                except SessionFailed as failure:
                    log.info("session.not_warm", reason=failure.reason, detail=failure.detail)
                    pause_s = PAUSES_S[min(failures, len(PAUSES_S) - 1)]
                    failures += 1
            await self._pause(pause_s, wakeable=failures == 0)

    async def _pause(self, seconds: float, *, wakeable: bool) -> None:
        """Until something is taken, `seconds` at most; after a failure all of it."""
        self._wanted.clear()
        if not wakeable:
            await asyncio.sleep(seconds)
            return
        try:
            async with asyncio.timeout(seconds):
                await self._wanted.wait()
        except TimeoutError:
            return

    async def _drop_old(self) -> None:
        for entry in list(self._ready):
            made, socket = entry
            if socket.state is not State.OPEN or self._clock() - made > MOST_AGE_S:
                self._ready.remove(entry)
                self.expired += 1
                await socket.close()
