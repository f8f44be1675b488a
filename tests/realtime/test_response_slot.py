"""The one response slot of a session."""

from __future__ import annotations

from collections import deque
from typing import Any

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from bridge.realtime.openai.response_slot import WANTED, ResponseSlot


class Server:
    """A slot and what it sends; `begin` and `end` are the server's."""

    def __init__(self) -> None:
        self.sent: list[dict[str, Any]] = []
        self.slot = ResponseSlot(self.send)

    def send(self, message: dict[str, Any]) -> str:
        message["event_id"] = f"e{len(self.sent)}"
        self.sent.append(message)
        return str(message["event_id"])

    @property
    def bodies(self) -> list[Any]:
        return [message.get("response") for message in self.sent]


def test_a_plain_response_is_wanted_once() -> None:
    server = Server()
    server.slot.created("r1")
    for _ in range(5):
        server.slot.ask({})
    server.slot.ask({"instructions": "x"})
    server.slot.ask({"instructions": "x"})
    server.slot.done("r1", "completed")
    for number in range(9):
        server.slot.created(f"s{number}")
        server.slot.done(f"s{number}", "completed")
    assert server.bodies == [None, {"instructions": "x"}, {"instructions": "x"}]


def test_a_failed_response_is_asked_for_again_as_it_was() -> None:
    server = Server()
    server.slot.ask({"instructions": "greet"})
    server.slot.created("r1")
    server.slot.done("r1", "failed", "server_error")
    assert server.bodies == [{"instructions": "greet"}] * 2
    server.slot.created("r2")
    server.slot.done("r2", "failed", "server_error")
    assert len(server.sent) == 2


def test_the_server_s_own_failed_response_is_asked_for_plainly() -> None:
    server = Server()
    server.slot.created("r1")
    server.slot.done("r1", "failed", "server_error")
    assert server.bodies == [None]


def test_without_credit_nothing_is_asked_for_again() -> None:
    server = Server()
    server.slot.created("r1")
    server.slot.done("r1", "failed", "insufficient_quota")
    assert server.sent == [] and server.slot.retry_after_s is None


def test_the_end_of_another_response_does_not_free_the_slot() -> None:
    server = Server()
    server.slot.created("r2")
    server.slot.ask({})
    server.slot.done("r1", "completed")
    assert server.sent == []


def test_a_rate_limit_names_its_wait_or_it_doubles_and_has_an_end() -> None:
    for message, wait in (("try again in 250ms", 0.25), ("Please try again in 9000s", 20.0), ("later", 1.0), ("", 1.0)):
        server = Server()
        server.slot.created("r")
        server.slot.done("r", "failed", "rate_limit_exceeded", message)
        assert (server.slot.retry_after_s, server.sent) == (wait, [])
        server.slot.retry()
        server.slot.retry()
        assert len(server.sent) == 1


def test_another_response_meanwhile_takes_the_place_of_the_retry() -> None:
    server = Server()
    server.slot.created("r1")
    server.slot.done("r1", "failed", "rate_limit_exceeded")
    server.slot.created("r2")
    server.slot.done("r2", "completed")
    server.slot.retry()
    assert server.sent == []


def test_so_does_an_interruption() -> None:
    server = Server()
    server.slot.created("r1")
    server.slot.done("r1", "failed", "rate_limit_exceeded")
    server.slot.interrupted()
    server.slot.retry()
    assert server.sent == []


def test_an_answer_to_him_is_kept_when_what_was_asked_for_before_was_refused() -> None:
    server = Server()
    server.slot.ask({"instructions": "greet"})
    server.slot.caller_starts()
    server.slot.interrupted()
    server.slot.caller_stops(server_answers=True)
    assert server.slot.created("r1")  # the answer to what he said


def test_a_refused_response_that_was_interrupted_is_not_asked_for_again() -> None:
    server = Server()
    server.slot.ask({"instructions": "greet"})
    server.slot.interrupted()
    server.slot.refused(server.sent[0], "conversation_already_has_active_response")
    server.slot.done("r1", "completed")
    assert len(server.sent) == 1


def test_each_conflict_has_its_second_try_and_no_third() -> None:
    server = Server()
    conflict = "conversation_already_has_active_response"
    for round_ in range(2):
        server.slot.ask({"instructions": str(round_)})
        server.slot.refused(server.sent[-1], conflict)
        server.slot.done("other", "completed")
        server.slot.created(f"r{round_}")  # taken this time
        server.slot.done(f"r{round_}", "completed")
    assert server.bodies == [{"instructions": str(round_)} for round_ in (0, 0, 1, 1)]
    server.slot.ask({})
    for _ in range(3):
        server.slot.refused(server.sent[-1], conflict)
        server.slot.done("other", "completed")
    assert len(server.sent) == 6


def test_what_waits_is_bounded() -> None:
    server = Server()
    server.slot.created("r")
    for number in range(5 * WANTED):
        server.slot.ask({"instructions": str(number)})
    assert len(server.slot._wanted) == WANTED


class Talking(RuleBasedStateMachine):
    """A server with one slot of its own, and everybody who wants a response."""

    def __init__(self) -> None:
        super().__init__()
        self.on_way: deque[dict[str, Any]] = deque()
        self.count = 0
        self.running: str | None = None
        self.refused = 0
        self.slot = ResponseSlot(self.send)

    def send(self, message: dict[str, Any]) -> str:
        assert self.running is None and not self.on_way, "a second response was asked for"
        assert not self.slot.caller_speaking, "over the caller"
        self.count += 1
        message["event_id"] = f"e{self.count}"
        self.on_way.append(message)
        return f"e{self.count}"

    @rule(words=st.sampled_from(["", "greet", "result"]))
    def ask(self, words: str) -> None:
        self.slot.ask({"instructions": words} if words else {})

    @rule()
    def answer(self) -> None:
        self.slot.answer()

    @rule()
    def caller_starts(self) -> None:
        self.slot.caller_starts()

    @rule(answers=st.booleans())
    def caller_stops(self, answers: bool) -> None:
        self.slot.caller_stops(server_answers=answers)

    @rule()
    def interrupt(self) -> None:
        self.slot.interrupted()

    @rule()
    def retry(self) -> None:
        self.slot.retry()

    @precondition(lambda self: self.on_way and self.running is None)
    @rule()
    def begins(self) -> None:
        self.on_way.popleft()
        self.count += 1
        self.running = f"r{self.count}"
        self.slot.created(self.running)

    @precondition(lambda self: self.running is None and not self.on_way)
    @rule()
    def begins_by_itself(self) -> None:
        self.count += 1
        self.running = f"r{self.count}"
        self.slot.created(self.running)

    @precondition(lambda self: self.on_way)
    @rule(code=st.sampled_from(["conversation_already_has_active_response", "invalid_value"]))
    def refuses(self, code: str) -> None:
        self.slot.refused(self.on_way.popleft(), code)

    @precondition(lambda self: self.running is not None)
    @rule(
        status=st.sampled_from(["completed", "cancelled", "incomplete", "failed"]),
        code=st.sampled_from(["", "server_error", "rate_limit_exceeded", "insufficient_quota"]),
    )
    def ends(self, status: str, code: str) -> None:
        running, self.running = self.running, None
        assert running is not None
        self.slot.done(running, status, code)

    @invariant()
    def nothing_waits_for_ever(self) -> None:
        free = self.running is None and not self.on_way and not self.slot.caller_speaking
        if free and self.slot.waiting:
            self.slot.release()  # as its owner does after `OWN_ANSWER_S`
            assert self.on_way


Talking.TestCase.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)


def test_whatever_happens_there_is_never_a_second_response() -> None:
    case = Talking.TestCase()
    case.runTest()
