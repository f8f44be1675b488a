"""ACKs of 2xx answers: the same again while the way stands, and no memory of those that are past."""

from __future__ import annotations

from bridge.sip.message import Request

from .calls import MOVED, MOVED_AGAIN
from .stack import OFFER, PEER, Stack, reply, talking


def test_a_repeat_gets_the_same_ack_while_its_connection_stands_and_another_on_a_new_one() -> None:
    stack = Stack(reliable=True)
    stack.wire.open.add(PEER)
    call, _ = talking(stack)
    call.reinvite(MOVED, lambda status, answer: None)
    asked = stack.request("INVITE")
    acks = []
    for stands in (True, True, False):
        stack.wire.open = {PEER} if stands else set()
        stack.receive(reply(asked, 200, body=OFFER))
        acks.append(stack.request("ACK"))
    first, second, third = acks
    assert bytes(first) == bytes(second)
    assert third.via.branch != first.via.branch
    assert third.cseq == first.cseq


def test_an_answer_whose_ack_finds_no_way_is_counted() -> None:
    stack = Stack()
    stack.addresses["proxy.example"] = "192.0.2.71"
    call = stack.call("sip:bob@proxy.example")
    stack.advance(0.0)
    answer = stack.request("INVITE").response(200, tag="b", headers=[("Contact", "<sip:b@gone.example>")])
    stack.receive(bytes(answer))
    assert stack.take() == []
    assert stack.core.stats.transport_errors == 1
    stack.addresses["gone.example"] = "192.0.2.72"
    stack.receive(bytes(answer))
    assert isinstance(stack.request("ACK"), Request)
    assert call.state is call.State.CONFIRMED


def test_only_the_acks_of_the_latest_invite_are_kept() -> None:
    stack = Stack()
    call, _ = talking(stack)
    for number in range(10):
        call.reinvite((MOVED, MOVED_AGAIN)[number % 2], lambda status, answer: None)
        stack.receive(reply(stack.request("INVITE"), 200, body=OFFER))
        stack.take()
    assert len(call.acks._sent) == 1
