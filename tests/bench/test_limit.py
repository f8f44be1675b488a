"""The search: near the truth for any service, and honest when the generator gave out first."""

from __future__ import annotations

from collections.abc import Callable

from hypothesis import given
from hypothesis import strategies as st

from tests.bench.limit import Limit, Outcome, guess, search


def service(carries: int, generator: int = 10**9) -> tuple[list[int], Callable[[int], Outcome]]:
    tried: list[int] = []

    def attempt(calls: int) -> Outcome:
        tried.append(calls)
        if calls > generator:
            return Outcome.GENERATOR
        return Outcome.CARRIED if calls <= carries else Outcome.FAILED

    return tried, attempt


@given(carries=st.integers(100, 1000), error=st.floats(0.8, 1.25))
def test_the_limit_is_found_to_three_per_cent(carries: int, error: float) -> None:
    tried, attempt = service(carries)
    found = search(attempt, round(carries * error), most=2000, known=100)
    assert found.over is not None and found.carried <= carries < found.over
    assert found.over <= found.carried * 1.03 + 1 and len(tried) <= 8


@given(carries=st.integers(0, 1000), expected=st.integers(1, 3000), known=st.integers(0, 100))
def test_the_search_ends_and_never_claims_too_much(carries: int, expected: int, known: int) -> None:
    tried, attempt = service(max(carries, known))
    found = search(attempt, expected, most=2000, known=known)
    assert found.carried <= max(carries, known) and not found.generator
    assert found.over is None or found.over > max(carries, known)
    assert len(tried) <= 8 and all(1 <= calls <= 2000 for calls in tried)


def test_a_generator_at_its_limit_ends_the_search() -> None:
    tried, attempt = service(10_000, generator=500)
    found = search(attempt, 480, most=2000, known=100)
    assert tried == [480, 518]
    assert found == Limit(480, 518, generator=True) and str(found) == "> 480, generator"


def test_words_for_a_limit() -> None:
    assert str(Limit(290, 299)) == "290"
    assert str(Limit(2000, None)) == ">= 2000"


def test_a_guess_expects_every_call_to_cost_the_same() -> None:
    assert guess(100, 0.3) == 317
    assert guess(100, 0.0) == 100
    assert guess(100, 1.5) == 100
