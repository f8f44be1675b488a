"""Reliable provisional answers to calls of ours, and UPDATE while they ring (RFC 3262, RFC 3311)."""

from __future__ import annotations

import pytest

from bridge.sip.message import Request
from bridge.sip.policy import Policy

from .calls import MOVED
from .stack import ANSWER, OFFER, Stack, inside, reply


def begun(reliable: str = "supported") -> tuple[Stack, Request, list[object]]:
    """A call of ours that has been sent, and what it tells."""
    stack = Stack(policy=Policy(reliable=reliable))
    told: list[object] = []
    call = stack.call()
    call.on_ringing = told.append
    call.on_early_media = lambda answer: told.append(("early", answer.media[0].port))
    call.on_answered = lambda answer: told.append(("answered", answer and answer.media[0].port))
    stack.advance(0.0)
    return stack, stack.request("INVITE"), told


def reliably(rseq: int) -> str:
    return f"Require: 100rel\nRSeq: {rseq}"


@pytest.mark.parametrize(
    ("policy", "supported", "required"),
    [("off", False, None), ("supported", True, None), ("required", True, "100rel")],
)
def test_what_our_invite_says(policy: str, supported: bool, required: str | None) -> None:
    _, asked, _ = begun(policy)
    assert ("100rel" in (asked.header("Supported") or ""), asked.header("Require")) == (supported, required)


def test_reliable_answers_are_acknowledged_in_order_and_told_once() -> None:
    stack, asked, told = begun()
    stack.receive(reply(asked, 180, extra=reliably(7)))
    prack = stack.request("PRACK")
    assert (prack.header("RAck"), prack.to.tag, prack.uri.text) == ("7 1 INVITE", "b", "sip:bob@192.0.2.1:5060")
    assert (prack.cseq.number, prack.from_.tag) == (2, asked.from_.tag)
    stack.receive(reply(asked, 180, extra=reliably(7)))
    stack.receive(reply(asked, 183, extra=reliably(9)))  # 8 was lost: it comes again
    assert (stack.take(), told) == ([], [180])
    stack.receive(reply(asked, 183, extra=reliably(8), body=OFFER))
    again = stack.request("PRACK")
    assert (again.header("RAck"), again.cseq.number) == ("8 1 INVITE", 3)
    assert told == [180, 183, ("early", 4000)]


def test_cseq_goes_on_from_prack_to_bye_and_the_ack_has_the_invites() -> None:
    stack, asked, told = begun()
    stack.receive(reply(asked, 183, extra=reliably(1), body=OFFER))
    stack.receive(reply(stack.request("PRACK"), 200))
    stack.receive(reply(asked, 200))
    assert stack.request("ACK").cseq.number == asked.cseq.number
    assert told[-1] == ("answered", 4000)  # the description came earlier
    next(iter(stack.core.sessions.values())).hang_up()
    assert stack.request("BYE").cseq.number == asked.cseq.number + 2


def test_an_answer_that_is_not_reliable_is_not_acknowledged() -> None:
    stack, asked, told = begun()
    stack.receive(reply(asked, 183, extra="RSeq: 7", body=OFFER))
    stack.receive(reply(asked, 183, extra="Require: 100rel"))
    assert stack.take() == []
    assert told == [183, ("early", 4000), 183]


def test_early_offers_of_the_far_end() -> None:
    stack, asked, _ = begun()
    call = next(iter(stack.core.sessions.values()))
    call.on_offer = lambda offer: MOVED
    stack.receive(reply(asked, 180))
    stack.take()
    stack.receive(inside(asked, "UPDATE", branch="z9hG4bKu1", cseq=1, body=OFFER))
    assert stack.answer().status == 491  # it has not answered our offer
    stack.receive(reply(asked, 183, extra=reliably(1), body=OFFER))
    stack.request("PRACK")
    stack.receive(inside(asked, "UPDATE", branch="z9hG4bKu2", cseq=2, body=OFFER))
    answer = stack.answer()
    assert (answer.status, answer.body) == (200, MOVED.replace(b"- 9 0", b"- 9 1"))
    stack.receive(reply(asked, 200))
    stack.take()
    call.reinvite(ANSWER, lambda status, description: None)
    assert stack.request("INVITE").body == ANSWER.replace(b"- 9 0", b"- 9 2")


def test_an_early_offer_that_was_refused_leaves_the_way_free_after_the_answer() -> None:
    stack, asked, _ = begun()
    call = next(iter(stack.core.sessions.values()))
    stack.receive(reply(asked, 180))
    stack.receive(inside(asked, "UPDATE", branch="z9hG4bKu1", cseq=1, body=OFFER))
    assert stack.statuses() == [491]
    stack.receive(reply(asked, 200, body=OFFER, extra="Allow: INVITE, UPDATE"))
    stack.request("ACK")
    assert call.peer.allows("UPDATE")
    call.reinvite(MOVED, lambda status, description: None)
    stack.request("INVITE")
