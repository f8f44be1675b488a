"""What the rules answer."""

from __future__ import annotations

import json
from datetime import datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bridge.agent.brain import GOODBYE, GREETING, HELP, JOKES, NOT_UNDERSTOOD, SILENCE, STORY, Brain, Prompt

NOON = Brain(clock=lambda: datetime(2026, 11, 21, 15, 7))


def say(words: str | None = None, **more: object) -> str:
    return NOON.answer(Prompt(words, **more)).text  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("words", "answer"),
    [
        ("what time is it", "It is 3 oh 7 in the afternoon."),
        ("tell me the time please", "It is 3 oh 7 in the afternoon."),
        ("what day is it today", "Today is Saturday, November 21, 2026."),
        ("what is the date", "Today is Saturday, November 21, 2026."),
        ("Tell me a story.", STORY),
        ("Goodbye!", GOODBYE),
        ("bye bye", GOODBYE),
        ("repeat after me hello world", "hello world"),
        ("Say: good morning", "good morning"),
        ("what can you do", HELP),
        ("hello", GREETING),
        ("thank you", "You are welcome."),
        ("quantum chromodynamics", NOT_UNDERSTOOD),
        ("", NOT_UNDERSTOOD),
        (None, GREETING),
        ("The caller pressed 5 on the keypad.", "You pressed five."),
        ("The caller just pressed 1 on the keypad.", "You pressed one."),
        ("The caller pressed # on the keypad.", "You pressed pound."),
        ("The caller pressed 12* on the keypad.", "You pressed one two star."),
        ("The caller pressed the key 0.", "You pressed zero."),
        ("The caller pressed the digits 1, 2, 3 on the keypad.", "You pressed one two three."),
    ],
)
def test_answers(words: str | None, answer: str) -> None:
    assert say(words) == answer


@pytest.mark.parametrize(
    ("hour", "minute", "spoken"),
    [(0, 0, "12 o'clock in the morning"), (12, 30, "12 30 in the afternoon"), (23, 59, "11 59 in the evening")],
)
def test_the_clock_is_read_out(hour: int, minute: int, spoken: str) -> None:
    brain = Brain(clock=lambda: datetime(2026, 1, 1, hour, minute))
    assert brain.answer(Prompt("time")).text == f"It is {spoken}."


def test_jokes_are_long_and_take_turns() -> None:
    brain = Brain()
    told = [brain.answer(Prompt("another joke")).text for _ in range(4)]
    assert told == [*JOKES, JOKES[0]]
    # 150 words a minute: long enough to be interrupted.
    assert all(len(text.split()) * 60 / 150 > 10 for text in (*JOKES, STORY))


def test_instructions_to_the_letter_win() -> None:
    assert say("what time is it", instructions='You must say exactly: "Good day."') == "Good day."
    assert say("what time is it", instructions="Be brief.").startswith("It is")


def test_a_silent_caller() -> None:
    assert say("hello", silent=True) == SILENCE


def tool(name: str, **parameters: object) -> dict[str, object]:
    return {"type": "function", "name": name, "parameters": parameters}


def test_tools_are_called_when_they_are_offered() -> None:
    answer = NOON.answer(Prompt("goodbye", tools=(tool("other"), tool("hang_up"))))
    assert answer.call == ("hang_up", "{}")
    assert NOON.answer(Prompt("goodbye", tools=(tool("other"),))).call is None
    assert NOON.answer(Prompt("hello", tools=(tool("hang_up"),))).call is None


def test_required_arguments_are_filled_in() -> None:
    schema = {
        "properties": {"to": {"enum": ["sales", "support"]}, "urgent": {"type": "boolean"}, "x": {}},
        "required": ["to", "urgent"],
    }
    answer = NOON.answer(Prompt("operator", tools=(tool("transfer", **schema),)))
    assert answer.call is not None
    assert json.loads(answer.call[1]) == {"to": "sales", "urgent": True}
    assert "cannot transfer" in say("operator")


@pytest.mark.parametrize(
    ("output", "said"),
    [('{"stock": 4, "shop": "north"}', "stock: 4. shop: north."), ("It is foggy.", "It is foggy."), ("7", "7")],
)
def test_results_of_tools_are_read_out(output: str, said: str) -> None:
    assert say(None, tool_output=output) == f"Here is the result. {said}"


@given(
    st.text(max_size=80) | st.none(),
    st.dictionaries(
        st.sampled_from(["type", "name", "parameters"]),
        st.sampled_from(["function", "hang_up", None, {"required": ["a"]}, {"required": 3, "properties": []}]),
    ),
)
def test_there_is_always_an_answer(words: str | None, offered: dict[str, object]) -> None:
    brain = Brain()
    for said in (words, f"goodbye {words}"):
        answer = brain.answer(Prompt(said, tools=(offered,)))
        assert isinstance(answer.text, str)
        if answer.call is not None:
            json.loads(answer.call[1])
