"""The transports of one user agent: a UDP socket, a TCP or a TLS listener for each address."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from .errors import SipError
from .layer import Transport
from .message import Request
from .stream import StreamTransport
from .tls import TlsSettings
from .transport import UdpTransport

Address = tuple[str, int]


@dataclass(frozen=True, slots=True)
class ListenAddress:
    """Where to listen: transport "udp", "tcp" or "tls", an IP literal, a port (0 for any free one).

    Without `listening` (TCP and TLS) nothing is accepted there: connections only go out from it.
    """

    transport: str
    host: str
    port: int
    listening: bool = True


class Listeners:
    """Opens and closes the transports, and tells one of them from another."""

    def __init__(
        self,
        listen: Sequence[ListenAddress],
        tls: TlsSettings,
        *,
        clock: Callable[[], float],
        receive: Callable[[Transport, bytes, Address], None],
        broken: Callable[[Transport, bytes, SipError, Address], None],
        lost: Callable[[Transport, Address], None],
        in_use: Callable[[Address], bool],
        known: Callable[[str], bool],
    ) -> None:
        self.transports: list[Transport] = []
        self.streams: list[StreamTransport] = []
        self._udp: list[UdpTransport] = []
        self._listen = tuple(listen)
        self._tls = tls
        self._clock = clock
        self._receive = receive
        self._broken = broken
        self._lost = lost
        self._in_use = in_use
        self._known = known

    async def start(self) -> None:
        """Bind every address; OSError when one cannot be had, ValueError when a TLS file is of no use."""
        for address in self._listen:
            name = address.transport.upper()
            if name == "UDP":
                udp = UdpTransport(address.host, address.port, self._receive)
                self._udp.append(udp)
                self.transports.append(udp)
            elif name in ("TCP", "TLS"):
                stream = self._stream(name, address)
                self.streams.append(stream)
                self.transports.append(stream)
                await stream.start()
            else:
                raise OSError(f"transport not supported: {address.transport}")

    def _stream(self, name: str, address: ListenAddress) -> StreamTransport:
        return StreamTransport(
            name,
            address.host,
            address.port,
            receive=self._receive,
            broken=self._broken,
            lost=self._lost,
            in_use=self._in_use,
            known=self._known,
            clock=self._clock,
            tls=self._tls,
            listening=address.listening,
        )

    def note_alias(self, transport: Transport, request: Request, source: Address) -> None:
        """A peer that asks for its connection to be used both ways gets that (RFC 5923 section 4)."""
        if not transport.reliable:
            return
        via = request.via
        if any(name == "alias" for name, _ in via.parameters):
            for stream in self.streams:
                if stream is transport:
                    stream.alias(source, via.sent_by[1])

    async def close(self) -> None:
        """Close every socket; what was written to connections still goes out."""
        for udp in self._udp:
            udp.close()
        for stream in self.streams:
            stream.close()
        await asyncio.gather(*(stream.wait_closed() for stream in self.streams))
        self._udp, self.streams, self.transports = [], [], []
