"""One client's connection to the fast server: its socket, what is in it, and the session behind."""

import contextlib
import socket
import ssl
import struct
import time
from collections.abc import Callable, Iterator

from tests.bench.server_figures import Figures
from tests.bench.server_session import Course, Session
from tests.bench.tls_stream import TlsStream
from tests.bench.up_frames import UpFrames
from tests.bench.websocket_frames import (
    CLOSE,
    CONTINUATION,
    PING,
    PONG,
    TEXT,
    Append,
    Frame,
    FrameReader,
    NotWebSocket,
    frame,
    upgraded,
)

SO_TIMESTAMPNS = 35
_STAMP = struct.Struct("@qq")
_STAMP_SPACE = socket.CMSG_SPACE(_STAMP.size)
_READ_BYTES = 1 << 16
_UNSENT_LIMIT = 8 << 20
"""Bytes that may wait for a client that does not read; then it is left."""


class Left(Exception):
    """The connection is over."""


class Connection:
    """Bytes from the socket to the session and back. `read` and `resume` raise Left at the end."""

    def __init__(
        self,
        own: socket.socket,
        number: int,
        course: Course,
        figures: Figures,
        *,
        sampled: bool,
        tls: ssl.SSLContext | None,
        wake_at: Callable[["Connection", float, Iterator[float]], None],
        watch_writable: Callable[["Connection"], None],
    ) -> None:
        self.socket = own
        self.session = Session(number, course, figures, self.write, lambda due, story: wake_at(self, due, story))
        self._figures = figures
        self._tls = TlsStream(tls) if tls is not None else None
        self._watch_writable = watch_writable
        self._unsent = bytearray()
        self._request: bytes | None = b""
        self._up = UpFrames(figures, sampled=sampled)
        self._frames = FrameReader(figures.sizes, wants_appends=True)
        self._message = b""
        self.session.call = lambda: self._up.call
        own.setblocking(False)
        own.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if sampled:
            own.setsockopt(socket.SOL_SOCKET, SO_TIMESTAMPNS, 1)

    def read(self) -> None:
        """The socket is readable. Raises Left."""
        stamp_ns = None
        try:
            if self._up.sampled:
                data, ancillary, _, _ = self.socket.recvmsg(_READ_BYTES, _STAMP_SPACE)
                stamp_ns = _stamp(ancillary)
            else:
                data = self.socket.recv(_READ_BYTES)
        except BlockingIOError:
            return
        except OSError as error:
            raise Left from error
        if not data:
            raise Left
        try:
            self._take(data, stamp_ns)
        except (ValueError, LookupError, ssl.SSLError) as error:
            self._figures.faults += 1
            raise Left from error

    def write(self, data: bytes) -> None:
        """Send; what the socket does not take waits."""
        self._send(data if self._tls is None else self._tls.sealed(data))

    def resume(self) -> None:
        """The socket takes bytes again. Raises Left."""
        waiting, self._unsent = bytes(self._unsent), bytearray()
        self._send(waiting, again=True)

    @property
    def is_waiting(self) -> bool:
        """Whether bytes wait for the socket."""
        return bool(self._unsent)

    def close(self) -> None:
        """End it at once."""
        self.session.story = None
        self._figures.bytes_unsent += len(self._unsent)
        self.socket.close()

    def _take(self, data: bytes, stamp_ns: int | None) -> None:
        if self._tls is not None:
            data = self._tls.opened(data)
            if pending := self._tls.pending():
                self._send(pending)
        if self._request is not None:
            data = self._shake_hands(self._request + data)
        if not data:
            return
        frames = self._frames.feed(data)
        last = frames[-1] if frames and self._frames.is_between else None
        for each in frames:
            if isinstance(each, Append):
                self._up.take(each, stamp_ns, is_last=each is last)
                self._frames.wants_appends = self._up.wanted
            else:
                self._react(each)

    def _shake_hands(self, request: bytes) -> bytes:
        head, end, behind = request.partition(b"\r\n\r\n")
        answer = upgraded(head + end)
        if answer is None:
            self._request = request
            return b""
        self._request = None
        self.write(answer)
        self.session.opened()
        return behind

    def _react(self, each: Frame) -> None:
        if each.opcode in (TEXT, CONTINUATION):
            self._message += each.payload
            if each.final:
                message, self._message = self._message, b""
                self.session.receive(message, time.monotonic())
        elif each.opcode == PING:
            self.write(frame(each.payload, PONG))
        elif each.opcode == CLOSE:
            self.write(frame(each.payload[:125], CLOSE))
            if self._tls is not None:
                self._send(self._tls.farewell())
            raise Left
        elif each.opcode != PONG:
            raise NotWebSocket(f"opcode {each.opcode}")

    def _send(self, data: bytes, *, again: bool = False) -> None:
        sent = 0
        if not self._unsent:
            try:
                sent = self.socket.send(data)
            except BlockingIOError:
                pass
            except OSError:
                return  # the next read says so too
            if sent == len(data):
                return
            self._watch_writable(self)
        self._unsent += data[sent:]
        if not again:
            self._figures.bytes_held += len(data) - sent
        if len(self._unsent) > _UNSENT_LIMIT:
            with contextlib.suppress(OSError):
                self.socket.shutdown(socket.SHUT_RDWR)


def _stamp(ancillary: list[tuple[int, int, bytes]]) -> int | None:
    """When the kernel had the newest byte of a read, in ns since the epoch; None: it does not say."""
    for level, kind, data in ancillary:
        if level == socket.SOL_SOCKET and kind == SO_TIMESTAMPNS:
            seconds, nanoseconds = _STAMP.unpack_from(data)
            return int(seconds * 1_000_000_000 + nanoseconds)
    return None
