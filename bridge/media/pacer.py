"""One clock for the media of all calls: slots of a packet's length, in phases of 5 ms, on absolute deadlines.

The clock goes in steps of 5 ms. A stream with packets of 20 ms has a slot every fourth step, one with 10 ms every
second; which steps these are is its phase, and streams are spread over the phases. A deadline is counted from the start
of the clock, never from now, so nothing drifts. After a stall the slots that were missed are skipped and counted: a
burst would only fill the other side's jitter buffer.
"""

import asyncio
import math
import time
from bisect import bisect_left
from collections.abc import Callable
from dataclasses import dataclass
from heapq import heappop, heappush
from itertools import accumulate, count

STEP_MS = 5
STEP = STEP_MS / 1000
"""Seconds."""
PERIOD_MS = 20
PERIOD = PERIOD_MS / 1000
"""Of a slot, unless the peer asks for other packets."""
PERIODS_MS = (10, 20, 30, 40, 60)
"""Lengths of a slot that the wheel can hold."""
SPOKES = 24
"""Steps in a turn of the wheel: 120 ms, in which every period fits whole."""
EARLY = 0.001
"""Seconds that a slot may run before its deadline: event loops count timers in whole milliseconds."""
_ROUNDING = 1e-6
"""Of a step: what floats make of a stall of whole steps."""
LATENESS_MS = (0.5, 1, 2, 5, 10, 20, 50, 100)
"""Upper bounds of the lateness histogram; one more bucket follows for what is over."""

Tick = Callable[[float, int], None]
"""Called once per slot with `now` in seconds and the number of slots missed since the slot before."""


@dataclass(frozen=True, slots=True)
class Round:
    """One step that is due. `latest` is the newest step that is due with it, `lateness` in seconds."""

    step: int
    latest: int
    lateness: float


class Lateness:
    """How late rounds began, as a histogram of plain ints."""

    __slots__ = ("buckets", "sum_s")

    def __init__(self) -> None:
        self.buckets = [0] * (len(LATENESS_MS) + 1)
        """Rounds per bucket, not cumulated; the last is for what is over 100 ms."""
        self.sum_s = 0.0

    def add(self, seconds: float) -> None:
        """Count one round; one that ran early was in time."""
        self.buckets[bisect_left(LATENESS_MS, seconds * 1000)] += 1
        self.sum_s += max(seconds, 0.0)

    def cumulative_s(self) -> tuple[list[tuple[float, int]], float]:
        """(upper bound in seconds, rounds up to it), the last bound infinite; and the sum of all in seconds."""
        bounds = [bound / 1000 for bound in LATENESS_MS] + [math.inf]
        return list(zip(bounds, accumulate(self.buckets), strict=True)), self.sum_s


class Schedule:
    """When which step is due. No clock inside."""

    def __init__(self, start: float) -> None:
        self._start = start
        self._step = 0

    @property
    def next_step(self) -> int:
        """The number of the step that is due next."""
        return self._step

    @property
    def next_deadline(self) -> float:
        """Of that step, in seconds. From the start each time: a sum of steps would gather rounding errors."""
        return self._start + self._step * STEP

    def due(self, now: float) -> Round | None:
        """The next step to run by `now`, the oldest first; None when all is done.

        After a long stall only the last turn of the wheel: it has every stream in it, and each runs once.
        """
        behind = now - self.next_deadline
        if behind < 0:
            return None
        latest = self._step + int(behind / STEP + _ROUNDING)
        step = max(self._step, latest - SPOKES + 1)
        self._step = step + 1
        return Round(step, latest, behind)


class Handle:
    """One stream's place in the pacer: `period` steps from slot to slot, `phase` the first of them in a turn."""

    __slots__ = ("active", "next_step", "on_fault", "period", "phase", "tick")

    def __init__(self, tick: Tick, period: int, phase: int, on_fault: Callable[[Exception], None] | None) -> None:
        self.tick = tick
        self.period = period
        self.phase = phase
        self.on_fault = on_fault
        self.active = True
        self.next_step = -1  # until its first slot, so that nothing from before it came counts as missed


class SlotClock:
    """The streams of all phases and their slots. No timer inside: `run(clock)` does what is due."""

    def __init__(self, *, on_fault: Callable[[Handle, Exception], None] | None = None, early: float = EARLY) -> None:
        self.skipped_slots = 0
        """Slots that streams missed, summed over the streams."""
        self.rounds = 0
        self.faults = 0
        """Streams removed because their tick raised."""
        self.lateness = Lateness()
        self.on_round: Callable[[float, float], None] = lambda late_s, now: None
        """Hears of each round how late it began and when, in seconds."""
        self._on_fault = on_fault
        self._early = early
        self._wheel: list[list[Handle]] = [[] for _ in range(SPOKES)]
        self._count = 0
        self._schedule: Schedule | None = None  # while no stream is there
        self._alarms: list[tuple[float, int, Handle, Callable[[float], None]]] = []
        self._serial = count()

    def __len__(self) -> int:
        return self._count

    def add(
        self, tick: Tick, on_fault: Callable[[Exception], None] | None = None, *, period_ms: int = PERIOD_MS
    ) -> Handle:
        """Call `tick` once per slot, in the emptiest phase. `on_fault` hears why it was removed."""
        if period_ms not in PERIODS_MS:
            raise ValueError(f"no slots of {period_ms} ms: {PERIODS_MS}")
        period = period_ms // STEP_MS
        loads = [sum(map(len, self._wheel[phase::period])) for phase in range(period)]
        handle = Handle(tick, period, loads.index(min(loads)), on_fault)
        for spoke in self._wheel[handle.phase :: period]:
            spoke.append(handle)
        self._count += 1
        return handle

    def remove(self, handle: Handle) -> None:
        """Never call it again, not even in the round that is running; a second call does nothing."""
        if handle.active:
            handle.active = False
            self._count -= 1
            for spoke in self._wheel[handle.phase :: handle.period]:
                spoke.remove(handle)

    def alarm(self, handle: Handle, when: float, ring: Callable[[float], None]) -> None:
        """Call `ring(now)` once between two slots of a stream, in the last step before `when`."""
        heappush(self._alarms, (when - STEP, next(self._serial), handle, ring))

    def run(self, clock: Callable[[], float]) -> float | None:
        """Run what is due by the clock; the next deadline, None when no stream is left."""
        if self._schedule is None:
            self._schedule = Schedule(clock())
        while (due := self._schedule.due(clock() + self._early)) is not None:
            self._run_round(due, clock())
        if not self._count:
            # A pause without calls is no stall: the next stream begins a new schedule.
            self._schedule = None
            self._alarms.clear()
            return None
        return self._schedule.next_deadline

    def _run_round(self, due: Round, now: float) -> None:
        if self._alarms and self._alarms[0][0] <= now:
            self._ring(now)
        handles = self._wheel[due.step % SPOKES]
        if not handles:
            return
        self.rounds += 1
        self.lateness.add(due.lateness - self._early)
        self.on_round(due.lateness - self._early, now)
        for handle in tuple(handles):
            slot = handle.next_step
            if slot > due.step or not handle.active:
                continue  # it had its slot of this stall already
            missed = (due.latest - slot) // handle.period if slot >= 0 else 0
            handle.next_step = (slot if slot >= 0 else due.step) + (missed + 1) * handle.period
            self.skipped_slots += missed
            try:
                handle.tick(now, missed)
            except Exception as error:  # noqa: BLE001 - one call's fault must not silence the others
                self._remove_faulty(handle, error)

    def _ring(self, now: float) -> None:
        while self._alarms and self._alarms[0][0] <= now:
            _, _, handle, ring = heappop(self._alarms)
            if not handle.active:
                continue
            try:
                ring(now)
            except Exception as error:  # noqa: BLE001 - as for a tick
                self._remove_faulty(handle, error)

    def _remove_faulty(self, handle: Handle, error: Exception) -> None:
        self.faults += 1
        self.remove(handle)
        if handle.on_fault is not None:
            handle.on_fault(error)
        if self._on_fault is not None:
            self._on_fault(handle, error)


class Pacer(SlotClock):
    """The slot clock on the running event loop. The timer runs only while there are streams."""

    def __init__(
        self,
        *,
        on_fault: Callable[[Handle, Exception], None] | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        super().__init__(on_fault=on_fault)
        self._clock = clock
        self._timer: asyncio.TimerHandle | asyncio.Handle | None = None  # while no stream is there

    def add(
        self, tick: Tick, on_fault: Callable[[Exception], None] | None = None, *, period_ms: int = PERIOD_MS
    ) -> Handle:
        """As `SlotClock.add`; needs a running loop."""
        self.start()
        return super().add(tick, on_fault, period_ms=period_ms)

    def start(self) -> None:
        """Tick from now on, in the running loop, the streams that are there already. `add` does so by itself."""
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_soon(self._wake)

    def close(self) -> None:
        """Stop the clock and let go of all streams."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        for spoke in self._wheel:
            for handle in tuple(spoke):
                self.remove(handle)

    def _wake(self) -> None:
        deadline = self.run(self._clock)
        if deadline is None:
            self._timer = None
            return
        # By delay, because not every loop's own clock is the one that the deadlines are in.
        delay = max(deadline - self._clock(), 0.0)
        self._timer = asyncio.get_running_loop().call_later(delay, self._wake)
