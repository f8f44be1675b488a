"""What a call counts."""

from __future__ import annotations

import pytest

from bridge.records import DURATIONS_KEPT, Counts


def test_words_are_counted_each_in_its_own_place() -> None:
    counts = Counts()
    for _ in range(2):
        counts.note_fallback("refused")
        counts.note_resumed("back", 0.5)
        counts.note_plan_b("transfer")
    assert counts.session_fallbacks == {"refused": 2}
    assert (counts.resumed, counts.away_s) == ({"back": 2}, [0.5, 0.5])
    assert counts.plan_b == {"transfer": 2}


def test_what_has_no_duration_is_counted_without() -> None:
    counts = Counts()
    counts.note_resumed("given_up")
    assert (counts.resumed, counts.away_s) == ({"given_up": 1}, [])


def test_durations_are_bounded_and_counts_are_not() -> None:
    counts = Counts()
    for _ in range(DURATIONS_KEPT + 5):
        counts.note_resumed("back", 0.5)
    assert len(counts.away_s) == DURATIONS_KEPT
    assert counts.resumed["back"] == DURATIONS_KEPT + 5


def test_usage_adds_up_and_what_has_no_price_is_counted_apart() -> None:
    counts = Counts()
    counts.note_usage({"text_in": 3, "audio_out": 4}, 0.25)
    counts.note_usage({"text_in": 1}, None)
    assert counts.tokens == {"text_in": 4, "audio_out": 4}
    assert (counts.cost, counts.unpriced) == (pytest.approx(0.25), 1)
