"""Where the frames of a server end in what its socket reads (RFC 6455 section 5.2), and which are a whole message each.

Most messages of a model lie whole in what was read. To see that takes a look at four bytes; the library's parser, which
is ready for anything, takes four times as long (docs/performance.md). What is not whole, not data, long or wrong is the
library's affair, as the handshake is.
"""

from __future__ import annotations

from collections.abc import Iterator

_WHOLE = (0x81, 0x82)
"""FIN without extensions, and the opcode of text or binary."""
_FIN, _OPCODE, _MASKED = 0x80, 0x0F, 0x80
_CLOSE = 0x8
_MEDIUM, _LONG = 126, 127

Piece = tuple[int, int, int]
"""Beginning and end of a frame, or of a part of one; and where its message begins when that is whole, else 0."""


class FrameEnds:
    """Follows one connection from the first byte behind its handshake."""

    __slots__ = ("_begun", "_in_fragments", "_missing", "controls")

    def __init__(self) -> None:
        self.controls = 0
        """Control frames since somebody set it to 0."""
        self._begun = b""  # of a head whose rest has not come
        self._missing = 0  # bytes of the frame that has begun
        self._in_fragments = False

    def joined(self, data: bytes) -> bytes:
        """What was read, with what was kept of the time before: the data for `pieces`."""
        if self._begun:
            data, self._begun = self._begun + data, b""
        return data

    def pieces(self, data: bytes) -> Iterator[Piece]:
        """All of it in its order; a head that is not whole is kept for the next time."""
        at, size = min(self._missing, len(data)), len(data)
        if at:
            self._missing -= at
            yield 0, at, 0
        while at < size:
            head = _head(data, at)
            if head is None:
                self._begun = data[at:]
                return
            end = at + head[0] + head[1]
            message = self._is_message(data[at], data[at + 1]) and end <= size
            yield at, min(end, size), at + head[0] if message else 0
            self._missing = max(0, end - size)
            at = end

    def _is_message(self, first: int, second: int) -> bool:
        """Whether a head with these two bytes begins a message that is no fragment, nor long or masked."""
        if first & _OPCODE >= _CLOSE:
            self.controls += 1
            return False
        alone, self._in_fragments = not self._in_fragments, not first & _FIN
        return alone and first in _WHOLE and second < _LONG


def _head(data: bytes, at: int) -> tuple[int, int] | None:
    """Bytes of the head and of what follows it; None while the head is not whole."""
    if len(data) < at + 2:
        return None
    length = data[at + 1] & ~_MASKED
    more = {_MEDIUM: 2, _LONG: 8}.get(length, 0)
    if len(data) < at + 2 + more:
        return None
    if more:
        length = int.from_bytes(data[at + 2 : at + 2 + more], "big")
    return 2 + more + (4 if data[at + 1] & _MASKED else 0), length
