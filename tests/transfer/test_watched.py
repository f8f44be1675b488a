"""A task that nobody waits for tells of its faults."""

from __future__ import annotations

import asyncio

from structlog.testing import capture_logs

from bridge.transfer.watched import watched


async def test_a_fault_is_logged_and_told_and_nothing_else_is() -> None:
    told: list[str] = []

    async def fails() -> None:
        raise RuntimeError("a fault of ours")

    async def waits() -> None:
        await asyncio.sleep(60)

    async def works() -> None:
        return

    with capture_logs() as lines:
        tasks = [watched(work(), lambda: told.append("fault")) for work in (fails, waits, works)]
        await asyncio.sleep(0)
        tasks[1].cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await asyncio.sleep(0)
    assert told == ["fault"]
    assert [(line["event"], str(line["exc_info"])) for line in lines] == [("transfer.failed", "a fault of ours")]
