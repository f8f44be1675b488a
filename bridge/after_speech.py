"""What is done when the caller has heard the last word, and not before (quirks F3 and H1)."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass

FAREWELL_S = 0.3
"""Silence between the last word and what is done: the far end still plays what its jitter buffer holds."""
MOST_SILENT_S = 10.0
"""Nothing to be heard for so long, although the model says that it speaks: then the last word was heard."""


@dataclass(frozen=True, slots=True)
class Deed:
    """One thing that waits. `call_id` of the tool call it belongs to, `name` of the tool."""

    call_id: str
    name: str
    do: Callable[[], None]
    unheard: Callable[[], None] = lambda: None
    """The caller spoke before it was done; it will not be."""
    may: Callable[[], bool] = lambda: True
    """Whether nothing else speaks against it. Who changes that calls `heard`."""


class AfterSpeech:
    """The deeds of one call that wait. `is_quiet`: all that the agent says was heard, and nobody says more.

    `is_silent`: nothing is being played.
    """

    def __init__(self, is_quiet: Callable[[], bool], is_silent: Callable[[], bool]) -> None:
        self._is_quiet = is_quiet
        self._is_silent = is_silent
        self._waiting: list[Deed] = []
        self._timer: asyncio.TimerHandle | None = None  # from silence to the deeds
        self._patience: asyncio.TimerHandle | None = None  # while it is silent but not quiet

    def waits(self, *names: str) -> bool:
        """Whether a deed of one of these tools waits."""
        return any(deed.name in names for deed in self._waiting)

    def wait(self, deed: Deed) -> None:
        """Do it when the caller has heard everything."""
        self._waiting.append(deed)
        self.heard()

    def heard(self) -> None:
        """Perhaps the caller has heard everything."""
        if not self._waiting or self._timer is not None:
            return
        later = asyncio.get_running_loop().call_later
        if self._is_quiet():
            self._timer = later(FAREWELL_S, self._act)
        elif self._is_silent() and self._patience is None:
            self._patience = later(MOST_SILENT_S, self._act_at_last)

    def interrupted(self) -> None:
        """The caller spoke: none of it will be done."""
        for deed in self.close():
            deed.unheard()

    def speaks(self) -> None:
        """The agent speaks: whatever it says will be played, and then `heard` comes."""
        if self._patience is not None:
            self._patience.cancel()
            self._patience = None

    def drop(self, call_id: str) -> None:
        """Nobody wants this deed any more."""
        self._waiting = [deed for deed in self._waiting if deed.call_id != call_id]

    def close(self) -> list[Deed]:
        """Stop waiting; what is left undone."""
        for timer in (self._timer, self._patience):
            if timer is not None:
                timer.cancel()
        self._timer = self._patience = None
        undone, self._waiting = self._waiting, []
        return undone

    def _act(self) -> None:
        self._timer = None
        if self._is_quiet():  # else somebody has begun to speak meanwhile, and `heard` comes again
            self._do()

    def _act_at_last(self) -> None:
        self._patience = None
        if self._is_silent():
            self._do()

    def _do(self) -> None:
        ready = [deed for deed in self._waiting if deed.may()]
        self._waiting = [deed for deed in self._waiting if deed not in ready]
        for deed in ready:
            deed.do()
