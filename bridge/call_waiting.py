"""What the caller hears while he waits: music when the model puts him on hold, a sentence or a sound for a slow tool.

Only while it is quiet: whoever speaks, caller or agent, ends the sound, and it comes back when they have finished and
the wait has not. The sounds themselves are made by `call.comfort`.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Literal

from bridge.config.tools import Filler

if TYPE_CHECKING:
    from bridge.call import Call

GO_ON = "The caller has waited as long as you wanted, and heard music. Go on."


class Waiting:
    """The waiting of one call."""

    def __init__(self, call: Call) -> None:
        self._call = call
        self._hold: asyncio.TimerHandle | None = None  # while the caller is on hold
        self._timers: dict[str, asyncio.TimerHandle] = {}  # by tool call, while it is not slow yet
        self._slow: dict[str, Filler] = {}  # by tool call
        self._unsaid: list[str] = []  # tool calls of which the sentence is due
        self._plays = False  # whether what is heard is ours to end

    @property
    def is_silent(self) -> bool:
        """Whether nothing of what the agent says is still to be heard; sounds for waiting do not count.

        Before the answer nothing is: the agent may be asked for its greeting while the phone rings.
        """
        call = self._call
        heard = call.answered_at is not None and (call.leg.drained or call.comfort.is_playing)
        return heard and not call.floor.barge_in.is_undecided

    @property
    def is_quiet(self) -> bool:
        """Whether besides the agent says no more."""
        return self.is_silent and not self._call.session.response_active

    @property
    def is_on_hold(self) -> bool:
        """Whether the model has put the caller on hold."""
        return self._hold is not None

    def hold(self, seconds: float) -> None:
        """Music from here, once the agent is heard, until somebody speaks; then, or after `seconds`, it is over."""
        self._end_hold()
        self._hold = asyncio.get_running_loop().call_later(seconds, self._held_long_enough)
        self.heard()

    def slow(self, call_id: str, filler: Filler) -> None:
        """A tool has begun that may take long."""
        later = asyncio.get_running_loop().call_later
        self._timers[call_id] = later(filler.after_s, self._is_slow, call_id, filler)

    def done(self, call_id: str) -> None:
        """The tool has its result."""
        timer = self._timers.pop(call_id, None)
        if timer is not None:
            timer.cancel()
        self._slow.pop(call_id, None)
        self._unsaid = [unsaid for unsaid in self._unsaid if unsaid != call_id]
        if self._sound() is None:
            self._silence()

    def heard(self) -> None:
        """Perhaps it is quiet: then the caller hears that somebody is there."""
        call = self._call
        if not self.is_quiet or call.session.caller_speaking or call.tools.is_handing_over:
            return
        if self._unsaid:
            words = self._slow[self._unsaid.pop(0)].say
            self._silence()
            call.session.instruct(words or "")
        elif (sound := self._sound()) is not None and not call.comfort.is_on:
            self._plays = True
            call.comfort.start(sound)

    def speaks(self) -> None:
        """The agent speaks: hold is over, a sound gives way."""
        self._end_hold()
        self._silence()

    def interrupted(self) -> None:
        """The caller speaks: the same."""
        self.speaks()

    def close(self) -> None:
        """Nobody waits any more."""
        for timer in self._timers.values():
            timer.cancel()
        self._timers, self._slow, self._unsaid = {}, {}, []
        self.speaks()

    def _is_slow(self, call_id: str, filler: Filler) -> None:
        del self._timers[call_id]
        self._slow[call_id] = filler
        if filler.say is not None:
            self._unsaid.append(call_id)
        self.heard()

    def _sound(self) -> Literal["tone", "music"] | None:
        if self._hold is not None:
            return "music"
        return next((filler.sound for filler in self._slow.values() if filler.sound), None)

    def _held_long_enough(self) -> None:
        self.speaks()
        self._call.session.instruct(GO_ON)

    def _end_hold(self) -> None:
        if self._hold is not None:
            self._hold.cancel()
            self._hold = None

    def _silence(self) -> None:
        if self._plays:
            self._plays = False
            self._call.comfort.stop()
