"""Who has the floor: the agent speaks until the caller does, and what was not heard by then was not said."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING

import structlog

from bridge.barge_in import BargeIn, State
from bridge.config import OwnTurns as Settings
from bridge.own_turns import OwnTurns
from bridge.promptness import Promptness
from bridge.realtime import events as ev
from bridge.realtime.openai.conversation import DELETED

if TYPE_CHECKING:
    from bridge.call import Call

log = structlog.get_logger("sipbridge.call")


class Floor:
    """The turns of one call."""

    def __init__(self, call: Call) -> None:
        self._call = call
        self._on_turn = call.means.on_turn
        self._speech_ended_at: float | None = None  # while the caller waits for an answer
        agent = call.profile.agent
        later = asyncio.get_running_loop().call_later
        self.barge_in = BargeIn(self, agent.barge_in, agent.turn_detection, later)
        self.own_turns: OwnTurns | None = None
        """Where the bridge itself finds the caller's turns; None: the service tells them."""
        if isinstance(agent.turn_detection, Settings):
            self.own_turns = OwnTurns(
                agent.turn_detection,
                lambda: call.session.heard_ms,
                started=self._own_start,
                stopped=self._own_stop,
            )
        self.promptness = Promptness(call.means.on_stage, agent.turn_detection, lambda: call.session.heard_ms)

    def agent_says(self, delta: ev.AudioDelta) -> None:
        """Audio of the agent."""
        if self._speech_ended_at is not None and self.barge_in.state is not State.AWAITING_WORDS:
            self._on_turn(time.monotonic() - self._speech_ended_at)
            self._speech_ended_at = None
            self.promptness.audio_came()
        call = self._call
        call.tools.speaks()
        call.hearing.play(delta)
        call.attendance.agent_spoke()

    def caller_starts(self, speech: ev.SpeechStarted) -> None:
        """The caller begins to speak, or seems to."""
        self.promptness.forget()
        self._call.comfort.stop()  # it is nothing that could be put on trial
        self._call.attendance.caller_spoke()
        self.barge_in.started(speech)

    def caller_stops(self, speech: ev.SpeechStopped) -> None:
        """The caller stops."""
        if self._call.session.abilities.hears_turns:  # else this is only the end of an interruption
            self._speech_ended_at = time.monotonic()
            self.promptness.stopped(speech)
        self._call.attendance.caller_stopped()
        self.barge_in.stopped(speech)

    def _own_start(self, speech: ev.SpeechStarted) -> None:
        self._call.session.hears(speech)
        self.caller_starts(speech)

    def _own_stop(self, speech: ev.SpeechStopped) -> None:
        """The turn is over: it becomes an item, and unless a noise is still on trial an answer is due."""
        session = self._call.session
        session.commit()
        session.hears(speech)
        self.caller_stops(speech)
        if not self.barge_in.decides:
            session.respond()

    def key_interrupts(self) -> None:
        """The caller begins to press a number, of which the server knows nothing."""
        self.interrupt(by_server=False)

    def session_lost(self) -> None:
        """Whoever was speaking: the next session says so again, and the agent's words that are here are heard out."""
        self._speech_ended_at = None
        self.promptness.forget()
        self._call.attendance.caller_stopped()
        self.barge_in.session_lost()

    def close(self) -> None:
        """The call is over."""
        self.barge_in.release()
        if self.own_turns is not None:
            self.own_turns.close()

    # What barge_in decides

    @property
    def is_saying(self) -> bool:
        """Whether the agent says something, or is about to."""
        call = self._call
        return not (call.leg.drained or call.comfort.is_playing) or call.session.response_active

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
        call.attendance.agent_drained()
        if not cuts:
            return
        call.counts.barge_ins += 1
        for cut in cuts:
            call.counts.note_cut(deleted=cut.heard_ms == DELETED)
            log.debug("barge_in", item=cut.item_id, heard_ms=cut.heard_ms)
            call.watch(call, cut)
