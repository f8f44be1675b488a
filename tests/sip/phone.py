"""User agents on loopback and a bare socket that says what it likes."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from bridge.sip.errors import SipError
from bridge.sip.invitation import Invitation
from bridge.sip.message import Request, Response, parse
from bridge.sip.offer_answer import answer, offer
from bridge.sip.sdp import SessionDescription
from bridge.sip.tls import TlsSettings
from bridge.sip.transaction import Timers
from bridge.sip.ua import ListenAddress, UserAgent

PATIENCE_S = 10.0
"""How long a test waits for what must happen, in seconds; only a failure takes that long."""

HOST = "127.0.0.1"
OFFER = bytes(offer(HOST, 40000, session_id=1))


class Answering:
    """An application that takes every call and remembers its end."""

    def __init__(self) -> None:
        self.calls: list[Invitation] = []
        self.ended: list[str] = []
        self.confirmed = 0
        self.availability = 200
        self.take: Callable[[Invitation], None] = self.answer

    def invited(self, call: Invitation) -> None:
        self.calls.append(call)
        call.on_ended = self.ended.append
        call.on_confirmed = self._confirmed
        call.on_offer = self.describe
        self.take(call)

    def _confirmed(self, description: SessionDescription | None) -> None:
        self.confirmed += 1

    def answer(self, call: Invitation) -> None:
        reply = self.describe(call.offer)
        if isinstance(reply, int):
            call.reject(reply)
        else:
            call.ring()
            call.answer(reply)

    def describe(self, description: SessionDescription | None) -> bytes | int:
        """Our answer to an offer, our offer without one, or 488."""
        if description is None:
            return bytes(offer(HOST, 41000, session_id=3))
        try:
            return bytes(answer(description, HOST, 41000, session_id=3)[0])
        except SipError as error:
            return error.status


@asynccontextmanager
async def agent(
    application: Answering | None = None,
    *,
    timers: Timers | None = None,
    host: str = HOST,
    limit: int = 10_000,
    transport: str = "udp",
    port: int = 0,
    tls: TlsSettings | None = None,
) -> AsyncIterator[UserAgent]:
    """A user agent on a port, any free one for 0."""
    application = application or Answering()
    made = UserAgent(
        listen=[ListenAddress(transport, host, port)],
        on_invite=application.invited,
        availability=lambda: application.availability,
        timers=timers,
        limit=limit,
        tls=tls,
    )
    await made.start()
    try:
        yield made
    finally:
        await made.close()


def port_of(made: UserAgent) -> int:
    return made.local[0][2]


async def until(condition: Callable[[], object]) -> None:
    """Wait for something that the loop will make true."""
    deadline = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < deadline, "it did not happen"
        await asyncio.sleep(0.002)


class Socket(asyncio.DatagramProtocol):
    """A bare UDP socket."""

    def __init__(self) -> None:
        self.received: asyncio.Queue[bytes] = asyncio.Queue()
        self.transport: asyncio.DatagramTransport | None = None
        self.port = 0

    def connection_made(self, transport: asyncio.DatagramTransport) -> None:  # type: ignore[override]
        self.transport = transport
        self.port = transport.get_extra_info("sockname")[1]

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        self.received.put_nowait(data)

    def send(self, text: str | bytes) -> None:
        assert self.transport is not None
        self.transport.sendto(text.encode() if isinstance(text, str) else text)

    async def next(self) -> Request | Response:
        return parse(await asyncio.wait_for(self.received.get(), PATIENCE_S))

    async def next_line(self) -> str:
        """The first line of the next datagram, which need not be well-formed."""
        return (await asyncio.wait_for(self.received.get(), PATIENCE_S)).split(b"\r\n")[0].decode()

    async def final(self) -> Response:
        """The next answer that is final."""
        while True:
            message = await self.next()
            if isinstance(message, Response) and message.status >= 200:
                return message


@asynccontextmanager
async def bare(to: UserAgent) -> AsyncIterator[Socket]:
    """A bare socket that speaks to a user agent."""
    loop = asyncio.get_running_loop()
    transport, protocol = await loop.create_datagram_endpoint(Socket, remote_addr=(HOST, port_of(to)))
    try:
        yield protocol
    finally:
        transport.close()
