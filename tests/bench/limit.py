"""The largest number that is carried: steps first, then halves."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum

FULL = 0.95
"""Share of a core from which on it is full: a first guess expects the limit there, and queues grow beyond."""
_STEP = 1.08
_BACK = 0.88


class Outcome(Enum):
    """What came of one number."""

    CARRIED = "carried"
    FAILED = "failed"
    GENERATOR = "generator"
    """It was not carried, and the generator was at its own limit: nothing is known of the service."""


@dataclass(frozen=True, slots=True)
class Limit:
    """Where a search has ended. `over`: the smallest number that was not carried; None when all were."""

    carried: int
    over: int | None
    generator: bool = False
    """The search ended at the generator's limit: the service carries more than `carried`."""

    def __str__(self) -> str:
        if self.generator or self.over is None:
            return f"> {self.carried}, generator" if self.generator else f">= {self.carried}"
        return str(self.carried)


def guess(calls: int, share: float) -> int:
    """The limit that a core's share at some calls lets expect, if each call costs the same."""
    return max(calls, round(calls * FULL / share)) if share > 0 else calls


def search(
    attempt: Callable[[int], Outcome],
    expected: int,
    *,
    most: int,
    known: int = 0,
    precision: float = 0.03,
    steps: int = 8,
) -> Limit:
    """Look for the largest number carried, to `precision` of it; `known` is carried, that is known already.

    Begins at what is `expected`, because each attempt takes a while; ends after `steps` of them in any case.
    """
    low, high = known, None
    number = max(1, min(expected, most))
    for _ in range(steps):
        outcome = attempt(number)
        if outcome is Outcome.GENERATOR:
            return Limit(low, number, generator=True)
        if outcome is Outcome.CARRIED:
            low = number
        else:
            high = number
        if low >= most or (high is not None and high <= max(low * (1 + precision), low + 1)):
            break
        number = _next(low, high, most)
    return Limit(low, high)


def _next(low: int, high: int | None, most: int) -> int:
    if high is None:
        return min(most, max(low + 1, round(low * _STEP)))
    # The guess was near: where little is known below it, half the way down would be too far.
    return max(1, (low + high) // 2, int(high * _BACK))
