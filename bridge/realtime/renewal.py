"""When a session whose end is known gives way to another one: at a quiet moment before it, and at last at any."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable

from bridge.realtime.patience import Patience

CHECK_S = 0.2
"""How often a quiet moment is looked for, when a change is due."""


class Renewal:
    """Plans the change of one call's session. `change(late)` tries it; True: it is done, or there is nothing to do."""

    def __init__(
        self, patience: Patience, *, is_quiet: Callable[[], bool], change: Callable[[bool], Awaitable[bool]]
    ) -> None:
        """`late`: time is up, and the change need not be unnoticed."""
        self._patience = patience
        self._is_quiet = is_quiet
        self._change = change
        self._task: asyncio.Task[None] | None = None

    def due_in(self, seconds: float) -> None:
        """The present session ends in so many seconds; of several words the newest counts."""
        self.stop()
        self._task = asyncio.create_task(self._run(seconds))

    def stop(self) -> None:
        """The present session is gone, or the call over."""
        if self._task is not None and self._task is not asyncio.current_task():
            self._task.cancel()

    async def _run(self, seconds: float) -> None:
        last_moment = time.monotonic() + seconds - self._patience.change_at_last_s
        # Of a session that is short as a whole, not the first half.
        await asyncio.sleep(max(0.0, seconds - self._patience.change_before_s, seconds / 2))
        while True:
            late = time.monotonic() >= last_moment
            if (late or self._is_quiet()) and await self._change(late):
                return
            await asyncio.sleep(CHECK_S)
