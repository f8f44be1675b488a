"""A key told in two ways counts once; two presses count twice."""

from __future__ import annotations

import pytest

from bridge.legs.presses import MOST_AT_ONCE, PER_S, REMEMBERED, WINDOW_S, Presses, Way


def counted(*told: tuple[Way, str, float]) -> int:
    presses = Presses()
    return sum(presses.is_new(way, key, at) for way, key, at in told)


@pytest.mark.parametrize(
    ("told", "count"),
    [
        ([("info", "5", 0), ("rtp", "5", 0.1)], 1),
        ([("rtp", "5", 0), ("info", "5", 0.01)], 1),
        ([("rtp", "5", 0), ("info", "6", 0.01)], 2),
        ([("rtp", "5", 0), ("rtp", "5", 0.1)], 2),
        ([("info", "5", 0), ("info", "5", 0.1)], 2),
        ([("rtp", "5", 0), ("info", "5", WINDOW_S + 0.01)], 2),
        ([("rtp", "5", 0), ("info", "5", 0.1), ("info", "5", 0.2)], 2),
        ([("rtp", "5", 0), ("rtp", "5", 0.15), ("info", "5", 0.2), ("info", "5", 0.3)], 2),
        ([("rtp", "5", 0), ("rtp", "6", 0.1), ("info", "5", 0.2), ("info", "6", 0.3)], 2),
    ],
)
def test_presses(told: list[tuple[Way, str, float]], count: int) -> None:
    assert counted(*told) == count


def test_what_is_remembered_has_an_end() -> None:
    presses = Presses()
    for number in range(1000):
        presses.is_new("rtp", "1", number)
    assert len(presses._told) == REMEMBERED


def test_no_hand_presses_so_many_keys() -> None:
    presses = Presses()
    told = sum(presses.is_new("rtp", "#", number / 1000) for number in range(4000))
    assert told == MOST_AT_ONCE + 3.999 * PER_S // 1
    assert presses.too_many == 4000 - told
    assert presses.is_new("rtp", "5", 10.0)
