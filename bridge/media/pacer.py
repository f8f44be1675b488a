"""One clock for the media of all calls: 20 ms slots in four phases of 5 ms, on absolute deadlines.

A deadline is counted from the start of the clock, never from now, so nothing drifts. After a stall the slots
that were missed are skipped and counted: a burst would only fill the other side's jitter buffer.
"""

import asyncio
import math
import time
from bisect import bisect_left
from collections.abc import Callable
from dataclasses import dataclass
from itertools import accumulate

PERIOD = 0.020
PHASES = 4
EARLY = 0.001
"""Seconds that a slot may run before its deadline: event loops count timers in whole milliseconds."""
LATENESS_MS = (0.5, 1, 2, 5, 10, 20, 50, 100)
"""Upper bounds of the lateness histogram; one more bucket follows for what is over."""

Tick = Callable[[float, int], None]
"""Called once per slot with `now` in seconds and the number of slots missed since the slot before."""


@dataclass(frozen=True, slots=True)
class Round:
    """One slot of one phase that is due: `missed` slots went before it, `lateness` in seconds."""

    phase: int
    missed: int
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
    """When which phase is due. No clock inside."""

    def __init__(self, start: float, *, period: float = PERIOD, phases: int = PHASES) -> None:
        self._start = start
        self._period = period
        self._turns = [0] * phases
        self._deadlines = [self._deadline(phase) for phase in range(phases)]

    @property
    def next_deadline(self) -> float:
        """Of the phase that is due next."""
        return min(self._deadlines)

    def due(self, now: float) -> Round | None:
        """The next round to run by `now`, oldest deadline first; None when all is done."""
        deadline = min(self._deadlines)
        if deadline > now:
            return None
        phase = self._deadlines.index(deadline)
        lateness = now - deadline
        missed = int(lateness / self._period)
        self._turns[phase] += missed + 1
        self._deadlines[phase] = self._deadline(phase)
        return Round(phase, missed, lateness)

    def _deadline(self, phase: int) -> float:
        # From the start each time: a sum of periods would gather rounding errors.
        return self._start + (self._turns[phase] + phase / len(self._turns)) * self._period


class Handle:
    """One stream's place in the pacer."""

    __slots__ = ("active", "on_fault", "phase", "tick", "ticked")

    def __init__(self, tick: Tick, phase: int, on_fault: Callable[[Exception], None] | None) -> None:
        self.tick = tick
        self.phase = phase
        self.on_fault = on_fault
        self.active = True
        self.ticked = False


class SlotClock:
    """The streams of all phases and their rounds. No timer inside: `run(now)` does what is due."""

    def __init__(self, *, on_fault: Callable[[Handle, Exception], None] | None = None, early: float = EARLY) -> None:
        self.skipped_slots = 0
        """Slots that streams missed, summed over the streams."""
        self.rounds = 0
        self.faults = 0
        """Streams removed because their tick raised."""
        self.lateness = Lateness()
        self._on_fault = on_fault
        self._early = early
        self._phases: list[list[Handle]] = [[] for _ in range(PHASES)]
        self._schedule: Schedule | None = None  # while no stream is there

    def __len__(self) -> int:
        return sum(len(phase) for phase in self._phases)

    def add(self, tick: Tick, on_fault: Callable[[Exception], None] | None = None) -> Handle:
        """Call `tick` once per slot, in the emptiest phase. `on_fault` hears why it was removed."""
        phase = min(range(PHASES), key=lambda at: len(self._phases[at]))
        handle = Handle(tick, phase, on_fault)
        self._phases[phase].append(handle)
        return handle

    def remove(self, handle: Handle) -> None:
        """Never call it again, not even in the round that is running; a second call does nothing."""
        if handle.active:
            handle.active = False
            self._phases[handle.phase].remove(handle)

    def run(self, clock: Callable[[], float]) -> float | None:
        """Run what is due by the clock; the next deadline, None when no stream is left."""
        if self._schedule is None:
            self._schedule = Schedule(clock())
        while (due := self._schedule.due(clock() + self._early)) is not None:
            self._run_round(due, clock())
        if not len(self):
            # A pause without calls is no stall: the next stream begins a new schedule.
            self._schedule = None
            return None
        return self._schedule.next_deadline

    def _run_round(self, due: Round, now: float) -> None:
        handles = self._phases[due.phase]
        if not handles:
            return
        self.rounds += 1
        self.lateness.add(due.lateness - self._early)
        for handle in tuple(handles):
            if not handle.active:
                continue
            missed = due.missed if handle.ticked else 0
            handle.ticked = True
            self.skipped_slots += missed
            try:
                handle.tick(now, missed)
            except Exception as error:  # noqa: BLE001 - one call's fault must not silence the others
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

    def add(self, tick: Tick, on_fault: Callable[[Exception], None] | None = None) -> Handle:
        """As `SlotClock.add`; needs a running loop."""
        self.start()
        return super().add(tick, on_fault)

    def start(self) -> None:
        """Tick from now on, in the running loop, the streams that are there already. `add` does so by itself."""
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_soon(self._wake)

    def close(self) -> None:
        """Stop the clock and let go of all streams."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        for phase in self._phases:
            for handle in tuple(phase):
                self.remove(handle)

    def _wake(self) -> None:
        deadline = self.run(self._clock)
        if deadline is None:
            self._timer = None
            return
        # By delay, because not every loop's own clock is the one that the deadlines are in.
        delay = max(deadline - self._clock(), 0.0)
        self._timer = asyncio.get_running_loop().call_later(delay, self._wake)
