"""One conversation over as many sessions as it takes: the call outlives its socket.

A session that is lost, or near its end, is followed by another one: what was said and done so far is put back
(`transcript`), the caller's audio that no session has made a turn of is delivered (`uplink`), and the answer that was
cut off is asked for again. `Call` sees one session, and `Away` and `Back` in its events.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterable
from typing import Any

from bridge.realtime import events as ev
from bridge.realtime.debt import Debt, Owed
from bridge.realtime.history import History, ToolUse
from bridge.realtime.openai.conversation import DELETED
from bridge.realtime.options import Json
from bridge.realtime.patience import Patience
from bridge.realtime.protocol import Abilities, Provider
from bridge.realtime.relief import Relief
from bridge.realtime.renewal import Renewal
from bridge.realtime.session import Session
from bridge.realtime.session_counts import SessionCounts
from bridge.realtime.transcript import Transcript
from bridge.realtime.transcript_slot import json_text
from bridge.realtime.uplink import Uplink


class LastingSession:
    """`open` it, `run` it until the end, `close` it; all else returns at once, also while there is no session."""

    __slots__ = (
        "_away",
        "_closed",
        "_commit_due",
        "_debt",
        "_is_quiet",
        "_on_event",
        "_past",
        "_patience",
        "_recovery",
        "_relief",
        "_renewal",
        "_session",
        "_successor",
        "_uplink",
        "ready",
        "transcript",
    )  # fmt: skip

    def __init__(
        self,
        make: Callable[[History], Session],
        transcript: Transcript,
        patience: Patience,
        *,
        on_event: Callable[[ev.Event], None],
        is_quiet: Callable[[], bool],
    ) -> None:
        """`is_quiet`: whether nobody speaks and nothing is under way, so that a change would not be noticed."""
        self.transcript = transcript
        self.ready: ev.Ready | None = None
        """Of the newest session; None before the first."""
        self._patience = patience
        self._on_event = on_event
        self._is_quiet = is_quiet
        self._relief = Relief(make, transcript, patience)
        self._session = self._relief.first(self._observe)
        self._away = False
        self._debt = Debt()
        self._commit_due = False  # a turn has ended while there was no session
        self._uplink: Uplink | None = None  # before the first session is ready
        self._successor: asyncio.Event = asyncio.Event()
        self._renewal = Renewal(patience, is_quiet=is_quiet)
        self._recovery: asyncio.Task[bool] | None = None  # of the last loss
        self._past = SessionCounts()
        self._closed = False

    # What the call asks

    async def open(self, timeout_s: float) -> ev.Ready:
        """The first session; raises SessionFailed, within `timeout_s` seconds."""
        ready = await self._session.open(timeout_s)
        self._uplink = Uplink(ready.audio_in, self._patience.keep_ms)
        self._settle(ready)
        return ready

    async def run(self) -> None:
        """Read events until no session can be had any more; the last event is `Lost`."""
        while True:
            lost = await self._read()
            if lost is None:
                continue
            self._renewal.stop()
            if self._closed or not await self._is_recovered(lost):
                self._on_event(lost)
                return

    def append(self, audio: bytes) -> None:
        """The caller's audio, in the format of `ready.audio_in`."""
        assert self._uplink is not None
        self._uplink.add(audio)
        if not self._away:
            self._session.append(audio)

    def greet(self) -> None:
        """Ask for the greeting, if one is configured."""
        self._debt.greeting_asked()
        if self._away:
            self._debt.owe(Owed.GREETING)
        else:
            self._tell(lambda protocol: protocol.greet())

    def user_text(self, words: str, *, respond: bool = True) -> None:
        """Say words for the caller (pressed digits), and ask for an answer."""
        self.transcript.asked(words)
        if not self._away:
            self._tell(lambda protocol: protocol.user_text(words, respond=respond))
        elif respond:
            self._debt.owe(Owed.ANSWER)

    def instruct(self, words: str) -> None:
        """Ask the model to say something."""
        if self._away:
            self._debt.instruct(words)
        else:
            self._tell(lambda protocol: protocol.instruct(words))

    def respond(self) -> None:
        """Ask for an answer to what the caller has said."""
        if self._away:
            self._debt.owe(Owed.ANSWER)
        else:
            self._tell(lambda protocol: protocol.respond())

    def hears(self, speech: ev.SpeechStarted | ev.SpeechStopped) -> None:
        """The caller begins or stops to speak, as the bridge has found out by itself."""
        if not self._away:
            self._note(speech)
            self._tell(lambda protocol: protocol.hears(speaking=isinstance(speech, ev.SpeechStarted)))

    def commit(self) -> None:
        """The caller's turn is over, as the bridge has decided; while there is no session, the next one is told."""
        if self._away:
            self._commit_due = True
            self._debt.turn_ended()
        else:
            self._tell(lambda protocol: protocol.commit())

    def forget(self, item_id: str) -> None:
        """What the caller seemed to say was noise."""
        self.transcript.cut([ev.Truncated(item_id, DELETED)])
        if not self._away:
            self._tell(lambda protocol: protocol.forget(item_id))

    def tool_result(self, call_id: str, output: Json, *, respond: bool = True) -> None:
        """Answer a tool call; one of a session that is gone is put into the present one together with its result."""
        former = self.transcript.unfinished_call(call_id)
        self.transcript.tool_result(call_id, output)
        if self._away:
            if respond:
                self._debt.owe(Owed.ANSWER)
        elif former is None:
            self._tell(lambda protocol: protocol.tool_result(call_id, output, respond=respond))
        else:
            done = ToolUse(call_id, former.name, former.arguments, json_text(output))
            self._tell(lambda protocol: protocol.remember([done], respond=respond))

    def interrupted(self, heard: Iterable[ev.HeardItem], *, by_server: bool = True) -> list[ev.Truncated]:
        """Tell the server what was heard; returns what was told, item by item."""
        heard = list(heard)
        self._debt.interrupted()
        former = [item for item in heard if self.transcript.is_former(item.item_id)]
        if self._away:
            cuts = [ev.Truncated(item.item_id, item.sent_ms) for item in heard]
        else:
            own = [item for item in heard if item not in former] if former else heard
            cuts = [ev.Truncated(item.item_id, item.sent_ms) for item in former]
            cuts += self._session.protocol.interrupted(own, by_server=by_server)
        self.transcript.cut(cuts)
        if not self._away:
            for item in former:
                self._session.protocol.correct(item.item_id, self.transcript.heard_text(item.item_id))
            self._session.flush()
        return cuts

    def _tell(self, tell: Callable[[Provider], None]) -> None:
        tell(self._session.protocol)
        self._session.flush()

    async def close(self) -> None:
        """Close with 1000; gives up after 2 s. Idempotent."""
        self._closed = True
        self._renewal.stop()
        if self._recovery is not None:
            self._recovery.cancel()
        await self._session.close()
        await self._relief.ended()

    def release(self) -> None:
        """The call is over, and so is `run`: what it was made of tells nobody anything any more."""
        self._session.on_event = self._on_event = nothing

    # What the call reads

    @property
    def abilities(self) -> Abilities:
        """What the provider can do."""
        return self._session.protocol.abilities

    @property
    def is_away(self) -> bool:
        """Whether there is no session just now."""
        return self._away

    @property
    def response_active(self) -> bool:
        """Whether an answer is being made, has been asked for, or is owed."""
        return self._debt.owed is not Owed.NOTHING if self._away else self._session.protocol.response_active

    @property
    def caller_speaking(self) -> bool:
        """Whether the service hears the caller speak."""
        return not self._away and self._session.protocol.caller_speaking

    @property
    def heard_ms(self) -> float:
        """What the present session has got of the caller, by its own clock."""
        return self._session.audio_in_bytes / self.ready.audio_in.bytes_per_ms if self.ready is not None else 0.0

    def counts(self) -> SessionCounts:
        """The counts of all sessions so far."""
        return self._past.plus(self._session)

    # Events of the session

    def _observe(self, event: ev.Event) -> None:
        if type(event) is ev.AudioDelta:
            if self.ready is None:
                return  # nobody has asked for it, nor knows its format
            self.transcript.audio(event.item_id, len(event.audio) / self.ready.audio_out.bytes_per_ms)
            self._debt.audio_came()
        elif type(event) is ev.AgentSaying:
            self.transcript.observe(event)  # nobody else learns from single words, and there are many
        else:
            self._note(event)
        self._on_event(event)

    def _note(self, event: ev.Event) -> None:
        self.transcript.observe(event)
        turn = self._uplink.observe(event) if self._uplink is not None else None
        if turn and isinstance(event, ev.Committed):
            self.transcript.turn_audio(event.item_id, turn)
        self._debt.observe(event)
        if isinstance(event, ev.GoingAway):
            self._renewal.due_in(event.seconds, self._change)

    def _settle(self, ready: ev.Ready) -> None:
        self.ready = ready
        left_s = ready.expires_at - time.time() if ready.expires_at is not None else 0.0
        if left_s > 0:  # else two clocks differ, and the service will say so itself
            self._renewal.due_in(left_s, self._change)

    # A session that is lost

    async def _read(self) -> ev.Lost | None:
        """Until the session is gone, or another one has taken its place: then None."""
        session = self._session
        self._successor.clear()
        reader = asyncio.create_task(self._run(session))
        changed = asyncio.create_task(self._successor.wait())
        await asyncio.wait({reader, changed}, return_when=asyncio.FIRST_COMPLETED)
        changed.cancel()
        if session is self._session:
            return await reader
        self._relief.let_go(_ended(reader))
        return None

    async def _run(self, session: Session) -> ev.Lost:
        return ev.Lost(1000, "") if self._closed else await session.run()

    async def _is_recovered(self, lost: ev.Lost) -> bool:
        recovery = self._recovery = asyncio.create_task(self._recover(lost))
        await asyncio.wait({recovery})
        self._recovery = None
        return not recovery.cancelled() and recovery.result()

    async def _recover(self, lost: ev.Lost) -> bool:
        """Another session for the one that is lost; whether it could be had."""
        former = self._session.protocol
        if self._relief.is_hopeless(lost, former):
            return False
        began = time.monotonic()
        self._leave()
        self._on_event(ev.Away(lost.code, lost.reason))
        session = await self._relief.find(former, self._observe)
        if session is not None:
            self._return(session, away_s=time.monotonic() - began)
        return session is not None

    def _leave(self) -> None:
        turn_open = self._uplink is not None and self._uplink.has_open_turn
        self._debt.leave(response_active=self._session.protocol.response_active, turn_open=turn_open)
        self._away = True
        if self._uplink is not None:
            self._uplink.leave()
        self.transcript.new_session()

    def _return(self, session: Session, *, away_s: float = 0.0, planned: bool = False) -> None:
        """From here `session` is the session: it hears what happened, then the caller, then what is asked of it."""
        assert self._uplink is not None and session.ready is not None
        former, self._session = self._session, session
        former.on_event = nothing
        self._past = self._past.plus(former)
        self._relief.bring_up_to_date(session)
        self._settle(session.ready)
        self._away = False
        audio, lost = self._uplink.restart()
        kept_ms, lost_ms = len(audio) // self._uplink.per_ms, lost // self._uplink.per_ms
        audio = self._uplink.refit(session.ready.audio_in, audio)
        self._on_event(ev.Back(session.ready, away_s, kept_ms, lost_ms, planned))
        session.replay(audio)
        if self._commit_due:
            self._commit_due = False
            session.protocol.commit()
        self._debt.pay(session.protocol, tools_run=self.transcript.has_unfinished_calls)
        session.flush()

    # A session whose end is known

    async def _change(self, late: bool) -> bool:
        """Whether another session has taken the place of this one: unnoticed, or because time is up."""
        if self._away:
            return True  # another one is on its way
        if self._relief.is_restless():
            return True
        former = self._session
        session = await self._relief.open_next(former.protocol, nothing, self._patience.attempt_s, resume=False)
        if session is None:
            await asyncio.sleep(self._patience.pause_s)
            return self._away
        busy = not self._is_quiet()
        if self._away or (busy and not late):
            self._relief.let_go(session.close())
            return self._away
        self._hand_over(session, busy=busy)
        self._successor.set()
        self._relief.let_go(former.close())
        return True

    def _hand_over(self, session: Session, *, busy: bool) -> None:
        assert self._uplink is not None
        self._leave()
        if busy:
            self._on_event(ev.Away(1001, "planned"))
        else:
            self._uplink.leave_unnoticed()
        session.on_event = self._observe
        self._return(session, planned=True)


def nothing(event: ev.Event) -> None:
    """For a session that nobody listens to."""


async def _ended(reader: asyncio.Task[Any]) -> None:
    await asyncio.wait({reader})
