"""One heap of deadlines for everything that waits: it knows no clock and no loop."""

from __future__ import annotations

import heapq
from collections.abc import Callable
from itertools import count

FEW = 64
"""Cancelled appointments that may wait in the heap for their time."""


class Alarm:
    """One appointment; cancelled ones let go of what they would have called."""

    __slots__ = ("_alarms", "_call", "when")

    def __init__(self, when: float, call: Callable[[], None], alarms: Alarms) -> None:
        self.when = when
        self._call: Callable[[], None] | None = call
        self._alarms = alarms

    @property
    def pending(self) -> bool:
        return self._call is not None

    def cancel(self) -> None:
        if self._call is not None:
            self._call = None
            self._alarms.forget_one()

    def ring(self) -> None:
        call, self._call = self._call, None
        if call is not None:
            call()


class Alarms:
    """Appointments in the order of their time (seconds of any monotonic clock)."""

    def __init__(self, on_earlier: Callable[[], None] = lambda: None) -> None:
        """`on_earlier` is called when a new appointment comes before all others."""
        self._heap: list[tuple[float, int, Alarm]] = []
        self._cancelled = 0  # of those in the heap
        self._order = count()
        self._on_earlier = on_earlier

    def __len__(self) -> int:
        """What the heap holds, with the cancelled ones that are still in it."""
        return len(self._heap)

    def at(self, when: float, call: Callable[[], None]) -> Alarm:
        """Call `call` when `run` is told a time not before `when`."""
        alarm = Alarm(when, call, self)
        heapq.heappush(self._heap, (when, next(self._order), alarm))
        if self._heap[0][2] is alarm:
            self._on_earlier()
        return alarm

    @property
    def next_deadline(self) -> float | None:
        """Time of the first appointment still wanted; None when there is none."""
        while self._heap and not self._heap[0][2].pending:
            self._pop()
        return self._heap[0][0] if self._heap else None

    def run(self, now: float) -> None:
        """Ring what is due; appointments made meanwhile for the past wait for the next run."""
        bound = next(self._order)
        while self._heap and self._heap[0][0] <= now and self._heap[0][1] < bound:
            self._pop().ring()

    def forget_one(self) -> None:
        """One in the heap was cancelled: a call's session timer would lie there for half an hour after its end."""
        self._cancelled += 1
        if self._cancelled > max(FEW, len(self._heap) // 2):
            self._heap = [entry for entry in self._heap if entry[2].pending]
            heapq.heapify(self._heap)
            self._cancelled = 0

    def _pop(self) -> Alarm:
        alarm = heapq.heappop(self._heap)[2]
        self._cancelled -= not alarm.pending
        return alarm
