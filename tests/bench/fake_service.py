"""A service for tests of the caller: answers calls by strings and sends RTP as a plan says, from a thread or a program.

`python -m tests.bench.fake_service` prints its SIP port and sends steady streams: what a caller costs against it is the
caller's own. Knows nothing of `bridge`.
"""

from __future__ import annotations

import contextlib
import heapq
import itertools
import select
import socket
import struct
import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Self

Address = tuple[str, int]
Plan = Callable[[int, int], Iterable[tuple[int, float]]]
"""(call, slot of 20 ms) → the numbers of the packets that leave for it, each so many ms later."""

FIRST_NUMBER = 65_530
"""So that each stream wraps at its seventh packet."""
_PERIOD_S = 0.02
_NOISE = bytes(range(1, 137))


def steady(call: int, slot: int) -> list[tuple[int, float]]:
    """One packet in each slot, at once."""
    return [(slot, 0.0)]


@dataclass(slots=True)
class Line:
    """One answered call."""

    number: int
    invite: Mapping[str, str]
    """Its headers."""
    caller: Address
    """Of its SIP."""
    rtp: socket.socket
    to: Address
    begun: float
    over: bool = False
    slot: int = 0
    received: list[bytes] = field(default_factory=list)
    """Datagrams, in order of arrival."""


class FakeService:
    """Every packet it sends is a frame of an answer: the first of answer 1, so many `frames` long, the next of 2 ..."""

    def __init__(
        self,
        plan: Plan = steady,
        *,
        frames: int = 50,
        refuse: Sequence[int] = (),
        ring: Sequence[int] = (),
        mute: int = 0,
    ) -> None:
        self.lines: dict[str, Line] = {}
        self.requests: list[tuple[str, str]] = []
        """(method, Call-ID) in order of arrival, repeats too."""
        self._plan = plan
        self._frames = frames
        self._refuse = refuse  # which INVITEs get 503
        self._ring = ring  # which ring until they are given up
        self._ringing: dict[str, str] = {}  # Call-ID → Via
        self._mute = mute  # so many first requests are lost
        self._sip = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._sip.bind(("127.0.0.1", 0))
        self._sip.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4 << 20)
        self.port: int = self._sip.getsockname()[1]
        self._serial = itertools.count()
        self._due: list[tuple[float, int, Line, int | None]] = []
        self._invited = 0
        self._stop = False
        self._thread = threading.Thread(target=self.serve, name="fake service", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop = True
        self._thread.join()
        self._sip.close()
        for line in self.lines.values():
            line.rtp.close()

    def serve(self) -> None:
        """What its thread does."""
        while not self._stop:
            wait = min(0.02, max(0.0, self._due[0][0] - time.monotonic()) if self._due else 0.02)
            if select.select([self._sip], [], [], wait)[0]:
                self._receive(*self._sip.recvfrom(4096))
            now = time.monotonic()
            while self._due and self._due[0][0] <= now:
                at, _, line, number = heapq.heappop(self._due)
                if number is None:
                    self._slot(line, at)
                else:
                    self._send(line, number)
        while select.select([self._sip], [], [], 0)[0]:  # what was sent to us before we were to end
            self._receive(*self._sip.recvfrom(4096))

    def hang_up(self, line: Line) -> None:
        """End a call from this side."""
        line.over = True
        far, own = line.invite["From"], line.invite["To"]
        head = f"Via: SIP/2.0/UDP 127.0.0.1:{self.port};branch=z9hG4bKfake{line.number}\r\nMax-Forwards: 70\r\n"
        dialog = f"From: {own};tag=far\r\nTo: {far}\r\nCall-ID: {line.invite['Call-ID']}\r\nCSeq: 1 BYE\r\n"
        self._sip.sendto(f"BYE sip:caller SIP/2.0\r\n{head}{dialog}Content-Length: 0\r\n\r\n".encode(), line.caller)

    # RTP.

    def _slot(self, line: Line, at: float) -> None:
        with contextlib.suppress(BlockingIOError):
            while True:
                line.received.append(line.rtp.recv(2048))
        if line.over:
            return
        for number, later_ms in self._plan(line.number, line.slot):
            self._later(at + later_ms / 1000, line, number)
        line.slot += 1
        self._later(line.begun + line.slot * _PERIOD_S, line, None)

    def _later(self, at: float, line: Line, number: int | None) -> None:
        heapq.heappush(self._due, (at, next(self._serial), line, number))

    def _send(self, line: Line, number: int) -> None:
        response, frame = divmod(number, self._frames)
        written = 0 if frame else time.time_ns()
        sequence = (FIRST_NUMBER + number) & 0xFFFF
        header = struct.pack("!BBHII", 0x80, 0, sequence, 160 * number & 0xFFFFFFFF, line.number)
        head = struct.pack("!4sIIIQ", b"SBdn", response + 1, frame, 0, written)
        if not line.over:
            line.rtp.sendto(header + head + _NOISE, line.to)

    # SIP.

    def _receive(self, datagram: bytes, source: Address) -> None:
        head, _, body = datagram.decode().partition("\r\n\r\n")
        start, *lines = head.split("\r\n")
        headers = dict(line.split(": ", 1) for line in lines)
        method, call_id = start.split()[0], headers["Call-ID"]
        self.requests.append((method, call_id))
        if len(self.requests) <= self._mute or method in ("ACK", "SIP/2.0"):
            return
        if method == "BYE" and call_id in self.lines:
            self.lines[call_id].over = True
        status, sdp = "200 OK", ""
        if method == "INVITE":
            status, sdp = self._invite(body, headers, source)
        self._answer(status, sdp, headers, source)
        # Only a CANCEL with the branch of the INVITE means it (RFC 3261 section 9.1).
        if method == "CANCEL" and self._ringing.get(call_id) == headers["Via"]:
            self._answer("487 Request Terminated", "", headers | {"CSeq": "1 INVITE"}, source)

    def _answer(self, status: str, sdp: str, headers: Mapping[str, str], source: Address) -> None:
        echoed = "".join(f"{name}: {headers[name]}\r\n" for name in ("Via", "From", "Call-ID", "CSeq"))
        rest = f"Contact: <sip:fake@127.0.0.1:{self.port}>\r\nContent-Length: {len(sdp)}\r\n\r\n{sdp}"
        to = f"To: {headers['To'].partition(';')[0]};tag=far\r\n"
        warning = 'Warning: 399 fake "too busy"\r\n' if status.startswith("503") else ""
        self._sip.sendto(f"SIP/2.0 {status}\r\n{echoed}{to}{warning}{rest}".encode(), source)

    def _invite(self, body: str, headers: Mapping[str, str], source: Address) -> tuple[str, str]:
        call_id = headers["Call-ID"]
        if call_id in self.lines:
            return "100 Trying", ""
        number, self._invited = self._invited, self._invited + 1
        if number in self._refuse:
            return "503 Service Unavailable", ""
        if number in self._ring:
            self._ringing[call_id] = headers["Via"]
            return "180 Ringing", ""
        port = int(body.partition("m=audio ")[2].split()[0])
        rtp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        rtp.bind(("127.0.0.1", 0))
        rtp.setblocking(False)
        line = self.lines[call_id] = Line(number, headers, source, rtp, (source[0], port), time.monotonic())
        self._later(line.begun, line, None)
        return "200 OK", (
            "v=0\r\no=- 1 1 IN IP4 127.0.0.1\r\ns=-\r\nc=IN IP4 127.0.0.1\r\nt=0 0\r\n"
            f"m=audio {rtp.getsockname()[1]} RTP/AVP 0\r\na=rtpmap:0 PCMU/8000\r\n"
        )


def main() -> None:
    service = FakeService()
    print(service.port, flush=True)
    service.serve()


if __name__ == "__main__":
    main()
