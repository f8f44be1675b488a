"""What the caller's speech does to what the agent says: at once and for good, or on trial.

On trial (`barge_in: reversible`) the agent falls silent at the first sign and keeps its place. A cough or an echo turns
out to be too short, or to have no words: the agent goes on where it stopped, the noise is taken out of the
conversation, and the model has noticed nothing. Anything else is an interruption like any other, told a moment later.
For that the server must neither interrupt nor answer by itself, so the bridge asks for each answer.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from enum import Enum
from typing import Protocol

from bridge.config import BargeIn as Settings
from bridge.config import OwnTurns, SemanticVad, ServerVad
from bridge.realtime import events as ev

LONGEST_PAUSE_S = 6.0
"""A line so noisy that speech never ends must not silence the agent for ever."""


class State(Enum):
    """Where the caller's turn stands."""

    QUIET = "quiet"
    TALKING = "talking"  # the agent says nothing; its answer is due when the caller stops
    ON_TRIAL = "on trial"  # the agent is paused, the caller is heard
    AWAITING_WORDS = "awaiting words"  # the agent is paused, the caller has stopped


class Talk(Protocol):
    """What there is to decide about: one call."""

    @property
    def is_saying(self) -> bool:
        """Whether the agent says something, or is about to."""

    def interrupt(self, *, by_server: bool) -> None:
        """Silence, and the truth to the model."""

    def pause(self) -> None:
        """Silence, and all stays."""

    def resume(self, noise: str) -> None:
        """Go on; the caller's item `noise` was no speech."""

    def answer(self) -> None:
        """The caller has finished: let the model answer."""


class _Over:
    """A call that is over."""

    is_saying = False

    def interrupt(self, *, by_server: bool) -> None:
        """Nobody speaks."""

    def pause(self) -> None:
        """Nobody speaks."""

    def resume(self, noise: str) -> None:
        """Nobody goes on."""

    def answer(self) -> None:
        """Nobody answers."""


class BargeIn:
    """Decides for one call. All in the turn of the event that decides; `later` is the loop's clock."""

    def __init__(
        self,
        talk: Talk,
        settings: Settings,
        detection: ServerVad | SemanticVad | OwnTurns | None,
        later: Callable[[float, Callable[[], None]], asyncio.TimerHandle],
    ) -> None:
        self.state = State.QUIET
        self._talk = talk
        self._settings = settings
        self._reversible = settings.mode == "reversible"
        self._later = later
        # The times of a turn include what is waited for before it is called one, and before it is over.
        silence_ms = 0 if detection is None or isinstance(detection, SemanticVad) else detection.silence_duration_ms
        padding_ms = detection.prefix_padding_ms if isinstance(detection, ServerVad) else 0
        self._silence_s = silence_ms / 1000
        self._around_ms = padding_ms + silence_ms
        self._item = ""
        self._start_ms = 0
        self._timer: asyncio.TimerHandle | None = None  # while something is on trial

    @property
    def decides(self) -> bool:
        """Whether it asks for the answers."""
        return self._reversible

    @property
    def is_undecided(self) -> bool:
        """Whether the agent is paused until it is clear what the caller does."""
        return self.state in (State.ON_TRIAL, State.AWAITING_WORDS)

    def started(self, speech: ev.SpeechStarted) -> None:
        """The caller begins to speak."""
        if not self._reversible:
            self._talk.interrupt(by_server=True)
            return
        if self.state is State.AWAITING_WORDS:
            self._confirm(State.TALKING)  # he speaks again: whatever it was, he wants to say something
            return
        if self.state is not State.QUIET:
            self._item = speech.item_id or self._item  # said twice (quirk D6): perhaps it has another name now
            return
        self._item, self._start_ms = speech.item_id, speech.audio_start_ms
        if not self._talk.is_saying:
            self.state = State.TALKING
            self._talk.interrupt(by_server=False)
            return
        self.state = State.ON_TRIAL
        self._talk.pause()
        self._wait(self._settings.min_speech_ms / 1000 + self._silence_s, self._lasted)

    def stopped(self, speech: ev.SpeechStopped) -> None:
        """The caller stops."""
        if self.state is State.TALKING:
            self.state = State.QUIET
            self._talk.answer()
        elif self.state is State.ON_TRIAL:
            if speech.audio_end_ms - self._start_ms - self._around_ms < self._settings.min_speech_ms:
                self._reject()
            elif self._settings.words:
                self.state = State.AWAITING_WORDS
                self._wait(self._settings.words_wait_ms / 1000, self._speak_up)
            else:
                self._speak_up()

    def idle(self) -> None:
        """The caller says nothing: where the server does not answer by itself, that is answered too."""
        if self._reversible and self.state is State.QUIET:
            self._talk.answer()

    def said(self, item_id: str, text: str | None) -> None:
        """What the caller said; None: that could not be told."""
        # The name of a turn that the bridge has found was not known before.
        if self.state is State.AWAITING_WORDS and (not self._item or item_id in ("", self._item)):
            self._item = self._item or item_id
            if text is None or any(character.isalnum() for character in text):
                self._speak_up()
            else:
                self._reject()

    def overtaken(self) -> None:
        """Something else has interrupted the agent, as a key does: there is nothing on trial any more."""
        if self.is_undecided:
            self._settle(State.TALKING if self.state is State.ON_TRIAL else State.QUIET)

    def session_lost(self) -> None:
        """Nobody tells any more what the caller does: the agent goes on, and the next session hears him again."""
        if self.is_undecided:
            self._reject()
        self._settle(State.QUIET)

    def close(self) -> None:
        """Nothing is on trial any more: the agent has left."""
        self._settle(State.QUIET)

    def release(self) -> None:
        """The call is over: there is nothing to decide about any more."""
        self.close()
        self._talk = _Over()

    def _lasted(self) -> None:
        """The speech goes on for longer than a noise would."""
        if self._settings.words:
            self._wait(LONGEST_PAUSE_S, lambda: self._confirm(State.TALKING))
        else:
            self._confirm(State.TALKING)

    def _speak_up(self) -> None:
        """It was speech, and it is over."""
        self._confirm(State.QUIET)
        self._talk.answer()

    def _confirm(self, state: State) -> None:
        self._settle(state)
        self._talk.interrupt(by_server=False)

    def _reject(self) -> None:
        self._settle(State.QUIET)
        self._talk.resume(self._item)

    def _settle(self, state: State) -> None:
        self.state = state
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _wait(self, seconds: float, then: Callable[[], None]) -> None:
        self._settle(self.state)
        self._timer = self._later(seconds, then)
