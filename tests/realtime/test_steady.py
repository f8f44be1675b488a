"""As much audio as time passes, by a clock of the test's own."""

from __future__ import annotations

import random
from collections.abc import Callable

import pytest

from bridge.audio.format import Format, Linear, silence_of
from bridge.audio.g711 import Law
from bridge.realtime.steady import AHEAD_MS, MISSING_MS, MOST_AHEAD_MS, MOST_AT_ONCE_MS, Steady
from tests.realtime.test_live import tone


class Timer:
    def __init__(self, when: float, callback: Callable[[], None]) -> None:
        self.when, self.callback = when, callback

    def cancel(self) -> None:
        self.callback = lambda: None


class Clock:
    """Fires timers in order, each up to `lateness` seconds late."""

    def __init__(self, lateness: Callable[[], float] = lambda: 0.0) -> None:
        self.now = 1000.0
        self.timers: list[Timer] = []
        self.most = self.fired = 0
        self._lateness = lateness

    def time(self) -> float:
        return self.now

    def call_at(self, when: float, callback: Callable[[], None], /) -> Timer:
        timer = Timer(when, callback)
        self.timers.append(timer)
        self.most = max(self.most, len(self.timers))
        return timer

    def run_to(self, when: float) -> None:
        while due := [timer for timer in self.timers if timer.when <= when]:
            timer = min(due, key=lambda each: each.when)
            self.timers.remove(timer)
            self.now = max(self.now, timer.when + self._lateness())
            self.fired += 1
            timer.callback()
        self.now = max(self.now, when)


class Line:
    """A steady line in some format, and what it gave."""

    def __init__(self, audio_format: Format = Law.PCMU, clock: Clock | None = None) -> None:
        self.clock = clock or Clock()
        self.given: list[bytes] = []
        self.format = audio_format
        self.steady = Steady(self.given.append, audio_format, self.clock)
        self.began = self.clock.now

    def phone(self, ms: int, *, loud: bool = False) -> None:
        """A phone that sends 20 ms at a time."""
        for _ in range(ms // 20):
            self.clock.run_to(self.clock.now + 0.02)
            self.frame(loud=loud)

    def frame(self, *, loud: bool = False) -> None:
        self.steady.append(tone(20, self.format) if loud else silence_of(20, self.format))

    @property
    def given_ms(self) -> float:
        return sum(map(len, self.given)) / self.format.bytes_per_ms

    @property
    def passed_ms(self) -> float:
        return (self.clock.now - self.began) * 1000


def test_audio_that_comes_passes_as_it_is_and_nothing_is_added() -> None:
    line = Line()
    line.steady.start()
    line.phone(60_000, loud=True)
    assert line.given == [tone(20)] * 3000
    assert line.steady.filled_ms == 0


@pytest.mark.parametrize("audio", [Law.PCMU, Law.PCMA, Linear(24000)])
def test_silence_begins_when_audio_is_missing_and_fills_the_time_before_too(audio: Format) -> None:
    line = Line(audio)
    line.steady.start()
    line.phone(1000)
    line.clock.run_to(line.clock.now + (MISSING_MS - 1) / 1000)
    assert line.given_ms == 1000
    line.clock.run_to(line.clock.now + 0.0011)
    assert line.given_ms == 1000 + MISSING_MS
    assert line.given[-1] == silence_of(20, audio)
    line.clock.run_to(line.clock.now + 0.02)
    assert line.given_ms == 1080 and line.given[-1] == silence_of(20, audio)


def test_silence_is_exact_over_an_hour_with_a_clock_that_fires_late() -> None:
    chance = random.Random(1)
    line = Line(clock=Clock(lambda: chance.random() * 0.015))
    line.steady.start()
    line.clock.run_to(line.began + 3600)
    assert abs(line.given_ms - line.passed_ms) <= 20 + 15


def test_a_phone_that_comes_and_goes_for_an_hour_leaves_no_lag() -> None:
    chance = random.Random(2)
    line = Line(clock=Clock(lambda: chance.random() * 0.01))
    line.steady.start()
    while line.passed_ms < 3_600_000:
        line.phone(chance.randrange(1, 300) * 20, loud=chance.random() < 0.5)
        line.clock.run_to(line.clock.now + chance.random() * 3)
    line.clock.run_to(line.clock.now + 1)
    assert abs(line.given_ms - line.passed_ms) <= AHEAD_MS + 40


def test_what_was_only_late_is_given_and_paid_back_by_quiet_audio() -> None:
    line = Line()
    line.steady.start()
    line.phone(1000, loud=True)
    line.clock.run_to(line.clock.now + 0.5)
    for _ in range(25):
        line.frame(loud=True)  # the network stood still, and brings all at once
    assert line.given.count(tone(20)) == 75, "speech is never left out for that"
    assert line.given_ms - line.passed_ms > 400
    line.phone(2000)
    assert line.given_ms - line.passed_ms <= AHEAD_MS
    assert line.steady.left_out_ms >= 400


def test_a_flood_is_left_out_beyond_a_second() -> None:
    line = Line()
    line.steady.start()
    for _ in range(500):
        line.frame(loud=True)
    assert line.given_ms == MOST_AHEAD_MS
    assert line.steady.left_out_ms == 10_000 - MOST_AHEAD_MS


def test_a_machine_that_stood_still_makes_no_flood() -> None:
    line = Line()
    line.steady.start()
    line.clock.now += 30
    line.clock.run_to(line.clock.now)
    assert line.given_ms == MOST_AT_ONCE_MS
    line.clock.run_to(line.clock.now + 10)
    assert abs(line.given_ms - MOST_AT_ONCE_MS - 10_000) <= 20


def test_one_timer_while_it_runs_and_few_wake_ups_while_audio_comes() -> None:
    line = Line()
    assert line.clock.timers == []
    line.steady.start()
    line.steady.start()
    line.phone(6000)
    line.clock.run_to(line.clock.now + 1)
    assert line.clock.most == 1
    assert line.clock.fired <= 6000 // (MISSING_MS - 20) + 1000 // 20 + 1


def test_after_stop_nothing_is_added_and_audio_still_passes() -> None:
    line = Line()
    line.steady.start()
    line.clock.run_to(line.clock.now + 1)
    line.steady.stop()
    line.steady.stop()
    before = len(line.given)
    line.clock.run_to(line.clock.now + 10)
    assert len(line.given) == before
    line.frame()
    assert len(line.given) == before + 1


def test_it_may_be_stopped_by_what_it_gives_to() -> None:
    clock = Clock()
    given: list[bytes] = []

    def take(audio: bytes) -> None:
        given.append(audio)
        steady.stop()

    steady = Steady(take, Law.PCMU, clock)
    steady.start()
    clock.run_to(clock.now + 5)
    assert len(given) == 1 and clock.timers == []


def test_it_can_be_started_again() -> None:
    line = Line()
    line.steady.start()
    line.phone(1000)
    line.steady.stop()
    line.clock.run_to(line.clock.now + 100)
    line.steady.start()
    line.clock.run_to(line.clock.now + 1)
    assert line.given_ms == 2000
