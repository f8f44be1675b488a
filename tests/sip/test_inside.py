"""Requests inside a call, and those that belong there and come outside (RFC 3261 12.2.2, RFC 2976, RFC 6086)."""

from __future__ import annotations

import pytest

from bridge.sip.invitation import Invitation
from bridge.sip.message import Response
from bridge.sip.session import SessionState

from .stack import ANSWER, Stack, confirmed, inside, invite, reply, request, tag_of, talking

RELAY = "application/dtmf-relay"
KEY = "Signal=5\r\nDuration=160\r\n"
TAKEN = ("INVITE", "ACK", "BYE", "CANCEL", "OPTIONS", "PRACK", "UPDATE", "INFO", "REFER", "NOTIFY")


def informed(stack: Stack, tag: str, cseq: int = 2, body: str = KEY, kind: str = RELAY) -> Response:
    stack.receive(request("INFO", branch=f"z9hG4bKi{cseq}", to_tag=tag, cseq=cseq, body=body, kind=kind))
    return stack.answer()


# INFO


def test_an_info_reaches_the_owner_who_says_what_it_gets() -> None:
    stack = Stack()
    call, tag = confirmed(stack)
    got: list[tuple[str, bytes]] = []

    def on_info(kind: str, body: bytes) -> int:
        got.append((kind, body))
        return 200 if kind == RELAY else 415

    call.on_info = on_info
    assert informed(stack, tag).status == 200
    refused = informed(stack, tag, 3, "x", "text/plain")
    assert (refused.status, refused.header("Accept")) == (415, f"{RELAY}, application/dtmf")
    assert got == [(RELAY, KEY.encode()), ("text/plain", b"x")]


def test_an_info_without_a_body_only_asks_whether_we_are_there() -> None:
    stack = Stack()
    call, tag = confirmed(stack)
    call.on_info = lambda kind, body: pytest.fail("asked")
    assert informed(stack, tag, body="").status == 200


def test_an_owner_who_takes_no_info() -> None:
    stack = Stack()
    _, tag = confirmed(stack)
    answer = informed(stack, tag)
    assert (answer.status, answer.header("Accept") is not None) == (415, True)


def test_an_owner_who_fails_is_a_500_and_the_call_goes_on() -> None:
    stack = Stack()
    call, tag = confirmed(stack)

    def fail(kind: str, body: bytes) -> int:
        raise RuntimeError("application")

    call.on_info = fail
    with pytest.raises(RuntimeError):
        informed(stack, tag)
    assert stack.statuses() == [500]
    call.on_info = lambda kind, body: 200
    assert informed(stack, tag, 3).status == 200


@pytest.mark.parametrize(("answer", "told"), [(200, 200), (415, 415), (None, 408)])
def test_an_info_of_ours(answer: int | None, told: int) -> None:
    stack = Stack()
    call, _ = confirmed(stack)
    results: list[int] = []
    call.info(RELAY, KEY.encode(), results.append)
    sent = stack.request("INFO")
    assert (sent.header("Content-Type"), sent.body) == (RELAY, KEY.encode())
    if answer is None:
        stack.advance(32.0)
    else:
        stack.receive(reply(sent, 100, tag="a"))
        stack.receive(reply(sent, answer, tag="a"))
    assert results == [told]
    assert call.state is SessionState.CONFIRMED


def test_an_info_of_ours_that_has_no_way_and_one_without_a_call() -> None:
    stack = Stack()
    call, _ = confirmed(stack, extra="Record-Route: <sip:nowhere.example;lr>\r\n")
    results: list[int] = []
    call.info(RELAY, b"5", results.append)
    stack.advance(0.0)
    assert results == [503]
    call.close()
    call.info(RELAY, b"5", results.append)
    assert results == [503]
    stack.advance(0.0)
    assert results == [503, 481]


# The order of requests


def test_requests_behind_the_last_one_are_refused_and_a_gap_is_none() -> None:
    stack = Stack()
    _, tag = confirmed(stack)
    for cseq, status in ((7, 200), (6, 500), (7, 200), (900, 200), (8, 500), (2**31 - 1, 200)):
        stack.receive(request("OPTIONS", branch=f"z9hG4bKo{cseq}{status}", to_tag=tag, cseq=cseq))
        answer = stack.answer()
        assert answer.status == status
        assert (answer.header("Retry-After") is not None) == (status == 500)


def test_a_bye_behind_the_last_one_does_not_end_the_call() -> None:
    stack = Stack()
    call, tag = confirmed(stack)
    stack.receive(request("OPTIONS", branch="z9hG4bKo", to_tag=tag, cseq=7))
    stack.receive(request("BYE", branch="z9hG4bKb", to_tag=tag, cseq=6))
    assert stack.statuses() == [200, 500]
    assert call.state is SessionState.CONFIRMED


def test_the_calling_side_has_no_number_before_the_first_request() -> None:
    stack = Stack()
    _, asked = talking(stack)
    stack.receive(inside(asked, "OPTIONS", cseq=5000, branch="z9hG4bKo1"))
    stack.receive(inside(asked, "OPTIONS", cseq=4999, branch="z9hG4bKo2"))
    assert stack.statuses() == [200, 500]


# What is taken and what is not


def test_what_we_take_is_what_we_say() -> None:
    stack = Stack()
    _, tag = confirmed(stack)
    stack.receive(request("OPTIONS", branch="z9hG4bKo", to_tag=tag, cseq=2))
    answer = stack.answer()
    assert answer.header("Allow") == ", ".join(TAKEN)
    assert answer.header("Supported") == "100rel, timer, replaces, norefersub"
    for number, method in enumerate(("MESSAGE", "REGISTER", "SUBSCRIBE", "PUBLISH", "NOVEL"), 3):
        stack.receive(request(method, branch=f"z9hG4bK{method}", to_tag=tag, cseq=number))
        answer = stack.answer()
        assert answer.status == (501 if method == "NOVEL" else 405)
        assert answer.header("Allow") == ", ".join(TAKEN)


@pytest.mark.parametrize("method", ["BYE", "PRACK", "UPDATE", "INFO", "REFER", "NOTIFY"])
@pytest.mark.parametrize("to_tag", [None, "nobody"])
def test_what_belongs_into_a_call_finds_none_outside(method: str, to_tag: str | None) -> None:
    stack = Stack()
    stack.receive(request(method, to_tag=to_tag, extra="RAck: 1 1 INVITE\r\nEvent: refer\r\nRefer-To: <sip:1@h>\r\n"))
    assert stack.statuses() == [481]
    assert stack.empty


@pytest.mark.parametrize("changes", [{"tag": "z"}, {"call_id": "c2"}, {"to_tag": "z"}])
def test_the_tags_and_the_call_id_are_the_ticket(changes: dict[str, str]) -> None:
    stack = Stack()
    call, tag = confirmed(stack)
    stack.receive(request("BYE", **{"to_tag": tag, "cseq": 2, "branch": "z9hG4bKb", **changes}))  # type: ignore[arg-type]
    assert stack.statuses() == [481]
    assert call.state is SessionState.CONFIRMED


@pytest.mark.parametrize("method", ["OPTIONS", "INVITE", "UPDATE", "INFO", "REFER"])
def test_what_must_be_known_and_is_not(method: str) -> None:
    stack = Stack()
    _, tag = confirmed(stack)
    stack.receive(request(method, branch="z9hG4bKq", to_tag=tag, cseq=2, extra="Require: timer, sorcery\r\n"))
    answer = stack.answer()
    assert (answer.status, answer.header("Unsupported")) == (420, "sorcery")


def test_a_bye_ends_the_call_whatever_it_requires() -> None:
    stack = Stack()
    _, tag = confirmed(stack)
    stack.receive(request("BYE", branch="z9hG4bKb", to_tag=tag, cseq=2, extra="Require: sorcery\r\n"))
    stack.advance(0.0)
    assert (stack.statuses(), stack.ended) == ([200], ["bye"])


def test_a_prack_into_a_call_of_ours_acknowledges_nothing() -> None:
    stack = Stack()
    _, asked = talking(stack)
    stack.receive(inside(asked, "PRACK", extra="RAck: 1 1 INVITE\r\n"))
    assert stack.statuses() == [481]


def test_what_the_peer_takes_it_may_say_at_any_time() -> None:
    stack = Stack()
    call, tag = confirmed(stack)
    assert not call.peer.allows("UPDATE")
    stack.receive(request("OPTIONS", branch="z9hG4bKo", to_tag=tag, cseq=2, extra="Allow: BYE, UPDATE\r\n"))
    assert call.peer.allows("UPDATE")


# Hanging up before the ACK


def hung_up(stack: Stack) -> Invitation:
    stack.receive(invite())
    call = stack.calls[0]
    call.answer(ANSWER)
    call.hang_up([("Reason", "Q.850;cause=16")])
    return call


def test_a_call_whose_ack_never_comes_gets_its_bye_all_the_same() -> None:
    stack = Stack()
    call = hung_up(stack)
    stack.advance(31.9)
    assert "BYE" not in stack.statuses()
    stack.advance(0.1)
    bye = stack.take()[-1]
    assert bye.header("Reason") == "Q.850;cause=16"
    stack.receive(reply(bye, 200, tag="a"))  # type: ignore[arg-type]
    stack.advance(0.0)
    assert (stack.ended, call.state) == (["hung_up"], SessionState.ENDED)
    stack.advance(40.0)
    assert stack.empty


def test_the_ack_brings_the_bye_that_waited() -> None:
    stack = Stack()
    call = hung_up(stack)
    tag = tag_of(stack.take()[-1])
    for _ in range(2):
        stack.receive(request("ACK", branch="z9hG4bKa", to_tag=tag))
    assert stack.request("BYE").header("Reason") == "Q.850;cause=16"
    call.close()
    assert stack.take() == []


def test_closing_does_not_wait_for_the_ack() -> None:
    stack = Stack()
    call = hung_up(stack)
    stack.take()
    call.close()
    assert stack.request("BYE").header("Reason") == "Q.850;cause=16"
    stack.advance(40.0)
    assert stack.ended == ["closed"]
    assert stack.empty


def test_a_reinvite_without_an_ack_does_not_cut_a_goodbye_short() -> None:
    stack = Stack()
    call, tag = confirmed(stack)
    call.on_offer = lambda offer: ANSWER
    stack.receive(invite(branch="z9hG4bKre", to_tag=tag, cseq=2))
    stack.advance(10.0)
    call.hang_up()
    stack.advance(25.0)
    assert stack.ended == []
    stack.advance(10.0)
    assert stack.ended == ["bye_timeout"]


def test_a_flood_inside_a_call_is_bounded_and_leaves_room_for_the_bye() -> None:
    stack = Stack(limit=20)
    _, tag = confirmed(stack)
    for number in range(200):
        stack.receive(request("OPTIONS", branch=f"z9hG4bK{number}", to_tag=tag, cseq=number + 2))
    assert stack.core.stats.transactions <= 40
    assert stack.statuses().count(503) > 100
    stack.receive(request("BYE", branch="z9hG4bKb", to_tag=tag, cseq=900))
    assert stack.statuses() == [200]
