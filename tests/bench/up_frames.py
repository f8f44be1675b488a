"""The caller's frames in the appends of one session: whose they are, how old, and whether each came once."""

import struct
import time
from binascii import a2b_base64

from tests.bench.server_figures import Figures
from tests.bench.websocket_frames import Append, unmasked

HEAD = struct.Struct(">4sIIIQ")
"""Of every 20 ms frame: magic, call, frame, 0, when it was sent in ns since the epoch."""
MAGIC = b"SBup"
FRAME_BYTES = 160
TRIES = 100
"""Appends in which the call's number is looked for; with PCM it is never found."""
_BEFORE = len(b'{"type":"input_audio_buffer.append","audio":"')
_BEHIND = len(b'"}')


class UpFrames:
    """What one session's appends tell. `sampled`: all of them are looked at, not only until the call is known."""

    __slots__ = ("_figures", "_next_frame", "_tries", "call", "sampled")

    def __init__(self, figures: Figures, *, sampled: bool) -> None:
        self.call: int | None = None
        """The call's number; None until one of its frames came."""
        self.sampled = sampled
        self._figures = figures
        self._next_frame: int | None = None
        self._tries = 0

    @property
    def wanted(self) -> bool:
        """Whether the next append should be looked at."""
        return self.sampled or (self.call is None and self._tries < TRIES)

    def take(self, append: Append, stamp_ns: int | None, *, is_last: bool) -> None:
        """One append. `stamp_ns` is when the kernel had the newest byte of the read whose last append `is_last` is."""
        heads = _heads(append)
        if not heads:
            self._tries += 1
            if self._tries >= TRIES and self.call is None:
                self.sampled = False
            return
        self.call = heads[-1][0]
        if not self.sampled:
            return
        figures = self._figures
        figures.sampled_appends += 1
        self._follow(heads)
        if is_last:
            figures.unstamped_appends += stamp_ns is None
            figures.uplink_ms.add(((stamp_ns or time.time_ns()) - heads[-1][2]) / 1e6)

    def _follow(self, heads: list[tuple[int, int, int]]) -> None:
        figures, broken = self._figures, False
        for _, frame, _ in heads:
            if self._next_frame is not None and frame != self._next_frame:
                broken = True
                figures.up_frames_lost += max(0, frame - self._next_frame)
                figures.up_frames_repeated += frame < self._next_frame
            self._next_frame = max(frame + 1, self._next_frame or 0)
        figures.broken_appends += broken


def _heads(append: Append) -> list[tuple[int, int, int]]:
    """Call, frame and time of each of the caller's frames in an append."""
    audio = a2b_base64(unmasked(append.masked, append.mask)[_BEFORE:-_BEHIND])
    found = []
    at = audio.find(MAGIC)
    while 0 <= at <= len(audio) - HEAD.size:
        _, call, frame, _, t_ns = HEAD.unpack_from(audio, at)
        found.append((call, frame, t_ns))
        at = audio.find(MAGIC, at + FRAME_BYTES)
    return found
