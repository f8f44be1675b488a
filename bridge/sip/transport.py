"""SIP over UDP: one non-blocking socket in the loop (RFC 3261 section 18)."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable

from .advertise import family_of
from .layer import Transport

MAX_DATAGRAM = 65535
BATCH = 16
"""Datagrams read before the loop gets its turn again: a flood must not hold up the packets of running calls."""

Receive = Callable[[Transport, bytes, tuple[str, int]], None]


class UdpTransport:
    """A bound UDP socket. `receive` is called with every datagram and its source."""

    name = "UDP"
    reliable = False

    def __init__(self, host: str, port: int, receive: Receive) -> None:
        """Bind and listen; OSError when the address cannot be had. Needs a running loop."""
        self.family = family = family_of(host) or socket.AF_INET
        self._receive = receive
        self._socket = socket.socket(family, socket.SOCK_DGRAM)
        try:
            self._socket.setblocking(False)
            if family == socket.AF_INET6:
                self._socket.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            self._socket.bind((host, port))
        except OSError:
            self._socket.close()
            raise
        bound = self._socket.getsockname()
        self.local: tuple[str, int] = (bound[0], bound[1])
        self._loop = asyncio.get_running_loop()
        self._loop.add_reader(self._socket.fileno(), self._read)

    def send(self, data: bytes, peer: tuple[str, int], name: str = "") -> None:
        """Send one datagram to an IP literal; OSError when the kernel refuses it. `name` matters to TLS only."""
        if family_of(peer[0]) != self.family:
            # Anything else would make the kernel's resolver block the loop.
            raise OSError(f"no {self.family.name} address: {peer[0]}")
        try:
            self._socket.sendto(data, peer)
        except BlockingIOError:
            return  # A full buffer is a lost datagram, and retransmission is made for those.

    def connected(self, peer: tuple[str, int]) -> bool:
        """Never: a datagram leaves nothing behind."""
        return False

    def close(self) -> None:
        if self._socket.fileno() >= 0:
            self._loop.remove_reader(self._socket.fileno())
            self._socket.close()

    def _read(self) -> None:
        for _ in range(BATCH):
            try:
                data, source = self._socket.recvfrom(MAX_DATAGRAM)
            except BlockingIOError:
                return
            except OSError:
                continue  # ICMP errors of earlier datagrams surface here; their timers know better.
            self._receive(self, data, (source[0], source[1]))
            if self._socket.fileno() < 0:
                return
