"""How much one server may send: what is more waits in its socket, so that it takes no time from other calls."""

from __future__ import annotations

BYTES_PER_S, BYTES_AT_ONCE = 2_000_000.0, 12_000_000.0
"""Thirty times the speech of a service; a burst is an answer of minutes in one message."""
FRAMES_PER_S, FRAMES_AT_ONCE = 500.0, 3_000.0
"""A service sends some 100 a second while it speaks."""


class Budget:
    """One session's. Times in seconds."""

    __slots__ = ("_at", "_bytes", "_frames")

    def __init__(self) -> None:
        self._at = float("-inf")
        self._bytes = BYTES_AT_ONCE
        self._frames = FRAMES_AT_ONCE

    def spend(self, size: int, now: float) -> float:
        """A frame of `size` bytes was read; for how long nothing should be read now."""
        passed, self._at = min(now - self._at, 3600.0), now
        self._bytes = min(BYTES_AT_ONCE, self._bytes + passed * BYTES_PER_S) - size
        self._frames = min(FRAMES_AT_ONCE, self._frames + passed * FRAMES_PER_S) - 1
        return max(0.0, -self._bytes / BYTES_PER_S, -self._frames / FRAMES_PER_S)
