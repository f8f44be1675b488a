"""Turns that the bridge finds by itself, with a detector that says what the test wants."""

from __future__ import annotations

import pytest

from bridge import own_turns as module
from bridge.audio.format import Format, Linear
from bridge.audio.g711 import Law
from bridge.config import OwnTurns as Settings
from bridge.own_turns import HANGOVER_MS, OwnTurns, State
from bridge.realtime import events as ev

WIDE = Linear(8000)
SETTINGS = Settings(type="manual", min_speech_ms=100, silence_duration_ms=400)


class Detector:
    """Calls everything speech that is not all zero."""

    def __init__(self, rate: int, aggressiveness: int = 2) -> None:
        self.frame_bytes = rate * 20 // 1000 * 2

    def is_speech(self, frame: bytes) -> bool:
        assert len(frame) == self.frame_bytes
        return any(frame)


@pytest.fixture(autouse=True)
def detector(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "SpeechDetector", Detector)


class Caller:
    def __init__(self, audio_format: Format = WIDE) -> None:
        self.events: list[ev.Event] = []
        self.ms = 0
        self.format = audio_format
        self.turns = OwnTurns(SETTINGS, lambda: self.ms, started=self.events.append, stopped=self.events.append)

    def speak(self, ms: int) -> Caller:
        return self._give(ms, 1)

    def pause(self, ms: int) -> Caller:
        return self._give(ms, 0)

    def _give(self, ms: int, value: int) -> Caller:
        for _ in range(ms // 10):
            self.turns.hear(bytes((value,)) * (10 * self.format.bytes_per_ms), self.format)
            self.ms += 10
        return self


def test_speech_begins_a_turn_and_silence_ends_it() -> None:
    caller = Caller().pause(1000).speak(1000).pause(500)
    started, stopped = caller.events
    assert isinstance(started, ev.SpeechStarted) and abs(started.audio_start_ms - 1000) <= 20
    assert isinstance(stopped, ev.SpeechStopped) and abs(stopped.audio_end_ms - 2400) <= 20


def test_what_is_too_short_begins_nothing() -> None:
    caller = Caller().speak(SETTINGS.min_speech_ms + HANGOVER_MS - 40).pause(1000)
    assert caller.events == [] and caller.turns.state is State.SILENT


def test_a_pause_between_words_ends_nothing() -> None:
    caller = Caller().speak(400).pause(300).speak(400).pause(300)
    assert [type(event) for event in caller.events] == [ev.SpeechStarted]


def test_a_change_of_the_callers_format_goes_on_with_the_turn() -> None:
    caller = Caller().speak(400)
    caller.format = Linear(16000)
    caller.speak(200).pause(500)
    assert [type(event) for event in caller.events] == [ev.SpeechStarted, ev.SpeechStopped]


def test_g711_is_decoded_first() -> None:
    caller = Caller(Law.PCMU)
    for _ in range(50):
        caller.turns.hear(b"\xff" * 160, Law.PCMU)
    assert caller.events == []
    for _ in range(50):
        caller.turns.hear(b"\x10" * 160, Law.PCMU)
    assert [type(event) for event in caller.events] == [ev.SpeechStarted]
