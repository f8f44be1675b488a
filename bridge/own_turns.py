"""Turns that the bridge finds by itself (`turn_detection: manual`), for servers that find none, or find them badly.

The session then hears nothing of turns but `commit` and a request for an answer when one is over. What is found takes
the same way as what a service tells: `Floor.caller_starts` and `caller_stops`.
"""

from __future__ import annotations

from collections.abc import Callable
from enum import Enum

from bridge.audio.conversion import converter
from bridge.audio.format import Format, Linear
from bridge.audio.g711 import Law, decode
from bridge.audio.vad import FRAME_MS, SpeechDetector
from bridge.config import OwnTurns as Settings
from bridge.realtime import events as ev

HANGOVER_MS = 100
"""How much longer than the speech the detector says so, at least: it must not count as speech."""


class State(Enum):
    """What the caller does."""

    SILENT = "silent"
    BEGINNING = "beginning"  # perhaps
    SPEAKING = "speaking"


class OwnTurns:
    """Listens to one caller. `heard_ms` is what the session has got of him, by its clock."""

    def __init__(
        self,
        settings: Settings,
        heard_ms: Callable[[], float],
        *,
        started: Callable[[ev.SpeechStarted], None],
        stopped: Callable[[ev.SpeechStopped], None],
    ) -> None:
        """Raises VadMissing, which names the extra to install."""
        self.state = State.SILENT
        self._settings = settings
        self._heard_ms = heard_ms
        self._started = started
        self._stopped = stopped
        self._sounding_ms = 0  # of speech that has no turn yet
        self._silent_ms = 0  # since the last speech of a turn
        self._rest = b""  # of a frame
        self._fit(Law.PCMU)

    def hear(self, audio: bytes, audio_format: Format) -> None:
        """Audio of the caller, before the session gets it."""
        if audio_format != self._format:
            self._fit(audio_format)
        pcm = decode(audio, audio_format) if isinstance(audio_format, Law) else audio
        if self._convert is not None:
            pcm = self._convert(pcm)
        self._rest += pcm
        size = self._detector.frame_bytes
        for at in range(0, len(self._rest) - size + 1, size):
            self._judge(self._detector.is_speech(self._rest[at : at + size]))
        self._rest = self._rest[len(self._rest) - len(self._rest) % size :]

    def close(self) -> None:
        """Nobody wants to know any more."""
        self._started = self._stopped = _nothing

    def _fit(self, audio_format: Format) -> None:
        self._format = audio_format
        rate = audio_format.rate if audio_format.rate in (8000, 16000, 24000) else 16000
        self._convert = converter(Linear(audio_format.rate), Linear(rate))
        self._detector = SpeechDetector(rate, self._settings.aggressiveness)
        self._rest = b""

    def _judge(self, is_speech: bool) -> None:
        match self.state, is_speech:
            case State.SILENT, True:
                self.state, self._sounding_ms = State.BEGINNING, FRAME_MS
            case State.BEGINNING, True:
                self._sounding_ms += FRAME_MS
                if self._sounding_ms >= self._settings.min_speech_ms + HANGOVER_MS:
                    self._begin()
            case State.BEGINNING, False:
                self.state = State.SILENT
            case State.SPEAKING, True:
                self._silent_ms = 0
            case State.SPEAKING, False:
                self._silent_ms += FRAME_MS
                if self._silent_ms >= self._settings.silence_duration_ms:
                    self._end()

    def _begin(self) -> None:
        self.state, self._silent_ms = State.SPEAKING, 0
        self._started(ev.SpeechStarted(max(0, round(self._heard_ms()) - self._sounding_ms)))

    def _end(self) -> None:
        self.state = State.SILENT
        self._stopped(ev.SpeechStopped(round(self._heard_ms())))


def _nothing(speech: ev.SpeechStarted | ev.SpeechStopped) -> None:
    """For a call that is over."""
