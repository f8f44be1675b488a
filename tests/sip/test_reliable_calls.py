"""Reliable provisional answers of calls that come, and UPDATE while they ring (RFC 3262, RFC 3311)."""

from __future__ import annotations

import pytest

from bridge.sip.invitation import Invitation
from bridge.sip.message import Response
from bridge.sip.policy import Policy
from bridge.sip.session import SessionState

from .stack import ANSWER, OFFER, Stack, invite, request, tag_of

REQUIRED = "Require: 100rel\r\n"
SUPPORTED = "Supported: 100rel\r\n"
MOVED = ANSWER.replace(b"5000", b"5002")


def invited(extra: str = SUPPORTED, *, body: str = OFFER, reliable: str = "supported") -> tuple[Stack, Invitation]:
    stack = Stack(policy=Policy(reliable=reliable))
    stack.receive(invite(extra=extra, body=body))
    stack.take()
    return stack, stack.calls[-1]


def finals(stack: Stack) -> Response:
    """The one final answer to an INVITE that went out."""
    (answer,) = [item for item in stack.take() if isinstance(item, Response) and item.status >= 200]
    return answer


class Caller:
    """Who acknowledges what we said."""

    def __init__(self, stack: Stack) -> None:
        self.stack = stack
        self.cseq = 1

    def prack(self, answer: Response, *, rack: str | None = None, body: str = "") -> list[Response]:
        """PRACK for an answer; all that goes out then."""
        self.cseq += 1
        rack = f"{answer.header('RSeq')} 1 INVITE" if rack is None else rack
        extra = f"RAck: {rack}\r\n" if rack else ""
        branch = f"z9hG4bKp{self.cseq}"
        text = request("PRACK", branch=branch, to_tag=tag_of(answer), cseq=self.cseq, extra=extra, body=body)
        self.stack.receive(text)
        return [item for item in self.stack.take() if isinstance(item, Response)]

    def update(self, answer: Response, body: str = OFFER) -> Response:
        self.cseq += 1
        branch = f"z9hG4bKu{self.cseq}"
        self.stack.receive(request("UPDATE", branch=branch, to_tag=tag_of(answer), cseq=self.cseq, body=body))
        return self.stack.answer()

    def ack(self, answer: Response, body: str = "") -> None:
        self.stack.receive(request("ACK", branch="z9hG4bKack", to_tag=tag_of(answer), body=body))


@pytest.mark.parametrize(
    ("extra", "policy", "reliable"),
    [
        (SUPPORTED, "supported", True),
        (REQUIRED, "supported", True),
        ("", "supported", False),
        (SUPPORTED, "off", False),
        (SUPPORTED, "required", True),
    ],
)
def test_who_gets_reliable_answers(extra: str, policy: str, reliable: bool) -> None:
    stack, call = invited(extra, reliable=policy)
    call.ring()
    ringing = stack.answer()
    assert ringing.status == 180
    assert (ringing.header("RSeq") is not None, ringing.header("Require")) == (reliable, "100rel" if reliable else None)
    stack.advance(3.0)
    assert (len(stack.take()) > 0) == reliable


@pytest.mark.parametrize(
    ("extra", "policy", "status", "header"),
    [(REQUIRED, "off", 420, ("Unsupported", "100rel")), ("", "required", 421, ("Require", "100rel"))],
)
def test_who_is_refused_for_it(extra: str, policy: str, status: int, header: tuple[str, str]) -> None:
    stack = Stack(policy=Policy(reliable=policy))
    stack.receive(invite(extra=extra))
    answer = stack.answer()
    assert (answer.status, answer.header(header[0])) == (status, header[1])
    assert stack.calls == []
    assert ("100rel" in ", ".join(stack.core.policy.supported)) == (policy != "off")


def test_an_answer_comes_again_at_doubling_times_until_its_prack() -> None:
    stack, call = invited()
    call.ring()
    ringing = stack.answer()
    times, begun = [], stack.now
    while stack.now - begun < 10.0:
        stack.advance(0.1)
        for item in stack.take():
            assert bytes(item) == bytes(ringing)
            times.append(round(stack.now - begun, 1))
    assert times == [0.5, 1.5, 3.5, 7.5]
    assert [item.status for item in Caller(stack).prack(ringing)] == [200]
    stack.advance(30.0)
    assert stack.take() == []
    assert call.state is SessionState.EARLY


def test_without_a_prack_the_call_ends_with_504() -> None:
    stack, call = invited()
    call.ring()
    ringing = stack.answer()
    stack.advance(31.9)
    assert set(stack.statuses()) == {180}
    stack.advance(0.1)
    assert finals(stack).status == 504
    stack.advance(0.0)
    assert stack.ended == ["prack_timeout"]
    assert [item.status for item in Caller(stack).prack(ringing)] == [481]
    stack.advance(40.0)
    assert stack.empty


def test_each_answer_waits_for_the_prack_of_the_one_before() -> None:
    stack, call = invited()
    caller = Caller(stack)
    call.ring()
    first = stack.answer()
    call.progress(ANSWER)
    assert stack.take() == []
    acknowledged, second = caller.prack(first)
    assert (acknowledged.status, acknowledged.cseq.method, second.status) == (200, "PRACK", 183)
    assert second.body == ANSWER
    assert int(second.header("RSeq") or "") == int(first.header("RSeq") or "") + 1
    assert [item.status for item in caller.prack(second)] == [200]
    stack.advance(10.0)
    assert stack.take() == []


@pytest.mark.parametrize(
    ("rack", "status"),
    [("{wrong} 1 INVITE", 481), ("{right} 2 INVITE", 481), ("{right} 1 UPDATE", 481), ("nonsense", 400), ("", 400)],
)
def test_a_prack_for_something_else(rack: str, status: int) -> None:
    stack, call = invited()
    call.ring()
    ringing = stack.answer()
    right = int(ringing.header("RSeq") or "")
    caller = Caller(stack)
    answers = caller.prack(ringing, rack=rack.format(right=right, wrong=right + 1))
    assert [item.status for item in answers] == [status]
    stack.advance(1.0)
    assert stack.statuses() == [180]  # it still waits
    assert [item.status for item in caller.prack(ringing)] == [200]
    assert [item.status for item in caller.prack(ringing)] == [481]  # a new one for the same is one too many


def test_a_repeated_prack_gets_its_answer_again() -> None:
    stack, call = invited()
    call.ring()
    ringing = stack.answer()
    text = request(
        "PRACK", branch="z9hG4bKp", to_tag=tag_of(ringing), cseq=2, extra=f"RAck: {ringing.header('RSeq')} 1 INVITE\r\n"
    )
    stack.receive(text)
    stack.receive(text)
    assert stack.statuses() == [200, 200]


def test_a_200_does_not_wait_for_the_prack_of_ringing() -> None:
    stack, call = invited()
    call.ring()
    ringing = stack.answer()
    call.answer(ANSWER)
    ok = stack.answer()
    assert (ok.status, ok.body) == (200, ANSWER)
    caller = Caller(stack)
    assert [item.status for item in caller.prack(ringing)] == [200]  # it was on its way
    caller.ack(ok)
    assert call.state is SessionState.CONFIRMED
    stack.advance(40.0)
    assert stack.take() == []


def test_what_waited_behind_an_answer_is_not_said_after_the_200() -> None:
    stack, call = invited()
    call.ring()
    ringing = stack.answer()
    call.ring()
    call.answer(ANSWER)
    stack.answer()
    assert [(item.status, item.cseq.method) for item in Caller(stack).prack(ringing)] == [(200, "PRACK")]


def test_a_200_waits_for_a_description_that_itself_waits_behind_the_ringing() -> None:
    stack, call = invited()
    caller = Caller(stack)
    call.ring()
    ringing = stack.answer()
    call.progress(ANSWER)
    call.answer(ANSWER)
    acknowledged, early = caller.prack(ringing)
    assert (acknowledged.status, early.status, early.body) == (200, 183, ANSWER)
    assert [item.status for item in caller.prack(early)] == [200, 200]


def test_the_180_carries_our_offer_only_to_who_asked_for_it_and_once() -> None:
    stack, call = invited()
    call.ring(ANSWER)
    assert stack.answer().body == b""
    stack, call = invited(REQUIRED, body="")
    call.ring(ANSWER)
    ringing = stack.answer()
    call.ring(MOVED)
    _, again = Caller(stack).prack(ringing)
    assert (ringing.body, again.body) == (ANSWER, b"")


def test_a_200_waits_for_the_prack_of_a_description_and_says_it_no_more() -> None:
    stack, call = invited()
    caller = Caller(stack)
    call.progress(ANSWER)
    early = stack.answer()
    call.answer(MOVED)
    call.answer(MOVED)
    assert stack.take() == []
    assert call.state is SessionState.EARLY
    acknowledged, ok = caller.prack(early)
    assert (acknowledged.cseq.method, ok.status, ok.body) == ("PRACK", 200, b"")
    assert ok.header("Content-Type") is None
    caller.ack(ok)
    assert call.state is SessionState.CONFIRMED
    assert call.local_sdp == ANSWER


def test_a_plain_183_is_no_answer_so_the_200_says_it_again() -> None:
    stack, call = invited("")
    call.progress(ANSWER)
    assert stack.answer().body == ANSWER
    call.progress(MOVED)
    assert stack.answer().body == ANSWER  # there is one answer to an offer
    call.answer(MOVED)
    assert stack.answer().body == ANSWER


def test_a_caller_who_wants_our_offer_and_insists_has_it_in_the_180() -> None:
    stack, call = invited(REQUIRED, body="")
    caller, got = Caller(stack), []
    call.on_confirmed = got.append
    call.ring(ANSWER)
    ringing = stack.answer()
    assert (ringing.status, ringing.body, ringing.header("Require")) == (180, ANSWER, "100rel")
    assert caller.update(ringing).status == 491  # our offer is out
    call.answer(MOVED)
    assert stack.take() == []
    acknowledged, ok = caller.prack(ringing, body=OFFER)
    assert (acknowledged.status, ok.status, ok.body) == (200, 200, b"")
    caller.ack(ok)
    assert call.local_sdp == ANSWER
    assert [answer.media[0].port for answer in got] == [4000]


def test_a_caller_who_wants_our_offer_and_does_not_insist_rings_plainly() -> None:
    stack, call = invited(SUPPORTED, body="")
    call.ring(ANSWER)
    ringing = stack.answer()
    assert (ringing.body, ringing.header("RSeq")) == (b"", None)
    call.progress(ANSWER)
    assert stack.take() == []
    call.answer(ANSWER)
    assert stack.answer().body == ANSWER


def early_update(stack: Stack, call: Invitation) -> tuple[Caller, Response]:
    """A call whose caller knows our description while it rings."""
    caller = Caller(stack)
    call.progress(ANSWER)
    early = stack.answer()
    caller.prack(early)
    return caller, early


def test_an_early_update_is_answered_and_the_200_stays_without_a_description() -> None:
    stack, call = invited()
    caller, early = early_update(stack, call)
    call.on_offer = lambda offer: MOVED
    answer = caller.update(early)
    assert (answer.status, answer.body) == (200, MOVED.replace(b"- 9 0", b"- 9 1"))
    call.answer(ANSWER)
    ok = stack.answer()
    assert (ok.status, ok.body) == (200, b"")
    caller.ack(ok)
    assert call.local_sdp == answer.body


def test_an_early_update_before_our_description_is_asked_to_wait() -> None:
    for extra in (SUPPORTED, ""):
        stack, call = invited(extra)
        call.on_offer = lambda offer: pytest.fail("asked")
        call.ring()
        ringing = stack.answer()
        caller = Caller(stack)
        answer = caller.update(ringing)
        assert (answer.status, answer.header("Retry-After") is not None) == (500, True)
        assert caller.update(ringing, "").status == 200  # it offers nothing
        if not extra:
            call.progress(ANSWER)
            stack.take()
            assert caller.update(ringing).status == 500  # a plain 183 is no answer


def test_an_early_update_starts_no_session_timer() -> None:
    stack, call = invited()
    _, early = early_update(stack, call)
    text = request("UPDATE", branch="z9hG4bKt", to_tag=tag_of(early), cseq=9, extra="Supported: timer\r\n")
    stack.receive(text.replace("Supported", "Session-Expires: 90;refresher=uac\r\nSupported"))
    answer = stack.answer()
    assert (answer.status, answer.header("Session-Expires")) == (200, None)
    stack.advance(100.0)
    assert stack.ended == []


def test_a_prack_may_offer_anew() -> None:
    stack, call = invited()
    call.progress(ANSWER)
    early = stack.answer()
    call.on_offer = lambda offer: MOVED
    (answer,) = Caller(stack).prack(early, body=OFFER)
    assert (answer.status, answer.body) == (200, MOVED.replace(b"- 9 0", b"- 9 1"))


def test_a_prack_whose_offer_is_refused_acknowledges_all_the_same() -> None:
    stack, call = invited()
    call.progress(ANSWER)
    early = stack.answer()
    call.answer(ANSWER)
    call.on_offer = lambda offer: 488
    answers = Caller(stack).prack(early, body=OFFER)
    assert sorted((item.status, item.cseq.method) for item in answers) == [(200, "INVITE"), (488, "PRACK")]


@pytest.mark.parametrize("answering", [False, True])
def test_what_ends_a_call_that_waits_for_a_prack(answering: bool) -> None:
    ends = {"cancelled": 487, "hung_up": 603, "rejected": 486, "closed": 503, "bye": 487}
    for word, status in ends.items():
        stack, call = invited()
        call.progress(ANSWER)
        early = stack.answer()
        if answering:
            call.answer(ANSWER)
        if word == "cancelled":
            stack.receive(request("CANCEL"))
        elif word == "hung_up":
            call.hang_up()
        elif word == "rejected":
            call.reject(486)
        elif word == "closed":
            call.close()
        else:
            stack.receive(request("BYE", branch="z9hG4bKb", to_tag=tag_of(early), cseq=2))
        assert status in stack.statuses()
        stack.advance(0.0)
        assert stack.ended == [word]
        assert [item.status for item in Caller(stack).prack(early)] == [481]
        stack.receive(request("ACK", to_tag=tag_of(early)))
        stack.advance(40.0)
        assert 183 not in stack.statuses()
        assert stack.empty
