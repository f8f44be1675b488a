"""Changes inside a call by re-INVITE and UPDATE, from either side (RFC 3261 section 14, RFC 3311, RFC 3264)."""

from __future__ import annotations

import pytest

from bridge.sip.digest import Authenticator, Credentials
from bridge.sip.message import Request
from bridge.sip.offers import PATIENCE_S
from bridge.sip.sdp import SessionDescription
from bridge.sip.session import SessionState

from .calls import METHODS, MOVED, MOVED_AGAIN, Call, acks
from .stack import ANSWER, OFFER, Stack, invite, reply, request, tag_of

CHALLENGE = 'WWW-Authenticate: Digest realm="r", nonce="n", qop="auth"'
ELSEWHERE = "<sip:x@192.0.2.44>"

# Ours


@pytest.mark.parametrize("ours", [True, False])
@pytest.mark.parametrize("method", METHODS)
def test_a_change_of_ours(method: str, ours: bool) -> None:
    call = Call(ours=ours)
    before = call.session.dialog.local_cseq
    call.change(method)
    sent = call.asked(method)
    assert sent.body == MOVED.replace(b"- 9 0", b"- 9 1")
    assert (sent.cseq.number, sent.header("Contact")) == (before + 1, "<sip:192.0.2.10:5060>")
    assert call.session.local_sdp == sent.body
    assert call.answered(sent, 100) == []
    assert call.answered(sent, 200, body=OFFER) == acks(method)
    assert call.results == [(200, 4000)]
    call.change(method, MOVED_AGAIN)
    assert call.asked(method).body == MOVED_AGAIN.replace(b"- 9 0", b"- 9 2")


@pytest.mark.parametrize("status", [400, 488, 500, 603])
@pytest.mark.parametrize("method", METHODS)
def test_a_refused_change_leaves_everything_as_it_was(method: str, status: int) -> None:
    call = Call()
    target = call.session.dialog.target
    call.change(method)
    sent = call.asked(method)
    refusal = sent.response(status, tag=call.tag, headers=[("Contact", ELSEWHERE)])
    call.stack.receive(bytes(refusal))
    assert call.stack.statuses() == acks(method)
    assert call.results == [(status, None)]
    assert (call.session.local_sdp, call.session.dialog.target) == (ANSWER, target)
    assert call.session.state is SessionState.CONFIRMED
    call.change(method)
    assert call.asked(method).body == sent.body


def test_a_change_whose_interval_was_too_short_is_the_same_change_again() -> None:
    call = Call(extra="Supported: timer\r\nSession-Expires: 90;refresher=uac\r\n")
    call.change("INVITE")
    sent = call.asked("INVITE")
    call.stack.receive(reply(sent, 422, tag=call.tag, extra="Min-SE: 300"))
    _, again = call.stack.take()
    assert isinstance(again, Request)
    assert (again.body, again.header("Session-Expires")) == (sent.body, "300;refresher=uas")
    call.answered(again, 488, extra="Min-SE: 500")
    assert (call.results, call.session.local_sdp) == ([(488, None)], ANSWER)


def test_an_owner_who_hangs_up_at_a_lost_dialog_says_one_goodbye() -> None:
    call = Call()
    call.session.reinvite(MOVED, lambda status, answer: call.session.hang_up())
    assert call.answered(call.asked("INVITE"), 481) == ["ACK", "BYE"]


@pytest.mark.parametrize("method", METHODS)
def test_a_change_may_move_the_target_and_its_ack_goes_there(method: str) -> None:
    call = Call()
    call.change(method)
    sent = call.asked(method)
    headers = [("Contact", ELSEWHERE), ("Content-Type", "application/sdp")]
    call.stack.receive(bytes(sent.response(200, tag=call.tag, headers=headers, body=OFFER.encode())))
    if method == "INVITE":
        assert call.stack.peers() == [("192.0.2.44", 5060)]
        assert call.stack.request("ACK").uri.text == "sip:x@192.0.2.44"
    call.session.hang_up()
    assert call.stack.peers() == [("192.0.2.44", 5060)]


def test_each_repeat_of_the_200_gets_the_very_same_ack() -> None:
    call = Call()
    call.change("INVITE")
    sent = call.asked("INVITE")
    call.stack.receive(reply(sent, 200, tag=call.tag, body=OFFER))
    (first,) = call.stack.take()
    call.stack.receive(reply(sent, 200, tag=call.tag, body=OFFER))
    (second,) = call.stack.take()
    assert bytes(first) == bytes(second)
    assert len(call.results) == 1


def test_a_reinvite_on_a_route_is_acknowledged_by_it() -> None:
    call = Call(extra="Record-Route: <sip:192.0.2.77;lr>\r\n")
    call.change("INVITE")
    assert call.stack.peers() == [("192.0.2.77", 5060)]
    sent = call.asked("INVITE")
    call.stack.receive(reply(sent, 200, tag=call.tag, body=OFFER))
    assert call.stack.peers() == [("192.0.2.77", 5060)]
    ack = call.stack.request("ACK")
    assert (ack.header("Route"), ack.uri.text) == ("<sip:192.0.2.77;lr>", "sip:bob@192.0.2.1:5060")


@pytest.mark.parametrize("method", METHODS)
def test_a_challenge_inside_the_call_is_answered(method: str) -> None:
    call = Call()
    call.session.authenticator = Authenticator((Credentials("us", "secret"),))
    call.change(method)
    sent = call.asked(method)
    call.stack.receive(reply(sent, 401, tag=call.tag, extra=CHALLENGE))
    again = call.stack.take()[-1]
    assert isinstance(again, Request)
    assert (again.method, again.cseq.number, again.body) == (method, sent.cseq.number + 1, sent.body)
    assert again.header("Authorization") is not None
    call.stack.receive(reply(again, 200, tag=call.tag, body=OFFER))
    if method == "INVITE":
        assert call.stack.request("ACK").header("Authorization") == again.header("Authorization")
    assert call.results == [(200, 4000)]


def test_a_challenge_to_a_bye_is_answered() -> None:
    call = Call()
    call.session.authenticator = Authenticator((Credentials("us", "secret"),))
    call.session.hang_up()
    call.stack.receive(reply(call.asked("BYE"), 407, tag=call.tag, extra=CHALLENGE.replace("WWW", "Proxy")))
    again = call.asked("BYE")
    assert again.header("Proxy-Authorization") is not None
    call.answered(again, 200)
    call.stack.advance(0.0)
    assert call.stack.ended == ["hung_up"]


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("end", [408, 481, None])
def test_a_peer_that_has_lost_the_dialog(method: str, end: int | None) -> None:
    call = Call()
    call.change(method)
    sent = call.asked(method)
    if end is None:
        call.stack.advance(32.0)
    else:
        call.stack.receive(reply(sent, end, tag=call.tag))
    bye = call.stack.take()[-1]
    assert isinstance(bye, Request)
    assert (bye.method, bye.header("Reason")) == ("BYE", 'SIP;cause=408;text="dialog_lost"')
    call.stack.advance(0.0)
    assert (call.results, call.stack.ended) == ([(end or 408, None)], ["dialog_lost"])


@pytest.mark.parametrize("hang_up", [False, True])
def test_a_peer_that_thinks_about_a_change_for_ever(hang_up: bool) -> None:
    call = Call()
    call.change("INVITE")
    call.answered(call.asked("INVITE"), 100)
    call.stack.advance(PATIENCE_S - 1)
    assert (call.results, call.stack.take()) == ([], [])
    if hang_up:
        call.session.hang_up()
    call.stack.advance(1)
    call.stack.advance(64.0)
    assert call.results == ([] if hang_up else [(408, None)])
    assert call.stack.ended == ["bye_timeout" if hang_up else "dialog_lost"]
    assert call.stack.empty


@pytest.mark.parametrize("first", METHODS)
@pytest.mark.parametrize("second", METHODS)
def test_we_make_one_offer_at_a_time(first: str, second: str) -> None:
    call = Call()
    call.change(first)
    call.asked(first)
    call.change(second)
    call.stack.advance(0.0)
    assert (call.results, call.stack.statuses()) == ([(491, None)], [])


def test_changes_of_no_call_are_refused_in_the_loop() -> None:
    stack = Stack()
    stack.receive(invite())
    results: list[int] = []
    early = stack.calls[0]
    early.reinvite(MOVED, lambda status, answer: results.append(status))
    early.hang_up()
    early.reinvite(MOVED, lambda status, answer: results.append(status))
    assert results == []
    stack.advance(0.0)
    assert results == [491, 481]


# The peer's


def test_an_offer_gets_its_answer_in_the_200() -> None:
    for method in METHODS:
        call = Call()
        offers: list[SessionDescription | None] = []

        def on_offer(offer: SessionDescription | None, offers: list[SessionDescription | None] = offers) -> bytes:
            offers.append(offer)
            return MOVED

        call.session.on_offer = on_offer
        answer = call.offered(method, 2)
        assert (answer.status, answer.body) == (200, MOVED.replace(b"- 9 0", b"- 9 1"))
        assert answer.header("Contact") == "<sip:192.0.2.10:5060>"
        assert answer.header("Content-Type") == "application/sdp"
        assert len(offers) == 1


@pytest.mark.parametrize("method", METHODS)
def test_a_refused_offer_changes_nothing(method: str) -> None:
    call = Call()
    before = call.session.dialog.target
    call.session.on_offer = lambda offer: 488
    text = call.ask(method, cseq=2, branch="z9hG4bKr", body=OFFER).replace("<sip:alice@192.0.2.1:5060>", ELSEWHERE)
    call.stack.receive(text)
    answer = call.stack.answer()
    assert (answer.status, answer.header("Warning")) == (488, '305 192.0.2.10 "Incompatible media format"')
    assert (call.session.dialog.target, call.session.local_sdp) == (before, ANSWER)
    assert call.session.state is SessionState.CONFIRMED


@pytest.mark.parametrize("method", METHODS)
def test_a_taken_offer_moves_the_target(method: str) -> None:
    call = Call()
    text = call.ask(method, cseq=2, branch="z9hG4bKr", body=OFFER).replace("<sip:alice@192.0.2.1:5060>", ELSEWHERE)
    call.stack.receive(text)
    call.acked(2)
    call.stack.take()
    call.session.hang_up()
    assert call.stack.peers() == [("192.0.2.44", 5060)]
    assert call.stack.request("BYE").uri.text == "sip:x@192.0.2.44"


def test_an_update_without_anything_is_a_200_without_anything() -> None:
    call = Call()
    call.session.on_offer = lambda offer: pytest.fail("asked")
    answer = call.offered("UPDATE", 2, body="")
    assert (answer.status, answer.body, answer.header("Content-Type")) == (200, b"", None)


@pytest.mark.parametrize("method", METHODS)
def test_what_comes_out_of_order_is_refused(method: str) -> None:
    call = Call()
    assert call.offered(method, 7).status == 200
    if method == "INVITE":
        call.acked(7)
    late = call.offered(method, 6)
    assert (late.status, late.phrase, late.header("Retry-After") is not None) == (500, "Request Out of Order", True)
    assert call.offered(method, 8).status == 200


def test_a_second_reinvite_waits_for_the_ack_of_the_first() -> None:
    call = Call()
    assert call.offered("INVITE", 2).status == 200
    assert call.offered("INVITE", 3).status == 491
    call.acked(2)
    assert call.offered("INVITE", 4).status == 200
    call.acked(4)
    call.stack.advance(40.0)
    assert call.stack.ended == []


def test_a_question_for_our_offer_gets_its_answer_in_the_ack() -> None:
    call = Call()
    call.session.on_offer = lambda offer: MOVED if offer is None else pytest.fail("asked")
    got: list[int] = []
    call.session.on_answer = lambda answer: got.append(answer.media[0].port)
    answer = call.offered("INVITE", 2, body="")
    assert answer.body == MOVED.replace(b"- 9 0", b"- 9 1")
    assert call.offered("UPDATE", 3).status == 491  # our offer is out
    call.acked(2, OFFER)
    assert got == [4000]
    call.session.on_offer = lambda offer: ANSWER
    assert call.offered("UPDATE", 4).status == 200


def test_a_description_that_nobody_asked_for_is_no_answer() -> None:
    call = Call()
    call.session.on_answer = lambda answer: pytest.fail("told")
    call.offered("INVITE", 2)
    call.acked(2, OFFER)
    call.offered("INVITE", 3, body="")
    call.session.hang_up()
    call.acked(3, OFFER)  # too late


def test_an_ack_without_the_answer_ends_the_exchange_all_the_same() -> None:
    call = Call()
    call.session.on_answer = lambda answer: pytest.fail("told")
    call.offered("INVITE", 2, body="")
    call.acked(2)
    call.change("INVITE")
    call.asked("INVITE")


@pytest.mark.parametrize("method", METHODS)
def test_offers_to_a_call_that_ends_find_no_call(method: str) -> None:
    call = Call()
    call.session.hang_up()
    bye = call.asked("BYE")
    assert call.offered(method, 2).status == 481
    call.answered(bye, 200)


def test_a_2xx_that_crosses_our_bye_is_acknowledged_and_starts_nothing() -> None:
    call = Call()
    call.change("INVITE")
    sent = call.asked("INVITE")
    call.session.hang_up()
    bye = call.asked("BYE")
    timer = "Session-Expires: 90;refresher=uac\nRequire: timer"
    assert call.answered(sent, 200, body=OFFER, extra=timer) == ["ACK"]
    call.answered(bye, 200)
    call.stack.advance(0.0)
    assert (call.results, call.stack.ended) == ([], ["hung_up"])
    call.stack.advance(32.0)
    assert call.stack.empty
    assert call.stack.alarms.next_deadline is None


def test_a_2xx_after_the_end_starts_nothing() -> None:
    call = Call(extra="Supported: timer\r\n")
    call.change("INVITE")
    sent = call.asked("INVITE")
    call.session.hang_up()
    call.answered(call.asked("BYE"), 200)
    assert call.answered(sent, 200, body=OFFER, extra="Session-Expires: 90;refresher=uac") == ["ACK"]
    call.stack.advance(32.0)
    assert call.stack.empty
    assert call.stack.alarms.next_deadline is None


def test_a_bye_stops_the_repeats_of_a_200_to_a_reinvite() -> None:
    call = Call()
    call.offered("INVITE", 2)
    call.stack.receive(call.ask("BYE", cseq=3, branch="z9hG4bKbye"))
    call.stack.take()
    call.stack.advance(40.0)
    assert call.stack.statuses() == []
    assert call.stack.empty


def test_before_the_ack_there_is_no_room_for_offers_of_a_caller_who_waits_for_ours() -> None:
    stack = Stack()
    stack.receive(invite(body=""))
    stack.calls[0].answer(ANSWER)
    tag = tag_of(stack.take()[-1])
    stack.receive(request("UPDATE", to_tag=tag, cseq=2, branch="z9hG4bKu", body=OFFER))
    assert stack.answer().status == 491
    stack.receive(request("ACK", to_tag=tag, branch="z9hG4bKa", body=OFFER))
    stack.calls[0].on_offer = lambda offer: ANSWER
    stack.receive(request("UPDATE", to_tag=tag, cseq=3, branch="z9hG4bKv", body=OFFER))
    assert stack.answer().status == 200
