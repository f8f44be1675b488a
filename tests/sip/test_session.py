"""Re-INVITE in both directions (RFC 3261 section 14)."""

from __future__ import annotations

import pytest

from bridge.sip.message import Request, Response
from bridge.sip.sdp import SessionDescription
from bridge.sip.session import MOVES, Session, SessionState

from .stack import ANSWER, OFFER, OURS, Stack, confirmed, invite, reply, request, tag_of

HELD = OFFER + "a=sendonly\r\n"
MOVED = ANSWER.replace(b"5000", b"5002")


def reinvite(stack: Stack, ours: str, cseq: int = 2, body: str = OFFER, **changes: object) -> Response:
    stack.receive(invite(branch=f"z9hG4bKre{cseq}", to_tag=ours, cseq=cseq, body=body, **changes))
    (answer,) = stack.take()
    assert isinstance(answer, Response)
    return answer


def test_the_same_media_keep_the_version_and_others_raise_it() -> None:
    stack = Stack()
    call, tag = confirmed(stack)
    offers: list[SessionDescription | None] = []
    replies = [ANSWER.replace(b"- 9 0", b"- 9 7"), MOVED]

    def on_offer(offer: SessionDescription | None) -> bytes:
        offers.append(offer)
        return replies[len(offers) - 1]

    call.on_offer = on_offer
    answer = reinvite(stack, tag, 2)
    assert (answer.status, answer.body) == (200, ANSWER)
    stack.receive(request("ACK", branch="z9hG4bKa2", to_tag=tag, cseq=2))
    answer = reinvite(stack, tag, 3, HELD)
    assert answer.body == MOVED.replace(b"- 9 0", b"- 9 1")
    assert [offer.direction_of(offer.media[0]) for offer in offers if offer] == ["sendrecv", "sendonly"]


def test_a_refused_reinvite_leaves_the_call_alone() -> None:
    stack = Stack()
    call, tag = confirmed(stack)
    call.on_offer = lambda offer: 488
    answer = reinvite(stack, tag)
    assert answer.status == 488
    assert answer.header("Warning") is not None
    assert call.state is SessionState.CONFIRMED
    assert call.local_sdp == ANSWER
    stack.receive(request("ACK", branch="z9hG4bKre2", to_tag=tag, cseq=2))
    stack.receive(request("BYE", branch="z9hG4bK9", to_tag=tag, cseq=3))
    assert stack.statuses() == [200]


def test_without_a_callback_new_media_are_refused() -> None:
    stack = Stack()
    _, tag = confirmed(stack)
    assert reinvite(stack, tag).status == 488


def test_a_reinvite_without_an_offer_gets_ours() -> None:
    stack = Stack()
    call, tag = confirmed(stack)
    got: list[SessionDescription] = []
    call.on_answer = got.append
    answer = reinvite(stack, tag, body="")
    assert answer.body == ANSWER
    assert reinvite(stack, tag, 3).status == 491
    stack.receive(request("ACK", branch="z9hG4bKa2", to_tag=tag, cseq=2, body=OFFER))
    assert got == [SessionDescription.parse(OFFER.encode())]
    call.on_offer = lambda offer: ANSWER
    assert reinvite(stack, tag, 4).status == 200


def test_a_reinvite_moves_the_target() -> None:
    stack = Stack()
    call, tag = confirmed(stack)
    call.on_offer = lambda offer: ANSWER
    text = invite(branch="z9hG4bK2", to_tag=tag, cseq=2).replace("<sip:alice@192.0.2.1:5060>", "<sip:x@192.0.2.44>")
    stack.receive(text)
    stack.receive(request("ACK", branch="z9hG4bKa2", to_tag=tag, cseq=2))
    stack.take()
    call.hang_up()
    assert stack.wire.sent[0][1] == ("192.0.2.44", 5060)


def test_a_reinvite_to_nowhere_changes_nothing() -> None:
    stack = Stack()
    call, tag = confirmed(stack)
    call.on_offer = lambda offer: pytest.fail("asked")
    text = invite(branch="z9hG4bK2", to_tag=tag, cseq=2).replace("<sip:alice@192.0.2.1:5060>", "<tel:1>")
    stack.receive(text)
    assert stack.statuses() == [400]


def test_an_answer_with_a_broken_contact_is_acknowledged_all_the_same() -> None:
    stack = Stack()
    _, _, sent, results = offering(stack)
    broken = sent.response(200, headers=(("Contact", '"x'), ("Content-Type", "application/sdp")), body=OFFER.encode())
    stack.receive(bytes(broken))
    assert stack.statuses() == ["ACK"]
    assert results[0][0] == 200


def test_a_reinvite_without_an_ack_ends_the_call() -> None:
    stack = Stack()
    call, tag = confirmed(stack)
    call.on_offer = lambda offer: ANSWER
    reinvite(stack, tag)
    stack.advance(32.0)
    assert stack.ended == ["ack_timeout"]
    assert stack.statuses()[-1] == "BYE"


def test_a_late_reinvite_and_one_that_comes_too_early() -> None:
    stack = Stack()
    call, tag = confirmed(stack)
    call.on_offer = lambda offer: ANSWER
    assert reinvite(stack, tag, 7).status == 200
    late = reinvite(stack, tag, 6)
    assert (late.status, late.header("Retry-After") is not None) == (500, True)
    stack.receive(invite(call_id="c2", branch="z9hG4bKc2"))
    stack.calls[-1].ring()
    early_tag = tag_of(stack.take()[-1])
    early = reinvite(stack, early_tag, 2, call_id="c2")
    assert (early.status, early.header("Retry-After") is not None) == (500, True)
    stack.calls[-1].answer(ANSWER)
    stack.take()
    assert reinvite(stack, early_tag, 3, call_id="c2").status == 491


@pytest.mark.parametrize(
    ("changes", "status"),
    [
        ({"kind": "text/plain"}, 415),
        ({"body": "v=1\r\n"}, 400),
        ({"extra": "Require: path\r\n"}, 420),
        ({"tag": "z"}, 481),
        ({"call_id": "other"}, 481),
    ],
)
def test_reinvites_that_are_wrong(changes: dict[str, str], status: int) -> None:
    stack = Stack()
    call, tag = confirmed(stack)
    call.on_offer = lambda offer: ANSWER
    assert reinvite(stack, tag, **changes).status == status  # type: ignore[arg-type]
    assert call.state is SessionState.CONFIRMED


def test_an_application_that_fails_inside_a_call_is_a_500() -> None:
    stack = Stack()
    call, tag = confirmed(stack)

    def fail(offer: SessionDescription | None) -> bytes:
        raise RuntimeError("application")

    call.on_offer = fail
    with pytest.raises(RuntimeError):
        stack.receive(invite(branch="z9hG4bK2", to_tag=tag, cseq=2))
    assert stack.statuses() == [500]


Results = list[tuple[int, SessionDescription | None]]


def offering(stack: Stack) -> tuple[Session, str, Request, Results]:
    """A call in which we have sent a re-INVITE."""
    call, tag = confirmed(stack)
    results: Results = []
    call.reinvite(MOVED, lambda status, answer: results.append((status, answer)))
    (sent,) = stack.take()
    assert isinstance(sent, Request)
    return call, tag, sent, results


def test_our_reinvite_is_acknowledged_once_for_each_200() -> None:
    stack = Stack()
    call, _, sent, results = offering(stack)
    assert (sent.method, sent.body) == ("INVITE", MOVED.replace(b"- 9 0", b"- 9 1"))
    stack.receive(reply(sent, 200, tag="a", body=OFFER))
    stack.receive(reply(sent, 200, tag="a", body=OFFER))
    first, second = stack.take()
    assert (first.cseq.number, first.cseq.method) == (sent.cseq.number, "ACK")
    assert second.cseq == first.cseq
    assert results == [(200, SessionDescription.parse(OFFER.encode()))]
    assert call.dialog.target.text == "sip:bob@192.0.2.1:5060"


def test_both_sides_offer_at_once() -> None:
    stack = Stack()
    call, tag, sent, results = offering(stack)
    assert reinvite(stack, tag).status == 491
    stack.receive(reply(sent, 491, tag="a"))
    assert stack.statuses() == ["ACK"]
    assert (results, call.local_sdp) == ([], ANSWER)
    call.on_offer = lambda offer: ANSWER
    assert reinvite(stack, tag, 3).status == 200  # while we wait, the way is free
    stack.receive(request("ACK", branch="z9hG4bKfree", to_tag=tag, cseq=3))
    stack.advance(2.1)
    again = next(item for item in stack.take() if isinstance(item, Request))
    assert (again.method, again.cseq.number) == ("INVITE", sent.cseq.number + 1)
    stack.receive(reply(again, 200, tag="a", body=OFFER))
    assert [status for status, _ in results] == [200]


def test_one_offer_at_a_time() -> None:
    stack = Stack()
    call, _, _, results = offering(stack)
    call.reinvite(MOVED, lambda status, answer: results.append((status, answer)))
    stack.advance(0.0)
    assert results == [(491, None)]


@pytest.mark.parametrize("status", [481, 408])
def test_a_peer_that_has_lost_the_dialog_ends_the_call(status: int) -> None:
    stack = Stack()
    _, _, sent, results = offering(stack)
    stack.receive(reply(sent, status, tag="a"))
    stack.advance(0.0)
    assert results == [(status, None)]
    assert stack.ended == ["dialog_lost"]
    assert stack.statuses() == ["ACK", "BYE"]


def test_a_reinvite_that_nobody_answers() -> None:
    stack = Stack()
    _, _, _, results = offering(stack)
    stack.advance(32.0)
    assert results == [(408, None)]
    stack.advance(64.0)
    assert stack.empty


def test_no_result_after_the_end() -> None:
    stack = Stack()
    _, tag, sent, results = offering(stack)
    stack.receive(request("BYE", branch="z9hG4bK9", to_tag=tag, cseq=2))
    stack.receive(reply(sent, 481, tag="a"))
    assert results == []
    stack.advance(40.0)
    assert stack.empty


def test_options_and_unserved_methods_inside_a_call() -> None:
    stack = Stack()
    _, tag = confirmed(stack)
    stack.receive(request("OPTIONS", branch="z9hG4bK4", to_tag=tag, cseq=2))
    stack.receive(request("INFO", branch="z9hG4bK5", to_tag=tag, cseq=3))
    stack.receive(request("NOVEL", branch="z9hG4bK6", to_tag=tag, cseq=4))
    assert stack.statuses() == [200, 200, 501]


def test_states_only_move_forward() -> None:
    order = list(SessionState)
    assert all(order.index(target) > order.index(state) for state, targets in MOVES.items() for target in targets)
    assert all(MOVES[state] for state in order[:-1])


def advertised(message: Request | Response) -> tuple[str, ...]:
    """The hosts in Via of a request of ours, and in Contact where there is one."""
    via = [message.via.host] if isinstance(message, Request) else []
    return (*via, *([message.contact.uri.host] if message.contact is not None else []))


def test_all_that_leaves_in_a_call_carries_the_address_that_is_its_own() -> None:
    outer = "203.0.113.7"
    stack = Stack()

    def take(call: Session) -> None:
        call.advertise = outer

    stack.on_invite = take
    stack.receive(invite())
    call = stack.calls[-1]
    assert call.local_address == outer
    call.ring()
    call.answer(ANSWER)
    _, ringing, answer = stack.take()
    assert [advertised(message) for message in (ringing, answer)] == [(outer,), (outer,)]
    tag = tag_of(answer)
    stack.receive(request("ACK", branch="z9hG4bKack", to_tag=tag))
    call.on_offer = lambda offer: 488
    assert (reinvite(stack, tag).header("Warning") or "").startswith(f"305 {outer} ")
    stack.receive(request("ACK", branch="z9hG4bKre2", to_tag=tag, cseq=2))
    call.on_offer = lambda offer: MOVED
    assert advertised(reinvite(stack, tag, 3)) == (outer,)
    stack.receive(request("ACK", branch="z9hG4bKa3", to_tag=tag, cseq=3))
    call.reinvite(MOVED, lambda status, answer: None)
    asked = stack.request("INVITE")
    assert advertised(asked) == (outer, outer)
    stack.receive(reply(asked, 200, tag="a", body=OFFER))
    assert advertised(stack.request("ACK")) == (outer,)
    call.hang_up()
    assert advertised(stack.request("BYE")) == (outer,)


def test_a_call_of_ours_carries_it_from_its_invite_on_and_others_do_not() -> None:
    outer = "203.0.113.7"
    stack = Stack()
    for own, host in ((outer, outer), (None, OURS), ("auto", OURS)):
        call = stack.call(advertise=own)
        stack.advance(0.0)
        asked = stack.request("INVITE")
        assert advertised(asked) == (host, host)
        stack.receive(reply(asked, 200, body=OFFER))
        assert advertised(stack.request("ACK")) == (host,)
        call.update(MOVED, lambda status, answer: None)
        assert advertised(stack.request("UPDATE")) == (host, host)
