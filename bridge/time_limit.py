"""The longest a call may last: a warning before the end, a farewell at the end, and the end."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from bridge.config.turns import TimeLimit as Settings
from bridge.idle import Farewell, Later

GRACE_S = 20.0
"""How long the farewell may take from its beginning until the call is cut."""


class TimeLimit:
    """The clock of one call. `ask` gets instructions for the agent, `end` is called once.

    `longest_s` is the limit of all calls, which no farewell goes past; `settings` those of the agent, if any.
    """

    def __init__(
        self,
        settings: Settings | None,
        longest_s: float,
        later: Later,
        *,
        ask: Callable[[str], None],
        end: Callable[[], None],
    ) -> None:
        self._settings = settings
        self._longest_s = longest_s
        self._later = later
        self._ask = ask
        self._end = end
        self._longest: asyncio.TimerHandle | None = None  # from the answer to the end
        self._timers: list[asyncio.TimerHandle] = []  # those of the agent's limit
        self._farewell = Farewell(settings.farewell if settings else "", ask, later)

    def begin(self) -> None:
        """The call is answered."""
        self._longest = self._later(self._longest_s, self._cut)
        settings = self._settings
        if settings is None:
            return
        grace_s = GRACE_S if settings.farewell else 0.0
        limit_s = max(0.0, min(settings.minutes * 60, self._longest_s - grace_s))
        if 0 < settings.warn_s < limit_s:
            self._at(limit_s - settings.warn_s, lambda: self._ask(settings.warning_words))
        self._at(limit_s, lambda: self._farewell.begin(self._cut))
        if settings.farewell:
            self._at(limit_s + grace_s, self._cut)

    def agent_spoke(self) -> None:
        """Audio of the agent has come."""
        self._farewell.agent_spoke()

    def agent_drained(self) -> None:
        """All that the agent had to say was heard."""
        self._farewell.agent_drained()

    def agent_left(self) -> None:
        """The caller has somebody else, or nobody: from here only the limit of all calls counts."""
        self._farewell.close()
        while self._timers:
            self._timers.pop().cancel()

    def close(self) -> None:
        """The call is over."""
        self.agent_left()
        if self._longest is not None:
            self._longest.cancel()
            self._longest = None

    def _at(self, seconds: float, then: Callable[[], None]) -> None:
        self._timers.append(self._later(seconds, then))

    def _cut(self) -> None:
        self.close()
        self._end()
