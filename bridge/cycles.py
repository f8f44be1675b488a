"""Python's collector of reference cycles, kept from stopping the calls.

A full collection looks at every object there is: with 300 calls that takes 110 ms, and no packet leaves meanwhile
(docs/performance.md). So what has survived a look is put where no collection looks again (`gc.freeze`), some calls at
a time. A call that ends is freed by reference counts alone (tests/service/test_freed.py); what dies in a cycle all the
same, once it is there, is looked for when nobody calls.
"""

from __future__ import annotations

import asyncio
import gc
from collections.abc import Callable

ROUND_S = 0.25
"""In it as many calls may begin as can be looked through in some 4 ms."""
NEVER = 1_000_000_000
FREEZES = 50
"""Since the last look at everything: some 350,000 objects have come to stay."""
MOST_OBJECTS = 5_000_000
"""That may be out of sight while calls never end: then a gap in the calls is better than no memory."""


class Cycles:
    """`start` it when everything is built, `close` it at the end. `calls` gives how many are going on."""

    def __init__(self, calls: Callable[[], int]) -> None:
        self._calls = calls
        self._freezes = 0  # since the last look at everything
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
        if self._freezes >= FREEZES and (not self._calls() or self._is_too_much()):
            self._look_at_everything()

    def _is_too_much(self) -> bool:
        """To count them takes a while: it is done once in so many freezes."""
        return self._freezes % FREEZES == 0 and gc.get_freeze_count() > MOST_OBJECTS

    def _look_at_everything(self) -> None:
        gc.unfreeze()
        gc.collect()
        gc.freeze()
        self._freezes = 0

    def _next(self) -> None:
        self._timer = asyncio.get_running_loop().call_later(ROUND_S, self._on_time)

    def _on_time(self) -> None:
        self.round()
        self._next()
