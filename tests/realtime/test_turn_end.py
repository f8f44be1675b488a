"""When a turn must be over, by the sound of it."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from bridge.realtime.elevenlabs.turn_end import QUIET_S, TurnEnd


def first_due(end: TurnEnd, now: float, until: float, step: float = 0.1) -> float | None:
    """When `tick` first says so."""
    for number in range(round((until - now) / step) + 1):
        if end.tick(now + number * step):
            return now + number * step
    return None


def close(found: float | None, wanted: float) -> bool:
    return found is not None and 0 <= found - wanted < 0.11


def test_nothing_is_over_before_anything_came() -> None:
    assert first_due(TurnEnd(), 0, 100) is None


def test_a_burst_is_over_when_it_would_have_been_spoken_and_it_was_quiet_after_it() -> None:
    end = TurnEnd()
    for _ in range(10):
        end.heard(500)
    assert close(first_due(end, 1000, 1020), 1005 + QUIET_S)


def test_audio_that_comes_at_its_own_pace_counts_from_the_last_piece() -> None:
    end = TurnEnd()
    now = 50.0
    for _ in range(30):
        end.heard(100)
        assert not end.tick(now)
        now += 0.1
    assert close(first_due(end, now, now + 5), now + QUIET_S)


def test_a_pause_of_the_service_while_its_audio_is_still_spoken_ends_nothing() -> None:
    end = TurnEnd()
    end.heard(5000)
    assert first_due(end, 0, 4.9) is None
    end.heard(1000)
    assert close(first_due(end, 5, 20), 6 + QUIET_S)


def test_it_says_so_once() -> None:
    end = TurnEnd()
    end.heard(100)
    assert first_due(end, 0, 10) is not None
    assert first_due(end, 10, 60) is None


def test_an_answer_that_never_comes_is_given_up() -> None:
    end = TurnEnd()
    end.expect(10)
    assert close(first_due(end, 7, 30), 17)


def test_what_still_plays_of_the_turn_before_counts_for_the_next() -> None:
    end = TurnEnd()
    end.heard(5000)
    end.tick(0)
    end.over()
    assert first_due(end, 0, 2) is None
    end.heard(1000)
    assert close(first_due(end, 2, 20), 6 + QUIET_S)


def test_what_was_cut_is_not_spoken_any_more() -> None:
    end = TurnEnd()
    end.heard(60_000)
    end.tick(0)
    end.cut()
    end.over()
    end.heard(1000)
    assert close(first_due(end, 1, 20), 2 + QUIET_S)


@given(st.lists(st.tuples(st.integers(0, 3000), st.integers(0, 2000)), min_size=1, max_size=30))
def test_a_turn_never_ends_while_its_audio_is_spoken_and_always_ends_after_it(pieces: list[tuple[int, int]]) -> None:
    end, now, spoken_at = TurnEnd(), 0.0, 0.0
    for ms, gap_ms in pieces:
        end.heard(ms)
        spoken_at = max(spoken_at, now) + ms / 1000
        for _ in range(gap_ms // 100 + 1):
            over = end.tick(now)
            assert not over or now > spoken_at
            now += 0.1
    if first_due(end, now, spoken_at + now + 2) is None:
        assert first_due(end, now, now + 100) is None, "it had said so before"
