"""A call that has ended is freed with its last transaction, by reference counts alone."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from weakref import ref

import pytest

from bridge.sip.digest import Authenticator, Credentials
from bridge.sip.errors import SipError
from bridge.sip.gate import OpenGate
from bridge.sip.policy import Policy
from bridge.sip.session import Session
from bridge.sip.uri import Uri
from tests.counted import in_cycles, uncollected

from .calls import MOVED, Call
from .stack import ANSWER, OFFER, Stack, confirmed, inside, invite, reply, request, tag_of, talking

AFTER_S = 70.0
"""Twice 64*T1: an INVITE's life, and a BYE's of a call that nobody acknowledged."""


@pytest.fixture(autouse=True)
def counted() -> Iterator[None]:
    with uncollected():
        yield


def he_hangs_up(stack: Stack) -> Session:
    call, tag = confirmed(stack)
    stack.receive(request("BYE", cseq=2, branch="z9hG4bKbye", to_tag=tag))
    return call


def we_hang_up(stack: Stack) -> Session:
    call, _ = confirmed(stack)
    call.hang_up()
    stack.receive(reply(stack.request("BYE"), 200, tag="a"))
    return call


def nobody_answers_our_bye(stack: Stack) -> Session:
    call, _ = confirmed(stack)
    call.hang_up()
    return call


def it_is_never_acknowledged(stack: Stack) -> Session:
    stack.receive(invite())
    stack.calls[0].answer(ANSWER)
    return stack.calls[0]


def it_is_hung_up_before_the_ack(stack: Stack) -> Session:
    call = it_is_never_acknowledged(stack)
    call.hang_up()
    return call


def it_is_refused(stack: Stack) -> Session:
    stack.receive(invite())
    stack.calls[0].reject(486)
    stack.receive(request("ACK", to_tag=tag_of(stack.take()[-1])))
    return stack.calls[0]


def it_is_cancelled(stack: Stack) -> Session:
    stack.receive(invite())
    stack.calls[0].ring()
    stack.receive(request("CANCEL"))
    return stack.calls[0]


def it_rings_reliably(stack: Stack) -> Session:
    stack.receive(invite(extra="Supported: 100rel\r\n"))
    call = stack.calls[0]
    call.progress(ANSWER)
    tag = tag_of(stack.take()[-1])
    call.answer(ANSWER)
    stack.receive(request("BYE", cseq=3, branch="z9hG4bKbye", to_tag=tag))
    return call


def he_refers(stack: Stack) -> Session:
    call, tag = confirmed(stack)
    call.on_refer = lambda referred: True
    refer = request("REFER", cseq=2, branch="z9hG4bKrefer", to_tag=tag, extra="Refer-To: <sip:200@192.0.2.1>\r\n")
    stack.receive(refer)
    stack.receive(request("BYE", cseq=3, branch="z9hG4bKbye", to_tag=tag))
    return call


def we_refer(stack: Stack) -> Session:
    call, tag = confirmed(stack)
    told: list[int] = []
    call.refer(Uri.parse("sip:200@192.0.2.1"), lambda status, final: told.append(status))
    stack.receive(reply(stack.request("REFER"), 202, tag="a"))
    stack.receive(request("BYE", cseq=2, branch="z9hG4bKbye", to_tag=tag))
    return call


def it_has_a_timer(stack: Stack) -> Session:
    call, tag = confirmed(stack, extra="Supported: timer\r\nSession-Expires: 1800;refresher=uas\r\n")
    stack.receive(request("BYE", cseq=2, branch="z9hG4bKbye", to_tag=tag))
    return call


def he_answers_and_hangs_up(stack: Stack) -> Session:
    call, asked = talking(stack)
    stack.receive(inside(asked, "BYE"))
    return call


def he_is_busy(stack: Stack) -> Session:
    call = stack.call()
    stack.advance(0.0)
    stack.receive(reply(stack.request("INVITE"), 486))
    return call


def he_rings_and_we_give_up(stack: Stack) -> Session:
    call = stack.call()
    stack.advance(0.0)
    asked = stack.request("INVITE")
    stack.receive(reply(asked, 180))
    call.cancel()
    stack.receive(reply(stack.request("CANCEL"), 200))
    stack.receive(reply(asked, 487))
    return call


def he_never_says_anything(stack: Stack) -> Session:
    return stack.call()


def he_has_moved(stack: Stack) -> Session:
    call = stack.call(redirects=lambda uri: True)
    stack.advance(0.0)
    stack.receive(reply(stack.request("INVITE"), 302))
    return call


def he_wants_a_password(stack: Stack) -> Session:
    call = stack.call(authenticator=Authenticator((Credentials("600", "secret"),)))
    stack.advance(0.0)
    challenge = 'Proxy-Authenticate: Digest realm="r", nonce="n", algorithm=MD5'
    stack.receive(reply(stack.request("INVITE"), 407, extra=challenge))
    asked = stack.take()[-1]
    stack.receive(reply(asked, 200, body=OFFER))  # type: ignore[arg-type]
    stack.take()
    call.hang_up()
    return call


def his_name_is_not_known(stack: Stack) -> Session:
    return stack.call("sip:bob@nowhere.test")


ENDS = [each for name, each in list(globals().items()) if name.startswith(("he_", "his_", "it_", "we_", "nobody_"))]


@pytest.mark.parametrize("reliable", [False, True], ids=["udp", "tcp"])
@pytest.mark.parametrize("end", ENDS, ids=lambda end: end.__name__)
def test_each_end(end: Callable[[Stack], Session], reliable: bool) -> None:
    stack = Stack(reliable=reliable, policy=Policy(reliable="supported") if "reliably" in end.__name__ else None)
    call = ref(end(stack))
    stack.calls.clear()
    stack.take()
    stack.advance(4 * AFTER_S)
    assert stack.empty
    assert call() is None, "still held, or in a cycle"
    assert in_cycles() == {}


def test_a_change_that_finds_no_way_to_the_peer() -> None:
    stack = Stack()
    call, asked = talking(stack)
    stack.addresses["192.0.2.1"] = []
    results: list[int] = []
    call.reinvite(MOVED, lambda status, answer: results.append(status))
    stack.advance(0.0)
    assert results == [503]
    stack.receive(inside(asked, "BYE"))
    known = ref(call)
    del call
    stack.take()
    stack.advance(AFTER_S)
    assert known() is None
    assert in_cycles() == {}


class Owner:
    """Of a transfer."""

    def told(self, status: int, final: bool) -> None: ...


@pytest.mark.parametrize("end", ["stopped", "refused", "hung up"])
def test_whoever_hears_of_a_transfer_is_not_kept_by_a_call_that_is_over(end: str) -> None:
    stack, owner = Stack(), Owner()
    call, tag = confirmed(stack)
    transfer, known = call.refer(Uri.parse("sip:200@192.0.2.1"), owner.told), ref(owner)
    asked = stack.request("REFER")
    if end == "refused":
        stack.receive(reply(asked, 603, tag="a"))
    elif end == "hung up":
        stack.receive(request("BYE", cseq=2, branch="z9hG4bKbye", to_tag=tag))
    else:
        transfer.stop()
    del owner
    assert known() is None


@pytest.mark.parametrize("answered", ["200", "491", "nothing"])
@pytest.mark.parametrize("method", ["INVITE", "UPDATE"])
@pytest.mark.parametrize("ours", [True, False], ids=["ours", "theirs"])
def test_a_change_inside_it(method: str, ours: bool, answered: str) -> None:
    call = Call(ours=ours, extra="Allow: INVITE, UPDATE\r\n" if not ours else "")
    stack, session = call.stack, ref(call.session)
    call.change(method, MOVED)
    if answered != "nothing":
        call.answered(call.asked(method), int(answered), body=OFFER if answered == "200" else "")
    call.session.hang_up()
    del call
    stack.calls.clear()
    stack.take()
    stack.advance(8 * AFTER_S)
    assert stack.empty
    assert session() is None
    assert in_cycles() == {}


def test_an_invite_that_the_gate_refuses() -> None:
    class Shut(OpenGate):
        def judge(self, *_: object) -> SipError:
            return SipError(503)

    stack = Stack(gate=Shut())
    stack.receive(invite())
    assert stack.statuses() == [503]
    assert in_cycles() == {}
