"""While the call has no session: what is queued plays on, and then a soft tone says that somebody is still there."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import structlog

from bridge.config import Recovery
from bridge.realtime import events as ev
from bridge.realtime.faults import CLOSE_ADVICE

if TYPE_CHECKING:
    from bridge.call import Call

log = structlog.get_logger("sipbridge.call")


class Absence:
    """The times of one call without a session."""

    def __init__(self, call: Call, settings: Recovery) -> None:
        self._call = call
        self._settings = settings
        self._began_at: float | None = None  # while there is no session

    def begin(self, away: ev.Away) -> None:
        """The session is lost, and another one is being opened."""
        advice = CLOSE_ADVICE.get(away.code)
        log.warning("session.away", code=away.code, reason=away.reason, advice=advice)
        self._call.hearing.end_all()  # nothing more comes of what the session was just saying
        self._call.floor.session_lost()
        self._call.attendance.tools(True)
        self._began_at = time.monotonic()
        if self._settings.tone_after_s:
            self._call.comfort.start("tone", self._settings.tone_after_s)

    def end(self, back: ev.Back) -> None:
        """Another session has taken its place."""
        call, ready = self._call, back.ready
        self.close()
        call.counts.note_resumed("planned" if back.planned else "back", back.away_s)
        if back.lost_ms:
            log.warning("session.audio_lost", ms=back.lost_ms, advice="raise agents.<name>.recovery.keep_s")
        log.info(
            "session.back",
            session=ready.session_id,
            planned=back.planned,
            away_ms=round(back.away_s * 1000),
            kept_ms=back.kept_ms,
        )
        self.speak(ready)
        call.attendance.tools(call.tools.is_busy)
        call.tools.heard()

    def give_up(self) -> None:
        """No other session could be had."""
        if self._began_at is not None:
            self._call.counts.note_resumed("given_up", time.monotonic() - self._began_at)
        self.close()

    def speak(self, ready: ev.Ready) -> None:
        """A session is ready: what it speaks, which may not be what was asked for."""
        call = self._call
        call.hearing.speak(ready.audio_in, ready.audio_out)
        if ready.fell_back:
            call.counts.note_fallback(f"{ready.audio_in.name} in, {ready.audio_out.name} out")
            log.warning(
                "session.format_fallback",
                reason=ready.fell_back,
                caller=ready.audio_in.name,
                agent=ready.audio_out.name,
                advice="sound is converted; say `audio: pcm` for this agent if that is how it is to stay",
            )

    def close(self) -> None:
        """It is over, or the call is."""
        self._began_at = None
        self._call.comfort.stop()
