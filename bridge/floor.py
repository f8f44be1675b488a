"""Who has the floor: the agent speaks until the caller does, and what was not heard by then was not said."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import TYPE_CHECKING

import structlog

from bridge.barge_in import BargeIn, State
from bridge.realtime import events as ev
from bridge.realtime.conversation import DELETED

if TYPE_CHECKING:
    from bridge.call import Call

log = structlog.get_logger("sipbridge.call")


class Floor:
    """The turns of one call. `on_turn` gets the seconds from the caller's end of speech to the first audio after it."""

    def __init__(self, call: Call, on_turn: Callable[[float], None]) -> None:
        self._call = call
        self._on_turn = on_turn
        self._speech_ended_at: float | None = None  # while the caller waits for an answer
        agent = call.profile.agent
        later = asyncio.get_running_loop().call_later
        self.barge_in = BargeIn(self, agent.barge_in, agent.turn_detection, later)

    def agent_says(self, delta: ev.AudioDelta) -> None:
        """Audio of the agent."""
        if self._speech_ended_at is not None and self.barge_in.state is not State.AWAITING_WORDS:
            self._on_turn(time.monotonic() - self._speech_ended_at)
            self._speech_ended_at = None
        self._call.hearing.play(delta)

    def caller_starts(self, speech: ev.SpeechStarted) -> None:
        """The caller begins to speak, or seems to."""
        self.barge_in.started(speech)

    def caller_stops(self, speech: ev.SpeechStopped) -> None:
        """The caller stops."""
        self._speech_ended_at = time.monotonic()
        self.barge_in.stopped(speech)

    def key_interrupts(self) -> None:
        """The caller begins to press a number, of which the server knows nothing."""
        self.interrupt(by_server=False)

    # What barge_in decides

    @property
    def is_saying(self) -> bool:
        """Whether the agent says something, or is about to."""
        return not self._call.leg.drained or self._call.session.protocol.response_active

    def pause(self) -> None:
        """Silence, and all stays: perhaps the caller says something."""
        if self._call.hearing.is_open:
            self._call.leg.pause()

    def resume(self, noise: str) -> None:
        """He did not: the agent goes on where it stopped, and the conversation forgets the item `noise`."""
        self._call.counts.false_starts += 1
        self._speech_ended_at = None
        self._call.leg.unpause()
        self._call.session.forget(noise)
        self._call.tools.heard()

    def answer(self) -> None:
        """The caller has finished: let the model answer."""
        self._call.session.respond()

    def interrupt(self, *, by_server: bool) -> None:
        """The barge-in: silence, then the truth about what was heard, in this very loop turn."""
        self.barge_in.overtaken()
        call = self._call
        cuts = call.session.interrupted(call.hearing.flush(), by_server=by_server)
        call.tools.interrupted()
        if not cuts:
            return
        call.counts.barge_ins += 1
        for cut in cuts:
            call.counts.note_cut(deleted=cut.heard_ms == DELETED)
            log.debug("barge_in", item=cut.item_id, heard_ms=cut.heard_ms)
            call.watch(call, cut)
