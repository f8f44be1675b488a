"""One recording of a call: the caller left, the agent right, both on the wire clock. It knows no file and no thread."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from bridge.audio.format import Format, silence_of

BATCH_MS = 500
"""Audio of one write."""
HELD_BACK_MS = 500
"""How far writing stays behind the wire clock: so late the caller's audio may come without leaving a hole."""
MOST_AHEAD_MS = 160
"""How far the caller's audio may run ahead of the wire clock: a burst after a gap, or a phone's fast clock."""


class File(Protocol):
    """Where a recording goes, as its tracks see it."""

    path: Path
    failed: bool
    """Whether nothing can be written any more."""


@dataclass(frozen=True, slots=True)
class Batch:
    """Audio of both sides, equally long, in the leg's format; before it `silence_ms` that were dropped."""

    file: File
    format: Format
    silence_ms: int
    caller: bytes
    agent: bytes
    last: bool = False

    @property
    def size(self) -> int:
        """Bytes."""
        return len(self.caller) + len(self.agent)


class Writer(Protocol):
    """Takes batches, and counts what its recordings lose."""

    dropped_ms: int
    limited: int

    def hand_over(self, batch: Batch) -> bool:
        """Whether there was room for it."""

    def finish(self, batch: Batch) -> None:
        """The last of a file, without audio."""


class Recording:
    """One call that is recorded. Nothing here waits: call it from the event loop.

    Per slot of the wire clock first `slot`, then `sent` with the frame that left, if one did. `heard` gets the
    caller's audio in order, its length in time being the call's; bursts are fine.
    """

    __slots__ = (
        "_agent",
        "_caller",
        "_due",
        "_file",
        "_format",
        "_held_back",
        "_left_ms",
        "_most_ahead",
        "_over",
        "_owed_ms",
        "_per_ms",
        "_quiet",
        "_slot",
        "_stalled",
        "_wire",
        "_writer",
    )

    def __init__(self, writer: Writer, file: File, audio_format: Format, most_ms: int) -> None:
        self._writer = writer
        self._file = file
        self._over = False
        self._left_ms = most_ms
        self._owed_ms = 0  # silence in place of what found no room on the way to the disk
        self._caller = bytearray()
        self._agent = bytearray()
        self._begin(audio_format)

    def _begin(self, audio_format: Format) -> None:
        """Both tracks are empty. All lengths are bytes in the leg's format, from the first that was not handed over."""
        self._format = audio_format
        self._per_ms = audio_format.bytes_per_ms
        self._held_back = HELD_BACK_MS * self._per_ms
        self._most_ahead = MOST_AHEAD_MS * self._per_ms
        self._due = self._held_back + BATCH_MS * self._per_ms
        self._slot = 0  # where the slot begins that runs
        self._wire = 0  # and where it ends
        self._stalled = False  # whether a slot was missed, and nothing handed over since
        self._quiet = True  # no audio of the caller flows: the next is laid where it arrives

    @property
    def path(self) -> Path:
        """The file."""
        return self._file.path

    def slot(self, ms: int, missed: int = 0) -> None:
        """A slot of `ms` begins; `missed` slots before it passed without a tick, and nothing left in them."""
        if self._over:
            return
        size = ms * self._per_ms
        self._slot = slot = self._wire + missed * size
        self._wire = wire = slot + size
        if len(self._caller) - wire > self._most_ahead:
            self._set_back(len(self._caller) - wire)
        if wire >= self._due:
            # What came in a stall of ours still waits in the socket: its silence is not yet sure.
            self._stalled = missed > 0 and not self._stalled
            if not self._stalled:
                self._hand_over(wire - self._held_back)

    def sent(self, audio: bytes) -> None:
        """The agent's frame that left in this slot, in the leg's format."""
        if self._over:
            return
        agent = self._agent
        if len(agent) != self._slot:
            self._lay(agent, self._slot)
        agent += audio

    def heard(self, audio: bytes) -> None:
        """More of the caller's audio, in the leg's format."""
        if self._over:
            return
        if self._quiet:
            self._quiet = False
            self._lay(self._caller, self._slot)
        self._caller += audio

    def follow(self, audio_format: Format) -> None:
        """Another format, or another leg in the caller's place: call it before the first audio of that."""
        if self._over:
            return
        # What of the caller is ahead of the clock is left out: it would move everything behind it.
        self._hand_over(max(self._wire, len(self._agent)))
        self._caller.clear()
        self._begin(audio_format)

    def close(self) -> None:
        """Complete the file in the background; a second call does nothing."""
        if not self._over:
            self._hand_over(self._reached)
            self._end()

    @property
    def _reached(self) -> int:
        """Where the longer track ends; the caller's may run ahead of the clock, but not by more than in a slot."""
        if len(self._caller) - self._wire > self._most_ahead:
            self._set_back(len(self._caller) - self._wire)
        return max(self._wire, len(self._caller), len(self._agent))

    def _lay(self, track: bytearray, end: int) -> None:
        """Fill the track with silence up to `end`, or cut it there."""
        if len(track) < end:
            track += silence_of(-(-(end - len(track)) // self._per_ms), self._format)
        del track[end:]

    def _set_back(self, excess: int) -> None:
        """The caller's audio is ahead of the clock.

        After a gap in the network silence has taken the place of what then came in a burst: that silence goes, and
        the burst is where it was spoken. Otherwise the oldest goes, so that what follows is in its place.
        """
        at = self._caller.find(silence_of(excess // self._per_ms, self._format))
        if at < 0:
            at = 0
            self._writer.dropped_ms += excess // self._per_ms
        del self._caller[at : at + excess]

    def _hand_over(self, end: int) -> None:
        """Both tracks up to `end` go to the disk."""
        most = self._left_ms * self._per_ms
        reached, end = end >= most, min(end, most)
        end += -end % self._per_ms
        if len(self._caller) < end:
            self._quiet = True
        for track in (self._caller, self._agent):
            if len(track) < end:
                self._lay(track, end)
        self._left_ms -= end // self._per_ms
        self._pass_on(bytes(self._caller[:end]), bytes(self._agent[:end]))
        del self._caller[:end], self._agent[:end]
        self._slot -= end
        self._wire -= end
        if reached or self._file.failed:
            self._writer.limited += reached
            self._end()

    def _pass_on(self, caller: bytes, agent: bytes) -> None:
        if self._writer.hand_over(Batch(self._file, self._format, self._owed_ms, caller, agent)):
            self._owed_ms = 0
        else:
            ms = len(caller) // self._per_ms
            self._owed_ms += ms
            self._writer.dropped_ms += ms

    def _end(self) -> None:
        self._over = True
        self._writer.finish(Batch(self._file, self._format, self._owed_ms, b"", b"", last=True))
