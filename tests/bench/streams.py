"""What all callers say: RTP of 20 ms, ready in one table, 1/20 of the calls in each step of 1 ms.

A step's calls share a socket, so that all their packets leave by one system call.
"""

from __future__ import annotations

import random
import struct
import time
from collections import deque
from collections.abc import Callable, Sequence
from typing import Protocol

import numpy as np

from tests.bench.mmsg import Outgoing, Table, send
from tests.bench.sockets import MediaSocket

STEPS = 20
"""Steps of 1 ms between two packets of a call."""
SAMPLES = 160
PACKET = np.dtype(
    [
        ("first", "u1"),
        ("second", "u1"),
        ("sequence", ">u2"),
        ("timestamp", ">u4"),
        ("ssrc", ">u4"),
        ("magic", "S4"),
        ("call", ">u4"),
        ("frame", ">u4"),
        ("zero", ">u4"),
        ("t_ns", ">u8"),
        ("noise", "u1", 136),
    ]
)
"""RTP with a payload that tells whose it is, the how manieth, and when it left (`time.time_ns()`)."""
SRTP_TAG_BYTES = 10
MAGIC = b"SBup"
_SPREAD = 7  # coprime to STEPS: few calls spread over the 20 ms as well
_MARKER = 0x80

Seal = Callable[[bytes], bytes]
Address = tuple[str, int]


class Voices(Protocol):
    """How calls speak: all the time (`Streams`), or just so that the service sees them (`Signs`)."""

    sent: int
    """Packets, since the beginning."""
    skipped: int
    """Packets that were due and did not leave."""

    def place(self, call: int) -> int:
        """The index of the media socket that a new call is to use; IndexError when there is room for no more."""

    def open(self, call: int, far: Address, seal: Seal | None) -> None:
        """The call has been answered, there its audio goes."""

    def close(self, call: int) -> None:
        """The call is over, answered or not."""

    def step(self, tick: int, late: bool) -> None:
        """Send what is due in this millisecond; when that is too late to be of use, leave it out."""


class _Step:
    """The calls of one step: the rows of `_rows`, of which those in `active` speak."""

    def __init__(self, packets: Table, wire: Outgoing, first_row: int, fileno: int, payload_type: int) -> None:
        self._packets = packets
        self._wire = wire
        self._first_row = first_row
        self._fileno = fileno
        self._payload_type = payload_type
        self._rows: dict[int, Seal | None] = {}
        self._active: Table = np.empty(0, np.int64)
        self._headers = wire.headers(self._active)
        self._fresh = False

    def add(self, row: int, seal: Seal | None) -> None:
        self._rows[row] = seal
        self._fresh = True
        self._changed()

    def remove(self, row: int) -> None:
        if row in self._rows:
            del self._rows[row]
            self._changed()

    def _changed(self) -> None:
        self._active = np.fromiter(self._rows, np.int64, len(self._rows))
        self._headers = self._wire.headers(self._active)

    def send(self, sealed: Table | None) -> tuple[int, int]:
        """Send a packet of each; how many left, how many did not."""
        due = len(self._active)
        if not due:
            return 0, 0
        self._packets["t_ns"] = time.time_ns()
        if sealed is not None:
            self._seal(sealed)
        left = send(self._fileno, self._headers)
        self._packets["sequence"] += 1
        self._packets["frame"] += 1
        self._packets["timestamp"] += SAMPLES
        if self._fresh:
            self._packets["second"] = self._payload_type
            self._fresh = False
        return left, due - left

    def _seal(self, sealed: Table) -> None:
        for row, seal in self._rows.items():
            if seal is not None:
                plain = self._packets[row - self._first_row].tobytes()
                sealed[row] = np.frombuffer(seal(plain), np.uint8)

    def skip(self) -> int:
        """Let the time of a packet pass; how many were due."""
        self._packets["timestamp"] += SAMPLES
        return len(self._active)


class Streams:
    """Up to `calls` calls that speak all the time."""

    def __init__(
        self, calls: int, sockets: Sequence[MediaSocket], payload_type: int, *, sealed: bool = False, seed: int = 1
    ) -> None:
        self.sent = self.skipped = 0
        self._payload_type = payload_type
        per_step = max(1, -(-calls // STEPS))
        rows = per_step * STEPS
        self._per_step = per_step
        self._packets = _packets(rows, seed)
        self._sealed = np.zeros((rows, PACKET.itemsize + SRTP_TAG_BYTES), np.uint8) if sealed else None
        self._wire = Outgoing(self._packets if self._sealed is None else self._sealed)
        self._socket_of = [step * len(sockets) // STEPS for step in range(STEPS)]
        self._steps = [
            _Step(
                self._packets[step * per_step : (step + 1) * per_step],
                self._wire,
                step * per_step,
                sockets[self._socket_of[step]].rtp.fileno(),
                payload_type,
            )
            for step in range(STEPS)
        ]
        order = [turn * _SPREAD % STEPS * per_step + place for place in range(per_step) for turn in range(STEPS)]
        self._free = deque(order[: max(calls, 1)])
        self._row_of: dict[int, int] = {}

    def place(self, call: int) -> int:
        row = self._row_of[call] = self._free.popleft()
        return self._socket_of[row // self._per_step]

    def open(self, call: int, far: Address, seal: Seal | None) -> None:
        row = self._row_of[call]
        packet = self._packets[row]
        packet["second"] = self._payload_type | _MARKER
        packet["call"], packet["frame"] = call, 0
        packet["sequence"], packet["ssrc"] = _start(call)
        self._wire.to[row]["port"], self._wire.to[row]["address"] = far[1], _number(far[0])
        self._steps[row // self._per_step].add(row, seal)

    def close(self, call: int) -> None:
        row = self._row_of.pop(call, None)
        if row is not None:
            self._steps[row // self._per_step].remove(row)
            self._free.append(row)

    def step(self, tick: int, late: bool) -> None:
        step = self._steps[tick % STEPS]
        if late:
            self.skipped += step.skip()
            return
        left, kept = step.send(self._sealed)
        self.sent += left
        self.skipped += kept


class Signs:
    """Calls that send one packet when they are answered and one a second from then on: enough to be believed."""

    _EVERY_TICKS = 1000

    def __init__(self, sockets: Sequence[MediaSocket], payload_type: int) -> None:
        self.sent = self.skipped = 0
        self._sockets = sockets
        self._payload_type = payload_type
        self._template = _packets(1, 1)
        self._calls: dict[int, tuple[Address, Seal | None]] = {}
        self._due: deque[tuple[int, int, int]] = deque()  # tick, call, number of the packet
        self._tick = 0

    def place(self, call: int) -> int:
        return call % len(self._sockets)

    def open(self, call: int, far: Address, seal: Seal | None) -> None:
        self._calls[call] = far, seal
        self._send(call, 0)

    def close(self, call: int) -> None:
        self._calls.pop(call, None)

    def step(self, tick: int, late: bool) -> None:
        self._tick = tick
        while self._due and self._due[0][0] <= tick:
            _, call, frame = self._due.popleft()
            if call in self._calls:
                self._send(call, frame)

    def _send(self, call: int, frame: int) -> None:
        packet = self._template
        far, seal = self._calls[call]
        packet["second"] = self._payload_type | _MARKER
        packet["call"], packet["frame"] = call, frame
        packet["sequence"], packet["ssrc"] = _start(call)
        packet["sequence"] += frame
        packet["timestamp"] = frame * SAMPLES * self._EVERY_TICKS // STEPS
        packet["t_ns"] = time.time_ns()
        plain = packet.tobytes()
        try:
            self._sockets[call % len(self._sockets)].rtp.sendto(plain if seal is None else seal(plain), far)
            self.sent += 1
        except BlockingIOError:
            self.skipped += 1
        self._due.append((self._tick + self._EVERY_TICKS, call, frame + 1))


def _packets(rows: int, seed: int) -> Table:
    packets = np.zeros(rows, PACKET)
    packets["first"] = 0x80
    packets["magic"] = MAGIC
    packets["noise"] = np.random.default_rng(seed).integers(0, 256, (rows, 136), np.uint8)
    return packets


def _start(call: int) -> tuple[int, int]:
    """First sequence number and SSRC of a call, the number in the lower half of its range (RFC 3711 section 3.3.1)."""
    chosen = random.Random(call)
    return chosen.getrandbits(15), chosen.getrandbits(32)


def _number(host: str) -> int:
    return int(struct.unpack("!I", bytes(map(int, host.split("."))))[0])
