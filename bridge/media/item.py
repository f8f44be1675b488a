"""One item of the model in the playout's queue: what came of it, what of that has left."""

from collections import deque
from dataclasses import dataclass, field

TAIL_TICKS = 3
"""Slots for which less than a frame is kept back while more of its item may come."""


@dataclass(slots=True)
class Item:
    """The queued audio of one item. `received` and `sent` are bytes; all that is there has come and was not sent."""

    item_id: str
    chunks: deque[bytes] = field(default_factory=deque)
    offset: int = 0
    received: int = 0
    sent: int = 0
    ended: bool = False
    started: bool = False
    lead_ticks: int = 0
    tail_ticks: int = 0
    in_gap: bool = False
    gap_counted: bool = False

    def take(self, size: int) -> bytes:
        """Remove `size` bytes that are there; one slice when the first chunk has them all."""
        self.sent += size
        piece = self._slice(size)
        if len(piece) == size:
            return piece
        pieces = [piece]
        missing = size - len(piece)
        while missing:
            pieces.append(self._slice(missing))
            missing -= len(pieces[-1])
        return b"".join(pieces)

    def _slice(self, size: int) -> bytes:
        chunk = self.chunks[0]
        end = self.offset + size
        piece = chunk[self.offset : end]
        if end < len(chunk):
            self.offset = end
        else:
            self.chunks.popleft()
            self.offset = 0
        return piece

    def peek(self, size: int) -> bytes:
        """The next bytes, `size` at most; they stay."""
        pieces, missing, offset = [], size, self.offset
        for chunk in self.chunks:
            pieces.append(chunk[offset : offset + missing])
            missing -= len(pieces[-1])
            offset = 0
            if not missing:
                break
        return b"".join(pieces)

    def put_back(self, data: bytes) -> None:
        """Undo `take`."""
        self.sent -= len(data)
        if self.offset:
            self.chunks[0] = self.chunks[0][self.offset :]
            self.offset = 0
        self.chunks.appendleft(data)

    def keeps_back(self, available: int) -> bool:
        """Whether a dry item says nothing in this slot: its tail may be completed by what comes next."""
        self.in_gap = True
        self.tail_ticks += available > 0
        return not available or self.tail_ticks <= TAIL_TICKS
