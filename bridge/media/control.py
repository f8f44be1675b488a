"""RTCP beside one stream: where reports go, whose are taken, and when the next is due (RFC 3550, RFC 5761)."""

from __future__ import annotations

import asyncio
import random
import socket
import time
from collections.abc import Callable

from bridge.media.endpoint import LARGEST, Loop, RtpEndpoint
from bridge.media.reports import RtcpReporter
from bridge.media.rtcp import RtcpError, random_cname
from bridge.media.rtp import RtpError
from bridge.media.source import Address
from bridge.media.stats import MediaStats
from bridge.media.terms import Rtcp

BATCH = 8
"""Datagrams per wake-up; a peer sends one in some seconds."""


class ControlChannel:
    """The reports of one call, on the port of RTP where the peer takes them there, else on one of their own.

    `open_socket` gives a bound, non-blocking socket, or None when there is none to be had; reports then go without.
    """

    __slots__ = (
        "_came_from",
        "_clock",
        "_endpoint",
        "_loop",
        "_open_socket",
        "_socket",
        "_stats",
        "_terms",
        "_wall",
        "reporter",
    )  # fmt: skip

    def __init__(
        self,
        endpoint: RtpEndpoint,
        reporter: RtcpReporter,
        stats: MediaStats,
        clock: Callable[[], float],
        open_socket: Callable[[], socket.socket | None],
    ) -> None:
        self.reporter = reporter
        self._endpoint = endpoint
        self._stats = stats
        self._clock = clock
        self._wall = time.time
        self._open_socket = open_socket
        self._terms: Rtcp | None = None
        self._socket: socket.socket | None = None  # with a port of its own
        self._loop: Loop | None = None  # before `start`
        self._came_from: Address | None = None  # of the newest report, when not multiplexed

    def adopt(self, terms: Rtcp | None) -> None:
        """Report by these terms from now on; None: not at all."""
        if terms != self._terms:
            self._came_from = None
        self._terms = terms
        self._endpoint.on_rtcp = self._on_muxed if terms is not None and terms.mux else None
        if terms is None or terms.mux:
            self._close_socket()
        elif self._socket is None:
            self._socket = self._open_socket()
            self._read_socket()

    def start(self) -> None:
        """Read from now on, in the running loop."""
        self._loop = asyncio.get_running_loop()
        self._read_socket()

    def tick(self, now: float, rtp_timestamp: int) -> None:
        """Send the next report when its time has come; once per slot."""
        if self._terms is not None:
            report = self.reporter.due(now, self._wall(), rtp_timestamp)
            if report is not None:
                self._send(report)

    def close(self, rtp_timestamp: int) -> None:
        """Say goodbye and close. A second call does nothing."""
        if self._terms is not None:
            goodbye = self.reporter.goodbye(self._clock(), self._wall(), rtp_timestamp)
            if goodbye is not None:
                self._send(goodbye)
            self._terms = None
        self._endpoint.on_rtcp = None
        self._close_socket()
        self._open_socket = no_socket

    @property
    def destination(self) -> Address | None:
        """Where reports go now; None when there are none."""
        terms, media = self._terms, self._endpoint.latch.destination
        if terms is None or not self._endpoint.latch.reachable:
            return None
        if terms.mux:
            return media
        if self._came_from is not None:
            return self._came_from
        # Behind a NAT the description is as wrong about this port as about the other; the next one is a fair guess.
        return terms.remote if not self._endpoint.latch.has_moved else (media[0], min(media[1] + 1, 65535))

    def _send(self, report: bytes) -> None:
        destination = self.destination
        if destination is not None:
            self._endpoint.send_report(report, destination, self._socket)

    def _on_muxed(self, datagram: bytes, source: Address, now: float) -> None:
        if source == self._endpoint.latch.destination:
            self._receive(datagram, now)
        else:
            self._stats.drop("stranger")

    def _receive(self, datagram: bytes, now: float) -> bool:
        try:
            self.reporter.receive(self._endpoint.open_report(datagram), now)
        except (RtpError, RtcpError) as error:
            self._stats.drop(error.reason if isinstance(error, RtpError) else f"rtcp_{error.reason}")
            return False
        return True

    def _read(self) -> None:
        now = self._clock()
        for _ in range(BATCH):
            if self._socket is None:
                return
            try:
                datagram, source = self._socket.recvfrom(LARGEST + 1)
            except BlockingIOError:
                return
            except OSError:
                self._stats.drop("icmp")
                continue
            self._receive_from(datagram, source[:2], now)

    def _receive_from(self, datagram: bytes, source: Address, now: float) -> None:
        """Only from the caller's host. Where it came from counts only behind a NAT: other calls live there too."""
        latch = self._endpoint.latch
        if source[0] != latch.destination[0]:
            self._stats.drop("stranger")
        elif self._receive(datagram, now) and latch.has_moved and self.reporter.heard_about_us:
            self._came_from = source

    def _read_socket(self) -> None:
        if self._socket is not None and self._loop is not None:
            self._loop.add_reader(self._socket.fileno(), self._read)

    def _close_socket(self) -> None:
        if self._socket is not None:
            if self._loop is not None:
                self._loop.remove_reader(self._socket.fileno())
            self._socket.close()
            self._socket = None


def no_socket() -> None:
    """There is no port for RTCP."""


def new_reporter(ssrc: int, clock_rate: int) -> RtcpReporter:
    """With a name of its own per call, so that calls cannot be told to be of one party (RFC 7022)."""
    return RtcpReporter(ssrc, random_cname(), clock_rate, random.random)
