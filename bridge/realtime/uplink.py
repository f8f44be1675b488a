"""The caller's audio as far back as a new session may need it: what no session has made a turn of.

A position is a count of bytes from the beginning of the call. A session counts the milliseconds of the audio that it
got, so its zero is the position where its audio began.
"""

from __future__ import annotations

from collections import deque

from bridge.audio.conversion import converter
from bridge.audio.format import Format
from bridge.realtime import events as ev

QUIET_MS = 6000
"""Kept while nobody speaks: the server may be gone for so long before that shows."""
BLOCK_MS = 1000
"""Packets are gathered in blocks, made once and used again: hundreds of small objects per call, or one that grows and
moves, would be memory that no cache can hold."""


class Uplink:
    """Keeps the audio of a turn until the session has it as an item, `keep_ms` of it at most."""

    __slots__ = (
        "_begin",
        "_block",
        "_blocks",
        "_blocks_begin",
        "_commits",
        "_done",
        "_end",
        "_filled",
        "_format",
        "_keep",
        "_keep_ms",
        "_left",
        "_newest",
        "_quiet",
        "_spare",
        "_turn",
        "_turn_end",
        "_zero",
    )  # fmt: skip

    def __init__(self, audio_format: Format, keep_ms: int) -> None:
        self._format = audio_format
        self._keep_ms = keep_ms
        self._fit()
        self._blocks: deque[bytearray] = deque()  # full ones
        self._newest = bytearray(self._block)  # the one that is being filled
        self._filled = 0  # bytes of it
        self._spare: bytearray | None = None
        self._blocks_begin = 0  # position of the oldest block
        self._begin = 0  # of the oldest audio that counts as kept; somewhere in that block
        self._end = 0
        self._zero = 0  # of the session's clock
        self._done = 0  # up to here the session has made items of it
        self._turn: int | None = None  # where the turn began that is no item yet
        self._turn_end = 0
        self._commits = False  # the service tells when a turn has become an item
        self._left: int | None = None  # while there is no session: what the next one must hear first

    @property
    def per_ms(self) -> int:
        """Bytes of a millisecond."""
        return self._format.bytes_per_ms

    @property
    def has_open_turn(self) -> bool:
        """Whether the caller has begun a turn that the session has not made an item."""
        return self._turn is not None

    def _fit(self) -> None:
        self._keep = self._keep_ms * self.per_ms
        self._quiet = min(self._keep_ms, QUIET_MS) * self.per_ms
        self._block = BLOCK_MS * self.per_ms

    def add(self, audio: bytes) -> None:
        """Audio of the caller."""
        filled = self._filled + len(audio)
        if filled > self._block:
            self._begin_block(audio)
        else:
            self._newest[self._filled : filled] = audio
            self._filled = filled
        self._end += len(audio)
        keep = self._quiet if self._turn is None and self._left is None else self._keep
        if self._end - self._begin > keep:
            self._drop_to(self._end - keep)

    def _begin_block(self, audio: bytes) -> None:
        """Put audio that does not fit into the newest block into this one and those behind it."""
        rest = memoryview(audio)
        while rest:
            if self._filled == self._block:
                self._blocks.append(self._newest)
                self._newest, self._spare = self._spare or bytearray(self._block), None
                self._filled = 0
            piece = rest[: self._block - self._filled]
            self._newest[self._filled : self._filled + len(piece)] = piece
            self._filled += len(piece)
            rest = rest[len(piece) :]

    def observe(self, event: ev.Event) -> bytes | None:
        """An event of the session. Gives the audio of a turn that has just become the item of `Committed`."""
        match event:
            case ev.SpeechStarted(audio_start_ms) if self._turn is None:
                self._turn = self._position(audio_start_ms)
            case ev.SpeechStopped(audio_end_ms):
                self._turn_end = self._position(audio_end_ms)
            case ev.Committed():
                self._commits = True
                if self._turn is None:
                    return None
                turn = self._between(self._turn, max(self._turn, self._turn_end))
                self._close(self._turn_end)
                return turn
            case ev.CallerSaid() if self._turn is None and not self._commits:
                self._close(self._end)
        return None

    def leave(self) -> None:
        """The session is gone: what it has made no turn of, and all that comes, is kept for the next one."""
        self._left = self._turn if self._turn is not None else max(self._done, self._end - self._quiet)
        self._turn = None

    def leave_unnoticed(self) -> None:
        """The session gives way to another one at a quiet moment: that one hears the caller from here on."""
        self._left, self._turn = self._end, None

    def restart(self) -> tuple[bytes, int]:
        """What a new session must hear first, and how many bytes of that are not there any more. Its zero is there."""
        wanted, self._left = self._left if self._left is not None else self._end, None
        lost = max(0, self._begin - wanted)
        self._zero = self._done = wanted + lost
        return self._between(self._zero, self._end), lost

    def refit(self, audio_format: Format, audio: bytes) -> bytes:
        """From here audio comes in this format. What is kept goes, and `audio` comes back in the new one."""
        convert = converter(self._format, audio_format)
        if convert is None:
            return audio
        self._format = audio_format
        self._fit()
        self._blocks.clear()
        self._newest, self._filled, self._spare = bytearray(self._block), 0, None
        told = convert(audio) + convert.finish()
        self._blocks_begin = self._begin = self._end
        self._zero = self._done = self._end - len(told)
        return told

    def _close(self, position: int) -> None:
        self._turn = None
        self._done = max(self._done, position)
        self._drop_to(self._end - self._quiet)

    def _position(self, session_ms: int) -> int:
        """Within what there is: the session's clock is its own word."""
        return max(self._done, min(self._end, self._zero + session_ms * self.per_ms))

    def _drop_to(self, position: int) -> None:
        self._begin = max(self._begin, position)
        while self._blocks and self._blocks_begin + self._block <= self._begin:
            self._blocks_begin += self._block
            self._spare = self._blocks.popleft()

    def _between(self, start: int, end: int) -> bytes:
        whole = b"".join((*self._blocks, self._newest[: self._filled]))
        start = max(start, self._begin)
        return whole[start - self._blocks_begin : max(start, end) - self._blocks_begin]
