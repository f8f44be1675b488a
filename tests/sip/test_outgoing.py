"""Outgoing calls, with time by hand and no socket."""

from __future__ import annotations

import pytest

from bridge.sip.address import Address
from bridge.sip.digest import Authenticator, Credentials
from bridge.sip.message import Request
from bridge.sip.outgoing import RING_LIMIT_S, OutgoingCall
from bridge.sip.sdp import SessionDescription
from bridge.sip.session import SessionState
from bridge.sip.uri import Uri

from .stack import ANSWER, OFFER, Stack, reply, request


class Story:
    """A call of ours and everything it told."""

    def __init__(self, stack: Stack, call: OutgoingCall) -> None:
        self.stack, self.call = stack, call
        self.told: list[object] = []
        call.on_ringing = self.told.append
        call.on_answered = lambda answer: self.told.append(("answered", answer and answer.media[0].port))
        call.on_failed = lambda failure: self.told.append((failure.status, failure.phrase))
        call.on_ended = self.told.append

    @classmethod
    def begin(cls, stack: Stack | None = None) -> tuple[Story, Request]:
        stack = stack or Stack()
        story = cls(stack, stack.call())
        assert stack.statuses() == []
        stack.advance(0.0)
        (invite,) = stack.take()
        assert isinstance(invite, Request)
        return story, invite

    @classmethod
    def talking(cls) -> tuple[Story, Request]:
        story, invite = cls.begin()
        story.stack.receive(reply(invite, 200, body=OFFER))
        assert story.stack.statuses() == ["ACK"]
        return story, invite


def test_the_story_of_a_call() -> None:
    story, invite = Story.begin()
    stack, call = story.stack, story.call
    assert (invite.method, invite.uri.text, invite.body) == ("INVITE", "sip:bob@192.0.2.1", ANSWER)
    assert invite.to.tag is None and invite.from_.tag
    assert invite.header("Contact") == "<sip:192.0.2.10:5060>"
    stack.receive(reply(invite, 100))
    stack.receive(reply(invite, 180))
    stack.receive(reply(invite, 183))
    stack.receive(reply(invite, 200, body=OFFER))
    assert story.told == [180, 183, ("answered", 4000)]
    assert call.state is SessionState.CONFIRMED
    (ack,) = stack.take()
    assert isinstance(ack, Request)
    assert (ack.method, ack.uri.text, ack.cseq.number, ack.to.tag) == ("ACK", "sip:bob@192.0.2.1:5060", 1, "b")
    assert ack.via.branch != invite.via.branch
    call.hang_up()
    (bye,) = stack.take()
    assert isinstance(bye, Request)
    assert (bye.method, bye.cseq.number, bye.to.tag) == ("BYE", 2, "b")
    stack.receive(reply(bye, 200))
    stack.advance(0.0)
    assert story.told[-1] == "hung_up"
    stack.advance(40.0)
    assert stack.empty


def test_a_repeated_200_is_acknowledged_again() -> None:
    story, invite = Story.talking()
    story.stack.receive(reply(invite, 200, body=OFFER))
    assert story.stack.statuses() == ["ACK"]
    assert story.told == [("answered", 4000)]


def test_a_second_branch_of_a_fork_is_acknowledged_and_dismissed_once() -> None:
    story, invite = Story.talking()
    story.stack.receive(reply(invite, 200, tag="other", body=OFFER))
    story.stack.receive(reply(invite, 200, tag="other", body=OFFER))
    sent = story.stack.take()
    assert [item.method for item in sent if isinstance(item, Request)] == ["ACK", "BYE", "ACK"]
    assert all(item.to.tag == "other" for item in sent)
    assert story.call.state is SessionState.CONFIRMED
    assert story.call.dialog.remote_tag == "b"


def test_the_peer_hangs_up() -> None:
    story, invite = Story.talking()
    tag = invite.from_.tag
    story.stack.receive(request("BYE", tag="b", to_tag=tag, call_id=invite.call_id))
    assert story.stack.statuses() == [200]
    story.stack.advance(0.0)
    assert story.told[-1] == "bye"


def test_a_refusal() -> None:
    story, invite = Story.begin()
    story.stack.receive(reply(invite, 486))
    assert story.stack.statuses() == ["ACK"]
    story.stack.advance(0.0)
    assert story.told == [(486, "Busy Here")]
    story.stack.advance(32.0)
    assert story.stack.empty


def test_nobody_is_there() -> None:
    story, _ = Story.begin()
    story.stack.advance(32.0)
    assert story.told == [(408, "Request Timeout")]
    assert story.stack.statuses() == ["INVITE"] * 6
    assert story.stack.empty


def test_the_network_refuses() -> None:
    stack = Stack()
    stack.wire.broken = True
    story = Story(stack, stack.call())
    stack.advance(0.0)
    stack.advance(0.0)
    assert story.told == [(503, "Service Unavailable")]
    assert stack.empty


def test_an_unknown_name() -> None:
    stack = Stack()
    story = Story(stack, stack.call("sip:bob@nowhere.example"))
    stack.advance(0.0)
    stack.advance(0.0)
    assert story.told == [(503, "Service Unavailable")]


def test_a_name_that_resolves() -> None:
    stack = Stack()
    stack.addresses["pbx.example"] = "192.0.2.60"
    stack.call("sip:bob@pbx.example:5071")
    stack.advance(0.0)
    assert stack.wire.sent[0][1] == ("192.0.2.60", 5071)


def test_cancel_while_it_rings() -> None:
    story, invite = Story.begin()
    stack = story.stack
    stack.receive(reply(invite, 180))
    story.call.cancel()
    story.call.cancel()
    (cancel,) = stack.take()
    assert isinstance(cancel, Request)
    assert (cancel.method, cancel.headers("Via"), cancel.cseq.number) == ("CANCEL", invite.headers("Via"), 1)
    assert cancel.to == invite.to
    stack.receive(reply(cancel, 200))
    stack.receive(reply(invite, 487))
    stack.advance(0.0)
    assert story.told == [180, (487, "Request Terminated")]
    stack.advance(40.0)
    assert stack.empty


def test_cancel_waits_for_a_provisional_answer() -> None:
    story, invite = Story.begin()
    story.call.cancel()
    assert story.stack.statuses() == []
    story.stack.receive(reply(invite, 100))
    assert story.stack.statuses() == ["CANCEL"]


def test_cancel_before_anything_was_sent() -> None:
    stack = Stack()
    story = Story(stack, stack.call())
    story.call.cancel()
    stack.advance(1.0)
    assert stack.statuses() == []
    assert story.told == [(487, "Request Terminated")]
    assert stack.empty


def test_an_answer_that_crosses_the_cancel_is_dismissed() -> None:
    story, invite = Story.begin()
    story.stack.receive(reply(invite, 180))
    story.call.hang_up()
    story.stack.take()
    story.stack.receive(reply(invite, 200, body=OFFER))
    assert story.stack.statuses() == ["ACK", "BYE"]
    story.stack.advance(0.0)
    assert story.told == [180, (487, "Request Terminated")]


def test_a_far_end_that_ignores_the_cancel() -> None:
    story, invite = Story.begin()
    story.stack.receive(reply(invite, 180))
    story.call.cancel()
    story.stack.advance(32.0)
    assert story.told == [180, (487, "Request Terminated")]
    story.stack.advance(32.0)
    assert story.stack.empty


def test_ringing_for_ever_is_cancelled() -> None:
    story, invite = Story.begin()
    story.stack.receive(reply(invite, 180))
    story.stack.take()
    story.stack.advance(RING_LIMIT_S)
    assert story.stack.statuses()[0] == "CANCEL"


def test_an_answer_without_a_contact_fails_the_call() -> None:
    story, invite = Story.begin()
    story.stack.receive(bytes(invite.response(200, tag="b")))
    story.stack.advance(0.0)
    assert story.told == [(400, "Missing Contact")]
    assert story.stack.core.stats.dropped == {"malformed_response": 1}


def test_an_offer_of_the_peer_inside_our_call() -> None:
    story, invite = Story.talking()
    got: list[SessionDescription | None] = []

    def on_offer(offer: SessionDescription | None) -> bytes:
        got.append(offer)
        return ANSWER

    story.call.on_offer = on_offer
    story.stack.receive(request(tag="b", to_tag=invite.from_.tag, call_id=invite.call_id, body=OFFER, cseq=9))
    assert story.stack.statuses() == [200]
    assert len(got) == 1


def test_headers_that_would_break_out_leave_nothing_behind() -> None:
    stack = Stack()
    for extra, display in (([("X", "a\r\nY: b")], ""), ([], "a\r\nY: b")):
        caller = Address(display, Uri.parse("sip:phone@h"))
        with pytest.raises(ValueError, match="not a header"):
            OutgoingCall(stack.core, caller.uri, sdp=b"", caller=caller, headers=extra)
    assert stack.empty


def test_closing() -> None:
    story, invite = Story.begin()
    story.stack.receive(reply(invite, 180))
    story.call.close()
    assert story.stack.statuses() == ["CANCEL"]
    story.stack.advance(0.0)
    assert story.told[-1] == (503, "Service Unavailable")
    other, _ = Story.talking()
    other.call.close()
    assert other.stack.statuses() == ["BYE"]
    other.stack.advance(0.0)
    assert other.told[-1] == "closed"


CHALLENGE = 'Proxy-Authenticate: Digest realm="r", nonce="n", qop="auth"'


def test_a_challenged_call_proves_who_we_are_in_all_its_requests() -> None:
    stack = Stack()
    call = stack.call(authenticator=Authenticator((Credentials("us", "secret"),)))
    stack.advance(0.0)
    first = stack.request("INVITE")
    stack.receive(reply(first, 407, extra=CHALLENGE))
    _, second = stack.take()
    assert isinstance(second, Request)
    assert (second.method, second.cseq.number, second.call_id) == ("INVITE", 2, first.call_id)
    assert second.from_ == first.from_ and second.to == first.to
    proof = second.header("Proxy-Authorization")
    assert proof is not None
    stack.receive(reply(second, 200, body=OFFER))
    ack = stack.request("ACK")
    assert (ack.header("Proxy-Authorization"), ack.cseq.number) == (proof, 2)
    call.hang_up()
    bye = stack.request("BYE")
    assert (bye.header("Proxy-Authorization") not in (None, proof), bye.cseq.number) == (True, 3)


def test_a_wrong_password_is_forbidden() -> None:
    stack = Stack()
    failed: list[tuple[int, str]] = []
    call = stack.call(authenticator=Authenticator((Credentials("us", "wrong"),)))
    call.on_failed = lambda failure: failed.append((failure.status, failure.word))
    stack.advance(0.0)
    stack.receive(reply(stack.request("INVITE"), 407, extra=CHALLENGE))
    stack.receive(reply(stack.take()[-1], 407, extra=CHALLENGE))  # type: ignore[arg-type]
    stack.advance(0.0)
    assert failed == [(407, "forbidden")]
    stack.advance(40.0)
    assert stack.empty


def test_only_a_422_is_asked_again_with_a_longer_interval() -> None:
    story, invite = Story.begin()
    story.stack.receive(reply(invite, 486, extra="Min-SE: 9000"))
    assert story.stack.statuses() == ["ACK"]


def test_what_the_far_end_takes_it_may_say_while_it_rings() -> None:
    story, invite = Story.begin()
    story.stack.receive(reply(invite, 180, extra="Allow: INVITE, UPDATE"))
    story.stack.receive(reply(invite, 200, body=OFFER, extra="Session-Expires: 90;refresher=uac"))
    story.stack.take()
    story.stack.advance(45.0)
    assert story.stack.statuses() == ["UPDATE"]


def test_an_owner_who_closes_the_call_at_its_ringing_hears_no_music() -> None:
    story, invite = Story.begin()
    story.call.on_ringing = lambda status: story.call.close()
    story.call.on_early_media = lambda answer: pytest.fail("told")
    story.stack.receive(reply(invite, 183, body=OFFER))
    assert story.stack.statuses() == ["CANCEL"]
