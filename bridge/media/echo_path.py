"""The way an echo takes: a short response found by least squares, and how well it tells what comes in."""

from __future__ import annotations

import math
from typing import Any

from bridge.audio.g711 import RATE

HOP, LEAST_HOP = RATE // 50, RATE // 100
"""Samples judged at once, at most and at least. All samples here are of 8 kHz."""
TAPS = 128
LEAD = 24
"""Taps before the strongest one: a drifting delay goes either way."""
SEARCHED, TRIED = 1024, 2560
"""Samples that a search and a trial look at."""
PROVEN = 0.6
"""Share of the energy that a trial must explain."""
PROBATION = 2
"""Audible hops that a first path must still explain before it counts."""
FLOOR_HOPS = 4
"""The newest hops of a trial, whose quietest is taken for the line's noise."""
PLAIN = 0.1
"""Share left over by a trial in which nobody spoke."""
QUIET = 30.0
"""Power of a sample below which no line is."""
MARGIN, FLOOR_MARGIN = 4.0, 3.0
"""How far a hop without a caller may be above the average leak and the quietest noise."""
LEAST_SHARE, MOST_SHARE = 0.06, 0.5
"""Of the predicted echo, what may be left of it whatever the leak was."""
ROOM = 0.5
"""How much of an echo's power is still there a hop later, after the taps."""
MEMORY = 3200
"""Samples after which the filter has forgotten 63 % of what it learnt."""
LOADING = 1e-3
"""Added to the signal's power, so that the equations are well-conditioned."""


class EchoPath:
    """The way of the echo: where its taps begin (`lag`), what they are, and what they leave unexplained."""

    probation: int
    """Audible hops that it must still explain: of what it was made of it explains too much."""
    _refuted: bool
    _leak: float
    _tail: float
    _explained: float
    _predicted: float
    _unsolved: int

    def __init__(self, numpy: Any) -> None:
        self.taps: Any = None  # until an echo is proven
        self.lag = 0
        self._numpy = numpy
        self._auto: Any = None
        self._cross: Any = None
        self._floor = QUIET
        self._leftover = 1.0
        self._begin()

    @property
    def is_wrong(self) -> bool:
        """Whether its predictions explain nothing of what is heard."""
        audible = self._predicted > FLOOR_MARGIN * self._floor
        return self._refuted or (audible and self._explained < 0.3 * self._predicted)

    @property
    def is_plain(self) -> bool:
        """Whether the last trial heard an echo and nobody else."""
        return self._leftover < PLAIN

    def delay_ms(self) -> int | None:
        """Of the strongest tap; None before an echo is proven."""
        return None if self.taps is None else (self.lag + self._strongest()) * 1000 // RATE

    def loss_db(self) -> int | None:
        """Energy lost on the way; None before an echo is proven."""
        return None if self.taps is None else round(-10 * math.log10(float(self.taps @ self.taps) + 1e-9))

    def unexplained(self, heard: Any, sent: Any) -> float:
        """Power of what the predicted echo leaves of `heard`; `sent` begins `TAPS` - 1 samples earlier."""
        return power_of(heard - self._numpy.convolve(sent, self.taps, "valid"))

    def compare(self, heard: Any, sent: Any) -> tuple[float, float]:
        """Power that the predicted echo leaves of `heard`, and the most that an echo alone would leave."""
        echo = self._numpy.convolve(sent, self.taps, "valid")
        power, predicted = power_of(heard), power_of(echo)
        left = power_of(heard - echo)
        if self.probation and power > FLOOR_MARGIN * self._floor:
            self.probation -= 1
            self._refuted = left > (1 - PROVEN) * power
        self._tail = max(predicted, self._tail * ROOM ** (len(heard) / HOP))
        self._explained += 0.05 * (power - left - self._explained)
        self._predicted += 0.05 * (predicted - self._predicted)
        left = min(left, power)
        self._floor = min(self._floor * 1.01, max(left, QUIET))
        share = min(max(MARGIN * self._leak, LEAST_SHARE), MOST_SHARE)
        return left, share * self._tail + FLOOR_MARGIN * self._floor

    def learn(self, heard: Any, sent: Any, left: float) -> None:
        """Follow the echo by audio that is nothing else; `left` is what `compare` said of it."""
        if self._tail > FLOOR_MARGIN * self._floor:
            self._leak += 0.05 * (min(max(left - self._floor, 0.0) / self._tail, 1.0) - self._leak)
        keep, weight = math.exp(-len(heard) / MEMORY), 1 / (left + QUIET)
        auto, cross = self._products(heard, sent)
        self._auto = keep * self._auto + weight * auto
        self._cross = keep * self._cross + weight * cross
        self._unsolved += len(heard)
        if self._unsolved >= 5 * HOP:
            self._unsolved = 0
            self.taps = self._solve(self.taps, rounds=6)
            self._centre()

    def try_out(self, lag: int, heard: Any, sent: Any, known: float) -> bool:
        """Move to `lag` if it explains `heard` well, and leaves less than half of the power that is left now."""
        before = self.taps, self._auto, self._cross
        self._auto, self._cross = self._products(heard, sent)
        self.taps = self._solve(self._numpy.zeros(TAPS, "f4"), rounds=16)
        hops = [self.unexplained(heard[at : at + HOP], sent[at : at + HOP + TAPS - 1]) for at in range(0, TRIED, HOP)]
        left = sum(hops) / len(hops)
        if left > (1 - PROVEN) * power_of(heard) or 2 * left > known:
            self.taps, self._auto, self._cross = before
            return False
        self.lag = lag
        self._leftover = left / power_of(heard)
        # A moment before the agent spoke nothing was kept: zeros, which are not the line's noise.
        self._floor = max(min(hops[-FLOOR_HOPS:]), QUIET)
        self._auto, self._cross = self._auto / (left + QUIET), self._cross / (left + QUIET)
        self._begin()
        self.probation = PROBATION if before[0] is None else 0
        self._explained = self._predicted = power_of(heard) - left
        self._centre()
        return True

    def _begin(self) -> None:
        self._leak = 0.1
        self._tail = self._explained = self._predicted = 0.0
        self._unsolved = 0
        self._refuted = False
        self.probation = 0

    def _products(self, heard: Any, sent: Any) -> tuple[Any, Any]:
        """The correlations of the Wiener-Hopf equations: of what was sent with itself, and with what was heard."""
        correlate = self._numpy.correlate
        return correlate(sent, sent[TAPS - 1 :], "valid")[::-1], correlate(sent, heard, "valid")[::-1]

    def _solve(self, taps: Any, rounds: int) -> Any:
        """The taps by conjugate gradients that start at `taps`: LAPACK would start threads."""
        numpy, scale = self._numpy, 1 / (float(self._auto[0]) + 1e-9)
        auto = scale * self._auto
        matrix = numpy.concatenate((auto[:0:-1], auto))
        matrix[TAPS - 1] *= 1 + LOADING
        rest = scale * self._cross - numpy.convolve(matrix, taps, "valid")
        way, size = rest, float(rest @ rest)
        for _ in range(rounds):
            turned = numpy.convolve(matrix, way, "valid")
            step = size / (float(way @ turned) + 1e-30)
            taps = taps + step * way
            rest = rest - step * turned
            before, size = size, float(rest @ rest)
            way = rest + size / (before + 1e-30) * way
        return taps

    def _centre(self) -> None:
        """Let the strongest tap stay near `LEAD` while the delay drifts."""
        shift = self._strongest() - LEAD
        if abs(shift) > LEAD // 2:
            self.lag += shift
            self.taps, self._cross = self._moved(self.taps, shift), self._moved(self._cross, shift)

    def _strongest(self) -> int:
        return int(self._numpy.abs(self.taps).argmax())

    def _moved(self, array: Any, by: int) -> Any:
        out = self._numpy.roll(array, -by)
        out[-by if by > 0 else 0 : None if by > 0 else -by] = 0
        return out


def power_of(samples: Any) -> float:
    """Of a sample, on average."""
    return float(samples @ samples) / len(samples)
