"""Who of the call is silent, and for how long it goes on: the two clocks that ask the agent to say something."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from bridge.idle import Idle
from bridge.records import EndReason
from bridge.time_limit import TimeLimit

if TYPE_CHECKING:
    from bridge.call import Call


class Attendance:
    """The idle caller and the longest call, told together of what happens."""

    def __init__(self, call: Call, longest_s: float) -> None:
        agent, later = call.profile.agent, asyncio.get_running_loop().call_later
        self._call = call

        def ask(words: str) -> None:
            call.session.instruct(words)

        self._idle: Idle | None = None  # not configured
        self._works = False
        if agent.idle is not None:
            self._idle = Idle(agent.idle, later, ask=ask, end=lambda: call.end(EndReason.CALLER_IDLE))
        self._limit = TimeLimit(agent.limit, longest_s, later, ask=ask, end=lambda: call.end(EndReason.TIME_LIMIT))

    def answered(self) -> None:
        """The call has begun to last."""
        self._limit.begin()

    def connected(self) -> None:
        """Caller and agent hear each other."""
        if self._idle is not None:
            self._idle.begin()

    def agent_spoke(self) -> None:
        """Audio of the agent has come: the hot path."""
        self._limit.agent_spoke()
        if self._idle is not None:
            self._idle.agent_spoke()

    def agent_drained(self) -> None:
        """What was queued was heard, perhaps all that the agent has to say."""
        call = self._call
        if call.session.response_active or not (call.leg.drained or call.comfort.is_playing):
            return
        self._limit.agent_drained()
        if self._idle is not None:
            self._idle.agent_drained()

    def caller_spoke(self) -> None:
        """The caller begins to speak."""
        if self._idle is not None:
            self._idle.caller_spoke()

    def caller_stopped(self) -> None:
        """The caller has finished."""
        if self._idle is not None:
            self._idle.caller_stopped()

    def key(self) -> None:
        """A key, or words of a caller of whose speech nobody tells."""
        if self._idle is not None:
            self._idle.key()

    def tools(self, busy: bool) -> None:
        """Whether the caller waits for a tool, or for a session."""
        if self._idle is not None and busy is not self._works:
            self._works = busy
            self._idle.tool_began() if busy else self._idle.tool_ended()

    def alone(self) -> None:
        """No agent is there any more: nobody can be asked. The longest call stays the longest."""
        self._limit.agent_left()
        if self._idle is not None:
            self._idle.close()

    def close(self) -> None:
        """The call is over."""
        self.alone()
        self._limit.close()
