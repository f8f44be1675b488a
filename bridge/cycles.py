"""Python's collector of reference cycles, kept from stopping the calls.

A full collection looks at every object there is: with 300 calls that takes 110 ms, and no packet leaves meanwhile
(docs/performance.md). So what has survived a look is put where no collection looks again (`gc.freeze`), some calls at
a time. A call that ends is freed by reference counts alone (tests/service/test_freed.py); what dies in a cycle all the
same, once it is there, is looked for when nobody calls.
"""

from __future__ import annotations

import asyncio
import gc
import os
from collections.abc import Callable
from pathlib import Path

ROUND_S = 0.25
"""In it as many calls may begin as can be looked through in some 4 ms."""
NEVER = 1_000_000_000
FREEZES = 50
"""Since the last look at everything: some 350,000 objects have come to stay."""
MOST_GROWTH_BYTES = 200 << 20
"""Of resident memory since the last look at everything, while calls never end: then a gap in the calls is better than
no memory; a thousand calls take less. To count what is out of sight would itself be such a gap: 60 ms with 800."""


def resident_bytes() -> int:
    """Memory of this process that is really there; 0 where the system does not tell it so (/proc/self/statm)."""
    try:
        pages = Path("/proc/self/statm").read_bytes().split()[1]
    except OSError:
        return 0
    return int(pages) * os.sysconf("SC_PAGE_SIZE")


class Cycles:
    """`start` it when all is built, `close` it at the end. `calls`: how many are going on; `memory`: ours, in bytes."""

    def __init__(self, calls: Callable[[], int], memory: Callable[[], int] = resident_bytes) -> None:
        self._calls = calls
        self._memory = memory
        self._freezes = 0  # since the last look at everything
        self._bytes = 0  # then
        self._timer: asyncio.TimerHandle | None = None  # before `start`
        self._thresholds = gc.get_threshold()

    def start(self) -> None:
        """From now on full collections happen here only; needs a running loop."""
        newest, middle, _ = self._thresholds
        gc.set_threshold(newest, middle, NEVER)
        self._look_at_everything()
        self._next()

    def close(self) -> None:
        """Leave the collector as it was."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
            gc.set_threshold(*self._thresholds)
            gc.unfreeze()

    def round(self) -> None:
        """Look at what has come since the last time, if it is worth it; at everything in a good moment."""
        if gc.get_count()[2]:  # the younger generations were looked through ten times since
            gc.collect()
            gc.freeze()
            self._freezes += 1
        if self._freezes >= FREEZES and (not self._calls() or self._memory() - self._bytes > MOST_GROWTH_BYTES):
            self._look_at_everything()

    def _look_at_everything(self) -> None:
        gc.unfreeze()
        gc.collect()
        gc.freeze()
        self._freezes, self._bytes = 0, self._memory()

    def _next(self) -> None:
        self._timer = asyncio.get_running_loop().call_later(ROUND_S, self._on_time)

    def _on_time(self) -> None:
        self.round()
        self._next()
