"""The other end of a rig's own test: a UDP peer that answers from a table of texts and remembers what came."""

import asyncio
import re
from collections.abc import Callable
from typing import Any, Self

Reply = Callable[[str, tuple[str, int]], list[bytes]]


class ScriptedPeer(asyncio.DatagramProtocol):
    """Calls `reply(text, source)` for each datagram and sends back the datagrams it gives."""

    def __init__(self, reply: Reply) -> None:
        self.reply = reply
        self.received: list[str] = []
        self.sources: list[tuple[str, int]] = []
        self.port = 0
        self._transport: asyncio.DatagramTransport | None = None
        self._arrived = asyncio.Event()

    async def __aenter__(self) -> Self:
        loop = asyncio.get_running_loop()
        self._transport, _ = await loop.create_datagram_endpoint(lambda: self, local_addr=("127.0.0.1", 0))
        self.port = self._transport.get_extra_info("sockname")[1]
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._transport is not None
        self._transport.close()

    def datagram_received(self, data: bytes, addr: tuple[str | Any, int]) -> None:
        self.received.append(data.decode())
        self.sources.append((addr[0], addr[1]))
        self._arrived.set()
        for datagram in self.reply(data.decode(), (addr[0], addr[1])):
            self.send(datagram, (addr[0], addr[1]))

    async def has(self, count: int) -> None:
        """Wait (at most 5 s) until that many datagrams have come."""
        async with asyncio.timeout(5):
            while len(self.received) < count:
                self._arrived.clear()
                await self._arrived.wait()

    def send(self, datagram: bytes, to: tuple[str, int]) -> None:
        assert self._transport is not None
        self._transport.sendto(datagram, to)


def reply_to(request: str, status: str, *, extra: str = "", body: str = "", tag: str = "far") -> bytes:
    """An answer with everything echoed and a To tag."""
    kept = [line for line in request.split("\r\n") if re.match(r"(?i)(via|from|call-id|cseq|record-route):", line)]
    to = next(line for line in request.split("\r\n") if line.lower().startswith("to:"))
    if ";tag=" not in to:
        to += f";tag={tag}"
    kind = "Content-Type: application/sdp\r\n" if body else ""
    head = "\r\n".join([f"SIP/2.0 {status}", *kept, to])
    return f"{head}\r\n{extra}{kind}Content-Length: {len(body)}\r\n\r\n{body}".encode()


def sdp_for(port: int, payload_type: int = 0) -> str:
    """A small answer: one audio line, keys as 101."""
    head = "v=0\r\no=- 1 1 IN IP4 127.0.0.1\r\ns=-\r\nc=IN IP4 127.0.0.1\r\nt=0 0\r\n"
    return f"{head}m=audio {port} RTP/AVP {payload_type} 101\r\na=rtpmap:101 telephone-event/8000\r\n"
