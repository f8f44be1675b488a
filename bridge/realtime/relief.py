"""Finds the session that takes the place of another one, and lets go of those that are not needed."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Coroutine
from typing import Any

import structlog

from bridge.realtime import events as ev
from bridge.realtime.dialer import SessionFailed
from bridge.realtime.history import NOTHING, AgentWords, CallerWords, History, Note, Remembered
from bridge.realtime.patience import Losses, Patience, is_final
from bridge.realtime.protocol import Provider
from bridge.realtime.session import Session
from bridge.realtime.transcript import Transcript

log = structlog.get_logger("sipbridge.realtime")


class Relief:
    """The sessions of one call, one after the other. `make` gives one that is not yet open."""

    def __init__(self, make: Callable[[History], Session], transcript: Transcript, patience: Patience) -> None:
        self._make = make
        self._transcript = transcript
        self._patience = patience
        self._losses = Losses(patience.losses_per_minute)
        self._changes = Losses(patience.losses_per_minute)
        self._given: tuple[Remembered, ...] = ()  # what the newest session was told at its start
        self._resumes = True  # a session of before is gone on with, where the service remembers it
        self._hopeless = False  # why no session could be had will not pass
        self._background: set[asyncio.Task[Any]] = set()

    def first(self, on_event: Callable[[ev.Event], None]) -> Session:
        """A session with nothing before it, not yet open."""
        session = self._make(NOTHING)
        session.on_event = on_event
        return session

    def is_hopeless(self, lost: ev.Lost, former: Provider) -> bool:
        """Whether another session would be lost in the same way."""
        return is_final(lost, former) or self._losses.too_many(time.monotonic())

    def is_restless(self) -> bool:
        """Whether sessions end so soon that changing them would never cease."""
        return self._changes.too_many(time.monotonic())

    async def find(self, former: Provider, on_event: Callable[[ev.Event], None]) -> Session | None:
        """An open session after one that was lost; None when patience is at its end, or there is no hope."""
        began = time.monotonic()
        while (left := began + self._patience.seconds - time.monotonic()) > 0:
            session = await self.open_next(former, on_event, min(left, self._patience.attempt_s))
            if session is not None or self._hopeless:
                return session
            await asyncio.sleep(min(left, self._patience.pause_s))
        return None

    async def open_next(
        self, former: Provider, on_event: Callable[[ev.Event], None], timeout_s: float, *, resume: bool = True
    ) -> Session | None:
        """One attempt: a session that knows what was said and done so far. None, and it is closed, when it fails.

        Without `resume` the service's own memory of the former session is not asked for: that one still stands.
        """
        self._given = self._transcript.history()
        session = self._make(History(self._given, former.resumption if resume and self._resumes else ""))
        session.on_event = on_event
        try:
            await session.open(timeout_s)
        except SessionFailed as failure:
            self._hopeless = is_final(failure, former)
            self._resumes = failure.close is None  # a handle may be refused so; the next session is told everything
            log.info("session.not_yet", reason=failure.reason, detail=failure.detail)
            return None
        finally:
            if session.ready is None:
                self.let_go(session.close())
        self._resumes = True
        return session

    def bring_up_to_date(self, session: Session) -> None:
        """Tell it what has happened since it began to open."""
        given, now = self._given, self._transcript.history()
        if given and now and isinstance(given[0], Note) and isinstance(now[0], Note):
            now = now[1:]  # of the note about what is left out only the number may have changed
        known = {turn.item_id for turn in given if isinstance(turn, AgentWords | CallerWords)}
        news: list[Remembered] = []
        for turn in now:
            if turn in given:
                continue
            if isinstance(turn, AgentWords) and turn.item_id in known:
                session.protocol.correct(turn.item_id, turn.text)
            elif not (isinstance(turn, CallerWords) and turn.item_id in known):  # his voice is there, if not his words
                news.append(turn)
        heard = {turn.item_id for turn in now if isinstance(turn, AgentWords)}
        for item_id in [turn.item_id for turn in given if isinstance(turn, AgentWords)]:
            if item_id not in heard and not self._transcript.heard_text(item_id):
                session.protocol.correct(item_id, "")  # nobody has heard it after all
        if news:
            session.protocol.remember(news)
        session.flush()

    def let_go(self, work: Coroutine[Any, Any, Any]) -> None:
        """Let something end by itself; `ended` waits for it."""
        task = asyncio.create_task(work)
        self._background.add(task)
        task.add_done_callback(self._background.discard)

    async def ended(self) -> None:
        """Until nothing is left in the background."""
        if self._background:
            await asyncio.wait(set(self._background))
