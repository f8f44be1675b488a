"""Session timers of whole calls: who refreshes, when, and how silence ends (RFC 4028)."""

from __future__ import annotations

import pytest

from bridge.sip.message import Request, Response
from bridge.sip.policy import Policy
from bridge.sip.session import SessionState
from bridge.sip.session_timer import TimerPolicy

from .stack import ANSWER, OFFER, Stack, confirmed, inside, invite, reply, request, tag_of, talking

ALLOW = "Allow: INVITE, ACK, BYE, CANCEL, UPDATE\r\n"
KNOWS = "Supported: timer\r\n"
EXPIRED = 'SIP;cause=408;text="session_expired"'


def stack_of(**timer: object) -> Stack:
    return Stack(policy=Policy(timer=TimerPolicy(**timer)))  # type: ignore[arg-type]


def granted(stack: Stack, extra: str) -> Response:
    """The 200 that a call with such headers gets."""
    stack.receive(invite(extra=extra))
    stack.calls[-1].answer(ANSWER)
    answer = stack.take()[-1]
    assert isinstance(answer, Response)
    return answer


def until_request(stack: Stack, most: float) -> Request:
    """The first request that goes out of itself."""
    begun = stack.now
    while not stack.peers():
        stack.advance(1.0)
        assert stack.now - begun <= most
    message = stack.take()[0]
    assert isinstance(message, Request)
    return message


# A call that came


@pytest.mark.parametrize(
    ("extra", "expires", "required"),
    [
        (KNOWS, "1800;refresher=uas", "timer"),
        (f"{KNOWS}Session-Expires: 600\r\n", "600;refresher=uas", "timer"),
        (f"{KNOWS}Session-Expires: 600;refresher=uac\r\n", "600;refresher=uac", "timer"),
        (f"{KNOWS}x: 600;refresher=uas\r\n", "600;refresher=uas", "timer"),
        ("Session-Expires: 600\r\n", "600;refresher=uas", None),
        ("", None, None),
    ],
)
def test_what_our_200_says(extra: str, expires: str | None, required: str | None) -> None:
    answer = granted(Stack(), extra)
    assert (answer.header("Session-Expires"), answer.header("Require")) == (expires, required)


def test_too_short_an_interval_is_refused_with_ours() -> None:
    stack = Stack()
    stack.receive(invite(extra=f"{KNOWS}Session-Expires: 60\r\n"))
    answer = stack.answer()  # and nothing has rung
    assert (answer.status, answer.header("Min-SE"), stack.calls) == (422, "90", [])
    stack.receive(request("ACK", to_tag=answer.to.tag))
    again = invite(branch="z9hG4bK2", cseq=2, extra=f"{KNOWS}Session-Expires: 90\r\nMin-SE: 90\r\n")
    stack.receive(again)
    stack.calls[-1].answer(ANSWER)
    assert stack.take()[-1].header("Session-Expires") == "90;refresher=uas"


def test_without_timers_nobody_refreshes() -> None:
    for stack, extra in ((Stack(), ""), (stack_of(enabled=False), f"{KNOWS}Session-Expires: 90\r\n")):
        confirmed(stack, extra=extra)
        stack.advance(40.0)
        assert stack.alarms.next_deadline is None


def test_we_refresh_by_update_at_half_of_the_interval() -> None:
    stack = Stack()
    call, _ = confirmed(stack, extra=f"{KNOWS}{ALLOW}Session-Expires: 90;refresher=uas\r\n")
    stack.advance(44.9)
    assert stack.take() == []
    stack.advance(0.2)
    refresh = stack.request("UPDATE")
    assert (refresh.body, refresh.header("Session-Expires")) == (b"", "90;refresher=uac")
    assert "timer" in (refresh.header("Supported") or "")
    stack.receive(reply(refresh, 200, tag="a", extra="Session-Expires: 90;refresher=uac\nRequire: timer"))
    for _ in range(20):
        stack.advance(44.0)
        assert stack.take() == []
        refresh = until_request(stack, 2.0)
        assert refresh.method == "UPDATE"
        stack.receive(reply(refresh, 200, tag="a", extra="Session-Expires: 90;refresher=uac\nRequire: timer"))
    assert call.state is SessionState.CONFIRMED


def test_a_peer_without_update_gets_the_same_description_again() -> None:
    stack = Stack()
    call, _ = confirmed(stack, extra=f"{KNOWS}Session-Expires: 90;refresher=uas\r\n")
    for _ in range(3):
        refresh = until_request(stack, 46.0)
        assert (refresh.method, refresh.body) == ("INVITE", ANSWER)
        stack.receive(reply(refresh, 200, tag="a", body=OFFER, extra="Session-Expires: 90;refresher=uac"))
        stack.request("ACK")
    assert call.state is SessionState.CONFIRMED


@pytest.mark.parametrize("status", [405, 501])
def test_a_peer_that_only_says_that_it_takes_update_is_refreshed_by_invite(status: int) -> None:
    stack = Stack()
    confirmed(stack, extra=f"{KNOWS}{ALLOW}Session-Expires: 90;refresher=uas\r\n")
    stack.receive(reply(until_request(stack, 46.0), status, tag="a"))
    refresh = stack.request("INVITE")
    stack.receive(reply(refresh, 200, tag="a", body=OFFER, extra="Session-Expires: 90;refresher=uac"))
    stack.take()
    assert until_request(stack, 46.0).method == "INVITE"


def silent_until_bye(stack: Stack, interval: float) -> None:
    """Nobody refreshes: the BYE comes a little before the end of the interval (section 10), and not sooner."""
    left = interval - min(32.0, interval / 3)
    stack.advance(left - 0.5)
    assert stack.ended == []
    assert "BYE" not in stack.statuses()
    stack.advance(0.5)
    bye = stack.take()[-1]
    assert isinstance(bye, Request)
    assert (bye.method, bye.header("Reason")) == ("BYE", EXPIRED)
    stack.advance(0.0)
    assert stack.ended == ["session_expired"]
    stack.advance(40.0)
    assert stack.empty


@pytest.mark.parametrize("interval", [90, 93, 600])
def test_a_peer_that_should_refresh_and_does_not(interval: int) -> None:
    stack = Stack()
    confirmed(stack, extra=f"{KNOWS}Session-Expires: {interval};refresher=uac\r\n")
    silent_until_bye(stack, interval)


@pytest.mark.parametrize("method", ["INVITE", "UPDATE"])
def test_each_refresh_of_the_peer_begins_the_interval_anew(method: str) -> None:
    stack = Stack()
    call, tag = confirmed(stack, extra=f"{KNOWS}Session-Expires: 90;refresher=uac\r\n")
    call.on_offer = lambda offer: ANSWER
    timer = f"{KNOWS}Session-Expires: 90;refresher=uac\r\n"
    for number in range(2, 8):
        stack.advance(55.0)
        body = OFFER if method == "INVITE" else ""
        stack.receive(request(method, branch=f"z9hG4bK{number}", to_tag=tag, cseq=number, body=body, extra=timer))
        assert stack.answer().header("Session-Expires") == "90;refresher=uac"
        stack.receive(request("ACK", branch=f"z9hG4bKa{number}", to_tag=tag, cseq=number))
    silent_until_bye(stack, 90)


def test_a_refused_offer_is_no_refresh() -> None:
    stack = Stack()
    call, tag = confirmed(stack, extra=f"{KNOWS}Session-Expires: 90;refresher=uac\r\n")
    call.on_offer = lambda offer: 488
    stack.advance(50.0)
    timer = f"{KNOWS}Session-Expires: 90;refresher=uac\r\n"
    stack.receive(invite(branch="z9hG4bK2", to_tag=tag, cseq=2, extra=timer))
    stack.receive(request("ACK", branch="z9hG4bK2", to_tag=tag, cseq=2))
    assert stack.statuses() == [488]
    stack.advance(11.0)
    assert stack.ended == ["session_expired"]


def test_too_short_an_interval_inside_the_call_is_refused_and_changes_nothing() -> None:
    stack = Stack()
    call, tag = confirmed(stack, extra=f"{KNOWS}Session-Expires: 90;refresher=uac\r\n")
    call.on_offer = lambda offer: pytest.fail("asked")
    for method, number in (("INVITE", 2), ("UPDATE", 3)):
        text = request(method, branch=f"z9hG4bK{number}", to_tag=tag, cseq=number, body=OFFER)
        stack.receive(text.replace("Max-Forwards", "Supported: timer\r\nSession-Expires: 30\r\nMax-Forwards"))
        answer = stack.answer()
        assert (answer.status, answer.header("Min-SE")) == (422, "90")
        stack.receive(request("ACK", branch=f"z9hG4bK{number}", to_tag=tag, cseq=number))
    silent_until_bye(stack, 90)


def test_the_peer_may_take_the_refreshing_over() -> None:
    stack = Stack()
    _, tag = confirmed(stack, extra=f"{KNOWS}{ALLOW}Session-Expires: 90;refresher=uas\r\n")
    timer = f"{KNOWS}Session-Expires: 120;refresher=uac\r\n"
    stack.receive(request("UPDATE", branch="z9hG4bK2", to_tag=tag, cseq=2, extra=timer))
    stack.take()
    silent_until_bye(stack, 120)


@pytest.mark.parametrize("status", [400, 488, 500, 503])
def test_a_refused_refresh_is_tried_again_before_the_end(status: int) -> None:
    stack = Stack()
    call, _ = confirmed(stack, extra=f"{KNOWS}{ALLOW}Session-Expires: 90;refresher=uas\r\n")
    stack.receive(reply(until_request(stack, 46.0), status, tag="a"))
    again = until_request(stack, 14.0)
    stack.receive(reply(again, 200, tag="a", extra="Session-Expires: 90;refresher=uac"))
    stack.advance(44.0)
    assert (call.state, stack.ended) == (SessionState.CONFIRMED, [])


def test_a_refresh_that_is_refused_to_the_end_is_the_end() -> None:
    stack = Stack()
    confirmed(stack, extra=f"{KNOWS}{ALLOW}Session-Expires: 90;refresher=uas\r\n")
    tries, begun = 0, stack.now
    while (message := until_request(stack, 46.0)).method != "BYE":
        tries += 1
        stack.receive(reply(message, 500, tag="a"))
    assert 3 <= tries <= 20
    assert stack.now - begun <= 60.0
    assert message.header("Reason") == EXPIRED


def test_a_peer_may_move_in_its_answer_to_a_refresh() -> None:
    stack = Stack()
    call, _ = confirmed(stack, extra=f"{KNOWS}Session-Expires: 90;refresher=uas\r\n")
    ports: list[int] = []
    call.on_answer = lambda answer: ports.append(answer.media[0].port)
    refresh = until_request(stack, 46.0)
    stack.receive(reply(refresh, 500, tag="a", body=OFFER))
    stack.request("ACK")
    refresh = until_request(stack, 14.0)
    timer = "Session-Expires: 90;refresher=uac"
    stack.receive(reply(refresh, 200, tag="a", body=OFFER.replace("4000", "4002"), extra=timer))
    assert ports == [4002]


def test_a_repeated_200_does_not_end_the_timer() -> None:
    stack = Stack()
    confirmed(stack, extra=f"{KNOWS}Session-Expires: 90;refresher=uas\r\n")
    refresh = until_request(stack, 46.0)
    for _ in range(2):
        stack.receive(reply(refresh, 200, tag="a", body=OFFER, extra="Session-Expires: 90;refresher=uac"))
    stack.take()
    assert until_request(stack, 46.0).method == "INVITE"


def test_what_a_refused_change_asked_for_is_forgotten() -> None:
    stack = Stack()
    call, tag = confirmed(stack, extra=f"{KNOWS}Session-Expires: 90;refresher=uac\r\n")
    call.reinvite(ANSWER, lambda status, answer: None)
    asked = stack.request("INVITE")
    assert asked.header("Session-Expires") == "90;refresher=uas"
    stack.receive(reply(asked, 488, tag="a"))
    timer = f"{KNOWS}Session-Expires: 120;refresher=uas\r\n"
    stack.receive(request("UPDATE", branch="z9hG4bK2", to_tag=tag, cseq=2, extra=timer))
    stack.take()
    call.reinvite(ANSWER, lambda status, answer: None)
    assert stack.request("INVITE").header("Session-Expires") == "120;refresher=uac"


def test_glare_of_a_refresh_is_tried_again() -> None:
    stack = Stack()
    call, _ = confirmed(stack, extra=f"{KNOWS}{ALLOW}Session-Expires: 90;refresher=uas\r\n")
    stack.receive(reply(until_request(stack, 46.0), 491, tag="a"))
    again = until_request(stack, 3.0)
    assert again.method == "UPDATE"
    stack.receive(reply(again, 200, tag="a", extra="Session-Expires: 90;refresher=uac"))
    assert call.state is SessionState.CONFIRMED


def test_a_refresh_that_nobody_answers_is_a_lost_dialog() -> None:
    stack = Stack()
    confirmed(stack, extra=f"{KNOWS}{ALLOW}Session-Expires: 1800;refresher=uas\r\n")
    until_request(stack, 901.0)
    stack.advance(33.0)
    assert stack.ended == ["dialog_lost"]


def test_a_refresh_waits_for_a_change_of_ours() -> None:
    stack = Stack()
    call, _ = confirmed(stack, extra=f"{KNOWS}{ALLOW}Session-Expires: 90;refresher=uas\r\n")
    stack.advance(44.0)
    call.reinvite(ANSWER.replace(b"5000", b"5002"), lambda status, answer: None)
    change = stack.request("INVITE")
    stack.receive(reply(change, 100, tag="a"))
    stack.advance(5.0)
    assert stack.statuses() == []
    stack.receive(reply(change, 488, tag="a"))
    stack.take()
    assert until_request(stack, 14.0).method == "UPDATE"


def test_our_refresh_too_short_for_the_peer_is_asked_for_longer() -> None:
    stack = Stack()
    confirmed(stack, extra=f"{KNOWS}{ALLOW}Session-Expires: 90;refresher=uas\r\n")
    stack.receive(reply(until_request(stack, 46.0), 422, tag="a", extra="Min-SE: 200"))
    again = stack.request("UPDATE")
    assert (again.header("Session-Expires"), again.header("Min-SE")) == ("200;refresher=uac", "200")
    stack.receive(reply(again, 422, tag="a", extra="Min-SE: 200"))  # it does not know what it wants
    assert stack.take() == []


# A call of ours


def begun(stack: Stack) -> Request:
    stack.call()
    stack.advance(0.0)
    return stack.request("INVITE")


def test_what_our_invite_asks_for() -> None:
    asked = begun(Stack())
    assert (asked.header("Session-Expires"), asked.header("Min-SE")) == ("1800", None)
    assert "timer" in (asked.header("Supported") or "")
    asked = begun(stack_of(expires_s=300, min_s=120, refresher="us"))
    assert (asked.header("Session-Expires"), asked.header("Min-SE")) == ("300;refresher=uac", "120")
    asked = begun(stack_of(enabled=False))
    assert asked.header("Session-Expires") is None
    assert "timer" not in (asked.header("Supported") or "")


def test_a_422_to_our_invite_is_followed_a_few_times() -> None:
    stack = stack_of(expires_s=100)
    call = stack.call()
    failed: list[int] = []
    call.on_failed = lambda failure: failed.append(failure.status)
    stack.advance(0.0)
    asked = stack.request("INVITE")
    for number, least in ((2, 200), (3, 300), (4, 400)):
        stack.receive(reply(asked, 422, extra=f"Min-SE: {least}"))
        _, asked = stack.take()  # type: ignore[assignment]
        assert (asked.header("Session-Expires"), asked.header("Min-SE")) == (str(least), str(least))
        assert asked.cseq.number == number
    stack.receive(reply(asked, 422, extra="Min-SE: 500"))
    assert stack.statuses() == ["ACK"]
    stack.advance(0.0)
    assert failed == [422]


def test_the_interval_of_the_422_is_what_the_call_gets() -> None:
    stack = stack_of(expires_s=100)
    asked = begun(stack)
    stack.receive(reply(asked, 422, extra="Min-SE: 200"))
    _, asked = stack.take()  # type: ignore[assignment]
    stack.receive(reply(asked, 200, body=OFFER, extra="Session-Expires: 200;refresher=uac\nRequire: timer"))
    stack.take()
    stack.advance(99.0)
    assert stack.take() == []
    assert until_request(stack, 2.0).method == "INVITE"


def test_a_peer_that_answers_without_a_timer_has_none() -> None:
    stack = Stack()
    talking(stack)
    stack.advance(40.0)
    # What is left is the hour-glass of the ringing, which is cancelled, and nothing of a session timer.
    assert stack.alarms.next_deadline is None


def test_the_far_end_refreshes_our_call_or_loses_it() -> None:
    stack = Stack()
    call, asked = talking(stack, "Session-Expires: 90;refresher=uas\nRequire: timer")
    call.on_ended = stack.ended.append
    stack.advance(50.0)
    stack.receive(inside(asked, "UPDATE", extra=f"{KNOWS}Session-Expires: 90;refresher=uac\r\n"))
    assert stack.answer().status == 200
    silent_until_bye(stack, 90)


@pytest.mark.parametrize("timer", ["Session-Expires: nonsense", "Session-Expires: 1;refresher=uac"])
def test_a_strange_timer_does_not_make_us_hurry(timer: str) -> None:
    stack = Stack()
    talking(stack, timer)
    stack.advance(44.0)
    assert stack.take() == []


def test_the_timer_begins_with_the_answer_and_not_with_the_ringing() -> None:
    stack = Stack()
    stack.receive(invite(extra=f"{KNOWS}Session-Expires: 90;refresher=uac\r\n"))
    stack.calls[0].ring()
    stack.advance(100.0)
    assert stack.ended == []
    tag = tag_of(stack.take()[-1])
    stack.calls[0].answer(ANSWER)
    stack.receive(request("ACK", branch="z9hG4bKa", to_tag=tag))
    stack.take()
    silent_until_bye(stack, 90)


@pytest.mark.parametrize("refresher", ["uac", "uas"])
def test_the_timer_ends_with_the_call(refresher: str) -> None:
    stack = Stack()
    call, _ = confirmed(stack, extra=f"{KNOWS}Session-Expires: 90;refresher={refresher}\r\n")
    stack.advance(40.0)
    call.hang_up()
    stack.receive(reply(stack.request("BYE"), 200, tag="a"))
    stack.advance(5.0)
    assert stack.alarms.next_deadline is None
