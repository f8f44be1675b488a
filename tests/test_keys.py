"""Keys: to the model as words, to its tool as a result, or to nobody."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from structlog.testing import capture_logs

from bridge.config import Digits as Settings
from bridge.keys import KEPT, MOST_SECONDS, Keys, Wanted

PAUSE_S = 0.01


class Bench:
    def __init__(self, to: str = "tool", *, shown: bool = False, pause_s: float = 30, **settings: Any) -> None:
        self.said: list[str] = []
        self.firsts = 0
        self.results: list[tuple[str, str]] = []
        made = Settings.model_validate({"to": to, "pause_s": pause_s} | settings)
        self.keys = Keys(made, say=self.said.append, on_first=self._first, shown=shown)

    def _first(self) -> None:
        self.firsts += 1

    def press(self, keys: str) -> Bench:
        for key in keys:
            self.keys.press(key)
        return self

    def read(self, digits: int = 0, timeout_s: float = 60) -> Bench:
        self.keys.read(Wanted(digits, timeout_s), lambda result: self.results.append(_pair(result)))
        return self

    def close(self) -> None:
        self.keys.close()


def _pair(result: dict[str, Any]) -> tuple[str, str]:
    assert sorted(result) == ["digits", "status"]
    return result["status"], result["digits"]


async def passed() -> None:
    await asyncio.sleep(4 * PAUSE_S)


# Where they go


async def test_message_tells_the_model_the_keys_one_by_one() -> None:
    bench = Bench("message").press("42#")
    assert bench.said == ["The caller pressed 4 2 # on the keypad."] and bench.firsts == 1


@pytest.mark.parametrize(("shown", "more"), [(False, {}), (True, {"digits": "421#"})])
async def test_event_is_a_line_in_the_log(shown: bool, more: dict[str, str]) -> None:
    bench = Bench("event", shown=shown)
    with capture_logs() as lines:
        bench.press("421#")
    assert lines == [{"event": "digits.pressed", "log_level": "info", "count": 4} | more]
    assert bench.said == []


async def test_nothing_is_nothing_but_the_interruption() -> None:
    bench = Bench("nothing")
    with capture_logs() as lines:
        bench.press("42#")
    assert (lines, bench.said, bench.firsts) == ([], [], 1)


@pytest.mark.parametrize("to", ["message", "event", "tool", "nothing"])
async def test_without_interrupt_no_key_interrupts(to: str) -> None:
    assert Bench(to, interrupt=False).press("42#1#").firsts == 0


@pytest.mark.parametrize("to", ["message", "event", "tool", "nothing"])
async def test_the_tool_takes_what_it_asked_for_whatever_else_is_configured(to: str) -> None:
    bench = Bench(to).read()
    with capture_logs() as lines:
        bench.press("42#")
    assert bench.results == [("complete", "42")] and bench.said == [] and lines == []


# The tool


async def test_each_first_key_interrupts_what_the_agent_says() -> None:
    assert Bench().read().press("42#").firsts == 1


async def test_as_many_digits_as_were_asked_for_complete_a_number_at_once() -> None:
    bench = Bench().read(4).press("123")
    assert bench.results == []
    bench.press("4")
    assert bench.results == [("complete", "1234")]


async def test_an_end_key_behind_the_last_digit_belongs_to_it() -> None:
    """Many press # out of habit: it must not be the answer to the next question, nor interrupt it."""
    bench = Bench().read(4).press("1234#")
    assert bench.firsts == 1
    bench.read(4)
    assert bench.results == [("complete", "1234")]
    bench.press("5678")
    assert bench.results[1:] == [("complete", "5678")]
    bench.close()


async def test_so_does_one_that_comes_when_the_next_question_was_asked() -> None:
    bench = Bench().read(4).press("1234").read(4).press("#5678")
    assert bench.results == [("complete", "1234"), ("complete", "5678")]


async def test_but_only_one_and_only_soon() -> None:
    bench = Bench().read(1).press("1#").read(1).press("#")
    assert bench.results == [("complete", "1"), ("complete", "")]
    bench = Bench(pause_s=PAUSE_S).read(1).press("1")
    await passed()
    assert bench.read(1).press("#").results == [("complete", "1"), ("complete", "")]


async def test_a_number_that_was_ended_by_its_key_takes_no_second_one() -> None:
    assert Bench().read(4).press("12#").read(4).press("#").results == [("complete", "12"), ("complete", "")]
    assert Bench().press("1234#").read(4).read(4).press("#").results == [("complete", "1234"), ("complete", "")]


async def test_a_pause_completes_a_number() -> None:
    bench = Bench(pause_s=PAUSE_S).read(4).press("12")
    await passed()
    assert bench.results == [("complete", "12")]


async def test_another_end_key_and_none() -> None:
    assert Bench(end="*").read().press("1#2*").results == [("complete", "1#2")]
    bench = Bench(end="").read(3).press("1#*")
    assert bench.results == [("complete", "1#*")]


async def test_only_the_end_key_is_an_empty_number() -> None:
    assert Bench().read(4).press("#").results == [("complete", "")]


async def test_without_keys_the_time_runs_out_once() -> None:
    bench = Bench().read(timeout_s=PAUSE_S)
    await passed()
    assert bench.results == [("timeout", "")]
    bench.press("7#")
    assert bench.results == [("timeout", "")] and bench.read().results[1:] == [("complete", "7")]


async def test_the_time_is_for_the_first_key_alone() -> None:
    bench = Bench().read(timeout_s=PAUSE_S).press("1")
    await passed()
    assert bench.results == []
    assert bench.press("#").results == [("complete", "1")]


async def test_who_asks_again_supersedes_himself() -> None:
    bench = Bench().read(timeout_s=PAUSE_S).press("12").read(4)
    assert bench.results == [("superseded", "")]
    await passed()
    assert bench.press("34").results == [("superseded", ""), ("complete", "1234")]


# Pressed before it was asked for


async def test_early_keys_are_kept_and_given_once() -> None:
    bench = Bench().press("1234#").read()
    assert bench.results == [("complete", "1234")]
    bench.read()
    assert len(bench.results) == 1
    bench.close()


async def test_early_keys_go_on_with_what_is_pressed_then() -> None:
    bench = Bench(pause_s=PAUSE_S).press("12")
    await passed()
    bench.press("3").read(5)
    assert bench.results == []
    assert bench.press("45").results == [("complete", "12345")], "in the order they were pressed"


async def test_early_keys_do_not_interrupt_the_question() -> None:
    bench = Bench(pause_s=PAUSE_S).press("12")
    await passed()
    bench.read(5)
    assert bench.firsts == 1
    bench.close()


async def test_early_keys_wait_for_more_as_late_ones_do() -> None:
    bench = Bench(pause_s=PAUSE_S).press("12")
    await passed()
    bench.read(5, timeout_s=PAUSE_S / 10)
    assert bench.results == []
    await passed()
    assert bench.results == [("complete", "12")]


@pytest.mark.parametrize("most", [0, 3, 4])
async def test_early_numbers_come_one_by_one(most: int) -> None:
    bench = Bench().press("123#45#").read(most)
    assert bench.results == [("complete", "123")]
    assert bench.read(most).results[1:] == [("complete", "45")]


async def test_early_numbers_without_an_end_key_come_one_by_one() -> None:
    bench = Bench().press("123456").read(4)
    assert bench.results == [("complete", "1234")]
    assert bench.read(2).results[1:] == [("complete", "56")]


async def test_what_is_left_of_early_keys_is_told_where_keys_go() -> None:
    bench = Bench("message", pause_s=PAUSE_S).press("123").read(2)
    assert bench.results == [("complete", "12")] and bench.said == []
    await passed()
    assert bench.said == ["The caller pressed 3 on the keypad."]


async def test_a_lone_end_key_is_no_early_number() -> None:
    bench = Bench().press("#").read()
    assert bench.results == []
    bench.close()


async def test_the_newest_early_keys_are_kept() -> None:
    bench = Bench().press("9" * KEPT + "123#").read()
    assert bench.results == [("complete", ("9" * KEPT + "123#")[-KEPT:-1])]


@pytest.mark.parametrize("to", ["message", "event", "nothing"])
async def test_only_the_tool_keeps_them(to: str) -> None:
    bench = Bench(to).press("12#").read()
    assert bench.results == []
    bench.close()


# The end, and what the model may write


async def test_after_the_end_nobody_is_told_anything() -> None:
    waiting = Bench().read(timeout_s=PAUSE_S)
    waiting.close()
    pressing = Bench("message", pause_s=PAUSE_S).press("1")
    pressing.close()
    await passed()
    assert waiting.results == [] and pressing.said == []


@pytest.mark.parametrize(
    ("arguments", "wanted"),
    [
        ({}, Wanted(0, 10)),
        ({"max_digits": 4, "timeout_s": 2.5}, Wanted(4, 2.5)),
        ({"max_digits": "4", "timeout_s": "20", "more": 1}, Wanted(4, 20)),
        ({"max_digits": KEPT, "timeout_s": MOST_SECONDS}, Wanted(KEPT, MOST_SECONDS)),
    ],
)
def test_what_the_model_asks_for(arguments: dict[str, Any], wanted: Wanted) -> None:
    assert Wanted.of(arguments) == wanted


@pytest.mark.parametrize(
    "arguments",
    [
        {"max_digits": -1},
        {"max_digits": KEPT + 1},
        {"max_digits": "four"},
        {"max_digits": None},
        {"max_digits": [4]},
        {"max_digits": float("inf")},
        {"timeout_s": 0},
        {"timeout_s": -1},
        {"timeout_s": MOST_SECONDS + 1},
        {"timeout_s": float("nan")},
        {"timeout_s": float("inf")},
        {"timeout_s": "soon"},
        {"timeout_s": {}},
    ],
)
def test_what_makes_no_sense(arguments: dict[str, Any]) -> None:
    with pytest.raises((TypeError, ValueError, OverflowError)):
        Wanted.of(arguments)
