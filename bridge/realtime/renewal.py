"""When a session whose end is known gives way to another one: at a quiet moment before it, and at last at any."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable

from bridge.realtime.patience import Patience

CHECK_S = 0.2
"""How often a quiet moment is looked for, when a change is due."""

Change = Callable[[bool], Awaitable[bool]]
"""`change(late)` tries it; True: it is done, or there is nothing to do. `late`: it need not be unnoticed any more."""


class Renewal:
    """Plans the change of one call's session."""

    def __init__(self, patience: Patience, *, is_quiet: Callable[[], bool]) -> None:
        self._patience = patience
        self._is_quiet = is_quiet
        self._task: asyncio.Task[None] | None = None

    def due_in(self, seconds: float, change: Change) -> None:
        """The present session ends in so many seconds; of several words the newest counts."""
        self.stop()
        self._task = asyncio.create_task(self._run(seconds, change))

    def stop(self) -> None:
        """The present session is gone, or the call over."""
        task, self._task = self._task, None  # what has cancelled a task keeps its frames, and so all that is here
        if task is not None and task is not asyncio.current_task():
            task.cancel()

    async def _run(self, seconds: float, change: Change) -> None:
        last_moment = time.monotonic() + seconds - self._patience.change_at_last_s
        # Of a session that is short as a whole, not the first half.
        await asyncio.sleep(max(0.0, seconds - self._patience.change_before_s, seconds / 2))
        while True:
            late = time.monotonic() >= last_moment
            if (late or self._is_quiet()) and await change(late):
                return
            await asyncio.sleep(CHECK_S)
