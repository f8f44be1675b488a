"""How many calls one core carries, and how late their audio is below that."""

from __future__ import annotations

from collections.abc import Iterator

from tests.bench.cases import Case
from tests.bench.limit import FULL, Outcome, guess, search
from tests.bench.run import Measured, Measurements
from tests.bench.table import Row

MOST = 2000
"""Calls: a caller has no more, and one core will not carry them."""


def limit(case: Case, measure: Measurements, most: int = MOST) -> Iterator[Row]:
    """A row at a modest number of calls and one at the largest number that was carried."""
    (first,) = case.calls
    seen = {first: measure(case.traffic, first)}

    def attempt(calls: int) -> Outcome:
        seen[calls] = measured = _fairly(measure, case, calls)
        return outcome(measured)

    base = seen[first]
    yield Row.of(case.name, base)
    known = first if base.carried else 0
    expected = guess(first, base.cpu_share) if base.carried else first * 3 // 4
    found = search(attempt, expected, most=most, known=known)
    best = seen.get(found.carried, base)
    why = f" (at {found.over}: {', '.join(seen[found.over].faults)})" if found.over else ""
    yield Row.of(case.name, best, f"{found} calls per core{why}", **_ends(found.carried, found.over, seen))


def latency(case: Case, measure: Measurements) -> Iterator[Row]:
    """A row for each number of calls."""
    for calls in case.calls:
        yield Row.of(case.name, measure(case.traffic, calls))


def outcome(measured: Measured) -> Outcome:
    """What a search makes of one measurement."""
    if measured.carried:
        return Outcome.CARRIED
    return Outcome.GENERATOR if measured.generator else Outcome.FAILED


def _fairly(measure: Measurements, case: Case, calls: int) -> Measured:
    """Once more where it failed and the core had time left: then it may have been the host, which no count shows."""
    measured = measure(case.traffic, calls)
    if not measured.carried and (measured.noisy or measured.cpu_share < FULL):
        measured = measure(case.traffic, calls, again=True)
    return measured


def _ends(carried: int, over: int | None, seen: dict[int, Measured]) -> dict[str, object]:
    attempts = {str(calls): list(measured.faults) for calls, measured in sorted(seen.items())}
    return {"calls_per_core": carried, "not_carried": over, "attempts": attempts}
