"""What requests get that are no plain call (RFC 3261 section 8.2)."""

from __future__ import annotations

import pytest

from bridge.sip.bodies import ACCEPT
from bridge.sip.message import Response

from .stack import OFFER, Stack, invite, request

ALLOW = "INVITE, ACK, BYE, CANCEL, OPTIONS, PRACK, UPDATE, INFO, REFER, NOTIFY"


def only(stack: Stack) -> Response:
    """The one final answer that went out."""
    (answer,) = [item for item in stack.take() if isinstance(item, Response) and item.status != 100]
    return answer


@pytest.mark.parametrize(
    ("text", "status", "header"),
    [
        (request("REGISTER"), 405, ("Allow", ALLOW)),
        (request("MESSAGE"), 405, ("Allow", ALLOW)),
        (request("FROB"), 501, None),
        (request("invite"), 501, None),
        (invite(kind="text/plain"), 415, ("Accept", ACCEPT)),
        (invite(extra="Content-Encoding: gzip\r\n"), 415, ("Accept-Encoding", "identity")),
        (invite(uri="urn:service:sos"), 416, None),
        (request("OPTIONS", uri="mailto:x"), 416, None),
        (invite(extra="Require: path, timer\r\n"), 420, ("Unsupported", "path")),
        (request("OPTIONS", extra="Require: x\r\n"), 420, ("Unsupported", "x")),
        (request("BYE", to_tag="x"), 481, None),
        (request("BYE"), 481, None),
        (request("CANCEL"), 481, None),
        (request("INFO", to_tag="x"), 481, None),
        (request("OPTIONS", to_tag="x"), 481, None),
        (invite(to_tag="x"), 481, None),
        (invite(body="nonsense"), 400, None),
        (invite().replace("Content-Type: application/sdp\r\n", ""), 400, None),
        (invite(extra="Record-Route: nonsense\r\n"), 400, None),
    ],
)
def test_refusals(text: str, status: int, header: tuple[str, str] | None) -> None:
    stack = Stack()
    stack.receive(text)
    answer = only(stack)
    assert answer.status == status
    assert answer.to.tag
    if header is not None:
        assert answer.header(header[0]) == header[1]
    assert stack.calls == []
    stack.advance(32.0)
    assert stack.empty


@pytest.mark.parametrize(
    "text",
    [
        invite(uri="sips:600@h"),
        invite(uri="tel:+12015550123"),
        invite(kind="Application/SDP; charset=utf-8"),
        invite().replace("Max-Forwards: 70\r\n", ""),
        invite(branch="old-style"),
        invite().replace(";branch=z9hG4bK1", ""),
        invite(extra="Require: \r\n"),
    ],
)
def test_calls_that_are_a_little_odd_are_taken(text: str) -> None:
    stack = Stack()
    stack.receive(text)
    stack.receive(text)
    assert len(stack.calls) == 1


def test_a_refused_invite_is_repeated_until_its_ack() -> None:
    stack = Stack()
    stack.receive(invite(kind="text/plain"))
    first = only(stack)
    stack.advance(0.5)
    assert bytes(only(stack)) == bytes(first)
    stack.receive(invite(kind="text/plain"))
    assert bytes(only(stack)) == bytes(first)
    stack.receive(request("ACK", to_tag=first.to.tag))
    stack.advance(10.0)
    assert stack.take() == []
    assert stack.empty


def test_options_say_what_we_can_do_and_whether_we_are_there() -> None:
    stack = Stack()
    stack.receive(request("OPTIONS"))
    answer = only(stack)
    assert answer.status == 200
    assert answer.header("Allow") == ALLOW
    assert answer.header("Accept") == ACCEPT
    assert answer.header("Supported") == "100rel, timer, replaces, norefersub"
    stack.availability = 503
    stack.receive(request("OPTIONS"))
    answer = only(stack)
    assert (answer.status, answer.header("Retry-After") is not None) == (503, True)
    assert stack.empty


def test_stateless_answers_have_one_tag_for_all_repeats() -> None:
    stack = Stack()
    tags = set()
    for _ in range(3):
        stack.receive(request("OPTIONS"))
        tags.add(only(stack).to.tag)
    assert len(tags) == 1
    stack.receive(request("OPTIONS", call_id="c2"))
    assert only(stack).to.tag not in tags


def test_a_merged_options_is_refused() -> None:
    stack = Stack()
    stack.receive(invite())
    stack.take()
    stack.receive(invite(branch="z9hG4bKother"))
    assert only(stack).status == 482


def test_a_flood_of_invites_is_bounded() -> None:
    stack = Stack(limit=50)
    for number in range(200):
        stack.receive(invite(branch=f"z9hG4bK{number}", call_id=f"flood{number}"))
    assert len(stack.calls) == 50
    assert stack.core.stats.transactions == 50
    refused = [item for item in stack.take() if isinstance(item, Response) and item.status == 503]
    assert len(refused) == 150
    assert all(item.header("Retry-After") for item in refused)


def test_a_call_survives_the_flood() -> None:
    stack = Stack(limit=50)
    stack.receive(invite())
    stack.calls[0].answer(OFFER.encode())
    tag = stack.take()[-1].to.tag
    for number in range(200):
        stack.receive(invite(branch=f"z9hG4bK{number}", call_id=f"flood{number}"))
    stack.take()
    stack.receive(request("ACK", branch="z9hG4bKack", to_tag=tag))
    stack.receive(request("BYE", branch="z9hG4bKbye", to_tag=tag, cseq=2))
    assert only(stack).status == 200


def test_answers_go_back_where_the_rules_say() -> None:
    stack = Stack()
    stack.receive(request("OPTIONS"), ("192.0.2.9", 7000))
    stack.receive(request("OPTIONS").replace(";branch", ";rport;branch"), ("192.0.2.9", 7000))
    assert [peer for _, peer in stack.wire.sent] == [("192.0.2.9", 5060), ("192.0.2.9", 7000)]
    plain, asked = stack.take()
    assert plain.header("Via") == "SIP/2.0/UDP 192.0.2.1:5060;branch=z9hG4bK1;received=192.0.2.9"
    assert asked.header("Via") == "SIP/2.0/UDP 192.0.2.1:5060;branch=z9hG4bK1;rport=7000;received=192.0.2.9"


def test_unknown_methods_share_one_counter() -> None:
    stack = Stack()
    for number in range(20):
        stack.receive(request(f"M{number}"))
    stack.receive(request("OPTIONS"))
    assert stack.core.stats.received == {"other": 20, "OPTIONS": 1}
