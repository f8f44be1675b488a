"""A SIP stack without sockets and without a clock: texts in, messages out, time by hand."""

from __future__ import annotations

import socket
from collections.abc import Callable, Sequence
from typing import Any

from bridge.sip.address import Address
from bridge.sip.advertise import Advertiser, family_of
from bridge.sip.alarms import Alarms
from bridge.sip.core import Core
from bridge.sip.gate import Gate, OpenGate
from bridge.sip.invitation import Invitation
from bridge.sip.layer import Path
from bridge.sip.locating import Target
from bridge.sip.message import Request, Response, parse
from bridge.sip.outgoing import OutgoingCall
from bridge.sip.policy import Policy
from bridge.sip.registrar import Registrar
from bridge.sip.transaction import Timers
from bridge.sip.uas import UserAgentServer
from bridge.sip.uri import Uri
from bridge.sip.via import reply_to

PEER = ("192.0.2.1", 5060)
OURS = "192.0.2.10"

OFFER = (
    "v=0\r\no=alice 7 1 IN IP4 192.0.2.1\r\ns=-\r\nc=IN IP4 192.0.2.1\r\nt=0 0\r\n"
    "m=audio 4000 RTP/AVP 0 8 101\r\na=rtpmap:101 telephone-event/8000\r\n"
)
ANSWER = (
    b"v=0\r\no=- 9 0 IN IP4 192.0.2.10\r\ns=-\r\nc=IN IP4 192.0.2.10\r\nt=0 0\r\n"
    b"m=audio 5000 RTP/AVP 0\r\na=rtpmap:0 PCMU/8000\r\na=sendrecv\r\n"
)


class Wire:
    """A transport that remembers what went out."""

    family = socket.AF_INET

    def __init__(self, reliable: bool = False) -> None:
        self.name = "TCP" if reliable else "UDP"
        self.reliable = reliable
        self.open: set[tuple[str, int]] = set()
        self.local = (OURS, 5060)
        self.sent: list[tuple[bytes, tuple[str, int]]] = []
        self.broken = False
        self.dead: set[tuple[str, int]] = set()
        """Peers that nothing can be sent to."""

    def send(self, data: bytes, peer: tuple[str, int], name: str = "") -> None:
        if self.broken or peer in self.dead:
            raise OSError("no route")
        self.sent.append((data, peer))

    def connected(self, peer: tuple[str, int]) -> bool:
        return peer in self.open


class Stack:
    """Core and server side on one `Wire`; `calls` are the invitations that came."""

    def __init__(
        self,
        *,
        timers: Timers | None = None,
        limit: int = 10_000,
        reliable: bool = False,
        policy: Policy | None = None,
        gate: Gate | None = None,
        registrar: Registrar | None = None,
    ) -> None:
        self.now = 1000.0
        self.wire = Wire(reliable)
        self.alarms = Alarms()
        self.addresses: dict[str, str | list[str]] = {}
        """What the names of the tests resolve to."""
        self.lookups: list[Callable[[], None]] | None = None
        """Answers of a slow resolver, to be given by hand; None when it answers at once."""
        self.core = Core(
            clock=lambda: self.now,
            alarms=self.alarms,
            advertiser=Advertiser(OURS, lambda: self.now),
            resolve=self._resolve,
            timers=timers,
            policy=policy,
            limit=limit,
        )
        self.core.transports.append(self.wire)
        self.calls: list[Invitation] = []
        self.ended: list[str] = []
        self.availability = 200
        self.on_invite: Callable[[Invitation], None] = lambda call: None
        self.server = UserAgentServer(
            self.core, self._invited, lambda: self.availability, gate or OpenGate(), registrar
        )

    def _invited(self, call: Invitation) -> None:
        self.calls.append(call)
        call.on_ended = self.ended.append
        self.on_invite(call)

    def _resolve(self, uri: Uri, supported: Sequence[str], done: Callable[[list[Target]], None]) -> None:
        host = uri.parameter("maddr") or uri.host
        found = self.addresses.get(host, [host] if family_of(host) else [])
        hosts = [found] if isinstance(found, str) else found
        targets = [Target(self.wire.name, literal, uri.port or 5060, host) for literal in hosts]
        if self.lookups is None:
            done(targets)
        else:
            self.lookups.append(lambda: done(targets))

    def receive(self, text: str | bytes, source: tuple[str, int] = PEER) -> None:
        """One datagram; Content-Length must be right or absent."""
        message = parse(text.encode() if isinstance(text, str) else text)
        if isinstance(message, Response):
            self.core.layer.receive(message)
        else:
            path = Path(self.wire, source if self.wire.reliable else reply_to(message.via, source))
            self.server.receive(message.stamped(source), path, source)

    def take(self) -> list[Request | Response]:
        """What went out since the last time."""
        sent, self.wire.sent = self.wire.sent, []
        return [parse(data) for data, _ in sent]

    def peers(self) -> list[tuple[str, int]]:
        """Where that went which `take` will give."""
        return [peer for _, peer in self.wire.sent]

    def request(self, method: str) -> Request:
        """The only message that went out since the last time, a request of ours."""
        (message,) = self.take()
        assert isinstance(message, Request) and message.method == method, message
        return message

    def answer(self) -> Response:
        """The only message that went out since the last time, an answer of ours."""
        (message,) = self.take()
        assert isinstance(message, Response), message
        return message

    def statuses(self) -> list[int | str]:
        """Status or method of what went out since the last time."""
        return [item.status if isinstance(item, Response) else item.method for item in self.take()]

    def advance(self, seconds: float) -> None:
        """Let time pass, alarm by alarm."""
        until = self.now + seconds
        while (when := self.alarms.next_deadline) is not None and when <= until:
            self.now = max(self.now, when)
            self.alarms.run(self.now)
        self.now = until

    def call(self, target: str = "sip:bob@192.0.2.1", **more: Any) -> OutgoingCall:
        caller = Address.parse("<sip:phone@192.0.2.10>")
        return OutgoingCall(self.core, Uri.parse(target), sdp=ANSWER, caller=caller, **more)

    @property
    def empty(self) -> bool:
        """Whether nothing of any call is left."""
        core = self.core
        tables = (core.sessions, core.acceptances, core.layer._servers, core.layer._clients, core.layer._origins)
        return not any(tables) and core.stats.transactions == 0 and core.stats.calls == 0


def request(
    method: str = "INVITE",
    *,
    branch: str = "z9hG4bK1",
    tag: str = "a",
    to_tag: str | None = None,
    call_id: str = "c1",
    cseq: int = 1,
    body: str = "",
    uri: str = "sip:600@192.0.2.10",
    extra: str = "",
    kind: str = "application/sdp",
) -> str:
    """A request as a peer would send it; `extra` are whole lines ending in CRLF."""
    to = f";tag={to_tag}" if to_tag else ""
    content = f"Content-Type: {kind}\r\n" if body else ""
    return (
        f"{method} {uri} SIP/2.0\r\n"
        f"Via: SIP/2.0/UDP 192.0.2.1:5060;branch={branch}\r\n"
        "Max-Forwards: 70\r\n"
        f"From: <sip:alice@192.0.2.1>;tag={tag}\r\n"
        f"To: <sip:600@192.0.2.10>{to}\r\n"
        f"Call-ID: {call_id}\r\n"
        f"CSeq: {cseq} {method}\r\n"
        "Contact: <sip:alice@192.0.2.1:5060>\r\n"
        f"{extra}{content}Content-Length: {len(body)}\r\n\r\n{body}"
    )


def invite(**changes: object) -> str:
    return request("INVITE", **{"body": OFFER, **changes})  # type: ignore[arg-type]


def reply(to: Request, status: int, *, tag: str = "b", extra: str = "", body: str = "") -> bytes:
    """An answer of a peer to a request of ours."""
    headers = [("Contact", "<sip:bob@192.0.2.1:5060>")]
    if body:
        headers.append(("Content-Type", "application/sdp"))
    for line in extra.splitlines():
        name, _, value = line.partition(": ")
        headers.append((name, value))
    return bytes(to.response(status, tag=tag, headers=headers, body=body.encode()))


def tag_of(message: Request | Response) -> str:
    tag = message.to.tag
    assert tag is not None
    return tag


def confirmed(stack: Stack, **changes: object) -> tuple[Invitation, str]:
    """A call that is answered and acknowledged; our tag with it."""
    stack.receive(invite(**changes))
    call = stack.calls[-1]
    call.answer(ANSWER)
    tag = tag_of(stack.take()[-1])
    stack.receive(request("ACK", branch="z9hG4bKack", to_tag=tag))
    assert call.state is call.State.CONFIRMED
    return call, tag


def talking(stack: Stack, extra: str = "", **options: Any) -> tuple[OutgoingCall, Request]:
    """A call of ours that was answered; its INVITE with it."""
    call = stack.call(**options)
    stack.advance(0.0)
    asked = stack.request("INVITE")
    stack.receive(reply(asked, 200, body=OFFER, extra=extra))
    stack.request("ACK")
    assert call.state is call.State.CONFIRMED
    return call, asked


def inside(asked: Request, method: str, **changes: Any) -> str:
    """A request of the far end inside a call of ours that it took as "b"; `asked` is our INVITE."""
    return request(method, **{"tag": "b", "to_tag": asked.from_.tag, "call_id": asked.call_id, **changes})
