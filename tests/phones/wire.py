"""The media of a test phone: RTP on one UDP port, each packet stamped by the kernel when it arrives.

Times are CLOCK_REALTIME nanoseconds (`time.time_ns()`), for what arrived (SO_TIMESTAMPNS) and for what was
sent, so that they compare with a journal that another process writes. A `Wire` neither waits nor threads:
asyncio reads it by `loop.add_reader(wire, wire.drain)`, plain code by a `Recorder`. Knows nothing of `bridge`.
"""

import asyncio
import itertools
import random
import selectors
import socket
import struct
import threading
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Self

_HEADER = struct.Struct("!BBHII")
_TIMESPEC = struct.Struct("qq")
_SO_TIMESTAMPNS = getattr(socket, "SO_TIMESTAMPNS", 35)
_RECEIVE_BUFFER = 4 << 20
FRAME = 160  # bytes and samples: 20 ms of G.711
SILENCE = {0: b"\xff", 8: b"\xd5"}


@dataclass(frozen=True, slots=True)
class Packet:
    """One RTP packet (RFC 3550 5.1) and when the kernel had it (`t_ns`)."""

    t_ns: int
    source: tuple[str, int]
    payload_type: int
    marker: bool
    sequence: int
    timestamp: int
    ssrc: int
    payload: bytes


@dataclass(frozen=True, slots=True)
class Sent:
    """What a wire put out: the time just before `sendto`, and where the packet stands in its stream."""

    t_ns: int
    sequence: int
    timestamp: int


def parse(datagram: bytes, t_ns: int = 0, source: tuple[str, int] = ("", 0)) -> Packet:
    """Read one RTP packet; ValueError when it is none."""
    if len(datagram) < 12 or datagram[0] >> 6 != 2:
        raise ValueError("not RTP version 2")
    first, second, sequence, timestamp, ssrc = _HEADER.unpack_from(datagram)
    start = 12 + 4 * (first & 0x0F)
    if first & 0x10:
        start += 4 + 4 * struct.unpack_from("!H", datagram, start + 2)[0]
    end = len(datagram) - (datagram[-1] if first & 0x20 else 0)
    return Packet(t_ns, source, second & 0x7F, bool(second & 0x80), sequence, timestamp, ssrc, datagram[start:end])


class Wire:
    """One RTP port. `packets`: what came, in order of arrival; `strays`: what was no RTP; `sent`: our own."""

    def __init__(self, host: str = "127.0.0.1", port: int = 0, *, seed: int | None = None) -> None:
        self.packets: list[Packet] = []
        self.strays: list[tuple[int, bytes]] = []
        self.sent: list[Sent] = []
        self.to: tuple[str, int] | None = None
        self.payload_type = 0
        start = random.Random(seed)
        self.ssrc = start.getrandbits(32)
        self.sequence = start.getrandbits(16)
        self.timestamp = start.getrandbits(32)
        self._socket = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, socket.SOCK_DGRAM)
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _RECEIVE_BUFFER)
        self._socket.setsockopt(socket.SOL_SOCKET, _SO_TIMESTAMPNS, 1)
        self._socket.setblocking(False)
        self._socket.bind((host, port))
        self.host, self.port = self._socket.getsockname()[:2]

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def fileno(self) -> int:
        return self._socket.fileno()

    def close(self) -> None:
        self._socket.close()

    def drain(self) -> None:
        """Take in everything that has arrived; never waits."""
        while True:
            try:
                datagram, ancillary, _, source = self._socket.recvmsg(2048, 64)
            except (BlockingIOError, InterruptedError):
                return
            except ConnectionRefusedError:  # the far port closed: ICMP told us about an earlier send
                continue
            except OSError:  # closed meanwhile
                return
            t_ns = _kernel_time(ancillary)
            try:
                self.packets.append(parse(datagram, t_ns, source))
            except (ValueError, struct.error):
                self.strays.append((t_ns, datagram))

    def send(
        self,
        payload: bytes,
        *,
        payload_type: int | None = None,
        marker: bool = False,
        timestamp: int | None = None,
        advance: int | None = None,
    ) -> None:
        """Send one packet to `to`. The time line moves on by `advance` samples (default: one a byte)."""
        if self.to is None:
            raise RuntimeError("the wire has no far end yet")
        stamp = self.timestamp if timestamp is None else timestamp
        second = (self.payload_type if payload_type is None else payload_type) | (0x80 if marker else 0)
        header = _HEADER.pack(0x80, second, self.sequence, stamp & 0xFFFFFFFF, self.ssrc)
        self.sent.append(Sent(time.time_ns(), self.sequence, stamp & 0xFFFFFFFF))
        self.send_raw(header + payload)
        self.sequence = (self.sequence + 1) & 0xFFFF
        self.timestamp = (self.timestamp + (len(payload) if advance is None else advance)) & 0xFFFFFFFF

    def send_raw(self, datagram: bytes, to: tuple[str, int] | None = None) -> None:
        """Send these bytes as they are. A closed far port is the test's affair, not an error."""
        target = to or self.to
        if target is None:
            raise RuntimeError("the wire has no far end yet")
        try:
            self._socket.sendto(datagram, target)
        except (ConnectionRefusedError, BlockingIOError):
            return

    async def play(self, frames: Iterable[bytes], *, ptime_ms: float = 20.0) -> None:
        """Send one frame each `ptime_ms` against absolute deadlines, the first with the marker."""
        loop = asyncio.get_running_loop()
        deadline = loop.time()
        for index, frame in enumerate(frames):
            self.send(frame, marker=index == 0)
            deadline += ptime_ms / 1000
            # After a stall of the machine the stream goes on from now: a phone does not burst either.
            deadline = max(deadline, loop.time() - 0.1)
            await asyncio.sleep(max(0.0, deadline - loop.time()))

    async def press(self, digit: str, *, payload_type: int = 101, ms: int = 160) -> None:
        """Send one key as RFC 4733 events: a packet each 20 ms, one timestamp, the end three times."""
        stamp = self.timestamp
        for index, payload in enumerate(event_payloads(digit, ms)):
            self.send(payload, payload_type=payload_type, marker=index == 0, timestamp=stamp, advance=0)
            await asyncio.sleep(0.02 if not payload[1] & 0x80 else 0)
        self.timestamp = (stamp + 8 * ms) & 0xFFFFFFFF

    def heard(self, payload_type: int | None = None) -> bytes:
        """All payloads of one type (default: this wire's own), in the order of their sequence numbers."""
        wanted = self.payload_type if payload_type is None else payload_type
        return b"".join(p.payload for p in in_order([p for p in self.packets if p.payload_type == wanted]))


def _kernel_time(ancillary: Sequence[tuple[int, int, bytes]]) -> int:
    for level, kind, data in ancillary:
        if level == socket.SOL_SOCKET and kind == _SO_TIMESTAMPNS and len(data) >= _TIMESPEC.size:
            seconds, nanoseconds = _TIMESPEC.unpack_from(data)
            return int(seconds * 1_000_000_000 + nanoseconds)
    return time.time_ns()


def in_order(packets: Sequence[Packet]) -> list[Packet]:
    """The packets by sequence number over its wrap (for streams with holes under 32768), repeats left out."""
    if not packets:
        return []
    extended: dict[int, Packet] = {}
    highest = packets[0].sequence
    for packet in packets:
        step = (packet.sequence - highest + 0x8000 & 0xFFFF) - 0x8000
        extended.setdefault(highest + step, packet)
        highest += max(0, step)
    return [extended[key] for key in sorted(extended)]


def intervals_ms(packets: Sequence[Packet]) -> list[float]:
    """Milliseconds between each packet and the next, in order of arrival."""
    return [(b.t_ns - a.t_ns) / 1e6 for a, b in itertools.pairwise(packets)]


def pacing_errors_ms(packets: Sequence[Packet]) -> list[float]:
    """How far each packet of one stream lies from its place on the 20 ms grid, against the median packet."""
    if not packets:
        return []
    first = packets[0]
    late = [(p.t_ns - first.t_ns) / 1e6 - ((p.timestamp - first.timestamp) & 0xFFFFFFFF) / 8.0 for p in packets]
    middle = sorted(late)[len(late) // 2]
    return [value - middle for value in late]


def frames(audio: bytes, size: int = FRAME, fill: bytes = b"\xff") -> Iterator[bytes]:
    """Cut G.711 bytes into frames, the last one filled up."""
    for start in range(0, len(audio), size):
        yield audio[start : start + size].ljust(size, fill)


def silence(seconds: float, payload_type: int = 0) -> bytes:
    """That much digital silence in G.711."""
    return SILENCE[payload_type] * round(8000 * seconds)


def event_payloads(digit: str, ms: int = 160) -> list[bytes]:
    """The payloads of one key press (RFC 4733 2.3): growing duration, then the end packet three times."""
    event = "0123456789*#ABCD".index(digit)
    steps = [struct.pack("!BBH", event, 10, 8 * t) for t in range(20, ms, 20)]
    return steps + [struct.pack("!BBH", event, 0x80 | 10, 8 * ms)] * 3


class Recorder:
    """A thread that drains wires, for tests without a loop. Its own delays do no harm: the kernel stamps."""

    def __init__(self, *wires: Wire) -> None:
        self._selector = selectors.DefaultSelector()
        self._ours, self._theirs = socket.socketpair()
        self._selector.register(self._theirs, selectors.EVENT_READ)
        for wire in wires:
            self._selector.register(wire, selectors.EVENT_READ, wire)
        self._thread = threading.Thread(target=self._run, name="wire recorder", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ours.close()
        self._thread.join()
        self._theirs.close()
        self._selector.close()

    def _run(self) -> None:
        while True:
            for key, _ in self._selector.select():
                if key.data is None:
                    return
                key.data.drain()
