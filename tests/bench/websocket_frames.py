"""The server's side of WebSocket in bytes (RFC 6455): the handshake, frames out, masked frames in.

Written for load: an `input_audio_buffer.append` is told by a few masked bytes and stays as it is.
"""

import base64
import hashlib
import struct
from collections.abc import Iterator
from dataclasses import dataclass

CONTINUATION, TEXT, CLOSE, PING, PONG = 0x0, 0x1, 0x8, 0x9, 0xA
HANDSHAKE_LIMIT = 16_384
"""Bytes of a request; what is longer is none."""
FRAME_LIMIT = 32 << 20
"""Bytes of a frame's payload."""
_GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
_END = b"\r\n\r\n"

# A final text frame whose length has 16 bits, its mask, and the payload's words at 8 and at 28: multiples of 4, so
# that the whole mask belongs to each.
_APPEND = struct.Struct(">BBHI8xI16xI")
_APPEND_HEADER = 8
_AT_8 = int.from_bytes(b'"inp')
_AT_28 = int.from_bytes(b"appe")


class NotWebSocket(ValueError):
    """Bytes that a client may not send."""


@dataclass(frozen=True, slots=True)
class Append:
    """An `input_audio_buffer.append` in the form of the bridge's template, masked."""

    masked: bytes
    mask: bytes


@dataclass(frozen=True, slots=True)
class Frame:
    """Any other frame, unmasked."""

    opcode: int
    payload: bytes
    final: bool = True


def upgraded(request: bytes) -> bytes | None:
    """The answer to a whole request; None: its end has not come yet. Raises NotWebSocket."""
    if len(request) > HANDSHAKE_LIMIT:
        raise NotWebSocket("the request is too long")
    if not request.endswith(_END):
        return None
    lines = (line.partition(b":") for line in request.split(b"\r\n")[1:])
    headers = {name.strip().lower(): value.strip() for name, _, value in lines}
    if b"sec-websocket-key" not in headers:
        raise NotWebSocket("the request has no Sec-WebSocket-Key")
    accept = base64.b64encode(hashlib.sha1(headers[b"sec-websocket-key"] + _GUID).digest())
    return (
        b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: "
        + accept
        + _END
    )


def header(size: int, opcode: int = TEXT) -> bytes:
    """What stands before a payload of `size` bytes from the server."""
    first = 0x80 | opcode
    if size < 126:
        return bytes((first, size))
    if size < 65_536:
        return struct.pack(">BBH", first, 126, size)
    return struct.pack(">BBQ", first, 127, size)


def frame(payload: bytes, opcode: int = TEXT) -> bytes:
    """A whole frame from the server."""
    return header(len(payload), opcode) + payload


def unmasked(data: bytes, mask: bytes) -> bytes:
    """A payload without its mask: one XOR of two large integers."""
    size = len(data)
    repeated = (mask * (size // 4 + 1))[:size]
    return (int.from_bytes(data) ^ int.from_bytes(repeated)).to_bytes(size)


class FrameReader:
    """One client's frames. `sizes` counts the appends' payload sizes, in bytes."""

    __slots__ = ("_rest", "_sizes", "wants_appends")

    def __init__(self, sizes: dict[int, int], *, wants_appends: bool = False) -> None:
        self.wants_appends = wants_appends
        """Whether `feed` gives the appends too, or only counts them."""
        self._sizes = sizes
        self._rest = b""

    @property
    def is_between(self) -> bool:
        """Whether what was fed ended with a whole frame."""
        return not self._rest

    def feed(self, data: bytes) -> list[Append | Frame]:
        """The frames that are whole now, without the appends where nobody wants them. Raises NotWebSocket."""
        if self._rest:
            data = self._rest + data
        found: list[Append | Frame] = []
        at, end, sizes = 0, len(data), self._sizes
        while end - at >= _APPEND.size:
            first, second, size, mask, word_8, word_28 = _APPEND.unpack_from(data, at)
            if first == 0x81 and second == 0xFE and word_8 ^ mask == _AT_8 and word_28 ^ mask == _AT_28:
                after = at + _APPEND_HEADER + size
                if after > end:
                    break
                sizes[size] = sizes.get(size, 0) + 1
                if self.wants_appends:
                    found.append(Append(data[at + _APPEND_HEADER : after], data[at + 4 : at + 8]))
                at = after
            elif (read := _next_frame(data, at)) is not None:
                found.append(read[0])
                at = read[1]
            else:
                break
        else:
            for read in _frames(data, at):
                found.append(read[0])
                at = read[1]
        self._rest = data[at:] if at < end else b""
        return found


def _frames(data: bytes, at: int) -> Iterator[tuple[Frame, int]]:
    while (read := _next_frame(data, at)) is not None:
        yield read
        at = read[1]


def _next_frame(data: bytes, at: int) -> tuple[Frame, int] | None:
    """The frame that begins at `at` and where it ends; None: it is not whole yet."""
    if len(data) - at < 6:
        return None
    first, second = data[at], data[at + 1]
    if not second & 0x80 or first & 0x70:
        raise NotWebSocket("a client's frame without a mask, or with an extension")
    size, begin = second & 0x7F, at + 2
    if size >= 126:
        width = 2 if size == 126 else 8
        size, begin = int.from_bytes(data[begin : begin + width]), begin + width
        if len(data) < begin:
            return None
    if size > FRAME_LIMIT:
        raise NotWebSocket("a frame that is too large")
    after = begin + 4 + size
    if len(data) < after:
        return None
    payload = unmasked(data[begin + 4 : after], data[begin : begin + 4])
    return Frame(first & 0x0F, payload, bool(first & 0x80)), after
