"""One item of the model in the playout's queue: what came of it, what of that has left."""

from collections import deque
from dataclasses import dataclass, field

from bridge.audio.conversion import Converter, converter
from bridge.audio.format import Format

PIECE_MS = 100
"""Audio that is put into a new format at once: all that waits may be minutes, and the calls would wait for it."""


@dataclass(slots=True)
class _Run:
    """Audio in a format of before, oldest first. `due` is how many bytes it still counts for in the present one."""

    format: Format
    chunks: deque[bytes]
    due: int
    offset: int = 0
    convert: Converter | None = None


@dataclass(slots=True)
class Item:
    """The queued audio of one item. `received` and `sent` are bytes of the present format."""

    item_id: str
    format: Format
    chunks: deque[bytes] = field(default_factory=deque)
    offset: int = 0
    received: int = 0
    sent: int = 0
    ended: bool = False
    started: bool = False
    lead_ticks: int = 0
    in_gap: bool = False
    gap_counted: bool = False
    runs: deque[_Run] = field(default_factory=deque)
    """What waits behind `chunks` in other formats, as the call changed its own; mostly nothing."""

    @property
    def waiting(self) -> int:
        """Bytes that have come and not left."""
        return self.received - self.sent

    def append(self, data: bytes) -> None:
        """More of it has come."""
        self.received += len(data)
        if self.runs:
            self.runs.append(_Run(self.format, deque((data,)), len(data)))
        else:
            self.chunks.append(data)

    def change(self, audio_format: Format) -> None:
        """Go on in another format. What waits is converted when its turn comes, so this costs nothing."""
        old, new = self.format.bytes_per_ms, audio_format.bytes_per_ms
        if self.runs and (convert := self.runs[0].convert) is not None and (rest := convert.finish()):
            self.chunks.append(rest)  # what the filter has kept back
            self.runs[0].due -= len(rest)
        ready = sum(map(len, self.chunks)) - self.offset
        if ready:
            self.chunks[0], self.offset = self.chunks[0][self.offset :], 0
            self.runs.appendleft(_Run(self.format, self.chunks, ready))
            self.chunks = deque()
        for run in self.runs:
            run.due, run.convert = run.due * new // old, None
        self.format = audio_format
        self.sent = self.sent * new // old
        self.received = self.sent + sum(run.due for run in self.runs)

    def take(self, size: int) -> bytes:
        """Remove the next bytes, `size` at most; one slice when the first chunk has them all."""
        if self.runs:
            self._make_ready(size)
            size = min(size, self.waiting)
        if not size:
            return b""
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
        if self.runs:
            self._make_ready(size)
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

    def _make_ready(self, size: int) -> None:
        """Convert until `chunks` have `size` bytes, or everything is."""
        ready = sum(map(len, self.chunks)) - self.offset
        while ready < size and self.runs:
            audio = self._converted(self.runs[0])
            if audio:
                self.chunks.append(audio)
                ready += len(audio)

    def _converted(self, run: _Run) -> bytes:
        """The next piece of a run; with its last one the run is over, and the count is what really came of it."""
        end = run.offset + PIECE_MS * run.format.bytes_per_ms
        chunk = run.chunks[0][run.offset : end]
        if end < len(run.chunks[0]):
            run.offset = end
        else:
            run.chunks.popleft()
            run.offset = 0
        if run.format == self.format:
            audio = chunk
        else:
            run.convert = run.convert or converter(run.format, self.format)
            assert run.convert is not None
            audio = run.convert(chunk)
            if not run.chunks:
                audio += run.convert.finish()
        run.due -= len(audio)
        if not run.chunks:
            self.runs.popleft()
            self.received -= run.due
        return audio
