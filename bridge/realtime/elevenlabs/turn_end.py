"""When an agent's turn must be over, for providers that do not always say so. Seconds and milliseconds in, no clock.

Audio comes faster than it is spoken, so silence on the socket says little: a turn is over when all that has come would
have been spoken by now, and then nothing came for a while.
"""

from __future__ import annotations

QUIET_S = 0.8
"""Silence after the last word, by the estimate of the play-out, that ends a turn: the pause of a comma is shorter."""
ANSWER_S = 10.0
"""How long an answer that was asked for may take to begin. The service's model gives up after 20 s."""
AFTERWORD_S = 2.0
"""How long the model may take to begin a sentence after a tool result that asked for none."""


class TurnEnd:
    """The silence after one session's turns. Feed it as things happen, and ask `tick` a few times a second."""

    def __init__(self) -> None:
        self._ms = 0.0
        self._wait: float | None = None  # since the last tick: how much silence is to follow what came
        self._spoken_at = 0.0  # when all that came so far would have been spoken in real time
        self._due: float | None = None  # None: nothing is awaited

    def heard(self, ms: float) -> None:
        """So many milliseconds of the agent's audio came; 0 for what is not played but shows that he still speaks."""
        self._ms += ms
        self._wait = QUIET_S

    def expect(self, seconds: float) -> None:
        """Something of the agent is to come within so many seconds."""
        self._wait = seconds

    def over(self) -> None:
        """The turn ended by itself. What came of it is still being spoken."""
        self._wait = self._due = None

    def cut(self) -> None:
        """What came is not spoken any more."""
        self._ms = self._spoken_at = 0.0

    def tick(self, now: float) -> bool:
        """Whether it has been quiet for long enough, at `now` seconds of a steady clock. True once."""
        if self._ms:
            self._spoken_at = max(self._spoken_at, now) + self._ms / 1000
            self._ms = 0.0
        if self._wait is not None:
            self._due = max(self._spoken_at, now) + self._wait
            self._wait = None
        if self._due is None or now < self._due:
            return False
        self._due = None
        return True
