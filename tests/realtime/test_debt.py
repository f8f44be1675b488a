"""What the next session is asked for, by what was going on when the one before was lost."""

from __future__ import annotations

import pytest

from bridge.realtime import events as ev
from bridge.realtime.debt import Debt, Owed


class Protocol:
    def __init__(self) -> None:
        self.asked: list[str] = []

    def greet(self) -> None:
        self.asked.append("greet")

    def respond(self) -> None:
        self.asked.append("respond")

    def go_on(self) -> None:
        self.asked.append("go on")

    def instruct(self, words: str) -> None:
        self.asked.append(words)


def paid(debt: Debt, *, tools_run: bool = False) -> list[str]:
    protocol = Protocol()
    debt.pay(protocol, tools_run=tools_run)  # type: ignore[arg-type]
    return protocol.asked


def test_in_silence_nothing_is_owed() -> None:
    debt = Debt()
    debt.leave(response_active=False)
    assert debt.owed is Owed.NOTHING and paid(debt) == []


def test_a_greeting_of_which_nothing_came_is_asked_for_again() -> None:
    debt = Debt()
    debt.greeting_asked()
    debt.leave(response_active=True)
    assert paid(debt) == ["greet"]


def test_the_rest_of_an_answer_is_asked_for_as_the_rest() -> None:
    debt = Debt()
    debt.greeting_asked()
    debt.audio_came()
    debt.leave(response_active=True)
    assert paid(debt) == ["go on"]


def test_a_turn_without_an_answer_is_answered() -> None:
    debt = Debt()
    debt.observe(ev.Committed("u"))
    debt.leave(response_active=False)
    assert paid(debt) == ["respond"]


@pytest.mark.parametrize("status", ["completed", "cancelled", "failed"])
def test_an_answer_that_is_over_is_not_asked_for(status: str) -> None:
    debt = Debt()
    debt.observe(ev.Committed("u"))
    debt.audio_came()
    debt.observe(ev.ResponseEnded("r", status, ""))
    debt.leave(response_active=False)
    assert paid(debt) == []


def test_after_the_callers_turn_the_greeting_is_past() -> None:
    debt = Debt()
    debt.greeting_asked()
    debt.observe(ev.Committed("u"))
    debt.leave(response_active=True)
    assert paid(debt) == ["respond"]


def test_who_speaks_when_it_is_lost_is_answered_when_he_has_finished() -> None:
    debt = Debt()
    debt.observe(ev.Committed("u"))
    debt.leave(response_active=True, turn_open=True)
    debt.owe(Owed.ANSWER)  # a tool's result, while there is no session
    assert paid(debt) == []


def test_what_was_being_said_to_him_is_gone_on_with_all_the_same() -> None:
    debt = Debt()
    debt.audio_came()
    debt.leave(response_active=True, turn_open=True)
    assert paid(debt) == ["go on"]


def test_who_interrupts_wants_no_more_of_it() -> None:
    debt = Debt()
    debt.audio_came()
    debt.leave(response_active=True)
    debt.interrupted()
    assert paid(debt) == []


def test_a_tool_that_runs_asks_itself() -> None:
    debt = Debt()
    debt.leave(response_active=True)
    assert paid(debt, tools_run=True) == []


def test_what_was_to_be_said_is_said_once() -> None:
    debt = Debt()
    debt.leave(response_active=False)
    debt.instruct("Say that a minute is left.")
    assert paid(debt) == ["Say that a minute is left."]
    assert paid(debt) == []
