"""What the model's session says, and who of the call acts on it."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import structlog

from bridge.realtime import events as ev
from bridge.realtime.complaints import Complaints
from bridge.realtime.faults import CLOSE_ADVICE, FATAL_CODES
from bridge.records import EndReason

if TYPE_CHECKING:
    from bridge.call import Call

log = structlog.get_logger("sipbridge.call")

MOST_FAILED = 4
"""Failed responses in a row: the second is the protocol's own next try, the fourth that of the caller's next turn."""
FAILED_TONE_S = 0.5


class FromModel:
    """The events of one call's session. `shown`: what is said may stand in the log."""

    def __init__(self, call: Call, *, shown: bool) -> None:
        self.first_audio: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        """Done when the agent has said anything at all."""
        self._call = call
        self._shown = shown
        self._complaints = Complaints(call.counts.session_errors)
        self._failed = 0  # responses in a row

    def react(self, event: ev.Event) -> None:
        """One event."""
        call = self._call
        if call.is_without_agent:
            if isinstance(event, ev.Usage):
                call.account.note(event)  # what was used is paid for, heard or not
            return
        if type(event) is ev.AudioDelta:
            call.floor.agent_says(event)
            if not self.first_audio.done():
                self.first_audio.set_result(None)
            return
        call.watch(call, event)
        if type(event) is ev.AgentSaying:
            return  # the transcript has it
        self._turns(event)
        self._words(event)
        self._session(event)

    def _turns(self, event: ev.Event) -> None:
        call = self._call
        match event:
            case ev.AudioEnd(item_id):
                call.hearing.end_item(item_id)
            case ev.SpeechStarted():
                call.floor.caller_starts(event)
            case ev.SpeechStopped():
                call.floor.caller_stops(event)
            case ev.CallerIdle():
                call.floor.barge_in.idle()
            case ev.ResponseEnded():
                self._on_response_ended(event)
            case ev.Committed():
                call.floor.promptness.committed()
            case ev.ToolCall():
                call.tools.use(event)
                call.attendance.tools(call.tools.is_busy)
            case ev.ToolCancelled(call_id):
                call.tools.cancelled(call_id)

    def _words(self, event: ev.Event) -> None:
        call = self._call
        match event:
            case ev.CallerSaid(item_id, text):
                self._show("caller", item_id, text)
                call.attendance.key()
                call.floor.barge_in.said(item_id, text)
            case ev.NotTranscribed(item_id):
                call.floor.barge_in.said(item_id, None)
            case ev.AgentSaid(item_id, text):
                self._show("agent", item_id, text)

    def _session(self, event: ev.Event) -> None:
        call = self._call
        match event:
            case ev.SessionError():
                self._on_session_error(event)
            case ev.Usage():
                self._on_usage(event)
            case ev.Away():
                call.absence.begin(event)
            case ev.Back():
                call.absence.end(event)
            case ev.Lost():
                self._on_lost(event)

    def _show(self, who: str, item_id: str, text: str) -> None:
        if self._shown:
            log.info("transcript", who=who, item=item_id, text=text)

    def _on_response_ended(self, ended: ev.ResponseEnded) -> None:
        call = self._call
        call.counts.note_response(ended.status)
        if ended.status == "failed":
            self._on_failed(ended)
        elif ended.status == "completed":
            self._failed = 0
        elif ended.status == "incomplete":
            log.info("response.incomplete", response=ended.response_id, detail=ended.detail or None)
        call.hearing.end_all()  # a server that forgets to end an item must not hold up the next
        call.tools.heard()
        call.attendance.agent_drained()

    def _on_failed(self, ended: ev.ResponseEnded) -> None:
        """No answer: the caller hears that somebody is there, and is not left in silence when it happens again."""
        call = self._call
        log.warning("response.failed", response=ended.response_id, code=ended.detail)
        self._failed += 1
        if ended.detail in FATAL_CODES or self._failed >= MOST_FAILED:
            call.forsaken(EndReason.SESSION_FAILED, ended.detail)
        else:
            call.comfort.start("tone", FAILED_TONE_S)

    def _on_session_error(self, error: ev.SessionError) -> None:
        code = self._complaints.note(error)
        if error.fatal:
            self._call.forsaken(EndReason.SESSION_FAILED, code)

    def _on_usage(self, usage: ev.Usage) -> None:
        call = self._call
        limit = call.account.note(usage)
        if limit is not None:
            log.warning("spend.limit", limit=limit, advice="see limits.spend")
            call.forsaken(EndReason.SPEND_LIMIT, limit)

    def _on_lost(self, lost: ev.Lost) -> None:
        call = self._call
        if not call.is_over:
            log.warning("session.lost", code=lost.code, reason=lost.reason, advice=CLOSE_ADVICE.get(lost.code))
            call.absence.give_up()
        call.forsaken(EndReason.SESSION_LOST, f"{lost.code} {lost.reason}".strip())
