"""The calibration: what this machine takes for the work that no bridge can leave out, 20 ms of one call at a time.

    python -m tests.bench.bare [PACKETS]

Each round is one packet of RTP in and one out, and one append to the session: a datagram received, Base64 in JSON, a
masked WebSocket frame to a TCP socket, a datagram sent. Some plain Python beside it makes half of the time the
interpreter's and half the kernel's, as in the service, so that a slower machine or a busier host slows both alike.
Prints {"us_per_packet": [CPU time in each tenth of it], "system_share": how much of all is the kernel's}.
"""

from __future__ import annotations

import base64
import json
import os
import socket
import struct
import sys
import time
from collections import deque

PACKETS = 120_000
PIECES = 10
_HEADER = struct.Struct("!BBHII")
_FRAME_HEADER = struct.Struct(">BBHI")
_TEMPLATE = b'{"type":"input_audio_buffer.append","audio":"%b"}'
_PAYLOAD = 160
_DRAIN_EVERY = 32
_WORK = 12
"""Rounds of plain Python per packet, chosen so that the system's share is about a half."""


class Stream:
    """A little state with methods, as interpreters meet it in any program."""

    __slots__ = ("late", "packets", "queue", "sequence", "timestamp")

    def __init__(self) -> None:
        self.sequence = self.timestamp = self.packets = 0
        self.late: dict[int, int] = {}
        self.queue: deque[int] = deque(maxlen=16)

    def receive(self, sequence: int) -> int:
        """Note one packet; how many are known."""
        step = (sequence - self.sequence + 0x8000 & 0xFFFF) - 0x8000
        if step <= 0:
            self.late[sequence & 7] = self.late.get(sequence & 7, 0) + 1
        self.sequence = sequence
        self.queue.append(step)
        self.packets += 1
        return len(self.queue)

    def advance(self) -> tuple[int, int]:
        """Number and timestamp of the next packet."""
        self.timestamp = self.timestamp + _PAYLOAD & 0xFFFFFFFF
        return self.packets & 0xFFFF, self.timestamp


class Bare:
    """The sockets of one process: two for RTP, a TCP connection to itself for the session."""

    def __init__(self) -> None:
        self.phone, self.port = (socket.socket(socket.AF_INET, socket.SOCK_DGRAM) for _ in range(2))
        for sock in (self.phone, self.port):
            sock.bind(("127.0.0.1", 0))
        with socket.create_server(("127.0.0.1", 0)) as listening:
            self.session = socket.create_connection(listening.getsockname())
            self.server, _ = listening.accept()
        self.session.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.stream = Stream()
        self._mask = os.urandom(4)

    def close(self) -> None:
        """Close all sockets."""
        for sock in (self.phone, self.port, self.session, self.server):
            sock.close()

    def run(self, packets: int) -> None:
        """The work of so many packets."""
        target, audio = self.port.getsockname(), os.urandom(_PAYLOAD)
        for number in range(packets):
            sequence, timestamp = self.stream.advance()
            self.phone.sendto(_HEADER.pack(0x80, 0, sequence, timestamp, 1) + audio, target)
            datagram, _ = self.port.recvfrom(2048)
            _, _, sequence, _, _ = _HEADER.unpack_from(datagram)
            self._append(datagram[12:])
            for _ in range(_WORK):
                self.stream.receive(sequence)
            if number % _DRAIN_EVERY == 0:
                self.server.recv(1 << 16)

    def _append(self, audio: bytes) -> None:
        text = _TEMPLATE % base64.b64encode(audio)
        size = len(text)
        mask = (self._mask * (size // 4 + 1))[:size]
        masked = (int.from_bytes(text, "big") ^ int.from_bytes(mask, "big")).to_bytes(size, "big")
        self.session.sendall(_FRAME_HEADER.pack(0x81, 0xFE, size, int.from_bytes(self._mask, "big")) + masked)


def measured(packets: int) -> dict[str, object]:
    """Run a tenth to warm up, then measure piece by piece."""
    bare = Bare()
    try:
        bare.run(packets // PIECES)
        began, system = time.process_time(), os.times().system
        pieces = [_piece(bare, packets // PIECES) for _ in range(PIECES)]
        cpu, system = time.process_time() - began, os.times().system - system
    finally:
        bare.close()
    return {"us_per_packet": pieces, "system_share": round(system / cpu, 3)}


def _piece(bare: Bare, packets: int) -> float:
    began = time.process_time()
    bare.run(packets)
    return round(1e6 * (time.process_time() - began) / packets, 3)


if __name__ == "__main__":
    print(json.dumps(measured(int(sys.argv[1]) if len(sys.argv) > 1 else PACKETS)))
