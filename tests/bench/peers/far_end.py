"""The far end of a PBX's media: `python -m tests.bench.peers.far_end --speaks audiosocket|websocket`.

AudioSocket: every piece of audio goes back as it came. WebSocket: the caller's audio is counted, and a second of G.711
goes out at once each second, which the PBX has to pace. Prints {"port": N} when it listens; SIGUSR1 begins a measuring
window, SIGUSR2 ends it, SIGTERM ends it all with {"frames": pieces of audio in the window, "cpu_s": its own CPU time}.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import select
import signal
import socket
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

from tests.bench.websocket_frames import header, upgraded

AUDIO = 0x10
"""AudioSocket's type of 16-bit linear audio at 8000 Hz."""
BINARY = 0x2
_HEAD_BYTES = 3
_READ_BYTES = 1 << 16
_PERIOD_S = 1.0
_AHEAD_S = 2
"""Audio that a new call is sent at once: a second is then always in hand."""
_DELTA_BYTES = 1600
_DELTAS_PER_S = 5
_LONGEST_WAIT_S = 0.05


class Piece(NamedTuple):
    """One message: its type, and where it stands in the bytes, head included."""

    kind: int
    start: int
    end: int


def audiosocket(data: bytes) -> Iterator[Piece]:
    """The whole messages of AudioSocket: type, length in 16 bits, payload."""
    at = 0
    while len(data) - at >= _HEAD_BYTES:
        end = at + _HEAD_BYTES + int.from_bytes(data[at + 1 : at + _HEAD_BYTES])
        if end > len(data):
            return
        yield Piece(data[at], at, end)
        at = end


def websocket(data: bytes) -> Iterator[Piece]:
    """The whole frames of a WebSocket client (RFC 6455 section 5.2), by opcode; they stay masked."""
    at = 0
    while len(data) - at >= 2:
        head, size = 2, data[at + 1] & 0x7F
        if size > 125:
            length = 2 if size == 126 else 8
            if len(data) - at < head + length:
                return
            size, head = int.from_bytes(data[at + 2 : at + 2 + length]), head + length
        end = at + head + 4 * (data[at + 1] >> 7) + size
        if end > len(data):
            return
        yield Piece(data[at] & 0x0F, at, end)
        at = end


class Line:
    """One call's connection. `read` answers how many pieces of audio it brought; EOFError: it is over."""

    def __init__(self, own: socket.socket, speaks: str) -> None:
        self.socket = own
        self.is_open = speaks == "audiosocket"
        """Whether audio may go out: the handshake is done."""
        self._pieces: Callable[[bytes], Iterator[Piece]] = audiosocket if self.is_open else websocket
        self._audio = AUDIO if self.is_open else BINARY
        self._echoes = self.is_open
        self._rest = b""
        own.setblocking(False)
        own.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def read(self) -> int:
        try:
            data = self.socket.recv(_READ_BYTES)
        except BlockingIOError:
            return 0
        except OSError as error:
            raise EOFError from error
        if not data:
            raise EOFError
        data = self._rest + data
        if not self.is_open:
            self._shake_hands(data)
            return 0
        return self._take(data)

    def write(self, data: bytes) -> None:
        """What the socket does not take is lost: the PBX has stopped reading, and its caller hears it."""
        with contextlib.suppress(OSError):
            self.socket.send(data)

    def _take(self, data: bytes) -> int:
        found = list(self._pieces(data))
        audio = [piece for piece in found if piece.kind == self._audio]
        if self._echoes and audio:
            self.write(b"".join(data[piece.start : piece.end] for piece in audio))
        self._rest = data[found[-1].end :] if found else data
        return len(audio)

    def _shake_hands(self, request: bytes) -> None:
        head, end, self._rest = request.partition(b"\r\n\r\n")
        answer = upgraded(head + end)
        if answer is None:
            self._rest = request
            return
        self.write(answer[:-2] + b"Sec-WebSocket-Protocol: media\r\n\r\n")
        self.is_open = True


class FarEnd:
    """Serves until `stop`."""

    def __init__(self, speaks: str) -> None:
        self.listening = socket.create_server(("127.0.0.1", 0), backlog=1024)
        self.listening.setblocking(False)
        self._speaks = speaks
        self._epoll = select.epoll()
        self._epoll.register(self.listening, select.EPOLLIN)
        self._lines: dict[int, Line] = {}
        self._speeches: deque[tuple[float, Line]] = deque()
        """When each line's next second is due: all have the same period, so they stay in order."""
        delta = header(_DELTA_BYTES, BINARY) + os.urandom(_DELTA_BYTES)
        self._second = delta * _DELTAS_PER_S
        self._running, self._counting, self._frames = True, False, 0
        self._cpu_s, self._began_s = 0.0, 0.0

    def begin(self, *_: object) -> None:
        """Begin a window."""
        self._frames, self._counting, self._began_s = 0, True, time.process_time()

    def end(self, *_: object) -> None:
        """End it."""
        self._counting, self._cpu_s = False, time.process_time() - self._began_s

    def stop(self, *_: object) -> None:
        """End `run` soon."""
        self._running = False

    def report(self) -> dict[str, float]:
        return {"frames": self._frames, "cpu_s": round(self._cpu_s, 3)}

    def run(self) -> None:
        while self._running:
            for descriptor, _ in self._epoll.poll(_LONGEST_WAIT_S if not self._speeches else 0.005):
                line = self._lines.get(descriptor)
                if line is None:
                    self._accept()
                else:
                    self._read(line)
            self._speak(time.monotonic())

    def _accept(self) -> None:
        with contextlib.suppress(BlockingIOError):
            own, _ = self.listening.accept()
            self._lines[own.fileno()] = Line(own, self._speaks)
            self._epoll.register(own, select.EPOLLIN)

    def _read(self, line: Line) -> None:
        was_open = line.is_open
        try:
            frames = line.read()
        except (EOFError, ValueError):
            del self._lines[line.socket.fileno()]
            line.socket.close()
            return
        if self._counting:
            self._frames += frames
        if line.is_open and not was_open:
            line.write(self._second * _AHEAD_S)
            self._speeches.append((time.monotonic() + _PERIOD_S, line))

    def _speak(self, now: float) -> None:
        while self._speeches and self._speeches[0][0] <= now:
            due, line = self._speeches.popleft()
            if line.socket.fileno() >= 0:
                line.write(self._second)
                self._speeches.append((due + _PERIOD_S, line))


def main(arguments: Sequence[str] | None = None) -> None:
    """The program."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench.peers.far_end")
    parser.add_argument("--speaks", choices=("audiosocket", "websocket"), required=True)
    far = FarEnd(parser.parse_args(arguments).speaks)
    for number, act in ((signal.SIGUSR1, far.begin), (signal.SIGUSR2, far.end), (signal.SIGTERM, far.stop)):
        signal.signal(number, act)
    print(json.dumps({"port": far.listening.getsockname()[1]}), flush=True)
    far.run()
    print(json.dumps(far.report()), flush=True)


if __name__ == "__main__":
    main()
