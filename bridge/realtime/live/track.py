"""What the model says, found in a track that never ends: OpenAI Live's audio has silence in it and no items.

The gate of the reference (section 6): an item begins with the first sound louder than 0.0006 of full scale, and is
over after 800 ms without any. Silence between items is not passed on: it comes at the pace of speech, so whatever
waits to be played would never become less. Time is counted in the track itself; `now` is the session's clock, the
caller's audio sent so far, in ms.
"""

from __future__ import annotations

from collections.abc import Callable

from bridge.audio.format import SAMPLE_BYTES, Format, Linear
from bridge.audio.g711 import Law, decode
from bridge.audio.level import FULL_SCALE, rms
from bridge.realtime import events as ev

SOUND_RMS = 0.0006 * FULL_SCALE
ITEM_ENDS_MS = 800
WINDOW_MS = 20
"""What is judged as one: sound or silence."""
PRE_ROLL_MS = 60
"""Passed on from before the first sound: soft beginnings of words."""
SOUNDING_MS = 200
"""A pause that is shorter is one within a sentence."""
CUT_ENDS_MS = 300
"""The pause after which an interrupted agent is heard again: what follows is something new (section 7, option B)."""
LONGEST_CUT_MS = 8000
"""An interrupted agent that makes no pause at all is heard again after so much."""
STALLED_MS = 2000
"""Some servers leave silence out. With no audio at all for so long, the item is over."""


class Track:
    """Makes items of the track."""

    def __init__(self) -> None:
        self.item = ""
        """The item that is open; empty between items."""
        self.late = 0
        """Pieces of interrupted items that came after the interruption."""
        self._is_cut = False
        self._half = b""  # the first byte of a sample whose second has not come
        self._before = b""  # the last silence before an item
        self._quiet = self._dropped = 0  # bytes: of silence at the end of the item, of an interrupted item
        self._heard_at = 0
        self.configure(Law.PCMU)

    def configure(self, audio_format: Format) -> None:
        """The track's format is known."""
        self._law = None if isinstance(audio_format, Linear) else audio_format
        self._per_ms = audio_format.bytes_per_ms

    @property
    def sounding(self) -> bool:
        """Whether the agent speaks, but for the pauses between words."""
        return bool(self.item) and self._quiet < SOUNDING_MS * self._per_ms

    def cut(self) -> None:
        """The agent was interrupted: what else comes of this item is dropped."""
        if self.item:
            self._is_cut, self._dropped = True, 0

    def receive(self, audio: bytes, now: int, begin: Callable[[], str]) -> list[ev.Event]:
        """The next piece of the track, of any length; `begin` gives the id of an item whose first sound is in it."""
        found: list[ev.Event] = []
        run = bytearray()  # of the open item, not yet passed on
        was_cut = False
        self._heard_at = now
        audio, step = self._whole_samples(audio), WINDOW_MS * self._per_ms
        for at in range(0, len(audio), step):
            window = audio[at : at + step]
            loud = rms(window if self._law is None else decode(window, self._law)) > SOUND_RMS
            if not self.item and not loud:
                self._before = (self._before + window)[-PRE_ROLL_MS * self._per_ms :]
                continue
            if not self.item:
                self.item = begin()
                run += self._before
            was_cut = was_cut or (self._is_cut and loud)
            run += window
            if self._is_over(len(window), loud):
                found += [*self._passed_on(run), self._end()]
                run.clear()
        self.late += was_cut
        return [*found, *self._passed_on(run)]

    def check(self, now: int) -> list[ev.Event]:
        """End an item of which nothing has come for long; so does the end of the session, with `now` far ahead."""
        if self.item and now - self._heard_at > STALLED_MS:
            return [self._end()]
        return []

    def _is_over(self, length: int, loud: bool) -> bool:
        self._quiet = 0 if loud else self._quiet + length
        if not self._is_cut:
            return self._quiet >= ITEM_ENDS_MS * self._per_ms
        self._dropped += length
        return self._quiet >= CUT_ENDS_MS * self._per_ms or self._dropped >= LONGEST_CUT_MS * self._per_ms

    def _passed_on(self, run: bytearray) -> list[ev.Event]:
        return [ev.AudioDelta(self.item, bytes(run))] if run and not self._is_cut else []

    def _end(self) -> ev.AudioEnd:
        item, self.item = self.item, ""
        self._is_cut, self._before, self._quiet = False, b"", 0
        return ev.AudioEnd(item)

    def _whole_samples(self, audio: bytes) -> bytes:
        if self._law is not None:
            return audio
        audio = self._half + audio
        whole = len(audio) - len(audio) % SAMPLE_BYTES
        self._half = audio[whole:]
        return audio[:whole]
