"""Incoming calls, with time by hand and no socket."""

from __future__ import annotations

import pytest

from bridge.sip.invitation import RING_LIMIT_S, Invitation
from bridge.sip.message import Request, Response, parse
from bridge.sip.offer_answer import offer
from bridge.sip.sdp import SessionDescription
from bridge.sip.session import SessionState
from bridge.sip.transaction import Timers

from .stack import ANSWER, OFFER, Stack, confirmed, invite, reply, request, tag_of


def answered(stack: Stack, **changes: object) -> tuple[Invitation, str]:
    """A call with a 200 on its way and no ACK yet."""
    stack.receive(invite(**changes))
    call = stack.calls[-1]
    call.answer(ANSWER)
    return call, tag_of(stack.take()[-1])


def test_the_story_of_a_call() -> None:
    stack = Stack()
    got: list[SessionDescription | None] = []
    stack.receive(invite())
    (call,) = stack.calls
    call.on_confirmed = got.append
    assert (call.id, call.request.uri.user, call.caller.uri.user, call.callee.uri.user) == ("c1", "600", "alice", "600")
    assert call.source == ("192.0.2.1", 5060)
    assert call.offer is not None and call.offer.media[0].port == 4000
    assert call.state is SessionState.EARLY
    call.ring()
    call.answer(ANSWER)
    assert call.state is SessionState.ANSWERED
    trying, ringing, ok = stack.take()
    assert [item.status for item in (trying, ringing, ok) if isinstance(item, Response)] == [100, 180, 200]
    assert trying.to.tag is None
    assert tag_of(ringing) == tag_of(ok) == call.dialog.local_tag
    assert ok.header("Contact") == "<sip:192.0.2.10:5060>"
    assert (ok.header("Content-Type"), ok.body) == ("application/sdp", ANSWER)
    stack.receive(request("ACK", branch="z9hG4bK2", to_tag=tag_of(ok)))
    assert call.state is SessionState.CONFIRMED
    assert got == [None]
    stack.receive(request("BYE", branch="z9hG4bK3", to_tag=tag_of(ok), cseq=2))
    assert stack.statuses() == [200]
    stack.advance(0.0)
    assert stack.ended == ["bye"]
    stack.advance(32.0)
    assert stack.empty
    assert stack.statuses() == []


def test_a_repeated_invite_is_one_call_and_gets_the_last_answer() -> None:
    stack = Stack()
    stack.receive(invite())
    stack.receive(invite())
    assert stack.statuses() == [100, 100]
    stack.calls[0].ring()
    stack.receive(invite())
    assert stack.statuses() == [180, 180]
    stack.calls[0].answer(ANSWER)
    stack.receive(invite())
    first, second = stack.take()
    assert bytes(first) == bytes(second)
    assert len(stack.calls) == 1
    assert stack.core.stats.retransmissions_received == 3


def test_a_merged_invite_is_refused_with_482() -> None:
    stack = Stack()
    stack.receive(invite())
    stack.receive(invite(branch="z9hG4bKother"))
    assert stack.statuses() == [100, 482]
    assert len(stack.calls) == 1


def test_the_200_is_repeated_until_the_ack() -> None:
    stack = Stack()
    call, tag = answered(stack)
    times = []
    for _ in range(100):
        stack.advance(0.1)
        times += [round(stack.now - 1000.0, 1)] * len(stack.statuses())
    assert times == [0.5, 1.5, 3.5, 7.5]
    stack.receive(request("ACK", branch="z9hG4bK2", to_tag=tag))
    assert call.state is SessionState.CONFIRMED
    stack.advance(20.0)
    assert stack.statuses() == []


def test_without_an_ack_the_call_ends_with_bye_after_64_t1() -> None:
    stack = Stack(timers=Timers(t1=0.1, t2=0.4, t4=0.5))
    call, _ = answered(stack)
    stack.advance(6.39)
    assert set(stack.statuses()) == {200}
    assert stack.ended == []
    stack.advance(0.02)
    bye = stack.take()[-1]
    assert isinstance(bye, Request) and bye.method == "BYE"
    assert stack.ended == ["ack_timeout"]
    assert call.state is SessionState.ENDED
    stack.receive(reply(bye, 200))
    stack.advance(6.4)
    assert stack.empty


@pytest.mark.parametrize("branch", ["z9hG4bK1", "z9hG4bKnew"])
def test_the_ack_of_a_phone_that_invents_tags_counts(branch: str) -> None:
    stack = Stack()
    call, _ = answered(stack)
    stack.receive(request("ACK", branch=branch, to_tag="invented"))
    assert call.state is SessionState.CONFIRMED
    stack.receive(request("ACK", branch=branch, to_tag="invented"))
    assert stack.core.stats.dropped == {}


def test_an_ack_of_another_sequence_or_caller_does_not_count() -> None:
    stack = Stack()
    call, tag = answered(stack)
    stack.receive(request("ACK", branch="z9hG4bKx", to_tag=tag, cseq=2))
    stack.receive(request("ACK", branch="z9hG4bKx", to_tag=tag, tag="z"))
    assert call.state is SessionState.ANSWERED


def test_a_stray_ack_is_dropped_and_counted() -> None:
    stack = Stack()
    stack.receive(request("ACK", to_tag="x"))
    assert stack.statuses() == []
    assert stack.core.stats.dropped == {"stray_ack": 1}


def test_cancel_before_the_answer() -> None:
    stack = Stack()
    stack.receive(invite())
    stack.take()
    stack.receive(request("CANCEL"))
    ok, terminated = stack.take()
    assert isinstance(ok, Response) and isinstance(terminated, Response)
    assert (ok.status, ok.cseq.method, terminated.status, terminated.cseq.method) == (200, "CANCEL", 487, "INVITE")
    assert tag_of(ok) == tag_of(terminated)
    stack.advance(0.0)
    assert stack.ended == ["cancelled"]
    stack.calls[0].answer(ANSWER)
    stack.calls[0].ring()
    stack.calls[0].hang_up()
    assert stack.statuses() == []
    stack.receive(request("CANCEL"))
    assert stack.statuses() == [200]
    stack.receive(request("ACK"))
    stack.advance(5.0)
    assert stack.empty
    stack.receive(request("CANCEL"))
    assert stack.statuses() == [481]


def test_cancel_after_the_answer_has_no_effect() -> None:
    stack = Stack()
    call, _ = answered(stack)
    stack.receive(request("CANCEL"))
    assert stack.statuses() == [200]
    assert call.state is SessionState.ANSWERED


def test_a_refusal_is_repeated_until_its_ack() -> None:
    stack = Stack()
    stack.receive(invite())
    stack.calls[0].reject(503, "Full", [("Retry-After", "7")])
    _, full = stack.take()
    assert isinstance(full, Response)
    assert (full.status, full.phrase, full.header("Retry-After")) == (503, "Full", "7")
    stack.advance(0.6)
    assert stack.statuses() == [503]
    stack.receive(request("ACK", to_tag=tag_of(full)))
    stack.advance(6.0)
    assert stack.statuses() == []
    assert stack.ended == ["rejected"]
    assert stack.empty


def test_a_refusal_must_be_one() -> None:
    stack = Stack()
    stack.receive(invite())
    with pytest.raises(ValueError, match="200"):
        stack.calls[0].reject(200)


def test_a_refused_call_is_not_kept_for_the_time_it_might_have_rung() -> None:
    stack = Stack()
    stack.receive(invite())
    stack.calls[0].reject(486)
    stack.receive(request("ACK"))
    stack.advance(6.0)
    assert stack.alarms.next_deadline is None


def test_a_call_that_nobody_answers_ends() -> None:
    stack = Stack()
    stack.receive(invite())
    stack.advance(RING_LIMIT_S - 1)
    assert stack.ended == []
    stack.advance(1.0)
    assert stack.ended == ["ring_timeout"]
    assert 480 in stack.statuses()
    stack.advance(32.0)
    assert stack.empty


def test_hanging_up_while_it_rings_declines() -> None:
    stack = Stack()
    stack.receive(invite())
    stack.calls[0].hang_up()
    assert stack.statuses() == [100, 603]
    stack.advance(0.0)
    assert stack.ended == ["hung_up"]


def test_hanging_up_sends_bye_with_our_headers() -> None:
    stack = Stack()
    call, tag = confirmed(stack)
    call.hang_up([("Reason", "Q.850;cause=16")])
    assert call.state is SessionState.ENDING
    call.hang_up()
    (bye,) = stack.take()
    assert isinstance(bye, Request)
    assert (bye.method, bye.from_.tag, bye.to.tag, bye.header("Reason")) == ("BYE", tag, "a", "Q.850;cause=16")
    stack.receive(reply(bye, 200))
    stack.advance(0.0)
    assert stack.ended == ["hung_up"]
    stack.advance(40.0)
    assert stack.empty


def test_a_bye_that_nobody_answers() -> None:
    stack = Stack()
    call, _ = confirmed(stack)
    call.hang_up()
    stack.advance(32.0)
    assert stack.ended == ["bye_timeout"]
    assert set(stack.statuses()) == {"BYE"}
    stack.advance(32.0)
    assert stack.empty


def test_byes_that_cross() -> None:
    stack = Stack()
    call, tag = confirmed(stack)
    call.hang_up()
    (bye,) = stack.take()
    assert isinstance(bye, Request)
    stack.receive(request("BYE", branch="z9hG4bK3", to_tag=tag, cseq=2))
    assert stack.statuses() == [200]
    stack.receive(reply(bye, 481))
    stack.advance(0.0)
    assert stack.ended == ["bye"]


def test_hanging_up_before_the_ack_waits_for_it() -> None:
    stack = Stack()
    call, tag = answered(stack)
    call.hang_up()
    assert stack.statuses() == []
    stack.receive(request("ACK", branch="z9hG4bK2", to_tag=tag))
    assert stack.statuses() == ["BYE"]


def test_bye_while_it_rings_ends_the_invite_too() -> None:
    stack = Stack()
    stack.receive(invite())
    stack.calls[0].ring()
    tag = tag_of(stack.take()[-1])
    stack.receive(request("BYE", branch="z9hG4bK3", to_tag=tag, cseq=2))
    assert stack.statuses() == [200, 487]
    stack.advance(0.0)
    assert stack.ended == ["bye"]


def test_bye_before_the_ack_stops_the_repeats() -> None:
    stack = Stack()
    _, tag = answered(stack)
    stack.receive(request("BYE", branch="z9hG4bK3", to_tag=tag, cseq=2))
    stack.take()
    stack.advance(60.0)
    assert stack.statuses() == []
    assert stack.ended == ["bye"]
    assert stack.empty


def test_a_repeated_bye_gets_its_answer_again() -> None:
    stack = Stack()
    _, tag = confirmed(stack)
    for _ in range(2):
        stack.receive(request("BYE", branch="z9hG4bK3", to_tag=tag, cseq=2))
    assert stack.statuses() == [200, 200]
    stack.receive(request("BYE", branch="z9hG4bK4", to_tag=tag, cseq=3))
    assert stack.statuses() == [481]


def test_a_delayed_offer_is_ours_to_make() -> None:
    stack = Stack()
    got: list[SessionDescription | None] = []
    stack.receive(request("INVITE"))
    (call,) = stack.calls
    call.on_confirmed = got.append
    assert call.offer is None
    call.answer(bytes(offer("192.0.2.10", 5000, session_id=1)))
    ok = stack.take()[-1]
    stack.receive(request("ACK", branch="z9hG4bK2", to_tag=tag_of(ok), body=OFFER))
    assert got == [SessionDescription.parse(OFFER.encode())]


def test_a_transport_error_ends_a_ringing_call() -> None:
    stack = Stack()
    stack.wire.broken = True
    stack.receive(invite())
    assert stack.ended == []
    stack.advance(0.0)
    assert stack.ended == ["transport_error"]
    stack.calls[0].answer(ANSWER)
    assert stack.empty
    assert stack.core.stats.transport_errors == 1


def test_bye_goes_to_the_first_route() -> None:
    stack = Stack()
    stack.addresses["p1.example"] = "192.0.2.77"
    call, _ = confirmed(stack, extra="Record-Route: <sip:p1.example:5065;lr>\r\n")
    call.hang_up()
    ((data, peer),) = stack.wire.sent
    assert peer == ("192.0.2.77", 5065)
    assert parse(data).header("Route") == "<sip:p1.example:5065;lr>"


def test_a_target_without_an_address_ends_the_call_all_the_same() -> None:
    stack = Stack()
    call, _ = confirmed(stack, extra="Record-Route: <sip:unknown.example;lr>\r\n")
    call.hang_up()
    stack.advance(0.0)
    assert stack.ended == ["transport_error"]


def test_closing_ends_calls_of_every_state() -> None:
    stack = Stack()
    stack.receive(invite())
    stack.calls[0].close()
    assert stack.statuses() == [100, 503]
    other, _ = answered(stack, call_id="c2", branch="z9hG4bKc2")
    other.close()
    assert stack.statuses() == ["BYE"]
    stack.advance(0.0)
    assert stack.ended == ["closed", "closed"]


def test_an_application_that_fails_is_a_500() -> None:
    stack = Stack()

    def fail(call: Invitation) -> None:
        raise RuntimeError("application")

    stack.on_invite = fail
    with pytest.raises(RuntimeError):
        stack.receive(invite())
    assert stack.statuses() == [100, 500]
    stack.advance(32.0)
    assert stack.empty


def test_an_answered_call_rings_no_more() -> None:
    stack = Stack()
    call, _ = answered(stack)
    call.ring()
    call.progress(ANSWER)
    assert stack.statuses() == []


def test_a_refusal_of_the_method_names_those_that_we_take() -> None:
    for status, told in ((405, True), (486, False)):
        stack = Stack()
        stack.receive(invite())
        stack.calls[0].reject(status)
        assert (stack.take()[-1].header("Allow") is not None) == told
