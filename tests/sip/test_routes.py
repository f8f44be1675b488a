"""Which way requests inside a call take: routes, targets, and connections that stand (RFC 3261 12, 16.12; RFC 5626)."""

from __future__ import annotations

import pytest

from bridge.sip.layer import Path
from bridge.sip.message import Request
from bridge.sip.session import Session

from .stack import ANSWER, OFFER, Stack, confirmed, inside, invite, reply, request, talking

LOOSE = "<sip:192.0.2.71;lr>, <sip:192.0.2.72;lr>"
STRICT = "<sip:192.0.2.71>, <sip:192.0.2.72>"
MIXED = "<sip:192.0.2.71>, <sip:192.0.2.72;lr>"
OURS = ("192.0.2.71", "192.0.2.72")
"""The proxies as the caller sees them from left to right."""

Lines = tuple[str, str, list[str]]


def line(stack: Stack, method: str) -> Lines:
    """Host, Request-URI and routes of the only request that went out."""
    ((host, _),) = stack.peers()
    message = stack.request(method)
    return host, message.uri.text, message.headers("Route")


def expected(routes: str, target: str, *, ours: bool) -> Lines:
    """What RFC 3261 section 12.2.1.1 makes of a Record-Route."""
    way = [route.strip() for route in routes.split(",")]
    if ours:
        way.reverse()
    first = way[0]
    host = first.strip("<>").removeprefix("sip:").partition(";")[0]
    if ";lr" in first:
        return host, target, way
    return host, first.strip("<>"), [*way[1:], f"<{target}>"]


def through_everything(stack: Stack, session: Session, routes: str, target: str, tag: str, *, ours: bool) -> None:
    """UPDATE, re-INVITE, its ACK, INFO and BYE all take the same way."""
    wanted = expected(routes, target, ours=ours)
    session.update(b"", lambda status, answer: None)
    ((host, _),) = stack.peers()
    asked = stack.request("UPDATE")
    assert (host, asked.uri.text, asked.headers("Route")) == wanted
    answer = asked.response(200, tag=tag, headers=[("Record-Route", "<sip:192.0.2.99;lr>")])
    stack.receive(bytes(answer))
    session.reinvite(ANSWER.replace(b"5000", b"5002"), lambda status, answer: None)
    asked = next(item for item in stack.take() if isinstance(item, Request))
    assert (asked.uri.text, asked.headers("Route")) == wanted[1:]
    headers = [("Content-Type", "application/sdp"), ("Record-Route", "<sip:192.0.2.99;lr>")]
    stack.receive(bytes(asked.response(200, tag=tag, headers=headers, body=OFFER.encode())))
    assert line(stack, "ACK") == wanted  # the route set never changes (section 12.2.1.2)
    session.info("application/dtmf", b"5")
    assert line(stack, "INFO") == wanted
    session.hang_up()
    assert line(stack, "BYE") == wanted


@pytest.mark.parametrize("routes", [LOOSE, STRICT, MIXED])
def test_a_call_that_came_by_proxies(routes: str) -> None:
    stack = Stack()
    call, _ = confirmed(stack, extra=f"Record-Route: {routes}\r\n")
    through_everything(stack, call, routes, "sip:alice@192.0.2.1:5060", "a", ours=False)


@pytest.mark.parametrize("routes", [LOOSE, STRICT, MIXED])
def test_a_call_of_ours_by_proxies(routes: str) -> None:
    stack = Stack()
    call = stack.call()
    stack.advance(0.0)
    stack.receive(reply(stack.request("INVITE"), 200, body=OFFER, extra=f"Record-Route: {routes}"))
    assert line(stack, "ACK") == expected(routes, "sip:bob@192.0.2.1:5060", ours=True)
    through_everything(stack, call, routes, "sip:bob@192.0.2.1:5060", "b", ours=True)


def test_our_200_says_the_route_back() -> None:
    stack = Stack()
    stack.receive(invite(extra=f"Record-Route: {LOOSE}\r\n"))
    stack.calls[0].answer(ANSWER)
    assert stack.take()[-1].headers("Record-Route") == LOOSE.split(", ")


def test_an_outbound_proxy_is_the_first_hop_of_the_invite_alone() -> None:
    stack = Stack()
    call = stack.call(routes=["<sip:192.0.2.80;lr>"])
    stack.advance(0.0)
    assert stack.peers() == [("192.0.2.80", 5060)]
    asked = stack.request("INVITE")
    assert (asked.uri.text, asked.headers("Route")) == ("sip:bob@192.0.2.1", ["<sip:192.0.2.80;lr>"])
    stack.receive(reply(asked, 200, body=OFFER))
    assert line(stack, "ACK") == ("192.0.2.1", "sip:bob@192.0.2.1:5060", [])
    call.hang_up()
    assert line(stack, "BYE") == ("192.0.2.1", "sip:bob@192.0.2.1:5060", [])


# A caller who is reachable only the way he came

SOURCE = ("192.0.2.1", 40123)


def came(*, reliable: bool = False, extra: str = "", via: str = "192.0.2.1:5060", rport: bool = True) -> Stack:
    """A call whose messages come from SOURCE; its Contact names the port 5060."""
    stack = Stack(reliable=reliable)
    if reliable:
        stack.wire.open.add(SOURCE)
    port = ";rport" if rport else ""
    for text in (invite(extra=extra), request("ACK", branch="z9hG4bKack", to_tag="@")):
        if text.startswith("ACK"):
            stack.calls[0].answer(ANSWER)
            text = text.replace("tag=@", f"tag={stack.calls[0].tag}")
        stack.receive(text.replace("192.0.2.1:5060;branch", f"{via}{port};branch"), SOURCE)
    stack.take()
    return stack


def goodbye(stack: Stack) -> tuple[str, int]:
    stack.calls[0].hang_up()
    (peer,) = stack.peers()
    assert stack.request("BYE").uri.text == "sip:alice@192.0.2.1:5060"
    return peer


def test_over_tcp_the_callers_connection_is_used_while_it_stands() -> None:
    assert goodbye(came(reliable=True)) == SOURCE
    stack = came(reliable=True)
    stack.wire.open.clear()
    assert goodbye(stack) == ("192.0.2.1", 5060)


def test_over_udp_a_phone_behind_nat_is_answered_where_it_came_from() -> None:
    assert goodbye(came(via="10.0.0.5:5060")) == SOURCE
    assert goodbye(came()) == ("192.0.2.1", 5060)


@pytest.mark.parametrize("reliable", [True, False])
@pytest.mark.parametrize(
    "extra", ["Via: SIP/2.0/UDP 192.0.2.3;branch=z9hG4bKfirst\r\n", "Record-Route: <sip:192.0.2.1;lr>\r\n"]
)
def test_behind_a_proxy_the_contact_or_the_route_counts(extra: str, reliable: bool) -> None:
    assert goodbye(came(reliable=reliable, via="10.0.0.5:5060", extra=extra)) == ("192.0.2.1", 5060)


def test_a_connection_that_breaks_under_a_bye_is_replaced_by_one_to_the_contact() -> None:
    stack = came(reliable=True)
    assert goodbye(stack) == SOURCE
    stack.wire.open.clear()
    stack.core.layer.lost(stack.wire, SOURCE)
    assert stack.peers() == [("192.0.2.1", 5060)]
    stack.receive(reply(stack.request("BYE"), 200, tag="a"))
    stack.advance(0.0)
    assert stack.ended == ["hung_up"]


@pytest.mark.parametrize("reliable", [True, False])
@pytest.mark.parametrize("method", ["INVITE", "UPDATE"])
def test_a_phone_that_comes_another_way_is_answered_there(method: str, reliable: bool) -> None:
    """Its NAT has forgotten it, or its connection broke: the next offer shows where it is."""
    stack = came(reliable=reliable, via="10.0.0.5:5060")
    call = stack.calls[0]
    call.on_offer = lambda offer: ANSWER
    other = ("192.0.2.1", 50999)
    stack.wire.open = {other}
    text = request(method, to_tag=call.tag, cseq=2, branch="z9hG4bKmoved", body=OFFER)
    stack.receive(text.replace("192.0.2.1:5060;branch", "10.0.0.5:5060;rport;branch"), other)
    stack.receive(request("ACK", to_tag=call.tag, cseq=2, branch="z9hG4bKmovedack"))
    stack.take()
    assert goodbye(stack) == other


def test_the_far_end_of_our_call_may_move_too() -> None:
    stack = Stack()
    call, asked = talking(stack)
    call.on_offer = lambda offer: ANSWER
    text = inside(asked, "INVITE", body=OFFER).replace("192.0.2.1:5060;branch", "10.0.0.5:5060;rport;branch")
    stack.receive(text, ("192.0.2.9", 7777))
    stack.receive(inside(asked, "ACK", branch="z9hG4bKack"))
    stack.take()
    call.hang_up()
    assert stack.peers() == [("192.0.2.9", 7777)]


def test_a_proxy_that_stays_in_the_way_comes_before_a_connection() -> None:
    stack = Stack(reliable=True)
    flow = ("192.0.2.99", 31000)
    stack.wire.open.add(flow)
    call = stack.call(flow=Path(stack.wire, flow))
    stack.advance(0.0)
    stack.receive(reply(stack.request("INVITE"), 200, body=OFFER, extra="Record-Route: <sip:192.0.2.71;lr>"))
    assert stack.peers() == [("192.0.2.71", 5060)]
    stack.take()
    call.hang_up()
    assert stack.peers() == [("192.0.2.71", 5060)]
