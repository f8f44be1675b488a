"""How far the phone's clock has run away from ours.

Theory: each packet's transit is its arrival less the audio that came up to it. Jitter only ever adds to a transit, so
the smallest of a window of 10 s hardly moves unless the two clocks differ; where it has moved by a frame, a frame is
owed: to be put in when the phone is slow, to be left out when it is fast. A crystal is off by some 100 parts in a
million, one frame in three minutes; a network that stalls and then delivers everything at once, after silence has
already taken its place, leaves the same mark in an instant. Without this an hour of call is a third of a second off,
and with it the times that the model tells.
"""

from __future__ import annotations

from math import inf

WINDOW_S = 10.0
FRAME_S = 0.020
SUSPICION_S = 0.5
"""How long to look when silence has flowed in place of packets that came after all, in seconds."""
PATIENCE_S = 5.0
"""How long a frame that is owed waits for a quiet moment, in seconds; several frames wait shorter."""


class Drift:
    """The transits of one time line, and what is owed. Times in seconds."""

    __slots__ = ("_base", "_until", "_waits_since", "least", "owed")

    def __init__(self) -> None:
        self.owed = 0
        """Frames to put in; below 0, to leave out."""
        self._waits_since = 0.0
        self.restart()

    def restart(self) -> None:
        """A new time line: what was known of the old one says nothing."""
        self.least = inf
        """The smallest transit of the window; lowered by whoever sees the packets."""
        self.owed = 0
        self._base: float | None = None  # until the first window is over
        self._until: float | None = None  # until the first look

    def judge(self, now: float) -> None:
        """Look at the window when it is over. Call it once per slot."""
        if self._until is None:
            self._until = now + WINDOW_S
        if now < self._until or self.least == inf:
            return
        least, self.least, self._until = self.least, inf, now + WINDOW_S
        if self._base is None:
            self._base = least
        elif not self.owed:
            self.owed = int((least - self._base) / FRAME_S)
            self._waits_since = now

    def suspect(self, now: float) -> None:
        """Packets came for which silence stands already: soon it shows whether that time was theirs or was a pause."""
        if self._base is None and self.least != inf:
            self._base = self.least
        self.least, self._until = inf, now + SUSPICION_S

    def is_pressing(self, now: float) -> bool:
        """Whether the next frame that is owed waits no longer for a quiet moment."""
        return (now - self._waits_since) * abs(self.owed) >= PATIENCE_S

    def settled(self, now: float) -> None:
        """One frame of what is owed was put in or left out; the transits of before say nothing any more."""
        self.owed += 1 if self.owed < 0 else -1
        self._waits_since = now
        self.least, self._until = inf, now + WINDOW_S
