"""Steady audio for a service whose clock is the caller's audio: silence where none comes (Live reference, section 6).

A phone that sends nothing (hold, silence suppression, a lost network) must not stop the service's clock, so silence
takes the place of what is missing. What was only late comes in the end, when its time is already filled: then quiet
audio is left out until as much has been given as time has passed, so that the service never runs behind.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Protocol

from bridge.audio.format import Format, silence_of
from bridge.audio.g711 import Law, decode
from bridge.audio.level import rms

MISSING_MS = 60
"""Without audio for so long, silence begins."""
STEP_MS = 20
MOST_AT_ONCE_MS = 1000
"""When the machine itself stood still for longer, the rest of that time is given up: no flood to make up for it."""
AHEAD_MS = 60
"""So far ahead of time audio may be; beyond, what is quiet is left out."""
MOST_AHEAD_MS = 1000
"""Beyond this everything is left out."""
QUIET_RMS = 100
"""About -50 dB below full scale."""


class Timer(Protocol):
    """What `Clock.call_at` gives."""

    def cancel(self) -> None:
        """It does not fire any more."""


class Clock(Protocol):
    """The part of an event loop that is needed here; seconds."""

    def time(self) -> float: ...
    def call_at(self, when: float, callback: Callable[[], None], /) -> Timer: ...


class Steady:
    """Gives `append` as much audio as time passes, from `start` to `stop`, all in one format."""

    def __init__(
        self, append: Callable[[bytes], None], audio_format: Format, clock: Clock | asyncio.AbstractEventLoop
    ) -> None:
        self.filled_ms = 0
        """Silence that took the place of missing audio."""
        self.left_out_ms = 0
        """Audio that came when its time was already filled."""
        self._append = append
        self._clock = clock
        self._law = audio_format if isinstance(audio_format, Law) else None
        self._per_ms = audio_format.bytes_per_ms
        self._step = silence_of(STEP_MS, audio_format)
        self._began = self._last = 0.0  # seconds: of the count of bytes, of the last audio
        self._given = 0  # bytes
        self._left_out = 0
        self._timer: Timer | None = None  # None: not running

    def start(self) -> None:
        """Time runs. A second time changes nothing."""
        if self._timer is None:
            self._began = self._last = self._clock.time()
            self._given = 0
            self._wait(self._began + MISSING_MS / 1000)

    def stop(self) -> None:
        """No more silence; audio passes as it comes."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def append(self, audio: bytes) -> None:
        """Audio of the caller."""
        if self._timer is not None:
            self._last = self._clock.time()
            if self._is_superfluous(audio):
                self._left_out += len(audio)
                self.left_out_ms = self._left_out // self._per_ms
                return
            self._given += len(audio)
        self._append(audio)

    def _is_superfluous(self, audio: bytes) -> bool:
        ahead_ms = (self._given + len(audio)) / self._per_ms - (self._last - self._began) * 1000
        if ahead_ms <= AHEAD_MS:
            return False
        return ahead_ms > MOST_AHEAD_MS or rms(decode(audio, self._law) if self._law else audio) < QUIET_RMS

    def _wait(self, when: float) -> None:
        self._timer = self._clock.call_at(when, self._fire)

    def _fire(self) -> None:
        now = self._clock.time()
        missing = self._last + MISSING_MS / 1000
        if now < missing:
            self._wait(missing)  # audio has come since
            return
        due_ms = (now - self._began) * 1000 - self._given / self._per_ms
        if due_ms > MOST_AT_ONCE_MS:
            self._began += (due_ms - MOST_AT_ONCE_MS) / 1000
            due_ms = MOST_AT_ONCE_MS
        for _ in range(int(due_ms + 0.001) // STEP_MS):
            self._given += len(self._step)
            self.filled_ms += STEP_MS
            self._append(self._step)
            if self._timer is None:
                return  # stopped by what it was given to
        self._wait(self._began + (self._given / self._per_ms + STEP_MS) / 1000)
