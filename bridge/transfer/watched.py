"""A task of a call that nobody waits for: a fault of ours in it must not end in silence."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine

import structlog

log = structlog.get_logger("sipbridge.transfer")


def watched(work: Coroutine[None, None, None], on_fault: Callable[[], None]) -> asyncio.Task[None]:
    """Run it; when it raises, the log has the trace and `on_fault` is called. Cancelling it is no fault."""

    def done(task: asyncio.Task[None]) -> None:
        if not task.cancelled() and (error := task.exception()) is not None:
            log.error("transfer.failed", exc_info=error)
            on_fault()

    task = asyncio.create_task(work)
    task.add_done_callback(done)
    return task


async def over(task: asyncio.Task[None] | None) -> None:
    """Wait until a task has ended, if there is one. Its owner then forgets it: what cancelled it keeps its frames."""
    if task is not None and not task.done():
        await asyncio.wait({task})
