"""How much a server may send, by a clock of the test's own."""

from __future__ import annotations

from bridge.realtime.budget import BYTES_AT_ONCE, BYTES_PER_S, FRAMES_AT_ONCE, FRAMES_PER_S, Budget


def test_a_service_that_speaks_never_waits() -> None:
    budget = Budget()
    assert all(budget.spend(20_000, number * 0.01) == 0 for number in range(10_000)), "100 frames, 2 MB a second"


def test_a_burst_is_taken_at_once_and_a_flood_is_not() -> None:
    budget = Budget()
    assert all(budget.spend(100, 0) == 0 for _ in range(int(FRAMES_AT_ONCE)))
    assert budget.spend(100, 0) == 1 / FRAMES_PER_S
    for _ in range(999):
        wait = budget.spend(100, 0)
    assert abs(wait - 1000 / FRAMES_PER_S) < 0.01


def test_big_messages_are_paid_by_their_size() -> None:
    budget = Budget()
    assert budget.spend(int(BYTES_AT_ONCE), 0) == 0
    assert budget.spend(8_000_000, 0) == 8_000_000 / BYTES_PER_S
    assert budget.spend(0, 4.0) == 0


def test_time_gives_it_back_up_to_the_burst() -> None:
    budget = Budget()
    for _ in range(int(FRAMES_AT_ONCE)):
        budget.spend(1, 0)
    assert budget.spend(1, 1_000_000.0) == 0
    assert all(budget.spend(1, 1_000_000.0) == 0 for _ in range(int(FRAMES_AT_ONCE) - 1))
    assert budget.spend(1, 1_000_000.0) > 0
