"""Offers of both sides at once (RFC 3261 section 14.1, RFC 3311 section 5.2, RFC 5407)."""

from __future__ import annotations

import pytest

from bridge.sip.offers import GLARE_TRIES

from .calls import METHODS, MOVED, MOVED_AGAIN, Call, acks
from .stack import ANSWER, OFFER


@pytest.mark.parametrize(("ours", "least", "most"), [(True, 2.1, 4.0), (False, 0.0, 2.0)])
@pytest.mark.parametrize("method", METHODS)
def test_after_glare_each_side_waits_in_its_own_time(method: str, ours: bool, least: float, most: float) -> None:
    waited = []
    for _ in range(25):
        call = Call(ours=ours)
        call.change(method)
        sent = call.asked(method)
        assert call.answered(sent, 491) == acks(method)
        begun = call.stack.now
        message = call.waited()
        assert (message.method, message.body, message.cseq.number) == (method, sent.body, sent.cseq.number + 1)
        waited.append(call.stack.now - begun)
        call.answered(message, 200, body=OFFER)
        assert call.results == [(200, 4000)]
    assert least - 0.011 <= min(waited) and max(waited) <= most + 0.011
    assert max(waited) - min(waited) > 0.5


@pytest.mark.parametrize("method", METHODS)
def test_glare_without_end_is_given_up(method: str) -> None:
    call = Call(ours=True)
    call.change(method)
    for _ in range(GLARE_TRIES + 1):
        assert call.results == []
        call.answered(call.waited(), 491)
    assert call.results == [(491, None)]
    assert call.session.local_sdp == ANSWER
    call.stack.advance(30.0)
    assert [item for item in call.stack.statuses() if item == method] == []


@pytest.mark.parametrize("mine", METHODS)
@pytest.mark.parametrize("theirs", METHODS)
def test_an_offer_of_the_peer_during_ours_is_glare(mine: str, theirs: str) -> None:
    call = Call()
    call.session.on_offer = lambda offer: pytest.fail("asked")
    call.change(mine)
    sent = call.asked(mine)
    assert call.offered(theirs, 5).status == 491
    call.session.on_offer = lambda offer: ANSWER
    call.answered(sent, 200, body=OFFER)
    assert call.offered(theirs, 6).status == 200


def test_an_update_without_an_offer_is_no_glare() -> None:
    call = Call()
    call.change("UPDATE", b"")
    sent = call.asked("UPDATE")
    assert (sent.body, sent.header("Content-Type")) == (b"", None)
    assert call.offered("INVITE", 5).status == 200
    call.acked(5)
    call.change("INVITE")
    call.stack.advance(0.0)
    assert call.results == [(491, None)]
    call.answered(sent, 200)
    assert call.results[1:] == [(200, None)]
    call.change("INVITE")
    mine = call.asked("INVITE")
    assert call.offered("UPDATE", 6, body="").status == 200
    call.answered(mine, 200, body=OFFER)


def test_what_waits_for_its_next_try_is_not_overtaken() -> None:
    """Hold, then resume: the hold that met an offer of the peer must not come last."""
    call = Call(ours=True)
    call.change("INVITE", MOVED)
    call.answered(call.asked("INVITE"), 491)
    call.change("INVITE", MOVED_AGAIN)
    call.stack.advance(0.0)
    assert call.results == [(491, None)]
    again = call.waited()
    assert again.method == "INVITE"
    assert b"5002" in again.body
    call.answered(again, 200, body=OFFER)
    assert call.results[1:] == [(200, 4000)]


def test_a_try_that_meets_the_peers_question_waits_on_but_not_for_ever() -> None:
    call = Call()
    call.change("INVITE")
    call.answered(call.asked("INVITE"), 491)
    assert call.offered("INVITE", 5, body="").status == 200  # its ACK, with the answer, does not come
    call.stack.advance(4.0 * GLARE_TRIES)
    assert "INVITE" not in call.stack.statuses()
    assert call.results == [(491, None)]
