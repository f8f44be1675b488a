"""Whether the core that the calls share has reached what it can do: then no new call is let in.

Sans-I/O. Two measures, because neither does alone:

- How late the pacer's rounds begin is what callers hear, whatever the cause: this core, a lock, a busy neighbour. But
  it says nothing until it is too late: a loop that is busy for 94 % of its time is as punctual as one at 50 %, and at
  100 % half of its rounds are late.
- How much of the core is taken grows with each call by the same amount. So it tells beforehand where the calls will
  lead that are let in and not heard yet: at 50 set-ups a second these are enough to drown the others.

Both are taken in slices of a quarter of a second, and the last four count, each the same however long it was: one stall
is one slice, and closes nothing.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

SLICE_S = 0.25
SLICES = 4
"""That count: one second, if nothing stalls."""
LATE_SHARE = 0.25
"""Of a slice's rounds that must be late. A full core makes half of them late, and more; a busy neighbour a tenth."""
LATE_SLICES, STILL_LATE = 3, 1
"""Of four. Two stalls in a second are bad luck, or somebody else's. Not more than one is late when it is over."""
FULL = 0.93
"""Of the core, with the calls that are on their way. What is left is for bursts of events, and collections."""
EASED = 0.88
"""Below it calls are let in again, so that the doors are not opened for each call that ends."""
FORECAST_FROM = 0.5
"""Of the core: below, what a call takes is mostly noise, and many more fit anyway."""
SET_UP_CALLS = 2
"""Seconds of a running call that cost as much as its set-up and first words. Without TLS; with dear codecs less."""
FEW = 4
"""With fewer streams nothing is said: they fill no core, and a machine that is late with four is so without them."""
IDLE_S = 1.0
"""Without a round there are no calls: what was measured before says nothing."""


@dataclass(frozen=True, slots=True)
class Slice:
    """A quarter of a second: share of late rounds, shares of the core, streams at its end, calls let in meanwhile."""

    late: float
    worked: float
    waited: float
    streams: int
    let_in: int

    @property
    def taken(self) -> float:
        """The share that nobody else can have."""
        return self.worked + self.waited


class Pressure:
    """Tell it each `round`, and each call that was `let_in`; ask it whether it `refuses`.

    `late_s`: seconds from which a round is late. `streams` gives how many the pacer has; `core` the seconds that the
    loop's thread has worked so far, and those that it was ready to work and others had the core.
    """

    def __init__(self, late_s: float, streams: Callable[[], int], core: Callable[[], tuple[float, float]]) -> None:
        self._late_s = late_s
        self._streams = streams
        self._core = core
        self._full = False
        self._rounds = self._late_rounds = self._let_in = 0
        self._slices: deque[Slice] = deque(maxlen=SLICES)
        self._began_at = 0.0
        self._began_core = (0.0, 0.0)
        self._round_at = float("-inf")  # until the first one

    def round(self, late_s: float, now: float) -> None:
        """A round has begun so late. Times in seconds."""
        if now - late_s - self._round_at > IDLE_S:
            self._begin_anew(now)
        elif now - self._began_at >= SLICE_S:
            self._close_slice(now)
        self._round_at = now
        self._rounds += 1
        self._late_rounds += late_s > self._late_s

    def let_in(self) -> None:
        """A call has begun."""
        self._let_in += 1

    def refuses(self, calls: int, now: float) -> bool:
        """Whether another call would be too many for those that are going on, `calls` of them, heard yet or not."""
        if now - self._round_at > IDLE_S:
            return False
        return self._full or self._forecast(calls + 1) >= FULL

    def taken(self, now: float) -> float:
        """The share of the core that was taken in the last second; 0 while nobody calls."""
        if now - self._round_at > IDLE_S or not self._slices:
            return 0.0
        return self._mean(lambda slice_: slice_.taken)

    def late(self) -> float:
        """The share of rounds that began late in the last second."""
        return self._mean(lambda slice_: slice_.late) if self._slices else 0.0

    # Slices

    def _begin_anew(self, now: float) -> None:
        self._slices.clear()
        self._full = False
        self._begin_slice(now)

    def _begin_slice(self, now: float) -> None:
        self._rounds = self._late_rounds = self._let_in = 0
        self._began_at, self._began_core = now, self._core()

    def _close_slice(self, now: float) -> None:
        length, late = now - self._began_at, self._late_rounds / max(self._rounds, 1)
        before, let_in = self._began_core, self._let_in
        self._begin_slice(now)
        worked, waited = ((after - begun) / length for begun, after in zip(before, self._began_core, strict=True))
        self._slices.append(Slice(late, worked, waited, self._streams(), let_in))
        self._decide()

    def _decide(self) -> None:
        late = sum(slice_.late > LATE_SHARE for slice_ in self._slices)
        taken = self._mean(lambda slice_: slice_.taken)
        if self._slices[-1].streams < FEW:
            self._full = False
        elif late >= LATE_SLICES or (len(self._slices) == SLICES and taken >= FULL):
            self._full = True
        elif late <= STILL_LATE and taken < EASED:
            self._full = False

    def _forecast(self, calls: int) -> float:
        """The share of the core that is taken when all of them are heard.

        The set-ups of the last second count as calls when the cost of one is reckoned: else a quick rise would look
        like dear calls. What others take of the core does not grow with our calls.
        """
        if len(self._slices) < 2 or min(self._slices[-1].taken, self._slices[-2].taken) < FORECAST_FROM:
            return 0.0  # two, because one may be a stall
        worked, streams = self._mean(lambda slice_: slice_.worked), self._mean(lambda slice_: slice_.streams)
        if streams < FEW:
            return 0.0
        set_ups = SET_UP_CALLS * sum(slice_.let_in for slice_ in self._slices)
        return self._mean(lambda slice_: slice_.taken) + worked * max(0.0, calls - streams) / (streams + set_ups)

    def _mean(self, of: Callable[[Slice], float]) -> float:
        return sum(map(of, self._slices)) / len(self._slices)
