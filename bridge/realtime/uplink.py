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


class Uplink:
    """Keeps the audio of a turn until the session has it as an item, `keep_ms` of it at most."""

    def __init__(self, audio_format: Format, keep_ms: int) -> None:
        self._format = audio_format
        self._keep_ms = keep_ms
        self._fit()
        self._pieces: deque[bytes] = deque()
        self._begin = 0  # position of the oldest piece
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

    def add(self, audio: bytes) -> None:
        """Audio of the caller."""
        self._pieces.append(audio)
        self._end += len(audio)
        keep = self._quiet if self._turn is None and self._left is None else self._keep
        if self._end - self._begin > keep:
            self._drop_to(self._end - keep)

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
        self._pieces.clear()
        told = convert(audio) + convert.finish()
        self._begin = self._end
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
        pieces = self._pieces
        while pieces and self._begin + len(pieces[0]) <= position:
            self._begin += len(pieces.popleft())

    def _between(self, start: int, end: int) -> bytes:
        whole = b"".join(self._pieces)
        return whole[max(0, start - self._begin) : max(0, end - self._begin)]
