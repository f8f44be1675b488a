"""A caller who says nothing: spoken to again a few times, and then a polite end (quirk H5)."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from enum import Enum

from bridge.config.turns import Idle as Settings

SPEAKLESS_S = 10.0
"""How long the agent may take to begin its farewell."""
LONGEST_FAREWELL_S = 20.0
PARTING_S = 0.3
"""Between the last word and the BYE: the far end still plays what its jitter buffer holds."""

Later = Callable[[float, Callable[[], None]], asyncio.TimerHandle]


def _nothing() -> None:
    """Nobody waits for a farewell."""


class Farewell:
    """Asks the agent for last words; then it must be told when the agent speaks and when all of that was heard."""

    def __init__(self, words: str, ask: Callable[[str], None], later: Later) -> None:
        self._words = words
        self._ask = ask
        self._done: Callable[[], None] = _nothing  # until `begin`
        self._later = later
        self._speaks = False
        self._timer: asyncio.TimerHandle | None = None  # from begin to the end

    def begin(self, done: Callable[[], None]) -> None:
        """Ask for the words; without any it is over at once.

        `done` comes once, when they were heard or will not come (quirk H1).
        """
        if not self._words:
            done()
            return
        self._done, self._speaks = done, False
        self._wait(SPEAKLESS_S)
        self._ask(self._words)

    def agent_spoke(self) -> None:
        """Audio of the agent has come."""
        if self._timer is not None and not self._speaks:
            self._speaks = True
            self._wait(LONGEST_FAREWELL_S)

    def agent_drained(self) -> None:
        """All that the agent had to say was heard. What it said before it was asked does not count."""
        if self._timer is not None and self._speaks:
            self._speaks = False
            self._wait(PARTING_S)

    def close(self) -> None:
        """No end after all."""
        self._stop()
        self._done = _nothing

    def _stop(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _wait(self, seconds: float) -> None:
        self._stop()
        self._timer = self._later(seconds, self._over)

    def _over(self) -> None:
        self._timer = None
        done, self._done = self._done, _nothing
        done()


class State(Enum):
    """Where a silent caller stands."""

    UNBORN = "unborn"  # nobody is connected
    LISTENING = "listening"
    LEAVING = "leaving"  # the farewell is asked for
    OVER = "over"


class Idle:
    """Counts the silence of one call, while nobody speaks and no tool works.

    `ask` gets instructions for the agent, `end` is called once. `later` is the loop's clock.
    """

    def __init__(
        self, settings: Settings, later: Later, *, ask: Callable[[str], None], end: Callable[[], None]
    ) -> None:
        self.state = State.UNBORN
        self._settings = settings
        self._later = later
        self._ask = ask
        self._end = end
        self._asked = 0  # since the caller's last sign of life
        self._caller_speaks = False
        self._agent_speaks = False
        self._tools = 0
        self._timer: asyncio.TimerHandle | None = None  # while silence is counted
        self._farewell = Farewell(settings.farewell, ask, later)

    def begin(self) -> None:
        """Caller and agent are connected."""
        if self.state is State.UNBORN:
            self.state = State.LISTENING
            self._count()

    def caller_spoke(self) -> None:
        """The caller begins to speak."""
        self._caller_speaks = True
        self.key()

    def caller_stopped(self) -> None:
        """The caller has finished; the agent will answer."""
        if self._caller_speaks:
            self._caller_speaks = False
            self._count()

    def key(self) -> None:
        """Another sign of life: a key, or words of a caller whose speech nobody tells of."""
        if self.state is State.LEAVING:
            self._farewell.close()
            self.state = State.LISTENING
        self._asked = 0
        self._count()

    def agent_spoke(self) -> None:
        """Audio of the agent has come."""
        if not self._agent_speaks:
            self._agent_speaks = True
            self._farewell.agent_spoke()
            self._count()

    def agent_drained(self) -> None:
        """All that the agent had to say was heard."""
        if self._agent_speaks:
            self._agent_speaks = False
            self._farewell.agent_drained()
            self._count()

    def tool_began(self) -> None:
        """The caller has to wait for something, and is not asked whether he is there (quirk F4)."""
        self._tools += 1
        self._count()

    def tool_ended(self) -> None:
        """That is over."""
        self._tools = max(0, self._tools - 1)
        self._count()

    def close(self) -> None:
        """The call is over, or no agent's any more."""
        self.state = State.OVER
        self._farewell.close()
        self._count()

    def _count(self) -> None:
        """Begin to count the silence anew, if there is one."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self.state is State.LISTENING and not (self._caller_speaks or self._agent_speaks or self._tools):
            self._timer = self._later(self._settings.after_s, self._silent)

    def _silent(self) -> None:
        self._timer = None
        if self._asked < self._settings.times:
            self._asked += 1
            self._count()  # for an agent that says nothing to it
            self._ask(self._settings.prompt)
        elif self._settings.hang_up:
            self.state = State.LEAVING
            self._farewell.begin(self._leave)

    def _leave(self) -> None:
        self.close()
        self._end()
