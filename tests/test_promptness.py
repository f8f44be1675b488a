"""Who keeps the caller waiting, by a clock of the test's own."""

from __future__ import annotations

from bridge.config import SemanticVad, ServerVad
from bridge.promptness import Promptness
from bridge.realtime import events as ev


class Turn:
    def __init__(self, detection: ServerVad | SemanticVad | None = None) -> None:
        self.told: list[tuple[str, float]] = []
        self.now = 0.0
        self.heard_ms = 0.0
        self.it = Promptness(
            lambda stage, seconds: self.told.append((stage, round(seconds, 3))),
            detection or ServerVad(silence_duration_ms=500),
            lambda: self.heard_ms,
            lambda: self.now,
        )

    def stop(self, *, end_ms: int, heard_ms: float) -> Turn:
        self.heard_ms = heard_ms
        self.it.stopped(ev.SpeechStopped(end_ms))
        return self


def test_the_four_stages_add_up_to_the_wait() -> None:
    turn = Turn().stop(end_ms=3_000, heard_ms=3_040)  # 500 of the 3000 ms were silence
    turn.now = 0.010
    turn.it.committed()
    turn.now = 0.410
    turn.it.audio_came()
    turn.it.audio_came()
    turn.now = 0.475
    turn.it.packet_left()
    turn.it.packet_left()
    assert turn.told == [("vad", 0.54), ("commit", 0.01), ("first_delta", 0.4), ("first_rtp", 0.065)]


def test_where_the_silence_is_unknown_the_end_of_the_turn_counts() -> None:
    assert Turn(SemanticVad(type="semantic_vad")).stop(end_ms=3_000, heard_ms=3_040).told == [("vad", 0.04)]


def test_a_service_that_commits_nothing_is_measured_as_a_whole() -> None:
    turn = Turn().stop(end_ms=1_000, heard_ms=1_000)
    turn.now = 0.3
    turn.it.audio_came()
    assert turn.told[1:] == [("first_delta", 0.3)]


def test_a_caller_who_speaks_again_is_not_waiting() -> None:
    turn = Turn().stop(end_ms=1_000, heard_ms=1_000)
    turn.it.forget()
    turn.it.audio_came()
    turn.it.packet_left()
    assert [stage for stage, _ in turn.told] == ["vad"]


def test_what_nobody_asked_for_is_not_measured() -> None:
    turn = Turn()
    turn.it.audio_came()
    turn.it.packet_left()
    turn.it.committed()
    assert turn.told == []
