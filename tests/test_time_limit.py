"""The longest call: warned in time, said goodbye to, and over when it is over."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from bridge.config.turns import TimeLimit as Settings
from bridge.config.turns import short_limit
from bridge.idle import PARTING_S, SPEAKLESS_S
from bridge.time_limit import GRACE_S, TimeLimit
from tests.test_idle import Bench as IdleBench


class Bench(IdleBench):
    def __init__(self, longest_s: float = 3600, **settings: Any) -> None:
        super().__init__()
        self.idle.close()
        made = Settings.model_validate({"warning": "warn", "farewell": "bye"} | settings) if settings else None
        self.limit = TimeLimit(made, longest_s, self.later, ask=self.note, end=lambda: self.note("end"))  # type: ignore[arg-type]
        self.limit.begin()

    def says(self, seconds: float = 2) -> Bench:
        self.limit.agent_spoke()
        self.wait(seconds)
        self.limit.agent_drained()
        return self


def test_he_is_warned_and_let_go_when_he_has_heard_the_goodbye() -> None:
    bench = Bench(minutes=10).wait(600)
    assert bench.did == [(540, "warn"), (600, "bye")]
    bench.says(3).wait(1000)
    assert bench.did[2:] == [(603 + PARTING_S, "end")] and bench.running == []


def test_the_call_is_cut_when_the_goodbye_takes_too_long() -> None:
    bench = Bench(minutes=10).wait(600 + SPEAKLESS_S - 1)
    bench.limit.agent_spoke()
    bench.wait(1000)
    assert bench.did[1:] == [(600, "bye"), (600 + GRACE_S, "end")] and bench.running == []


def test_it_is_cut_sooner_when_no_goodbye_comes() -> None:
    assert Bench(minutes=10).wait(1000).did[1:] == [(600, "bye"), (600 + SPEAKLESS_S, "end")]


def test_what_the_agent_was_just_saying_is_no_goodbye() -> None:
    bench = Bench(minutes=10).wait(595)
    bench.limit.agent_spoke()
    bench.wait(7)
    bench.limit.agent_drained()
    assert bench.wait(SPEAKLESS_S - 3).words == ["warn", "bye"]
    assert bench.says(2).wait(PARTING_S).words == ["warn", "bye", "end"]


def test_without_a_goodbye_the_limit_is_the_end() -> None:
    assert Bench(minutes=10, farewell="").wait(1000).did == [(540, "warn"), (600, "end")]


def test_without_a_warning_there_is_none() -> None:
    assert Bench(minutes=10, warn_s=0).wait(600).did == [(600, "bye")]
    assert Bench(minutes=1).wait(60).did == [(60, "bye")], "it would come at the very beginning"


def test_an_agent_without_a_limit_has_that_of_all_calls() -> None:
    bench = Bench(longest_s=300)
    assert len(bench.running) == 1 and bench.wait(299.9).did == []
    assert bench.says().wait(0.1).did == [(300, "end")]


@pytest.mark.parametrize("minutes", [5, 10])
def test_no_goodbye_goes_past_the_limit_of_all_calls(minutes: float) -> None:
    bench = Bench(longest_s=300, minutes=minutes).wait(300 - GRACE_S)
    assert bench.did == [(300 - GRACE_S - 60, "warn"), (300 - GRACE_S, "bye")]
    bench.limit.agent_spoke()
    assert bench.wait(1000).did[2:] == [(300, "end")]


def test_a_limit_of_all_calls_that_is_shorter_than_a_goodbye() -> None:
    bench = Bench(longest_s=5, minutes=10)
    assert bench.wait(0).did == [(0, "bye")]
    assert bench.wait(1000).did == [(0, "bye"), (5, "end")]


@pytest.mark.parametrize("after_s", [0, 550, 601, 602.1])
def test_the_end_of_the_call_is_the_end_of_it(after_s: float) -> None:
    bench = Bench(minutes=10).wait(after_s)
    if after_s > 601:
        bench.limit.agent_spoke()
        bench.limit.agent_drained()
    known = len(bench.did)
    bench.limit.close()
    assert len(bench.wait(1000).did) == known and bench.running == []


@pytest.mark.parametrize("after_s", [100, 550, 601])
def test_who_was_handed_to_somebody_else_has_the_time_of_all_calls(after_s: float) -> None:
    bench = Bench(minutes=10).wait(after_s)
    known = len(bench.did)
    bench.limit.agent_left()
    assert len(bench.running) == 1
    bench.says()
    assert bench.wait(4000).did[known:] == [(3600, "end")]


# Configuration


def test_the_default_warning_names_the_time_that_is_left() -> None:
    assert "in about 60 seconds" in Settings(minutes=10).warning_words
    assert "in about 3 minutes" in Settings(minutes=10, warn_s=180).warning_words
    assert Settings(minutes=10, warning="Say: hurry.").warning_words == "Say: hurry."


def test_a_number_is_short_for_the_minutes() -> None:
    assert Settings.model_validate(short_limit(7.5)).minutes == 7.5
    assert short_limit({"minutes": 2}) == {"minutes": 2} and short_limit(True) is True


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"minutes": 1, "warn_s": 60}, "warn_s must be less than the whole call, which is 60 s"),
        ({"minutes": 0}, "greater than 0"),
        ({"warn_s": 60}, "Field required"),
        ({"minutes": 5, "warn_s": -1}, "greater than or equal to 0"),
    ],
)
def test_what_makes_no_sense_is_refused(wrong: dict[str, Any], words: str) -> None:
    with pytest.raises(ValidationError) as caught:
        Settings.model_validate(wrong)
    assert words in str(caught.value)
