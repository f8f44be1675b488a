"""A caller who says nothing: when he is spoken to, when the call ends, and what keeps it from ending."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from pydantic import BaseModel, ValidationError

from bridge.config.turns import Idle as Settings
from bridge.config.turns import one_clock_for_idle, short_idle
from bridge.idle import LONGEST_FAREWELL_S, PARTING_S, SPEAKLESS_S, Farewell, Idle, State


class Timer:
    def __init__(self, at: float, then: Callable[[], None]) -> None:
        self.at, self.then, self.cancelled = at, then, False

    def cancel(self) -> None:
        self.cancelled = True


class Bench:
    """One call; `did` is what was asked of the agent, with the second, and the end."""

    def __init__(self, **settings: Any) -> None:
        self.now = 0.0
        self.timers: list[Timer] = []
        self.did: list[tuple[float, str]] = []
        made = Settings.model_validate({"after_s": 10, "prompt": "ask", "farewell": "bye"} | settings)
        self.idle = Idle(made, self.later, ask=self.note, end=lambda: self.note("end"))  # type: ignore[arg-type]
        self.idle.begin()

    def note(self, words: str) -> None:
        self.did.append((round(self.now, 3), words))

    def later(self, seconds: float, then: Callable[[], None]) -> Timer:
        self.timers = [timer for timer in self.timers if not timer.cancelled]
        self.timers.append(Timer(self.now + seconds, then))
        return self.timers[-1]

    @property
    def running(self) -> list[Timer]:
        return [timer for timer in self.timers if not timer.cancelled]

    def wait(self, seconds: float) -> Bench:
        """Let time pass; what is due runs in its order and at its time."""
        end = self.now + seconds
        while due := [timer for timer in self.running if timer.at <= end + 1e-9]:
            first = min(due, key=lambda timer: timer.at)
            first.cancelled, self.now = True, first.at
            first.then()
        self.now = end
        return self

    def says(self, seconds: float = 2) -> Bench:
        """The agent says something, and it is heard to its end."""
        self.idle.agent_spoke()
        self.idle.agent_spoke()
        self.wait(seconds)
        self.idle.agent_drained()
        return self

    def speaks(self, seconds: float = 2) -> Bench:
        """The caller does."""
        self.idle.caller_spoke()
        self.wait(seconds)
        self.idle.caller_stopped()
        return self

    @property
    def words(self) -> list[str]:
        return [word for _, word in self.did]


def test_he_is_asked_twice_and_the_third_silence_is_the_end() -> None:
    bench = Bench().says().wait(10).says().wait(10).says()
    assert bench.did == [(12, "ask"), (24, "ask")]
    bench.wait(10).says(3).wait(PARTING_S)
    assert bench.did[2:] == [(36, "bye"), (39.3, "end")] and bench.idle.state is State.OVER
    bench.says().speaks().wait(1000)
    assert len(bench.did) == 4 and bench.running == []


def test_silence_is_counted_from_the_last_word_that_was_heard() -> None:
    bench = Bench().wait(9.9).says(5).wait(9.9)
    assert bench.did == []
    assert bench.wait(0.1).did == [(24.9, "ask")]


def test_an_agent_that_speaks_first_or_not_at_all_changes_nothing() -> None:
    assert Bench().wait(10).did == [(10, "ask")]


def test_nothing_is_counted_before_somebody_is_there() -> None:
    bench = Bench()
    idle = Idle(Settings(), bench.later, ask=bench.note, end=lambda: bench.note("end"))  # type: ignore[arg-type]
    bench.idle.close()
    idle.agent_drained()
    idle.key()
    idle.caller_stopped()
    assert bench.wait(1000).did == []
    idle.begin()
    idle.begin()
    assert len(bench.running) == 1 and bench.wait(15).words == [Settings().prompt]


def test_an_agent_that_does_not_answer_the_request_is_asked_again_and_the_call_still_ends() -> None:
    bench = Bench().wait(200)
    assert bench.did == [(10, "ask"), (20, "ask"), (30, "bye"), (30 + SPEAKLESS_S, "end")]


def test_nobody_is_asked_while_the_agent_is_heard() -> None:
    bench = Bench()
    bench.idle.agent_spoke()
    assert bench.wait(1000).did == [] and bench.running == []


def test_nobody_is_asked_while_he_speaks() -> None:
    bench = Bench()
    bench.idle.caller_spoke()
    bench.idle.caller_spoke()
    assert bench.wait(1000).did == []
    bench.idle.caller_stopped()
    assert bench.wait(10).words == ["ask"]


def test_who_is_there_again_is_asked_as_often_again() -> None:
    bench = Bench().wait(10).says().wait(10).says().speaks().says().wait(10).says().wait(10).says()
    assert bench.words == ["ask"] * 4


def test_a_key_is_a_sign_of_life() -> None:
    bench = Bench().wait(10).says().wait(10).says().wait(9)
    bench.idle.key()
    bench.wait(9.9)
    assert bench.words == ["ask"] * 2
    assert bench.wait(0.1).says().wait(10).words == ["ask"] * 4


def test_a_noise_that_was_no_speech_is_not_counted_as_one() -> None:
    """On trial the end of it comes, and its beginning was never told."""
    bench = Bench().wait(10).wait(9)
    bench.idle.caller_stopped()
    assert bench.wait(1).did == [(10, "ask"), (20, "ask")]


def test_who_speaks_into_the_farewell_keeps_the_call() -> None:
    bench = Bench(times=0).wait(10)
    assert bench.words == ["bye"] and bench.idle.state is State.LEAVING
    bench.idle.agent_spoke()
    bench.wait(1).speaks()
    bench.idle.agent_drained()
    assert bench.idle.state is State.LISTENING and bench.wait(9).words == ["bye"]
    bench.wait(1)
    assert bench.words == ["bye", "bye"], "and a new silence is a new one"
    assert bench.says().wait(PARTING_S).words == ["bye", "bye", "end"]


def test_so_does_a_key_and_it_does_so_after_the_last_word_too() -> None:
    bench = Bench(times=0).wait(10).says()
    bench.wait(PARTING_S / 2)
    bench.idle.key()
    assert bench.wait(5).words == ["bye"]


def test_a_farewell_in_several_pieces_is_heard_whole() -> None:
    bench = Bench(times=0).wait(10).says(2).wait(PARTING_S / 2).says(2)
    assert bench.words == ["bye"]
    assert bench.wait(PARTING_S).did == [(10, "bye"), (round(14 + 1.5 * PARTING_S, 3), "end")]


def test_a_second_farewell_has_as_much_time_as_the_first() -> None:
    bench = Bench(times=0).wait(10)
    bench.idle.agent_spoke()
    bench.idle.key()
    bench.idle.agent_drained()
    bench.wait(10)
    assert bench.words == ["bye", "bye"]
    bench.wait(1).says(SPEAKLESS_S + 5)
    assert bench.words == ["bye", "bye"]
    assert bench.wait(PARTING_S).words == ["bye", "bye", "end"]


def test_each_piece_of_a_farewell_does_not_make_it_longer() -> None:
    bench = Bench()
    bench.idle.close()
    farewell = Farewell("bye", bench.note, bench.later)  # type: ignore[arg-type]
    farewell.begin(lambda: bench.note("end"))
    for _ in range(10):
        bench.wait(4)
        farewell.agent_spoke()
    assert bench.did == [(0, "bye"), (4 + LONGEST_FAREWELL_S, "end")]


def test_a_farewell_without_end_is_cut() -> None:
    bench = Bench(times=0).wait(10)
    bench.wait(3).idle.agent_spoke()
    assert bench.wait(1000).did == [(10, "bye"), (13 + LONGEST_FAREWELL_S, "end")]


def test_without_a_farewell_it_ends_without_a_word() -> None:
    assert Bench(times=1, farewell="").wait(1000).did == [(10, "ask"), (20, "end")]


def test_it_may_leave_him_alone_after_the_last_question() -> None:
    bench = Bench(hang_up=False, times=1).wait(1000)
    assert bench.words == ["ask"] and bench.running == []
    assert bench.speaks().says().wait(10).words == ["ask", "ask"]


@pytest.mark.parametrize("tools", [1, 2])
def test_who_waits_for_a_tool_is_not_asked_whether_he_is_there(tools: int) -> None:
    """Quirk F4."""
    bench = Bench().wait(9)
    for _ in range(tools):
        bench.idle.tool_began()
    for _ in range(tools):
        assert bench.says().wait(100).did == []
        bench.idle.tool_ended()
    began = bench.now
    assert bench.wait(100).did[0] == (began + 10, "ask")


def test_a_tool_that_ends_twice_does_not_count_for_another() -> None:
    bench = Bench()
    bench.idle.tool_ended()
    bench.idle.tool_began()
    assert bench.wait(100).did == []


@pytest.mark.parametrize("times", [0, 1])
def test_the_end_of_the_call_is_the_end_of_it(times: int) -> None:
    bench = Bench(times=times).wait(10)
    bench.idle.close()
    bench.idle.key()
    bench.says().speaks()
    bench.idle.begin()
    assert len(bench.wait(1000).did) == 1 and bench.running == []


def test_one_clock_runs_at_a_time() -> None:
    bench = Bench()
    for _ in range(3):
        bench.says().speaks()
        bench.idle.key()
    assert len(bench.running) == 1


# Configuration


class Agent(BaseModel):
    idle: Settings | None = None


@pytest.mark.parametrize(
    ("value", "after_s"), [(20, 20), (7.5, 7.5), (True, 15), ({}, 15), ({"after_s": 30}, 30), (False, None)]
)
def test_a_number_is_short_for_the_seconds(value: Any, after_s: float | None) -> None:
    idle = Agent.model_validate({"idle": short_idle(value)}).idle
    assert (idle.after_s if idle else None) == after_s


@pytest.mark.parametrize("wrong", [{"after_s": 2}, {"times": 11}, {"times": -1}, {"afters": 5}])
def test_what_makes_no_sense_is_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        Settings.model_validate(wrong)


def test_only_one_of_both_may_ask_the_silent_caller() -> None:
    one_clock_for_idle(Settings(), None)
    one_clock_for_idle(None, 5000)
    with pytest.raises(ValueError, match=r"keep one of them"):
        one_clock_for_idle(Settings(), 5000)
