"""The RTP socket of one call and its guard: whatever a stranger sends ends here as a counted drop."""

import asyncio
import socket
from collections.abc import Callable
from typing import Protocol

from bridge.media.rtp import RtpError, RtpPacket, parse
from bridge.media.source import Address, SourceLatch
from bridge.media.srtp import Opener, Sealer
from bridge.media.stats import MediaStats

BATCH = 32
"""Datagrams per wake-up at most: a flood on one port must not hold the loop."""
BEHIND_S = 0.045
"""Seconds since the last wake-up after which several packets may wait, because we were away or have too much to do.
Otherwise one is read: to find the socket empty costs as much as a packet, and the loop wakes us again if it is not."""
LARGEST = 1500
"""Bytes. G.711 of 60 ms is 492; more than an Ethernet frame is not for us."""


class Loop(Protocol):
    """What reads sockets. uvloop's `remove_reader` gives None where asyncio's gives a bool, and compiled code looks."""

    def add_reader(self, fd: int, callback: Callable[[], object], /) -> object:
        """Call `callback` when there is something to read."""
        ...

    def remove_reader(self, fd: int, /) -> object:
        """Do so no more."""
        ...


Rtcp = Callable[[bytes, Address, float], None]


class RtpEndpoint:
    """Reads and writes packets on a bound, non-blocking UDP socket, which it owns.

    `deliver(packet, now)` gets each valid packet of the caller. Faults of the network are counted, never raised.
    `send(datagram)` sends to the caller; False: the machine did not take it, and nobody will hear it.
    """

    __slots__ = (
        "_clock",
        "_closed",
        "_deliver",
        "_loop",
        "_parse",
        "_read_at",
        "_sock",
        "_stats",
        "latch",
        "on_rtcp",
        "opener",
        "sealed",
        "sealer",
        "send",
    )  # fmt: skip

    send: Callable[[bytes], bool]

    def __init__(
        self,
        sock: socket.socket,
        latch: SourceLatch,
        stats: MediaStats,
        clock: Callable[[], float],
        deliver: Callable[[RtpPacket, float], None],
    ) -> None:
        self.latch = latch
        self.on_rtcp: Rtcp | None = None
        """Gets RTCP that comes on this port, with its source and `now`; None: it is dropped."""
        self._sock = sock
        self._stats = stats
        self._clock = clock
        self._deliver = deliver
        self._loop: Loop | None = None  # while not reading
        self._closed = False
        self._read_at = 0.0
        self.protect(None, None)

    def protect(self, opener: Opener | None, sealer: Sealer | None) -> None:
        """SRTP from now on; without either, plain RTP in that direction, which costs no call more than before."""
        self.opener, self.sealer = opener, sealer
        self._parse = opener.open if opener is not None else parse
        self.sealed = sealer is not None
        """Whether what goes out is encrypted."""
        if sealer is None:
            self.send = self._send
        else:
            seal, send = sealer.seal, self._send
            self.send = lambda datagram: send(seal(datagram))

    def send_report(self, report: bytes, destination: Address, sock: socket.socket | None) -> None:
        """Send RTCP from `sock`, None: from the port of RTP. What the machine does not take is lost."""
        if self.sealer is not None:
            report = self.sealer.seal_report(report)
        try:
            (sock or self._sock).sendto(report, destination)
        except OSError:
            self._stats.send_failures += 1

    def open_report(self, datagram: bytes) -> bytes:
        """The RTCP inside; RtpError when it should be protected and is not by the caller's key."""
        return self.opener.open_report(datagram) if self.opener is not None else datagram

    def start(self) -> None:
        """Read from now on, in the running loop. What came before is read too."""
        self._loop = asyncio.get_running_loop()
        self._loop.add_reader(self._sock.fileno(), self.read)

    def close(self) -> None:
        """Stop reading and close the socket; a second call does nothing."""
        if self._closed:
            return
        self._closed = True
        if self._loop is not None:
            self._loop.remove_reader(self._sock.fileno())
        self._sock.close()
        self.on_rtcp, self._deliver, self.send = None, _drop, _unsent

    def read(self) -> None:
        """Take the datagram that waits in the socket; all of them, at most `BATCH`, when we may be behind."""
        now = self._clock()
        behind, self._read_at = now - self._read_at > BEHIND_S, now
        for _ in range(BATCH if behind else 1):
            if self._closed:
                return
            try:
                datagram, source = self._sock.recvfrom(LARGEST + 1)
            except BlockingIOError:
                return
            except OSError:
                # An ICMP error that came back for something that we sent.
                self._stats.drop("icmp")
                continue
            admitted = self._admit(datagram, source[:2], now)
            if isinstance(admitted, RtpPacket):
                self._deliver(admitted, now)
            elif admitted:
                self._stats.drop(admitted)

    def _send(self, datagram: bytes) -> bool:
        try:
            self._sock.sendto(datagram, self.latch.destination)
        except OSError:
            self._stats.send_failures += 1
            return False
        return True

    def _admit(self, datagram: bytes, source: tuple[str, int], now: float) -> RtpPacket | str:
        """The caller's packet in a datagram; for anything else the reason to count, empty for RTCP."""
        if not self.latch.knows(source):
            return "stranger"
        if len(datagram) > LARGEST:
            return "size"
        try:
            packet = self._parse(datagram)
        except RtpError as error:
            if error.reason == "rtcp" and self.on_rtcp is not None:
                self.on_rtcp(datagram, source, now)
                return ""
            return error.reason
        if not self.latch.accept(source, packet, now):
            # From his own address only a payload type that was not agreed on is refused.
            return "payload_type" if self.latch.expects(source) else "stranger"
        self._stats.packets_in += 1
        return packet


def _drop(packet: RtpPacket, now: float) -> None:
    """Nobody takes packets any more."""


def _unsent(datagram: bytes) -> bool:
    """The socket is closed."""
    return False
