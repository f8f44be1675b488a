"""A key that a phone tells twice, in RTP and by INFO, counts once."""

from __future__ import annotations

from collections import deque
from typing import Literal

Way = Literal["rtp", "info", "tone"]

WINDOW_S = 0.4
"""How far the two tellings of one press lie apart. RTP tells a key when it is let go, INFO when it is pressed or let
go: what is between them is the press itself, some 100 ms, and a detour of the signalling."""
REMEMBERED = 16
MOST_AT_ONCE = 32
PER_S = 10.0
"""No hand presses more keys in a second; who sends more wants to flood the model."""


class Presses:
    """Pairs each press with the one that the other way tells of the same key.

    Phones and gateways are often set to both ways "to be sure". Only pairs are dropped: two quick presses of a key
    come twice each, four tellings in any order, and count as two.
    """

    def __init__(self) -> None:
        self.too_many = 0
        """Keys that no hand has pressed."""
        self._told: deque[tuple[Way, str, float]] = deque(maxlen=REMEMBERED)
        self._left = float(MOST_AT_ONCE)
        self._at = 0.0

    def is_new(self, way: Way, key: str, now: float) -> bool:
        """Whether this is the first telling of a press that a hand may have made; `now` in seconds."""
        for told in self._told:
            other, known, at = told
            if other != way and known == key and now - at <= WINDOW_S:
                self._told.remove(told)
                return False
        self._told.append((way, key, now))
        self._left, self._at = min(MOST_AT_ONCE, self._left + (now - self._at) * PER_S), now
        if self._left < 1:
            self.too_many += 1
            return False
        self._left -= 1
        return True
