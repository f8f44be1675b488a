"""What the caller's speech does to the agent's: the whole table, on a clock that the test holds."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from bridge.barge_in import LONGEST_PAUSE_S, BargeIn, State
from bridge.config import BargeIn as Settings
from bridge.config import SemanticVad, ServerVad
from bridge.realtime import events as ev

AROUND_MS = 300 + 500
"""What the server puts before and behind the speech itself: padding and silence."""
STOP = ["interrupt"]


class Timer:
    def __init__(self, at: float, then: Callable[[], None]) -> None:
        self.at, self.then, self.cancelled = at, then, False

    def cancel(self) -> None:
        self.cancelled = True


class Bench:
    """One call of wood; `did` is what was decided about it."""

    def __init__(self, *, detection: Any = None, is_saying: bool = True, **settings: Any) -> None:
        self.did: list[str] = []
        self.is_saying = is_saying
        self.now = 0.0
        self.timers: list[Timer] = []
        made = Settings.model_validate({"mode": "reversible"} | settings)
        self.barge_in = BargeIn(self, made, detection or ServerVad(), self.later)  # type: ignore[arg-type]

    def interrupt(self, *, by_server: bool) -> None:
        self.did.append("interrupt by server" if by_server else "interrupt")

    def pause(self) -> None:
        self.did.append("pause")

    def resume(self, noise: str) -> None:
        self.did.append(f"resume without {noise}")

    def answer(self) -> None:
        self.did.append("answer")

    def later(self, seconds: float, then: Callable[[], None]) -> Timer:
        self.timers.append(Timer(self.now + seconds, then))
        return self.timers[-1]

    @property
    def running(self) -> list[Timer]:
        return [timer for timer in self.timers if not timer.cancelled]

    def wait(self, until: float) -> Bench:
        """Let time pass; what is due runs once."""
        self.now = until
        for timer in self.running:
            if timer.at <= until:
                timer.cancelled = True
                timer.then()
        return self

    def start(self, item: str = "noise", at_ms: int = 1000) -> Bench:
        self.barge_in.started(ev.SpeechStarted(at_ms, item))
        return self

    def stop(self, speech_ms: int, from_ms: int = 1000) -> Bench:
        """The server says stop after so much speech, counted as it counts."""
        self.barge_in.stopped(ev.SpeechStopped(from_ms + AROUND_MS + speech_ms))
        return self

    def said(self, text: str | None, item: str = "noise") -> Bench:
        self.barge_in.said(item, text)
        return self

    def key(self) -> Bench:
        self.barge_in.overtaken()
        return self

    def close(self) -> Bench:
        self.barge_in.close()
        return self


QUIET, TALKING, TRIAL, WORDS = State.QUIET, State.TALKING, State.ON_TRIAL, State.AWAITING_WORDS
COUGH = ["pause", "resume without noise"]
SPEECH = ["pause", "interrupt", "answer"]
LOST = ["pause", "interrupt"]
Steps = Callable[[Bench], object]

TABLE: list[tuple[str, Steps, list[str], State]] = [
    ("begins", lambda b: b.start(), ["pause"], TRIAL),
    ("too short", lambda b: b.start().stop(299), COUGH, QUIET),
    ("shorter than what the server puts around it", lambda b: b.start().stop(-500), COUGH, QUIET),
    ("just long enough", lambda b: b.start().stop(300), SPEECH, QUIET),
    ("goes on", lambda b: b.start().wait(0.799), ["pause"], TRIAL),
    ("goes on for too long for a noise", lambda b: b.start().wait(0.8), LOST, TALKING),
    ("and ends", lambda b: b.start().wait(0.8).stop(2000), SPEECH, QUIET),
    ("short by the server's clock though late by ours", lambda b: b.start().wait(0.8).stop(1), SPEECH, QUIET),
    ("two coughs", lambda b: b.start().stop(100).start(at_ms=5000).stop(9, 5000), COUGH + COUGH, QUIET),
    ("a cough, then speech", lambda b: b.start().stop(9).start(at_ms=5000).stop(900, 5000), COUGH + SPEECH, QUIET),
    ("said twice", lambda b: b.start().start(), ["pause"], TRIAL),
    ("said twice, and the later start is not its beginning", lambda b: b.start().start(at_ms=1900).stop(900), SPEECH,
     QUIET),
    ("said twice while he talks", lambda b: b.start().wait(0.8).start(), LOST, TALKING),
    ("stopped twice", lambda b: b.start().stop(900).stop(900), SPEECH, QUIET),
    ("a cough stopped twice", lambda b: b.start().stop(9).stop(9), COUGH, QUIET),
    ("stopped without a start", lambda b: b.stop(900), [], QUIET),
    ("a key", lambda b: b.start().key(), ["pause"], TALKING),
    ("a key, then the end of what was said", lambda b: b.start().key().stop(900), ["pause", "answer"], QUIET),
    ("a key, then nothing", lambda b: b.start().key().wait(60), ["pause"], TALKING),
    ("a key in silence", lambda b: b.key(), [], QUIET),
    ("a key while he talks", lambda b: b.start().wait(0.8).key(), LOST, TALKING),
    ("the call is over", lambda b: b.start().close().wait(60), ["pause"], QUIET),
    ("words without being asked for", lambda b: b.start().said("Stop."), ["pause"], TRIAL),
]  # fmt: skip
WITH_WORDS: list[tuple[str, Steps, list[str], State]] = [
    ("too short for words", lambda b: b.start().stop(299), COUGH, QUIET),
    ("long enough for words", lambda b: b.start().stop(300), ["pause"], WORDS),
    ("words", lambda b: b.start().stop(300).said("Stop."), SPEECH, QUIET),
    ("a number is a word", lambda b: b.start().stop(300).said(" 5 "), SPEECH, QUIET),
    ("words of no Latin script", lambda b: b.start().stop(300).said("\u306f\u3044"), SPEECH, QUIET),
    ("no words", lambda b: b.start().stop(300).said(""), COUGH, QUIET),
    ("punctuation", lambda b: b.start().stop(300).said(" ... "), COUGH, QUIET),
    ("nobody can tell", lambda b: b.start().stop(300).said(None), SPEECH, QUIET),
    ("words that name no item", lambda b: b.start().stop(300).said("Stop.", ""), SPEECH, QUIET),
    ("words of another item", lambda b: b.start().stop(300).said("Before.", "old"), ["pause"], WORDS),
    ("silence of another item", lambda b: b.start().stop(300).said("", "old"), ["pause"], WORDS),
    ("words late", lambda b: b.start().stop(300).wait(1.999), ["pause"], WORDS),
    ("words too late", lambda b: b.start().stop(300).wait(2), SPEECH, QUIET),
    ("words after that", lambda b: b.start().stop(300).wait(2).said("Stop."), SPEECH, QUIET),
    ("no words after that", lambda b: b.start().stop(300).wait(2).said(""), SPEECH, QUIET),
    ("words twice", lambda b: b.start().stop(300).said("Stop.").said("Stop."), SPEECH, QUIET),
    ("no words twice", lambda b: b.start().stop(300).said("").said(""), COUGH, QUIET),
    ("words after a cough", lambda b: b.start().stop(1).said("Stop."), COUGH, QUIET),
    ("speaks again before", lambda b: b.start().stop(300).start("next"), LOST, TALKING),
    ("and stops", lambda b: b.start().stop(300).start("next").stop(1), SPEECH, QUIET),
    ("and his first words were none", lambda b: b.start().stop(300).start("next").said(""), LOST, TALKING),
    ("goes on: the words decide", lambda b: b.start().wait(5), ["pause"], TRIAL),
    ("goes on for ever", lambda b: b.start().wait(0.8).wait(0.8 + LONGEST_PAUSE_S), LOST, TALKING),
    ("goes on, and ends", lambda b: b.start().wait(0.8).stop(3000).said("Stop."), SPEECH, QUIET),
    ("goes on, and was a drill", lambda b: b.start().wait(0.8).stop(3000).said(""), COUGH, QUIET),
    ("a key", lambda b: b.start().stop(300).key(), ["pause"], QUIET),
    ("words after a key", lambda b: b.start().stop(300).key().said("").wait(60), ["pause"], QUIET),
    ("the call is over", lambda b: b.start().stop(300).close().said("Stop.").wait(60), ["pause"], QUIET),
]


@pytest.mark.parametrize(("steps", "did", "state"), [row[1:] for row in TABLE], ids=[row[0] for row in TABLE])
def test_speech_on_trial(steps: Steps, did: list[str], state: State) -> None:
    bench = Bench()
    steps(bench)
    assert (bench.did, bench.barge_in.state) == (did, state)
    assert len(bench.running) == (state is TRIAL), "a clock runs only while something is on trial"


@pytest.mark.parametrize(("steps", "did", "state"), [row[1:] for row in WITH_WORDS], ids=[row[0] for row in WITH_WORDS])
def test_speech_on_trial_that_needs_words(steps: Steps, did: list[str], state: State) -> None:
    bench = Bench(words=True)
    steps(bench)
    assert (bench.did, bench.barge_in.state) == (did, state)
    assert len(bench.running) == (state in (TRIAL, WORDS))


def test_in_silence_speech_is_speech_and_answered_once() -> None:
    bench = Bench(is_saying=False)
    assert bench.start().stop(1).stop(1).did == ["interrupt", "answer"], "perhaps a tool's farewell was waiting"
    assert bench.timers == []


def test_what_is_forgotten_is_the_item_that_will_be_committed() -> None:
    """Quirk D6: a second start while he speaks may bring another name."""
    assert Bench().start("first").start("second").stop(1).did[-1] == "resume without second"
    assert Bench().start("first").start("").stop(1).did[-1] == "resume without first"


def test_the_second_name_is_whose_words_count() -> None:
    assert Bench(words=True).start("first").start("second").stop(900).said("", "second").did == [
        "pause",
        "resume without second",
    ]


@pytest.mark.parametrize(
    ("detection", "settings", "longest_ms", "waits_s"),
    [
        (ServerVad(prefix_padding_ms=100, silence_duration_ms=200), {}, 599, 0.5),
        (ServerVad(), {"min_speech_ms": 1000}, 1799, 1.5),
        (SemanticVad(type="semantic_vad"), {}, 299, 0.3),
    ],
)
def test_the_threshold_is_of_speech_alone(
    detection: Any, settings: dict[str, Any], longest_ms: int, waits_s: float
) -> None:
    """By the server's clock without what it adds; by ours with the silence that it waits for."""
    for more, did in ((0, "resume without noise"), (1, "answer")):
        bench = Bench(detection=detection, **settings).start()
        bench.barge_in.stopped(ev.SpeechStopped(1000 + longest_ms + more))
        assert bench.did[-1] == did
    bench = Bench(detection=detection, **settings).start()
    assert bench.timers[0].at == pytest.approx(waits_s)


def test_with_no_least_length_everything_is_speech() -> None:
    assert Bench(min_speech_ms=0).start().stop(0).did == SPEECH


def test_immediate_interrupts_at_once_and_leaves_the_answer_to_the_server() -> None:
    bench = Bench(mode="immediate")
    bench.start().stop(1).said("").start().stop(900).key().wait(60)
    assert (bench.did, bench.timers) == (["interrupt by server"] * 2, [])


@pytest.mark.parametrize(("mode", "did"), [("reversible", ["answer"]), ("immediate", [])])
def test_who_says_nothing_is_spoken_to_by_whoever_decides(mode: str, did: list[str]) -> None:
    bench = Bench(mode=mode)
    bench.barge_in.idle()
    assert bench.did == did


def test_nobody_is_idle_while_it_is_not_clear_whether_he_speaks() -> None:
    bench = Bench().start()
    bench.barge_in.idle()
    assert bench.did == ["pause"]
