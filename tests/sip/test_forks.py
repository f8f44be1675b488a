"""Calls of ours that reach several far ends, and ends that cross (RFC 3261 sections 9, 12.1.2, 13.2.2.4)."""

from __future__ import annotations

import pytest

from bridge.sip.forks import MAX_FORKS
from bridge.sip.layer import Path
from bridge.sip.message import Request, Response
from bridge.sip.outgoing import OutgoingCall
from bridge.sip.session import SessionState

from .stack import ANSWER, OFFER, Stack, inside, reply

OTHER = OFFER.replace("4000", "4444")


class Dialled:
    """A call of ours that has been sent, and all that it told."""

    def __init__(self, stack: Stack | None = None, **options: object) -> None:
        self.stack = stack = stack or Stack()
        self.told: list[object] = []
        self.call: OutgoingCall = stack.call(**options)  # type: ignore[arg-type]
        self.call.on_ringing = self.told.append
        self.call.on_answered = lambda answer: self.told.append(("answered", answer and answer.media[0].port))
        self.call.on_failed = lambda failure: self.told.append((failure.status, failure.phrase, failure.word))
        self.call.on_ended = self.told.append
        stack.advance(0.0)
        self.asked = stack.request("INVITE")

    def hears(self, status: int, tag: str = "b", **more: str) -> list[int | str]:
        """An answer of a far end; what goes out then."""
        self.stack.receive(reply(self.asked, status, tag=tag, **more))
        return self.stack.statuses()

    def hears_inside(self, method: str, tag: str, **changes: object) -> list[int | str]:
        self.stack.receive(inside(self.asked, method, tag=tag, branch=f"z9hG4bK{method}{tag}", **changes))
        return self.stack.statuses()

    def sent(self) -> list[Request]:
        return [item for item in self.stack.take() if isinstance(item, Request)]


def reliably(rseq: int) -> str:
    return f"Require: 100rel\nRSeq: {rseq}"


def test_each_far_end_is_acknowledged_in_its_own_dialog() -> None:
    dialled = Dialled()
    for tag in ("b", "c", "d"):
        dialled.stack.receive(reply(dialled.asked, 183, tag=tag, extra=reliably(5), body=OFFER))
        prack = dialled.stack.request("PRACK")
        assert (prack.to.tag, prack.header("RAck"), prack.cseq.number) == (tag, "5 1 INVITE", 2)


def test_whoever_answers_first_has_the_call_and_the_others_are_thanked() -> None:
    dialled = Dialled()
    stack = dialled.stack
    for tag, body in (("b", OFFER), ("c", OTHER)):
        dialled.hears(183, tag, extra=reliably(1), body=body)
    stack.receive(reply(dialled.asked, 200, tag="b"))
    (ack,) = dialled.sent()
    assert (ack.method, ack.to.tag, ack.cseq.number) == ("ACK", "b", 1)
    assert dialled.told[-1] == ("answered", 4000)  # b's description, not the one that came last
    stack.receive(reply(dialled.asked, 200, tag="c", body=OTHER))
    ack, bye = dialled.sent()
    assert (ack.method, ack.to.tag, ack.cseq.number) == ("ACK", "c", 1)
    assert (bye.method, bye.to.tag, bye.cseq.number) == ("BYE", "c", 3)  # after the PRACK
    assert (dialled.call.state, dialled.call.dialog.remote_tag) == (SessionState.CONFIRMED, "b")
    dialled.call.hang_up()
    bye = stack.request("BYE")
    assert (bye.to.tag, bye.cseq.number) == ("b", 3)


def test_each_repeat_gets_the_same_ack_and_no_second_bye() -> None:
    dialled = Dialled()
    acks: dict[str, set[bytes]] = {"b": set(), "c": set()}
    byes = 0
    for _ in range(3):
        for tag in ("b", "c"):
            dialled.stack.receive(reply(dialled.asked, 200, tag=tag, body=OFFER))
            for item in dialled.sent():
                byes += item.method == "BYE"
                if item.method == "ACK":
                    acks[tag].add(bytes(item))
    assert ({tag: len(found) for tag, found in acks.items()}, byes) == ({"b": 1, "c": 1}, 1)


def test_the_target_and_the_route_of_the_200_count() -> None:
    dialled = Dialled()
    dialled.hears(180, extra="Record-Route: <sip:192.0.2.70;lr>")
    stack = dialled.stack
    headers = [("Contact", "<sip:b@192.0.2.80>"), ("Record-Route", "<sip:192.0.2.71;lr>, <sip:192.0.2.72;lr>")]
    stack.receive(bytes(dialled.asked.response(200, tag="b", headers=headers)))
    assert stack.peers() == [("192.0.2.72", 5060)]
    ack = stack.request("ACK")
    assert (ack.uri.text, ack.headers("Route")) == ("sip:b@192.0.2.80", ["<sip:192.0.2.72;lr>", "<sip:192.0.2.71;lr>"])


def test_ringing_without_a_tag_or_a_contact_is_ringing() -> None:
    dialled = Dialled()
    dialled.stack.receive(bytes(dialled.asked.response(180)))
    dialled.stack.receive(bytes(dialled.asked.response(183, tag="b")))
    assert dialled.told == [180, 183]
    dialled.hears(200, body=OFFER)
    assert dialled.told[-1] == ("answered", 4000)


def test_early_media_without_a_tag_are_the_description_of_a_200_without_one() -> None:
    dialled = Dialled()
    headers = [("Content-Type", "application/sdp")]
    dialled.stack.receive(bytes(dialled.asked.response(183, headers=headers, body=OFFER.encode())))
    dialled.hears(200)
    assert dialled.told == [183, ("answered", 4000)]


def test_a_flood_of_far_ends_is_bounded() -> None:
    dialled = Dialled()
    pracks = 0
    for number in range(10 * MAX_FORKS):
        pracks += len(dialled.hears(180, f"ring{number}", extra=reliably(1)))
    assert pracks == MAX_FORKS
    assert dialled.call.state is SessionState.EARLY
    byes = 0
    for number in range(10 * MAX_FORKS):
        byes += dialled.hears(200, f"answer{number}", body=OFFER).count("BYE")
    assert byes == MAX_FORKS - 1
    assert dialled.hears(200, "answer0", body=OFFER) == ["ACK"]
    assert dialled.hears(200, "onemore", body=OFFER) == []
    assert dialled.stack.core.stats.transactions <= 2 * MAX_FORKS + 1
    assert dialled.call.state is SessionState.CONFIRMED


# Far ends that talk while they ring


def test_one_far_end_may_hang_up_and_the_others_ring_on() -> None:
    dialled = Dialled()
    for tag in ("b", "c"):
        dialled.hears(180, tag)
    assert dialled.hears_inside("BYE", "b") == [200]
    assert dialled.hears_inside("OPTIONS", "b", cseq=2) == [481]
    dialled.stack.advance(0.0)
    assert dialled.told == [180, 180]
    assert dialled.hears_inside("OPTIONS", "c") == [200]
    assert dialled.hears(200, "c", body=OFFER) == ["ACK"]
    assert dialled.told[-1] == ("answered", 4000)


def test_when_the_last_far_end_hangs_up_the_call_is_cancelled_and_over() -> None:
    dialled = Dialled()
    dialled.hears(180)
    assert dialled.hears_inside("BYE", "b") == [200, "CANCEL"]
    dialled.stack.advance(0.0)
    assert dialled.told == [180, (480, "Temporarily Unavailable", "no_answer")]
    assert dialled.hears(200, body=OFFER) == ["ACK", "BYE"]


def test_each_early_dialog_has_its_own_order() -> None:
    dialled = Dialled()
    for tag in ("b", "c"):
        dialled.hears(180, tag)
    assert dialled.hears_inside("OPTIONS", "b", cseq=9) == [200]
    assert dialled.hears_inside("OPTIONS", "c", cseq=3) == [200]
    assert dialled.hears_inside("INFO", "b", cseq=8) == [500]
    dialled.hears(200, "b", body=OFFER)
    assert dialled.hears_inside("UPDATE", "b", cseq=8) == [500]  # and it goes on after the answer
    assert dialled.hears_inside("OPTIONS", "nobody", cseq=10) == [481]


# Ends that cross


def test_one_cancel_is_enough_however_often_it_rings() -> None:
    dialled = Dialled()
    dialled.hears(180)
    dialled.call.cancel()
    cancel = dialled.stack.request("CANCEL")
    assert cancel.header("Reason") == 'SIP;cause=487;text="cancelled"'
    assert dialled.hears(180) == []
    assert dialled.hears(183, "c") == []
    dialled.stack.receive(reply(cancel, 200))
    assert dialled.hears(487) == ["ACK"]
    dialled.stack.advance(0.0)
    assert dialled.told == [180, (487, "Request Terminated", "cancelled")]
    dialled.stack.advance(40.0)
    assert dialled.stack.empty


def test_a_cancelled_call_tries_nothing_else() -> None:
    for status in (302, 401, 422, 503):
        stack = Stack()
        stack.addresses["pbx.example"] = ["192.0.2.51", "192.0.2.52"]
        dialled = Dialled(stack, target="sip:bob@pbx.example", redirects=lambda uri: True)
        dialled.call.cancel()
        extra = 'WWW-Authenticate: Digest realm="r", nonce="n"\nMin-SE: 9000'
        assert dialled.hears(status, extra=extra) == ["ACK"]
        stack.advance(0.0)
        assert dialled.told == [(487, "Request Terminated", "cancelled")]
        stack.advance(40.0)
        assert stack.empty


@pytest.mark.parametrize("status", [486, 603, 480])
def test_what_a_far_end_says_to_our_cancel_is_not_why_it_failed(status: int) -> None:
    dialled = Dialled()
    dialled.hears(180)
    dialled.call.cancel()
    dialled.hears(status)
    dialled.stack.advance(0.0)
    assert dialled.told[-1] == (487, "Request Terminated", "cancelled")


@pytest.mark.parametrize("rings", [True, False])
def test_a_call_that_nobody_picks_up(rings: bool) -> None:
    dialled = Dialled(ring_limit_s=20.0)
    dialled.hears(180 if rings else 100)
    dialled.stack.advance(20.0)
    cancel = dialled.sent()[-1]
    assert (cancel.method, cancel.header("Reason")) == ("CANCEL", 'SIP;cause=487;text="no_answer"')
    dialled.hears(487)
    dialled.stack.advance(0.0)
    assert dialled.told[-1] == (487, "Request Terminated", "no_answer")


def test_a_call_that_is_cancelled_while_its_server_is_looked_up_never_rings() -> None:
    for end in (OutgoingCall.cancel, OutgoingCall.hang_up, OutgoingCall.close):
        stack = Stack()
        stack.lookups = []
        told: list[int] = []
        call = stack.call("sip:bob@192.0.2.1")
        call.on_failed = lambda failure, told=told: told.append(failure.status)  # type: ignore[misc]
        stack.advance(0.0)
        end(call)
        stack.lookups[0]()
        stack.advance(40.0)
        assert stack.take() == []
        assert told == [503 if end is OutgoingCall.close else 487]
        assert stack.empty


@pytest.mark.parametrize("rings", [True, False])
def test_a_call_that_is_closed_and_never_answered_leaves_nothing(rings: bool) -> None:
    dialled = Dialled()
    if rings:
        dialled.hears(180)
    dialled.call.close()
    dialled.stack.take()
    dialled.hears(180)
    if not rings:
        dialled.stack.advance(31.9)
        assert "CANCEL" in dialled.stack.statuses()
    dialled.stack.advance(64.0)
    assert dialled.stack.empty
    assert [told[0] for told in dialled.told if isinstance(told, tuple)] == [503]


def test_a_200_that_crosses_our_cancel_is_thanked_each_time() -> None:
    dialled = Dialled()
    dialled.hears(180)
    dialled.call.cancel()
    dialled.stack.take()
    assert dialled.hears(200, body=OFFER) == ["ACK", "BYE"]
    assert dialled.hears(200, body=OFFER) == ["ACK"]
    dialled.stack.advance(0.0)
    assert dialled.told[-1] == (487, "Request Terminated", "cancelled")


def test_the_first_reason_to_cancel_is_the_one() -> None:
    dialled = Dialled(ring_limit_s=20.0)
    dialled.hears(180)
    dialled.stack.advance(19.0)
    dialled.call.cancel()
    dialled.stack.advance(2.0)
    dialled.hears(487)
    dialled.stack.advance(0.0)
    assert dialled.told[-1] == (487, "Request Terminated", "cancelled")


def test_closing_while_it_rings_cancels_once() -> None:
    dialled = Dialled()
    dialled.hears(180)
    dialled.call.cancel()
    dialled.call.close()
    assert dialled.stack.statuses() == ["CANCEL"]


@pytest.mark.parametrize(
    ("status", "reason", "word"),
    [
        (486, "", "busy"),
        (600, "", "busy"),
        (603, "", "rejected"),
        (404, "", "not_found"),
        (410, "", "gone"),
        (488, "", "no_common_codec"),
        (403, "", "forbidden"),
        (480, "", "unreachable"),
        (480, "Q.850;cause=19", "no_answer"),
        (503, "", "overloaded"),
        (500, "Q.850;cause=17", "busy"),
        (302, "", "unreachable"),
    ],
)
def test_a_refusal_has_its_word(status: int, reason: str, word: str) -> None:
    dialled = Dialled()
    dialled.hears(status, extra=f"Reason: {reason}" if reason else "")
    dialled.stack.advance(0.0)
    ((told, _, said),) = dialled.told  # type: ignore[misc]
    assert (told, said) == (status, word)
    dialled.stack.advance(40.0)
    assert dialled.stack.alarms.next_deadline is None  # nobody waits for it to ring out


def test_a_target_that_says_nothing_and_one_that_is_not_there() -> None:
    dialled = Dialled()
    dialled.stack.advance(32.0)
    assert dialled.told == [(408, "Request Timeout", "timeout")]
    stack = Stack()
    told: list[str] = []
    call = stack.call("sip:bob@nowhere.example")
    call.on_failed = lambda failure: told.append(failure.word)
    stack.advance(0.0)
    stack.advance(0.0)
    assert told == ["unreachable"]


def test_a_phone_reached_by_its_own_way_is_talked_to_that_way_only_while_it_stands() -> None:
    for stands in (True, False):
        stack = Stack(reliable=True)
        flow = ("192.0.2.99", 31000)
        stack.wire.open.add(flow)
        stack.call(flow=Path(stack.wire, flow))
        stack.advance(0.0)
        assert stack.peers() == [flow]
        asked = stack.request("INVITE")
        if not stands:
            stack.wire.open.discard(flow)
            stack.core.layer.lost(stack.wire, flow)
            assert stack.peers() == [("192.0.2.1", 5060)]
            asked = stack.request("INVITE")
        stack.receive(reply(asked, 200, body=OFFER))
        assert stack.peers() == [flow if stands else ("192.0.2.1", 5060)]


def test_a_call_that_is_cancelled_while_another_way_is_looked_for_ends_at_once() -> None:
    stack = Stack(reliable=True)
    stack.lookups = []
    flow = ("192.0.2.99", 31000)
    told: list[int] = []
    call = stack.call(flow=Path(stack.wire, flow))
    call.on_failed = lambda failure: told.append(failure.status)
    stack.advance(0.0)
    stack.request("INVITE")
    stack.core.layer.lost(stack.wire, flow)
    call.cancel()
    stack.lookups[0]()
    stack.advance(0.0)
    assert (told, stack.take()) == ([487], [])
    assert stack.empty


def test_our_answers_in_a_refused_call_are_none() -> None:
    dialled = Dialled()
    dialled.hears(486)
    assert dialled.hears_inside("BYE", "b") == [481]
    assert all(isinstance(item, Response) for item in dialled.stack.take())
    assert dialled.call.local_sdp == ANSWER
