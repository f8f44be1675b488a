"""Token buckets: a rate with a burst, for each source, in bounded memory."""

from __future__ import annotations

from bridge.rates import Bucket, SourceBuckets


def test_a_rate_with_one_seconds_burst() -> None:
    bucket = Bucket(2)
    taken = [bucket.take(now) for now in (10.0, 10.0, 10.0, 10.25, 10.5, 10.6)]
    assert taken == [True, True, False, False, True, False]


def test_less_than_one_a_second_still_lets_one_through() -> None:
    bucket = Bucket(0.5)
    assert [bucket.take(now) for now in (0.0, 1.0, 2.0)] == [True, False, True]


def test_a_clock_that_stands_or_runs_back_gives_nothing() -> None:
    bucket = Bucket(1)
    assert [bucket.take(now) for now in (5.0, 5.0, 4.0, 5.5, 6.0)] == [True, False, False, False, True]


def test_sources_do_not_share() -> None:
    sources = SourceBuckets(1)
    assert sources.take("a", 0) and sources.take("b", 0)
    assert not sources.take("a", 0.5) and not sources.ready("a", 0.5)


def test_sources_that_are_long_quiet_make_room() -> None:
    sources = SourceBuckets(1, limit=10)
    for number in range(100):
        assert sources.take(f"s{number}", float(number * 2))
    assert len(sources) <= 10


def test_inventing_sources_makes_nobody_forget() -> None:
    sources = SourceBuckets(1, 5, limit=10)
    while sources.take("greedy", 0):
        pass
    let_through = sum(sources.take(f"invented{number}", 0.01) for number in range(1000))
    assert let_through <= 9 + 5, "those with a bucket of their own, and the one that all others share"
    assert not sources.take("greedy", 0.01)
    assert len(sources) == 10


def test_the_quiet_ones_go_first() -> None:
    sources = SourceBuckets(1, limit=40)
    for number in range(40):
        sources.take(f"s{number}", 0)
    for number in range(30):
        sources.take(f"s{number}", 10)
    assert [sources.take(name, 10) for name in ("new", "newer", "newest")] == [True] * 3, "each has its own"
