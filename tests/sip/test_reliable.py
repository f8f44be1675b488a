"""Reliable provisional answers: numbers, repeats and order, on both sides."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bridge.sip.errors import SipError
from bridge.sip.headers import Headers
from bridge.sip.message import CSeq, Response
from bridge.sip.reliable import MAX_BRANCHES, RAck, ReliableReceiver, ReliableSender
from bridge.sip.transaction import Failed, Timers

INVITE = CSeq(7, "INVITE")
T1 = Timers().t1


def progress(
    rseq: str | None = None, *, tag: str = ";tag=a", status: int = 183, body: bytes = b"", cseq: int = 7
) -> Response:
    pairs = [("To", f"<sip:b@h>{tag}"), ("CSeq", f"{cseq} INVITE")]
    if rseq is not None:
        pairs += [("Require", "100rel"), ("RSeq", rseq)]
    return Response(Headers.make(pairs), body, status, "")


def sender() -> ReliableSender:
    return ReliableSender(INVITE, Timers(), first=100)


def rack(rseq: int) -> RAck:
    return RAck(rseq, INVITE)


def run(machine: ReliableSender, now: float, count: int) -> list[tuple[float, Response | Failed]]:
    """What the next `count` deadlines bring, with their times."""
    events = []
    for _ in range(count):
        when = machine.next_deadline
        if when is None:
            break
        assert when > now
        now = when
        events += [(now, event) for event in machine.tick(now)]
    return events


@pytest.mark.parametrize("text", ["776656 1 INVITE", "  776656\t1   INVITE "])
def test_rack_in_its_forms(text: str) -> None:
    assert RAck.parse(text) == RAck(776656, CSeq(1, "INVITE"))


@pytest.mark.parametrize(
    "text", ["", "1", "1 2", "1 2 INVITE x", "x 2 INVITE", "1 -2 INVITE", "4294967296 1 INVITE", "1 2 <"]
)
def test_malformed_racks(text: str) -> None:
    with pytest.raises(SipError) as caught:
        RAck.parse(text)
    assert caught.value.status == 400


@given(st.text(max_size=30))
def test_any_text_is_a_rack_or_a_sip_error(text: str) -> None:
    for candidate in (text, f"1 {text}", f"1 2 {text}"):
        try:
            assert RAck.parse(str(RAck.parse(candidate))) == RAck.parse(candidate)
        except SipError as error:
            assert error.status == 400


# The side that answers.


def test_an_answer_becomes_reliable_and_each_has_the_next_number() -> None:
    machine = sender()
    (first,) = machine.send(progress(body=b"x"), 0.0)
    assert (first.header("Require"), first.header("RSeq"), first.body) == ("100rel", "100", b"x")
    assert machine.outstanding is first
    assert machine.acknowledge(rack(100), 1.0) == []
    (second,) = machine.send(progress(), 2.0)
    assert second.header("RSeq") == "101"


def test_the_first_number_is_random_and_leaves_room() -> None:
    numbers = {int(ReliableSender(INVITE, Timers()).send(progress(), 0.0)[0].header("RSeq") or 0) for _ in range(20)}
    assert len(numbers) > 10
    assert all(1 <= number < 2**31 for number in numbers)


def test_repeats_double_without_a_limit_until_64_t1_and_then_it_fails_once() -> None:
    machine = sender()
    (sent,) = machine.send(progress(), 10.0)
    events = run(machine, 10.0, 100)
    assert [when - 10.0 for when, _ in events] == pytest.approx([T1 * n for n in (1, 3, 7, 15, 31, 63, 64)])
    assert [event for _, event in events] == [sent] * 6 + [Failed("timeout")]
    assert machine.next_deadline is None
    assert machine.tick(1000.0) == []


def test_nothing_is_due_before_its_time() -> None:
    machine = sender()
    assert machine.next_deadline is None
    assert machine.tick(0.0) == []
    machine.send(progress(), 0.0)
    assert machine.tick(T1 * 0.9) == []


def test_a_prack_ends_the_repeats() -> None:
    machine = sender()
    machine.send(progress(), 0.0)
    machine.acknowledge(rack(100), 0.1)
    assert machine.outstanding is None
    assert machine.next_deadline is None
    assert machine.tick(100.0) == []


def test_one_at_a_time_the_next_leaves_with_the_prack_and_has_all_its_time() -> None:
    machine = sender()
    machine.send(progress(status=180), 0.0)
    assert machine.send(progress(status=183), 0.0) == []
    assert machine.send(progress(status=182), 0.0) == []
    run(machine, 0.0, 4)
    (second,) = machine.acknowledge(rack(100), 30.0)
    assert (second.status, second.header("RSeq")) == (183, "101")
    assert machine.next_deadline == pytest.approx(30.0 + T1)
    events = run(machine, 30.0, 100)
    assert events[-1] == (pytest.approx(30.0 + 64 * T1), Failed("timeout"))
    assert len(events) == 7


@pytest.mark.parametrize(
    "wrong", [RAck(101, INVITE), RAck(99, INVITE), RAck(100, CSeq(8, "INVITE")), RAck(100, CSeq(7, "UPDATE"))]
)
def test_a_prack_for_something_else_is_481_and_changes_nothing(wrong: RAck) -> None:
    machine = sender()
    machine.send(progress(), 0.0)
    before = machine.next_deadline
    with pytest.raises(SipError) as caught:
        machine.acknowledge(wrong, 0.1)
    assert caught.value.status == 481
    assert machine.next_deadline == before
    machine.acknowledge(rack(100), 0.2)
    with pytest.raises(SipError):
        machine.acknowledge(rack(100), 0.3)


def test_a_prack_without_any_reliable_answer_is_481() -> None:
    with pytest.raises(SipError) as caught:
        sender().acknowledge(rack(99), 0.0)
    assert caught.value.status == 481


def test_after_the_final_answer_nothing_is_repeated_but_a_late_prack_is_welcome() -> None:
    machine = sender()
    machine.send(progress(), 0.0)
    machine.send(progress(status=182), 0.0)
    machine.stop()
    assert machine.next_deadline is None
    assert machine.tick(0.5) == []
    assert machine.acknowledge(rack(100), 0.6) == []


def test_the_2xx_waits_for_a_description_only() -> None:
    machine = sender()
    machine.send(progress(status=180), 0.0)
    assert not machine.description_pending
    machine.send(progress(body=b"v=0"), 0.0)
    assert machine.description_pending
    machine.acknowledge(rack(100), 0.1)
    assert machine.description_pending
    machine.acknowledge(rack(101), 0.2)
    assert not machine.description_pending


# The side that asks.


def test_each_number_in_order_is_acknowledged_once() -> None:
    receiver = ReliableReceiver()
    verdicts = [receiver.accept(progress(str(rseq))) for rseq in (100, 100, 101, 103, 100, 102, 103)]
    assert [verdict.process for verdict in verdicts] == [True, False, True, False, False, True, True]
    assert [verdict.rack and verdict.rack.rseq for verdict in verdicts] == [100, None, 101, None, None, 102, 103]
    assert str(verdicts[0].rack) == "100 7 INVITE"


def test_each_branch_of_a_fork_and_each_try_of_the_request_counts_for_itself() -> None:
    receiver = ReliableReceiver()
    for response in (progress("100"), progress("500", tag=";tag=b"), progress("7", cseq=8)):
        assert receiver.accept(response).rack is not None
    assert receiver.accept(progress("501", tag=";tag=b")).rack == rack(501)


@pytest.mark.parametrize(
    "response",
    [
        progress(),
        progress("x"),
        progress("0"),
        progress("4294967296"),
        progress("100", tag=""),
        progress("100", status=100),
        progress("100", status=200),
        Response(Headers.make((("To", "<sip:b@h>;tag=a"), ("CSeq", "7 INVITE"), ("RSeq", "1"))), b"", 183, ""),
    ],
)
def test_what_cannot_be_acknowledged_is_an_ordinary_answer(response: Response) -> None:
    receiver = ReliableReceiver()
    for _ in range(2):
        receipt = receiver.accept(response)
        assert receipt.process
        assert receipt.rack is None


def test_a_flood_of_branches_is_bounded() -> None:
    receiver = ReliableReceiver()
    verdicts = [receiver.accept(progress("1", tag=f";tag={number}")) for number in range(10 * MAX_BRANCHES)]
    assert sum(verdict.rack is not None for verdict in verdicts) == MAX_BRANCHES
    assert receiver.accept(progress("2", tag=";tag=0")).rack is not None
