"""A phone's RTP side for the tests: a real socket on loopback, and a slot clock that is moved by hand."""

import asyncio
import socket
from collections.abc import Callable

from bridge.media.codecs import CODECS
from bridge.media.pacer import PERIOD, SlotClock
from bridge.media.rtp import RtpPacket, RtpWriter, parse
from bridge.media.stream import MediaStream
from bridge.media.terms import Events, Terms

HOST = "127.0.0.1"
EVENT = 101


def udp_socket(cls: type[socket.socket] = socket.socket) -> socket.socket:
    """A non-blocking UDP socket on a free port of loopback."""
    sock = cls(socket.AF_INET, socket.SOCK_DGRAM)
    sock.setblocking(False)
    sock.bind((HOST, 0))
    return sock


class Phone:
    """Sends to the stream under test and keeps what came back."""

    def __init__(self, ssrc: int = 0xFEED) -> None:
        self.sock = udp_socket()
        self.address: tuple[str, int] = self.sock.getsockname()
        self.writer = RtpWriter(ssrc, 65530, 0xFFFFFF00)
        self.to: tuple[str, int] = (HOST, 9)

    def send(self, payload: bytes, payload_type: int = 0, samples: int | None = None) -> None:
        advance = len(payload) if samples is None else samples
        self.send_raw(self.writer.packet(payload, payload_type, advance))

    def send_raw(self, datagram: bytes) -> None:
        self.sock.sendto(datagram, self.to)

    def received(self) -> list[RtpPacket]:
        """All packets that came since the last call."""
        packets = []
        while True:
            try:
                packets.append(parse(self.sock.recv(2048)))
            except BlockingIOError:
                return packets


class Line:
    """One MediaStream, its phone, and all that it said."""

    def __init__(self, *, sock: socket.socket | None = None, phone: Phone | None = None, **options: object) -> None:
        self.phone = phone or Phone()
        self.now = 1000.0
        self.slots = SlotClock(early=0)
        self.audio: list[bytes] = []
        self.digits: list[str] = []
        self.timeouts = 0
        self.faults: list[Exception] = []
        self.sock = sock or udp_socket()
        self.phone.to = self.sock.getsockname()
        settings: dict[str, object] = {
            "sock": self.sock,
            "pacer": self.slots,
            "terms": self._terms(options),
            "signalling_host": HOST,
            "clock": lambda: self.now,
            "on_audio": self.audio.append,
            "on_digit": self.digits.append,
            "on_timeout": self._on_timeout,
            "on_fault": self.faults.append,
            "lead_ms": 0,
        }
        self.stream = MediaStream(**(settings | options))  # type: ignore[arg-type]

    def _terms(self, options: dict[str, object]) -> Terms:
        """What was agreed on: `options` take away what stands in them."""
        event = options.pop("event_payload_type", EVENT)
        events = None if event is None else Events(event)  # type: ignore[arg-type]
        agreed: dict[str, object] = {
            "codec": CODECS[str(options.pop("codec", "PCMU"))],
            "remote": options.pop("remote", self.phone.address),
            "direction": options.pop("direction", "sendrecv"),
            "events": options.pop("events", events),
            "receive_events": options.pop("receive_events", events),
        }
        optional = ("keys", "ptime_ms", "payload_type", "receives", "rtcp")
        return Terms(**agreed, **{name: options.pop(name) for name in optional if name in options})  # type: ignore[arg-type]

    def __enter__(self) -> "Line":
        self.stream.start()
        self.slots.run(lambda: self.now)
        return self

    def __exit__(self, *_: object) -> None:
        self.stream.close()
        self.phone.sock.close()

    def tick(self, slots: int = 1) -> None:
        """Let slots pass, one by one."""
        for _ in range(slots):
            self.stall(PERIOD)

    def stall(self, seconds: float) -> None:
        """Let time pass in which the pacer did not run."""
        # A hair past the deadline, so that rounding of floats never decides.
        self.now = round((self.now + seconds) * 1000) / 1000
        self.slots.run(lambda: self.now + 1e-6)

    def _on_timeout(self) -> None:
        self.timeouts += 1


async def until(condition: Callable[[], bool]) -> None:
    """Turn the loop until the condition holds."""
    for _ in range(2000):
        if condition():
            return
        await asyncio.sleep(0.001)
    raise AssertionError("it never came")
