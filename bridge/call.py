"""One call: the only place where a caller's leg and a model's session meet.

`Call.run` is the story: ring, open the session while it rings, ask for the first words, answer when the agent is ready,
talk, end for one named reason, close both sides. Everything that can end a call (BYE, a session lost for good, time
limit, shutdown ...) comes in by `end`, or by `forsaken` where the caller is still to be told.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import structlog

from bridge.absence import Absence
from bridge.attendance import Attendance
from bridge.call_record import collected, let_go, record_of
from bridge.call_tools import CallTools
from bridge.comfort import Comfort
from bridge.floor import Floor
from bridge.from_model import FromModel
from bridge.hearing import Hearing
from bridge.keys import Keys
from bridge.legs.leg import Leg, Party, forget
from bridge.legs.outgoing import Dial, OutgoingLeg, cannot_dial
from bridge.means import Means
from bridge.own_context import OwnContext
from bridge.plan_b import PlanB
from bridge.profile import Profile
from bridge.realtime.dialer import SessionFailed
from bridge.realtime.faults import ADVICE
from bridge.realtime.transcript import Transcript
from bridge.records import CallRecord, Counts, EndReason, Origin, reason_of, warning
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
        means: Means | None = None,
        *,
        origin: Origin | None = None,
        dial: Dial = cannot_dial,
        server: Uri | None = None,
        is_own_phone: Callable[[Uri], bool] = lambda uri: False,
        record: Begin = nothing_kept,
    ) -> None:
        self.leg: Party = leg
        """The caller; after a transfer that the caller's PBX asked for, somebody else."""
        self.caller: Leg = leg
        """Who rang."""
        self.former: list[Party] = []
        """Legs that were the caller's before, and the second one of a joined call: their counts are the call's too."""
        self.profile = profile
        self.means = means = means or Means()
        self.counts = Counts()
        self.began_at = time.monotonic()
        self.answered_at: float | None = None
        self.origin = origin or Origin()
        self.dial = dial
        """Places another call on the trunk of this one."""
        self.is_own_phone = is_own_phone  # registered with us: no PBX reaches it in our place
        self.watch = means.watch
        self._server = server  # of the trunk; None: the caller's own PBX is all there is
        self._end: asyncio.Future[tuple[EndReason, str]] = asyncio.get_running_loop().create_future()
        self._joined: Joined | None = None
        self._greeted = False  # the greeting was asked for
        self._forsaken: tuple[EndReason, str] | None = None  # why there is no agent any more
        self.is_gone = False
        """Whether only its counts and its record are left: it has no session any more, nor any other part."""
        self._closing: asyncio.Task[None] | None = None  # of the session, where the call goes on without it
        self._own = OwnContext()
        self._make_parts(record)
        leg.on_connected = self._on_connected
        self._attend(leg)

    def _make_parts(self, record: Begin) -> None:
        profile, means = self.profile, self.means
        audio, agent = profile.format_for(self.leg.format), profile.agent
        began_at = self.began_at
        self.transcript = Transcript(lambda: time.monotonic() - began_at)
        self.model = FromModel(self, shown=means.transcripts)
        self.session = profile.lasting(
            audio,
            self.origin.variables(),
            self.transcript,
            on_event=self.model.react,
            is_quiet=lambda: self.is_quiet,
        )
        self.hearing = Hearing(self, audio)
        self.comfort = Comfort(lambda: self.leg, music=profile.music)
        self.floor = Floor(self)
        self.attendance = Attendance(self, means.longest_s)
        self.keys = Keys(
            agent.digits, say=self.session.user_text, on_first=self.floor.key_interrupts, shown=means.transcripts
        )
        self.absence = Absence(self, agent.recovery)
        self.plan_b = PlanB(self, agent.plan_b, profile.sounds)
        self.account = means.books.account(self.caller.call_id, self.origin.caller, self.counts)
        self.tools = CallTools(self)
        self.succession = Succession(self)
        self._taping = Taping(record)

    def _attend(self, leg: Party) -> None:
        leg.on_format = self.hearing.convert
        leg.on_digit = self._own.of(self._on_digit)
        leg.on_digits_refused = self._own.of(self.tools.digits_refused)
        leg.on_drained = self._own.of(self._on_drained)
        leg.on_talkspurt = self.floor.promptness.packet_left
        leg.on_ended = self._own.of(self._on_leg_ended)
        leg.on_referred = self._own.of(self.succession.referred)

    async def run(self) -> CallRecord:
        """The whole call. Returns its record; both sides are closed by then."""
        self._own.renew()  # the Call-ID is bound by now
        reader: asyncio.Task[None] | None = None
        try:
            self._ring()
            if await self._open_session():
                reader = asyncio.create_task(self.session.run())
                # Its last event ends the call; if a fault of ours ended it without one, so does this.
                reader.add_done_callback(lambda task: self._on_reader_done())
                await self._first_words()
            self._answer()
            await self._end
        finally:
            self.end(EndReason.INTERNAL_ERROR)  # no effect when a reason is already there
            await self._close(reader)
        return record_of(self, *self._end.result())

    @property
    def is_talking(self) -> bool:
        """Whether caller and agent are connected, and neither is about to leave the other."""
        return self.answered_at is not None and not (self.is_without_agent or self.tools.is_handing_over)

    @property
    def is_over(self) -> bool:
        """Whether the session has nothing more to say: the call has ended, or the caller talks to somebody else."""
        return self._end.done() or self._joined is not None

    @property
    def is_without_agent(self) -> bool:
        """Whether the caller talks to somebody else, or is told that there is nobody, or has gone."""
        return self._joined is not None or self._forsaken is not None or self._end.done()

    @property
    def is_quiet(self) -> bool:
        """Whether nobody speaks and nothing is under way."""
        session = self.session
        busy = session.response_active or session.caller_speaking or self.transcript.has_unfinished_calls
        is_silent = self.leg.drained or self.comfort.is_playing
        return not busy and is_silent and not self.tools.is_handing_over

    @property
    def base(self) -> Uri:
        """Where a bare number belongs: the trunk's server, else the PBX the caller came from."""
        return self._server or self.leg.base

    def end(self, reason: EndReason, detail: str = "") -> None:
        """End the call; the first reason counts."""
        if not self._end.done():
            self._end.set_result((reason, detail))

    def forsaken(self, reason: EndReason, detail: str = "") -> None:
        """There is no agent any more: plan B takes over, and ends the call for this reason."""
        if self.is_over or self._forsaken is not None:
            return
        self._forsaken = reason, detail
        self.attendance.alone()
        self.keys.close()
        self.floor.barge_in.close()
        self._closing = asyncio.create_task(self.session.close())
        if self.answered_at is not None:
            self.plan_b.start(reason, detail)

    # Until the answer

    def _ring(self) -> None:
        if self.means.early_media:
            self.caller.progress()
        else:
            self.caller.ring()

    async def _open_session(self) -> bool:
        opening = asyncio.create_task(self.session.open(self.means.session_timeout_s))
        either: tuple[asyncio.Future[Any], ...] = (opening, self._end)
        await asyncio.wait(either, return_when=asyncio.FIRST_COMPLETED)
        if not opening.done():
            opening.cancel()
            await asyncio.wait({opening})
            return False
        failure = opening.exception()  # not raised here, where it would hold on to this very frame
        if isinstance(failure, SessionFailed):
            self._refuse(failure)
            return False
        ready = opening.result()
        log.info("session.ready", session=ready.session_id, model=ready.model, agent=self.profile.name)
        self.absence.speak(ready)
        return not self._end.done()

    def _refuse(self, failure: SessionFailed) -> None:
        advice = ADVICE.get(failure.reason, "see the service's message")
        log.error(
            "session.failed", agent=self.profile.name, reason=failure.reason, detail=failure.detail, advice=advice
        )
        if self.plan_b.answers:
            self.forsaken(EndReason.SESSION_FAILED, failure.reason)
        else:
            self.end(EndReason.SESSION_FAILED, failure.reason)
            word = warning(EndReason.SESSION_FAILED.value)
            self.caller.refuse(503, [("Retry-After", str(RETRY_AFTER_S)), word])

    async def _first_words(self) -> None:
        """Ask for the greeting before the answer, so that its first frame leaves with it."""
        agent = self.profile.agent
        if self.means.early_media or not self.caller.can_play or not agent.greeting:
            return
        self._greeted = True
        self.session.greet()
        either: tuple[asyncio.Future[Any], ...] = (self.model.first_audio, self._end)
        await asyncio.wait(either, timeout=agent.greeting_wait_ms / 1000, return_when=asyncio.FIRST_COMPLETED)

    def _answer(self) -> None:
        if not self._end.done():
            self.attendance.answered()
            self.answered_at = time.monotonic()
            self.caller.answer()

    def _on_connected(self) -> None:
        """Audio flows from here."""
        if self._forsaken is not None:
            self.plan_b.start(*self._forsaken)
            return
        self.hearing.open()
        self._taping.start(self.leg)
        self.attendance.connected()
        if not self._greeted:
            self._greeted = True
            self.session.greet()
        self.tools.heard()  # the model may have asked for something while it rang

    # Somebody else

    def join(self, other: OutgoingLeg) -> None:
        """The caller talks to somebody else from here; the session is no longer needed."""
        self.former.append(other)
        self._joined = Joined(self.leg, other)
        self.leg.on_ended = other.on_ended = self._on_joined_ended
        self.keys.close()
        self.floor.barge_in.close()
        self.attendance.alone()
        self._taping.stop(self.leg)  # the agent has left, and who is there now was not asked
        if self._closing is None:
            self._closing = asyncio.create_task(self.session.close())

    def adopt(self, leg: Party) -> Party:
        """Somebody else takes the caller's place; the agent goes on where it was. The leg that was the caller's."""
        self.floor.interrupt(by_server=False)
        former, self.leg = self.leg, leg
        forget(former)
        self._taping.move(former, leg)
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
        self.attendance.key()
        self.keys.press(digit)

    def _on_drained(self) -> None:
        self.tools.heard()
        self.attendance.agent_drained()

    def _on_leg_ended(self, word: str, detail: str) -> None:
        if word == "bye" and self.succession.outlives_caller():
            return
        reason = reason_of(word)
        if word == "bye" and (self.tools.handed_over() or self.plan_b.handed_over()):
            reason = EndReason.TRANSFERRED
        self.end(reason, detail or (word if reason is EndReason.SIGNALLING_LOST else ""))

    # The end

    def collected(self) -> Counts:
        """The call's counts as of now."""
        return self.counts if self.is_gone else collected(self)

    def _on_reader_done(self) -> None:
        if not self.is_without_agent:
            self.end(EndReason.INTERNAL_ERROR)

    async def _close(self, reader: asyncio.Task[None] | None) -> None:
        self.transcript.cut(self.hearing.flush())
        for part in (self.absence, self.keys, self.floor, self.attendance, self.tools, self.plan_b, self.succession):
            part.close()
        self.comfort.stop()
        self._taping.stop(self.leg)
        for leg in (self.leg, *self.former):
            leg.close(self._end.result()[0])
        await self.session.close()
        if self._closing is not None:
            await self._closing
        for part in (self.tools, self.plan_b, self.succession):
            await part.ended()
        try:
            if reader is not None:
                await reader
        finally:
            self.account.close()
            let_go(self)
