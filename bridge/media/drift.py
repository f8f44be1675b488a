"""How far the phone's clock has run away from ours.

Theory: each packet's transit is its arrival less the audio that came up to it. Jitter only ever adds to a transit, so
the smallest of a window of 6 s hardly moves unless the two clocks differ; where it has moved by most of a frame, a
frame is owed: to be put in when the phone is slow, to be left out when it is fast. A crystal is off by some 100 parts
in a million, one frame in three minutes; a network that stalls and then delivers everything at once, after silence has
already taken its place, leaves the same mark in an instant. Without this an hour of call is a third of a second off,
and with it the times that the model tells.
"""

from __future__ import annotations

from math import copysign, inf

WINDOW_S = 6.0
FRAME_S = 0.020
OWED_FROM = 0.6
"""Frames: so far off, one is owed. With half a frame, one would be put in and left out again by turns."""
ENOUGH = 100
"""Packets that a window takes at least. Of a few behind a pause, all may have waited in the network."""
PATIENCE_S = 5.0
"""How long a frame that is owed waits for a quiet moment, in seconds; several frames wait shorter."""
RUSH_S = 0.2
"""The shortest of these waits, in seconds: one frame in ten is the most that speech may lose or gain."""


class Drift:
    """The transits of one time line, and what is owed. Times in seconds."""

    __slots__ = ("_base", "_packets", "_until", "_waits_since", "held_up", "least", "owed", "unconfirmed")

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
        self.held_up = False
        """Packets were late for which silence had flowed; whoever has taken notice sets it back."""
        self.unconfirmed = 0.0
        """Silence that flowed and of which the timestamps know nothing: a pause, or packets that came late."""
        self._base: float | None = None  # until the first window is over
        self._until: float | None = None  # until the first look
        self._packets: int | None = None  # when the window began; None until the first look at it

    def judge(self, now: float, packets: int) -> None:
        """Look at the window when it is over; `packets` of audio came so far. Call it once per slot."""
        if self.unconfirmed:
            self._judge_flow(now)
        if self._packets is None:
            self._packets = packets
            self._until = now + WINDOW_S if self._until is None else self._until
        assert self._until is not None
        if now < self._until or packets - self._packets < ENOUGH or self.least == inf:
            return
        least = self.least
        self._begin(now + WINDOW_S)
        if self._base is None:
            self._base = least
        elif not self.owed:
            frames = (least - self._base) / FRAME_S
            self.owed = int(frames + copysign(1 - OWED_FROM, frames))
            self._waits_since = now
            self.unconfirmed = 0.0  # that was a pause

    def _judge_flow(self, now: float) -> None:
        """Only time that stands twice, as silence and as itself, makes a transit much smaller than ever: why wait?"""
        if self._base is None or self.least == inf:
            return
        frames = int(min(self._base - self.least, self.unconfirmed) / FRAME_S + 1 - OWED_FROM)
        if frames > max(0, -self.owed):
            self._waits_since = self._waits_since if self.owed < 0 else now
            self.owed = -frames
            self.held_up = True

    def _begin(self, until: float) -> None:
        """A window from now on."""
        self.least, self._until, self._packets = inf, until, None

    def suspect(self, seconds: float) -> None:
        """A packet came for whose time silence stands already, or the caller's clock has not counted a pause."""
        if self._base is None and self.least != inf:
            self._base = self.least
        self.unconfirmed += seconds

    def is_pressing(self, now: float) -> bool:
        """Whether the next frame that is owed waits no longer for a quiet moment."""
        return now - self._waits_since >= max(PATIENCE_S / abs(self.owed), RUSH_S)

    def settled(self, now: float) -> None:
        """One frame of what is owed was put in or left out; the transits of before say nothing any more."""
        if self.owed < 0:
            self.unconfirmed = max(0.0, self.unconfirmed - FRAME_S)
        self.owed += 1 if self.owed < 0 else -1
        self._waits_since = now
        self._begin(now + WINDOW_S)
