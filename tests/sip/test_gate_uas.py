"""The gate in front of the server: silence, refusals that cost nothing, and who is let in."""

from __future__ import annotations

import pytest

from bridge.sip.errors import SipError
from bridge.sip.gate import Admitted, Silence, Verdict
from bridge.sip.layer import Path
from bridge.sip.message import Request, parse
from bridge.sip.registrar import Registrar
from bridge.sip.via import reply_to

from .stack import ANSWER, PEER, Stack, invite, request

STRANGER = ("203.0.113.9", 5060)
METHODS = ("INVITE", "OPTIONS", "REGISTER", "BYE", "INFO", "NOVEL", "SUBSCRIBE", "MESSAGE", "PRACK", "REFER")
LOCKED = SipError(403, reason="not_allowed", headers=(("Warning", '399 x "not_allowed"'),))


class Porter:
    """A gate that says what it is told to, and remembers whom it judged."""

    def __init__(self, verdict: Verdict, answers: bool = True) -> None:
        self.verdict = verdict
        self.is_open = answers
        self.judged: list[tuple[str, tuple[str, int], str]] = []
        self.asked: list[str] = []
        self.refusals: list[tuple[str, tuple[str, int], str]] = []

    def judge(self, request: Request, source: tuple[str, int], transport: str) -> Verdict:
        self.judged.append((request.method, source, transport))
        return self.verdict

    def refused(self, request: Request, source: tuple[str, int], error: SipError) -> SipError:
        self.refusals.append((request.method, source, error.reason))
        return LOCKED

    def answers(self, host: str) -> bool:
        self.asked.append(host)
        return self.is_open


def kept(stack: Stack) -> bool:
    """Whether anything of a request is left, answers aside."""
    return not stack.empty or stack.alarms.next_deadline is not None


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("to_tag", [None, "nobody"])
def test_silence_sends_nothing_keeps_nothing_and_counts(method: str, to_tag: str | None) -> None:
    porter = Porter(Silence("scanner"))
    stack = Stack(gate=porter)
    for _ in range(3):
        stack.receive(request(method, to_tag=to_tag), STRANGER)
    assert stack.take() == []
    assert stack.core.stats.dropped == {"scanner": 3}
    assert stack.calls == []
    assert not kept(stack)
    assert porter.judged[0] == (method, STRANGER, "UDP")


@pytest.mark.parametrize(
    "text", [request("CANCEL"), request("CANCEL", to_tag="x"), request("ACK"), request("ACK", to_tag="x")]
)
def test_a_stranger_hears_nothing_for_what_belongs_to_nothing(text: str) -> None:
    stack = Stack(gate=Porter(Silence("scanner"), answers=False))
    stack.receive(text, STRANGER)
    assert stack.take() == []
    assert sum(stack.core.stats.dropped.values()) == 1
    assert not kept(stack)


def malformed(stack: Stack) -> None:
    """As the user agent does it."""
    data = request("OPTIONS").replace("CSeq: 1", "CSeq: x").encode()
    with pytest.raises(SipError) as raised:
        parse(data)
    asked = raised.value.request
    assert asked is not None
    path = Path(stack.wire, reply_to(asked.via, STRANGER))
    stack.server.refuse_malformed(asked.stamped(STRANGER), path, STRANGER, raised.value)


def test_a_malformed_message_is_answered_only_where_the_gate_says_so() -> None:
    porter = Porter(Admitted("pbx"), answers=False)
    stack = Stack(gate=porter)
    malformed(stack)
    assert (stack.take(), porter.asked) == ([], [STRANGER[0]])
    assert stack.core.stats.dropped == {"malformed": 1}
    porter.is_open = True
    malformed(stack)
    assert stack.wire.sent[0][0].startswith(b"SIP/2.0 400 ")
    assert stack.core.stats.received == {"OPTIONS": 2}


@pytest.mark.parametrize("method", METHODS)
def test_a_refusal_is_answered_without_keeping_anything(method: str) -> None:
    stack = Stack(gate=Porter(LOCKED))
    tags = set()
    for _ in range(3):
        stack.receive(request(method), STRANGER)
        answer = stack.answer()
        assert (answer.status, answer.header("Warning")) == (403, '399 x "not_allowed"')
        assert answer.header("Server") == "sipbridge"
        tags.add(answer.to.tag)
        assert not kept(stack)
    assert len(tags) == 1  # each repeat is the same answer
    assert stack.core.stats.answers == {403: 3}


def test_the_ack_of_such_a_refusal_is_dropped() -> None:
    stack = Stack(gate=Porter(LOCKED))
    stack.receive(invite(), STRANGER)
    tag = stack.answer().to.tag
    stack.receive(request("ACK", to_tag=tag), STRANGER)
    assert stack.take() == []
    assert not kept(stack)


def test_whom_the_gate_lets_in_is_known_to_the_call() -> None:
    admitted = Admitted("pbx", "600", True)
    porter = Porter(admitted)
    stack = Stack(gate=porter, reliable=True)
    stack.receive(invite(), STRANGER)
    (call,) = stack.calls
    assert (call.admitted, call.source, call.transport) == (admitted, STRANGER, "TCP")
    assert porter.judged == [("INVITE", STRANGER, "TCP")]


def test_inside_a_call_nobody_is_asked_again() -> None:
    porter = Porter(Admitted("pbx"))
    stack = Stack(gate=porter)
    stack.receive(invite())
    stack.receive(invite())
    call = stack.calls[0]
    call.answer(ANSWER)
    porter.verdict, porter.is_open = Silence("scanner"), False
    stack.take()
    stack.receive(request("ACK", branch="z9hG4bKa", to_tag=call.tag))
    stack.receive(request("OPTIONS", branch="z9hG4bKo", to_tag=call.tag, cseq=2))
    stack.receive(request("BYE", branch="z9hG4bKb", to_tag=call.tag, cseq=3))
    assert stack.statuses() == [200, 200]
    assert len(porter.judged) == 1


def test_a_cancel_of_a_call_that_was_let_in_is_taken() -> None:
    porter = Porter(Admitted("pbx"))
    stack = Stack(gate=porter)
    stack.receive(invite())
    porter.verdict, porter.is_open = Silence("scanner"), False
    stack.take()
    stack.receive(request("CANCEL"), PEER)
    assert stack.statuses() == [200, 487]


def test_who_is_let_in_is_still_refused_what_we_do_not_do() -> None:
    stack = Stack(gate=Porter(Admitted("pbx")))
    for method, status in (("REGISTER", 405), ("NOVEL", 501), ("BYE", 481)):
        stack.receive(request(method))
        assert stack.statuses() == [status]
    assert not kept(stack)


def test_the_gate_hears_of_what_the_registrar_refuses_and_has_the_last_word() -> None:
    porter = Porter(Admitted("pbx"))
    stack = Stack(gate=porter, registrar=Registrar("bridge", {}, lambda: 0.0))
    stack.receive(request("REGISTER"), STRANGER)
    assert stack.answer().header("Warning") == '399 x "not_allowed"'
    assert porter.refusals == [("REGISTER", STRANGER, "challenged")]


def test_a_full_house_refuses_without_keeping_anything() -> None:
    stack = Stack(gate=Porter(Admitted("pbx")), limit=1)
    stack.receive(invite())
    stack.take()
    stack.receive(invite(call_id="c2", branch="z9hG4bK2"))
    answer = stack.answer()
    assert (answer.status, answer.header("Retry-After") is not None) == (503, True)
    assert len(stack.calls) == 1
    assert stack.core.stats.transactions == 1
