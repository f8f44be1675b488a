"""One call: the only place where a caller's leg and a model's session meet.

`Call.run` is the story: ring, open the session while it rings, answer when the agent is ready, talk, end for one
named reason, close both sides. Everything that can end a call (BYE, socket loss, time limit, shutdown ...) comes in
by `end`.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import structlog

from bridge.call_tools import CallTools
from bridge.floor import Floor
from bridge.hearing import Hearing
from bridge.keys import Keys
from bridge.legs.leg import Leg, Party
from bridge.legs.outgoing import Dial, OutgoingLeg, cannot_dial
from bridge.legs.rtp import nothing
from bridge.own_context import OwnContext
from bridge.profile import Profile
from bridge.realtime import events as ev
from bridge.realtime.complaints import Complaints
from bridge.realtime.faults import ADVICE, CLOSE_ADVICE, FATAL_CODES
from bridge.realtime.session import SessionFailed
from bridge.records import CallRecord, Counts, EndReason, Origin, reason_of
from bridge.taping import Begin, Taping, nothing_kept
from bridge.transfer.joining import Joined
from bridge.transfer.succession import Succession

if TYPE_CHECKING:
    from bridge.sip.uri import Uri

log = structlog.get_logger("sipbridge.call")

RETRY_AFTER_S = 5


class Call:
    """One call from the INVITE to its record."""

    def __init__(
        self,
        leg: Leg,
        profile: Profile,
        *,
        origin: Origin | None = None,
        session_timeout_s: float,
        limit_s: float,
        transcripts: bool = False,
        early_media: bool = False,
        dial: Dial = cannot_dial,
        server: Uri | None = None,
        is_own_phone: Callable[[Uri], bool] = lambda uri: False,
        watch: Callable[[Call, ev.Event], None] = lambda call, event: None,
        on_turn: Callable[[float], None] = lambda seconds: None,
        record: Begin = nothing_kept,
    ) -> None:
        self.leg: Party = leg
        """The caller; after a transfer that the caller's PBX asked for, somebody else."""
        self.former: list[Party] = []
        """Legs that were the caller's before, and the second one of a joined call: their counts are the call's too."""
        self.profile = profile
        self.counts = Counts()
        self.answered_at: float | None = None
        self.origin = origin or Origin()
        self.dial = dial
        """Places another call on the trunk of this one."""
        self.is_own_phone = is_own_phone  # registered with us: no PBX reaches it in our place
        self._server = server  # of the trunk; None: the caller's own PBX is all there is
        self._early_media = early_media
        self._caller: Leg = leg  # who rings
        self._session_timeout_s = session_timeout_s
        self._limit_s = limit_s
        self._transcripts = transcripts
        self.watch = watch
        self._began_at = time.monotonic()
        self._end: asyncio.Future[tuple[EndReason, str]] = asyncio.get_running_loop().create_future()
        self._limit: asyncio.TimerHandle | None = None
        self._joined: Joined | None = None
        self._closing: asyncio.Task[None] | None = None  # of the session, after a join
        audio = profile.format_for(leg.format)
        self.session = profile.session(audio, self._on_event, self.origin.variables())
        self.hearing = Hearing(self, audio)
        agent = profile.agent
        self.floor = Floor(self, on_turn)
        self.keys = Keys(
            agent.digits, say=self.session.user_text, on_first=self.floor.key_interrupts, shown=transcripts
        )
        self._taping = Taping(record)
        self._complaints = Complaints(self.counts.session_errors)
        self._own = OwnContext()
        self.tools = CallTools(self)
        self.succession = Succession(self)
        leg.on_connected = self._on_connected
        self._attend(leg)

    def _attend(self, leg: Party) -> None:
        leg.on_format = self.hearing.convert
        leg.on_digit = self._own.of(self._on_digit)
        leg.on_drained = self._own.of(self.tools.heard)
        leg.on_ended = self._own.of(self._on_leg_ended)
        leg.on_referred = self._own.of(self.succession.referred)

    async def run(self) -> CallRecord:
        """The whole call. Returns its record; both sides are closed by then."""
        self._own.renew()  # the Call-ID is bound by now
        reader: asyncio.Task[None] | None = None
        try:
            self._ring()
            if await self._open_session():
                self._answer()
                reader = asyncio.create_task(self.session.run())
                # Its last event ends the call; if a fault of ours ended it without one, so does this.
                reader.add_done_callback(lambda task: self._on_reader_done())
                await self._end
        finally:
            self.end(EndReason.INTERNAL_ERROR)  # no effect when a reason is already there
            await self._close(reader)
        return self._record()

    @property
    def is_talking(self) -> bool:
        """Whether caller and agent are connected, and neither is about to leave the other."""
        settled = self._joined is None and not self.tools.is_handing_over and not self._end.done()
        return self.answered_at is not None and settled

    @property
    def base(self) -> Uri:
        """Where a bare number belongs: the trunk's server, else the PBX the caller came from."""
        return self._server or self.leg.base

    def end(self, reason: EndReason, detail: str = "") -> None:
        """End the call; the first reason counts."""
        if not self._end.done():
            self._end.set_result((reason, detail))

    def _ring(self) -> None:
        if self._early_media:
            self._caller.progress()
        else:
            self._caller.ring()

    async def _open_session(self) -> bool:
        opening = asyncio.create_task(self.session.open(self._session_timeout_s))
        either: tuple[asyncio.Future[Any], ...] = (opening, self._end)
        await asyncio.wait(either, return_when=asyncio.FIRST_COMPLETED)
        if not opening.done():
            opening.cancel()
            await asyncio.wait({opening})
            return False
        try:
            ready = opening.result()
        except SessionFailed as failure:
            self._refuse(failure)
            return False
        log.info("session.ready", session=ready.session_id, model=ready.model, agent=self.profile.name)
        return not self._end.done()

    def _refuse(self, failure: SessionFailed) -> None:
        advice = ADVICE.get(failure.reason, "see the service's message")
        log.error(
            "session.failed", agent=self.profile.name, reason=failure.reason, detail=failure.detail, advice=advice
        )
        self.end(EndReason.SESSION_FAILED, failure.reason)
        self._caller.refuse(503, [("Retry-After", str(RETRY_AFTER_S))])

    def _answer(self) -> None:
        self._limit = asyncio.get_running_loop().call_later(self._limit_s, self.end, EndReason.TIME_LIMIT)
        self.answered_at = time.monotonic()
        self._caller.answer()

    def _on_connected(self) -> None:
        """Audio flows from here."""
        self.hearing.open()
        self._taping.start(self.leg)
        self.session.greet()

    async def _close(self, reader: asyncio.Task[None] | None) -> None:
        self.keys.close()
        self.floor.barge_in.close()
        self.tools.close()
        self.succession.close()
        self._taping.stop(self.leg)
        if self._limit is not None:
            self._limit.cancel()
        for leg in (self.leg, *self.former):
            leg.close(self._end.result()[0])
        await self.session.close()
        if self._closing is not None:
            await self._closing
        if reader is not None:
            await reader

    # What the session says

    def _on_event(self, event: ev.Event) -> None:
        if self._joined is not None:
            return  # the caller talks to somebody else by now
        if type(event) is ev.AudioDelta:
            self.floor.agent_says(event)
            return
        self.watch(self, event)
        match event:
            case ev.AudioEnd(item_id):
                self.hearing.end_item(item_id)
            case ev.SpeechStarted():
                self.floor.caller_starts(event)
            case ev.SpeechStopped():
                self.floor.caller_stops(event)
            case ev.CallerIdle():
                self.floor.barge_in.idle()
            case ev.ResponseEnded():
                self._on_response_ended(event)
            case ev.CallerSaid(item_id, text):
                self._note_words("caller", item_id, text)
                self.floor.barge_in.said(item_id, text)
            case ev.NotTranscribed(item_id):
                self.floor.barge_in.said(item_id, None)
            case ev.AgentSaid(item_id, text):
                self._note_words("agent", item_id, text)
            case ev.ToolCall():
                self.tools.use(event)
            case ev.SessionError():
                self._on_session_error(event)
            case ev.Lost():
                self._on_lost(event)

    def _note_words(self, who: str, item_id: str, text: str) -> None:
        if self._transcripts:
            log.info("transcript", who=who, item=item_id, text=text)

    def _on_response_ended(self, ended: ev.ResponseEnded) -> None:
        self.counts.note_response(ended.status)
        if ended.status == "failed":
            log.warning("response.failed", response=ended.response_id, code=ended.detail)
            if ended.detail in FATAL_CODES:
                self.end(EndReason.SESSION_FAILED, ended.detail)
        self.hearing.end_all()  # a server that forgets to end an item must not hold up the next
        self.tools.heard()

    def _on_session_error(self, error: ev.SessionError) -> None:
        code = self._complaints.note(error)
        if error.fatal:
            self.end(EndReason.SESSION_FAILED, code)

    def _on_reader_done(self) -> None:
        if self._joined is None:
            self.end(EndReason.INTERNAL_ERROR)

    def _on_lost(self, lost: ev.Lost) -> None:
        if not self._end.done():
            log.warning("session.lost", code=lost.code, reason=lost.reason, advice=CLOSE_ADVICE.get(lost.code))
        self.end(EndReason.SESSION_LOST, f"{lost.code} {lost.reason}".strip())

    # Somebody else

    def join(self, other: OutgoingLeg) -> None:
        """The caller talks to somebody else from here; the session is no longer needed."""
        self.former.append(other)
        self._joined = Joined(self.leg, other)
        self.leg.on_ended = other.on_ended = self._on_joined_ended
        self.keys.close()
        self.floor.barge_in.close()
        self._taping.stop(self.leg)  # the agent has left, and who is there now was not asked
        self._closing = asyncio.create_task(self.session.close())

    def adopt(self, leg: Party) -> Party:
        """Somebody else takes the caller's place; the agent goes on where it was. The leg that was the caller's."""
        self.floor.interrupt(by_server=False)
        former, self.leg = self.leg, leg
        former.on_audio = former.on_digit = former.on_ended = former.on_drained = former.on_format = nothing
        self._taping.move(former, leg)
        former.on_referred = lambda referred: False
        self.former.append(former)
        self._attend(leg)
        self.hearing.open()
        return former

    def _on_joined_ended(self, word: str, detail: str) -> None:
        self.end(EndReason.TRANSFERRED if word == "bye" else reason_of(word), detail)

    # What the caller does

    def _on_digit(self, digit: str) -> None:
        if not self.hearing.is_open:
            return
        self.counts.digits += 1
        self.keys.press(digit)

    def _on_leg_ended(self, word: str, detail: str) -> None:
        if word == "bye" and self.succession.outlives_caller():
            return
        reason = reason_of(word)
        if word == "bye" and self.tools.handed_over():
            reason = EndReason.TRANSFERRED
        self.end(reason, detail or (word if reason is EndReason.SIGNALLING_LOST else ""))

    # The end

    def collected(self) -> Counts:
        """The call's counts as of now."""
        counts, session = self.counts, self.session
        counts.late_deltas = session.protocol.conversation.late_deltas
        counts.uplink_bytes = session.audio_in_bytes
        counts.uplink_dropped_bytes = session.audio_dropped_bytes
        counts.session_events = session.protocol.events_in
        counts.session_malformed = session.protocol.malformed
        counts.session_unknown = session.protocol.unknown
        return counts

    def _record(self) -> CallRecord:
        reason, detail = self._end.result()
        now = time.monotonic()
        answered = self.answered_at is not None
        return CallRecord(
            call_id=self._caller.call_id,
            agent=self.profile.name,
            origin=self.origin,
            reason=reason,
            detail=detail,
            codec=self.leg.codec.name,
            quality=self.leg.stats.quality(),
            answered=answered,
            setup_s=(self.answered_at or now) - self._began_at,
            talk_s=now - self.answered_at if self.answered_at is not None else 0.0,
        )
