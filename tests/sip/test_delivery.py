"""One request of ours, whatever it takes: servers in turn, challenges, connections that go (RFC 3263, RFC 3261 22)."""

from __future__ import annotations

import pytest

from bridge.sip.delivery import CHALLENGES_ANSWERED, PENALTY_S, Delivery
from bridge.sip.digest import Authenticator, Credentials
from bridge.sip.headers import Headers
from bridge.sip.layer import Path
from bridge.sip.message import Request, Response
from bridge.sip.uri import Uri

from .stack import PEER, Stack, invite, reply

FIRST, SECOND, THIRD = (f"192.0.2.{number}" for number in (51, 52, 53))
HOP = Uri.parse("sip:pbx.example")
FLOW = ("192.0.2.99", 31000)


class Parcel:
    """A delivery, and what came of it."""

    def __init__(self, stack: Stack, method: str = "OPTIONS", **options: object) -> None:
        self.stack, self.method = stack, method
        self.cseq = 0
        self.told: list[object] = []
        self.delivery: Delivery = stack.core.deliver(
            HOP, self._make, on_response=self._responded, on_failure=self.told.append, **options
        )  # type: ignore[arg-type]

    def _make(self, path: Path) -> Request:
        self.cseq += 1
        pairs = [
            ("Via", self.stack.core.via(path)),
            ("From", "<sip:us@192.0.2.10>;tag=u"),
            ("To", "<sip:pbx.example>"),
            ("Call-ID", "parcel"),
            ("CSeq", f"{self.cseq} {self.method}"),
            ("Contact", self.stack.core.contact(path)),
        ]
        return Request(Headers.make(pairs), b"", self.method, HOP)

    def _responded(self, response: Response) -> None:
        self.told.append(response.status)


def pbx(*hosts: str, **options: object) -> Stack:
    stack = Stack(**options)  # type: ignore[arg-type]
    stack.addresses["pbx.example"] = list(hosts or (FIRST, SECOND))
    return stack


def hosts(stack: Stack) -> list[str]:
    """The hosts that something went to since the last time."""
    sent = [host for host, _ in stack.peers()]
    stack.take()
    return sent


def fail(stack: Stack, way: str, asked: Request, peer: str) -> None:
    """Let a try fail."""
    if way == "503":
        stack.receive(reply(asked, 503), (peer, 5060))
    elif way == "timeout":
        stack.advance(32.0)
    elif way == "lost":
        stack.core.layer.lost(stack.wire, (peer, 5060))


@pytest.mark.parametrize("way", ["503", "timeout", "lost"])
def test_servers_are_tried_in_turn(way: str) -> None:
    stack = pbx(FIRST, SECOND, THIRD, reliable=True)
    parcel = Parcel(stack)
    branches = set()
    for host in (FIRST, SECOND):
        assert stack.peers() == [(host, 5060)]
        asked = stack.request("OPTIONS")
        branches.add(asked.via.branch)
        fail(stack, way, asked, host)
    assert parcel.told == []
    assert stack.peers() == [(THIRD, 5060)]
    asked = stack.request("OPTIONS")
    assert len({*branches, asked.via.branch}) == 3
    assert asked.cseq.number == 3
    stack.receive(reply(asked, 200))
    assert parcel.told == [200]


def test_a_server_that_cannot_be_sent_to_is_passed_over() -> None:
    stack = pbx()
    stack.wire.dead.add((FIRST, 5060))
    parcel = Parcel(stack)
    assert stack.peers() == []
    stack.advance(0.0)
    assert hosts(stack) == [SECOND]
    assert parcel.told == []


@pytest.mark.parametrize(("way", "word"), [("503", 503), ("timeout", "timeout"), ("lost", "transport_error")])
def test_the_last_server_decides(way: str, word: object) -> None:
    stack = pbx(reliable=True)
    parcel = Parcel(stack)
    for host in (FIRST, SECOND):
        fail(stack, way, stack.request("OPTIONS"), host)
    assert parcel.told == [word]
    assert stack.take() == []
    stack.advance(100.0)
    assert parcel.told == [word]
    assert stack.empty


@pytest.mark.parametrize("status", [200, 302, 404, 480, 486, 500, 600])
def test_any_other_answer_is_final(status: int) -> None:
    stack = pbx()
    parcel = Parcel(stack)
    stack.receive(reply(stack.request("OPTIONS"), status))
    assert parcel.told == [status]
    assert stack.take() == []


def test_provisional_answers_are_told_and_change_nothing() -> None:
    stack = pbx()
    parcel = Parcel(stack, "INVITE")
    asked = stack.request("INVITE")
    stack.receive(reply(asked, 180))
    stack.receive(reply(asked, 183))
    stack.receive(reply(asked, 503))
    assert parcel.told == [180, 183]
    assert hosts(stack) == [FIRST, SECOND]  # the ACK, and the next INVITE


@pytest.mark.parametrize(
    ("wish", "seconds"), [("", PENALTY_S), ("Retry-After: 7 (back soon)", 7), ("Retry-After: x", 30)]
)
def test_a_server_that_failed_is_tried_last_for_a_while(wish: str, seconds: float) -> None:
    stack = pbx()
    Parcel(stack)
    stack.receive(reply(stack.request("OPTIONS"), 503, extra=wish))
    stack.receive(reply(stack.request("OPTIONS"), 200))
    stack.advance(seconds - 1)
    Parcel(stack)
    assert hosts(stack) == [SECOND]
    stack.advance(2)
    stack.take()
    Parcel(stack)
    assert hosts(stack)[-1:] == [FIRST]


def test_retry_after_of_years_is_not_believed() -> None:
    stack = pbx()
    Parcel(stack)
    stack.receive(reply(stack.request("OPTIONS"), 503, extra="Retry-After: 999999999"))
    stack.advance(3601)
    stack.take()
    Parcel(stack)
    assert hosts(stack) == [FIRST]


def test_a_name_without_a_server_is_told_from_the_loop() -> None:
    stack = Stack()
    parcel = Parcel(stack)
    assert parcel.told == []
    stack.advance(0.0)
    assert parcel.told == ["unreachable"]


# Challenges


def challenge(nonce: str, *, proxy: bool = False, stale: bool = False) -> str:
    name = "Proxy-Authenticate" if proxy else "WWW-Authenticate"
    return f'{name}: Digest realm="r", nonce="{nonce}", qop="auth"{", stale=true" if stale else ""}'


def proven() -> Authenticator:
    return Authenticator((Credentials("us", "secret"),))


@pytest.mark.parametrize(
    ("status", "proxy", "header"), [(401, False, "Authorization"), (407, True, "Proxy-Authorization")]
)
def test_a_challenge_is_answered(status: int, proxy: bool, header: str) -> None:
    stack = pbx()
    parcel = Parcel(stack, authenticator=proven())
    first = stack.request("OPTIONS")
    assert first.header(header) is None
    stack.receive(reply(first, status, extra=challenge("n1", proxy=proxy)))
    assert stack.peers() == [(FIRST, 5060)]
    second = stack.request("OPTIONS")
    assert second.cseq.number == first.cseq.number + 1
    assert second.via.branch != first.via.branch
    proof = second.header(header)
    assert proof is not None and 'nonce="n1"' in proof and 'username="us"' in proof
    stack.receive(reply(second, 200))
    assert parcel.told == [200]


def test_a_stale_nonce_is_answered_once_more_and_a_wrong_password_is_the_end() -> None:
    stack = pbx()
    parcel = Parcel(stack, authenticator=proven())
    stack.receive(reply(stack.request("OPTIONS"), 401, extra=challenge("n1")))
    stack.receive(reply(stack.request("OPTIONS"), 401, extra=challenge("n2", stale=True)))
    again = stack.request("OPTIONS")
    assert 'nonce="n2"' in (again.header("Authorization") or "")
    stack.receive(reply(again, 401, extra=challenge("n3")))
    assert parcel.told == [401]
    assert stack.take() == []


def test_a_server_that_only_challenges_is_not_obeyed_for_ever() -> None:
    stack = pbx()
    parcel = Parcel(stack, authenticator=proven())
    tries = 0
    while not parcel.told:
        tries += 1
        proxy = tries % 2 == 0
        extra = challenge(f"n{tries}", proxy=proxy, stale=True)
        stack.receive(reply(stack.request("OPTIONS"), 407 if proxy else 401, extra=extra))
        assert tries < 20
    assert tries <= CHALLENGES_ANSWERED + 1
    assert stack.take() == []


@pytest.mark.parametrize("authenticator", [None, Authenticator((Credentials("us", "secret", "elsewhere"),))])
def test_a_challenge_that_nobody_can_answer_is_the_answer(authenticator: Authenticator | None) -> None:
    stack = pbx()
    parcel = Parcel(stack, authenticator=authenticator)
    stack.receive(reply(stack.request("OPTIONS"), 401, extra=challenge("n1")))
    assert parcel.told == [401]
    assert stack.take() == []


def test_the_next_server_is_shown_the_proof_too() -> None:
    stack = pbx()
    Parcel(stack, authenticator=proven())
    stack.receive(reply(stack.request("OPTIONS"), 407, extra=challenge("n1", proxy=True)))
    stack.receive(reply(stack.request("OPTIONS"), 503))
    assert stack.peers() == [(SECOND, 5060)]
    assert stack.request("OPTIONS").header("Proxy-Authorization") is not None


# Connections that stand


def test_a_flow_is_taken_without_asking_anybody_and_when_it_goes_servers_are_found() -> None:
    stack = pbx(reliable=True)
    stack.lookups = []
    parcel = Parcel(stack, flow=Path(stack.wire, FLOW))
    assert (stack.peers(), stack.lookups) == ([FLOW], [])
    stack.take()
    stack.core.layer.lost(stack.wire, FLOW)
    assert stack.take() == []
    (found,) = stack.lookups
    found()
    assert hosts(stack) == [FIRST]
    assert parcel.told == []


def test_a_phone_behind_a_hole_that_says_nothing_is_not_looked_for_elsewhere() -> None:
    stack = pbx()
    parcel = Parcel(stack, flow=Path(stack.wire, FLOW))
    stack.advance(32.0)
    assert set(hosts(stack)) == {FLOW[0]}
    assert parcel.told == ["timeout"]


def test_an_answer_over_a_flow_is_the_answer() -> None:
    stack = pbx()
    parcel = Parcel(stack, flow=Path(stack.wire, FLOW))
    stack.receive(reply(stack.request("OPTIONS"), 503))
    assert (parcel.told, stack.take()) == ([503], [])


def test_only_what_was_sent_on_a_lost_connection_is_lost() -> None:
    stack = pbx(reliable=True)
    parcel = Parcel(stack)
    stack.take()
    for peer in ((FIRST, 5061), (SECOND, 5060)):
        stack.core.layer.lost(stack.wire, peer)
    stack.core.layer.lost(Stack(reliable=True).wire, (FIRST, 5060))
    assert (parcel.told, stack.take()) == ([], [])


@pytest.mark.parametrize(("via", "port"), [("192.0.2.1:5070", 5070), ("192.0.2.1", 5060)])
def test_answers_to_a_lost_connection_take_a_new_one(via: str, port: int) -> None:
    stack = Stack(reliable=True)
    stack.receive(invite().replace("192.0.2.1:5060;branch", f"{via};branch"), (PEER[0], 40000))
    assert stack.peers() == [(PEER[0], 40000)]
    stack.take()
    stack.core.layer.lost(stack.wire, (PEER[0], 40000))
    stack.calls[0].reject(486)
    assert stack.peers() == [(PEER[0], port)]


def test_over_tls_the_port_that_no_via_names_is_5061() -> None:
    stack = Stack(reliable=True)
    stack.wire.name = "TLS"
    stack.receive(invite().replace("192.0.2.1:5060;branch", "192.0.2.1;branch"), (PEER[0], 40000))
    stack.core.layer.lost(stack.wire, (PEER[0], 40000))
    stack.take()
    stack.calls[0].reject(486)
    assert stack.peers() == [(PEER[0], 5061)]


# The end


def test_an_abandoned_delivery_is_silent() -> None:
    stack = pbx()
    for way in ("503", "timeout"):
        parcel = Parcel(stack)
        asked = stack.request("OPTIONS")
        parcel.delivery.abandon()
        fail(stack, way, asked, FIRST)
        assert {item.via.branch for item in stack.take()} <= {asked.via.branch}  # repeats, and no other try
        assert parcel.told == []
    stack.advance(32.0)
    assert stack.empty


def test_what_is_abandoned_before_its_server_is_known_is_never_sent() -> None:
    for end in (Delivery.abandon, Delivery.settle):
        stack = pbx()
        stack.lookups = []
        parcel = Parcel(stack)
        end(parcel.delivery)
        stack.lookups[0]()
        stack.advance(1.0)
        assert (stack.take(), parcel.told) == ([], [])


def test_a_settled_delivery_takes_the_answer_that_comes() -> None:
    stack = pbx()
    for status in (503, 401):
        parcel = Parcel(stack, authenticator=proven())
        asked = stack.request("OPTIONS")
        parcel.delivery.settle()
        stack.receive(reply(asked, status, extra=challenge("n1")))
        assert parcel.told == [status]
        assert stack.take() == []


def test_a_settled_delivery_that_fails_has_failed() -> None:
    stack = pbx(reliable=True)
    parcel = Parcel(stack)
    stack.take()
    parcel.delivery.settle()
    stack.core.layer.lost(stack.wire, (FIRST, 5060))
    assert (parcel.told, stack.take()) == (["transport_error"], [])


def test_a_refusal_whose_ack_cannot_be_sent_is_still_the_refusal() -> None:
    stack = pbx()
    parcel = Parcel(stack, "INVITE")
    asked = stack.request("INVITE")
    stack.wire.dead.add((FIRST, 5060))
    stack.receive(reply(asked, 486))
    stack.advance(0.0)
    assert (parcel.told, stack.take()) == ([486], [])
    assert stack.empty


def test_an_old_try_that_fails_late_does_not_touch_the_new_one() -> None:
    stack = pbx(FIRST, SECOND, THIRD)
    parcel = Parcel(stack, "INVITE")
    asked = stack.request("INVITE")
    stack.wire.dead.add((FIRST, 5060))  # the ACK of the 503
    stack.receive(reply(asked, 503))
    stack.advance(0.0)
    assert hosts(stack) == [SECOND]
    stack.advance(1.0)
    assert set(hosts(stack)) == {SECOND}
    assert parcel.told == []


def test_every_try_is_a_transaction_that_ends() -> None:
    stack = pbx(*(f"192.0.2.{number}" for number in range(100, 116)))
    parcel = Parcel(stack)
    stack.advance(16 * 32.0)
    assert parcel.told == ["timeout"]
    assert stack.empty
