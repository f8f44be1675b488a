"""The energy ear: when speech begins and ends, on the clock of the audio."""

from __future__ import annotations

import random
from array import array

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bridge.agent.patterns import tone
from bridge.agent.turns import FRAME_MS, Started, Stopped, TurnDetector, TurnSettings
from bridge.audio.vad import SpeechDetector

SECOND = 16000


def quiet(ms: int) -> bytes:
    return bytes(16 * ms)


def noise(ms: int, level: int) -> bytes:
    chance = random.Random(1)
    return array("h", (int(chance.gauss(0, level)) for _ in range(8 * ms))).tobytes()


def detect(*parts: bytes, **settings: float) -> list[Started | Stopped]:
    return TurnDetector(TurnSettings(**settings), 8000).feed(b"".join(parts))  # type: ignore[arg-type]


def test_speech_begins_early_by_the_padding_and_ends_late_by_the_silence() -> None:
    found = detect(quiet(1000), tone(300, 800, 8000), quiet(1000), prefix_padding_ms=300, silence_duration_ms=500)
    assert found == [Started(700), Stopped(2300)]


def test_the_padding_does_not_reach_before_the_audio() -> None:
    assert detect(quiet(100), tone(300, 800, 8000), prefix_padding_ms=300) == [Started(0)]


@pytest.mark.parametrize(("pause_ms", "turns"), [(300, 1), (700, 2)])
def test_a_pause_shorter_than_the_silence_is_no_end(pause_ms: int, turns: int) -> None:
    say = tone(300, 400, 8000)
    found = detect(say, quiet(pause_ms), say, quiet(1000), silence_duration_ms=500)
    assert len(found) == 2 * turns


def test_a_click_is_no_speech() -> None:
    assert detect(quiet(500), tone(300, 40, 8000), quiet(500)) == []


@pytest.mark.parametrize(("threshold", "heard"), [(0.1, True), (0.5, True), (0.9, False)])
def test_a_higher_threshold_needs_louder_speech(threshold: float, heard: bool) -> None:
    assert bool(detect(tone(300, 500, 8000, 800), quiet(500), threshold=threshold)) is heard


def test_line_noise_does_not_hold_a_turn_open() -> None:
    settings = TurnSettings(silence_duration_ms=500)
    detector = TurnDetector(settings, 8000)
    found = detector.feed(noise(12_000, 500))
    assert isinstance(found[-1], Stopped)
    assert detector.feed(noise(5000, 500)) == []
    assert [type(each) for each in detector.feed(tone(300, 800, 8000) + noise(1000, 500))] == [Started, Stopped]


def test_a_loud_tone_stays_speech() -> None:
    assert [type(each) for each in detect(tone(300, 20_000, 8000), quiet(1000))] == [Started, Stopped]


def test_the_clock_goes_on_from_its_origin() -> None:
    detector = TurnDetector(TurnSettings(), 8000, origin_ms=60_000)
    assert detector.feed(quiet(1000) + tone(300, 500, 8000)) == [Started(60_700)]


@pytest.mark.parametrize(("eagerness", "wait"), [("high", 250), ("medium", 500), ("auto", 500), ("low", 1000)])
def test_semantic_vad_waits_by_its_eagerness(eagerness: str, wait: int) -> None:
    settings = TurnSettings.of({"type": "semantic_vad", "eagerness": eagerness})
    found = TurnDetector(settings, 8000).feed(tone(300, 500, 8000) + quiet(1500))
    assert found[-1] == Stopped(-(-(500 + wait) // FRAME_MS) * FRAME_MS)


@settings(max_examples=25)
@given(st.lists(st.tuples(st.booleans(), st.integers(20, 1500)), max_size=6), st.data())
def test_the_size_of_the_pieces_changes_nothing(parts: list[tuple[bool, int]], data: st.DataObject) -> None:
    audio = b"".join(tone(300, ms, 8000) if loud else quiet(ms) for loud, ms in parts)
    whole = TurnDetector(TurnSettings(), 8000).feed(audio)
    detector = TurnDetector(TurnSettings(), 8000)
    pieces, start = [], 0
    while start < len(audio):
        size = data.draw(st.integers(1, 4000))
        pieces += detector.feed(audio[start : start + size])
        start += size
    assert pieces == whole
    assert [type(each) for each in whole] == ([Started, Stopped] * len(whole))[: len(whole)]


# With a judge.


def judge(*parts: bytes, threshold: float = 0.5) -> list[Started | Stopped]:
    """By webrtcvad."""
    pytest.importorskip("webrtcvad", reason="the extra 'turns' is not installed")
    settings = TurnSettings(threshold, prefix_padding_ms=300, silence_duration_ms=500)
    return TurnDetector(settings, 8000, judge=SpeechDetector(8000).is_speech).feed(b"".join(parts))


def test_a_judge_is_asked_about_every_frame_and_must_agree() -> None:
    asked: list[int] = []

    def never(frame: bytes) -> bool:
        asked.append(len(frame))
        return False

    assert TurnDetector(TurnSettings(), 8000, judge=never).feed(quiet(200) + tone(300, 600, 8000)) == []
    assert asked == [320] * 40
    found = TurnDetector(TurnSettings(), 8000, judge=lambda frame: True).feed(quiet(400) + tone(300, 600, 8000))
    assert found == [Started(100)]


def test_noise_that_begins_is_no_turn_for_webrtcvad() -> None:
    for level in (60, 200, 800):
        assert judge(quiet(2000), noise(3000, level), quiet(1000), noise(1000, level)) == []
    assert detect(quiet(2000), noise(3000, 800)) != [], "loudness alone takes it for a turn"


def test_comfort_noise_between_two_silences_is_no_turn_for_webrtcvad() -> None:
    assert judge(*[quiet(600), noise(400, 60)] * 8) == []


def test_a_judge_hears_speech_that_is_too_quiet_for_loudness() -> None:
    soft = tone(300, 1000, 8000, 150)
    assert detect(quiet(500), soft, quiet(1000)) == []
    always = TurnDetector(TurnSettings(silence_duration_ms=500), 8000, judge=lambda frame: True)
    assert [type(each) for each in always.feed(quiet(500) + soft + quiet(1000))] == [Started, Stopped]
