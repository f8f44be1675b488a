"""What a caller hears while nobody speaks: a soft tone or music, until the agent has something to say.

It lives in the same queue as the agent's audio and never before any of it: it begins only where the queue is empty,
little of it waits at a time, and whoever plays something else calls `stop` first.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from itertools import count
from typing import Literal

from bridge.audio.format import SAMPLE_BYTES, Format
from bridge.audio.g711 import Law
from bridge.legs.leg import Party
from bridge.sounds import MUSIC, TONE, Sound

PIECE_MS = 600
"""What is queued at a time: whole packets of any length that is agreed on (10 to 60 ms), so that pieces join well."""
STEP_S = 0.3
"""How often it is looked whether the next piece is due. With one piece waiting, a stall of 0.6 s is not heard."""
PREFIX = "comfort_"

Later = Callable[[float, Callable[[], None]], asyncio.TimerHandle]
Kind = Literal["tone", "music"] | Sound
_names = count(1)


def owns(item_id: str) -> bool:
    """Whether an item of a leg's queue is no agent's but comfort."""
    return item_id.startswith(PREFIX)


class Comfort:
    """Plays to whoever `party` gives, again and again, from `start` to `stop`.

    `later` is the loop's clock; `music` is what the agent's callers hear as such.
    """

    def __init__(self, party: Callable[[], Party], later: Later | None = None, *, music: Sound = MUSIC) -> None:
        self._party = party
        self._later = later or asyncio.get_running_loop().call_later
        self._leg: Party | None = None  # to whom it was last played
        self._playing = False
        self._timer: asyncio.TimerHandle | None = None  # from start to stop
        self._named = {"tone": TONE, "music": music}
        self._sound = TONE
        self._format: Format = Law.PCMU
        self._at = 0  # bytes of the sound that were queued, in this format

    @property
    def is_on(self) -> bool:
        """Whether it plays, or will when the agent's last word was heard."""
        return self._timer is not None

    @property
    def is_playing(self) -> bool:
        """Whether what waits in the leg is comfort, and nothing of the agent."""
        return self._playing

    def start(self, kind: Kind, after_s: float = 0.0) -> None:
        """Play from the sound's beginning, once the leg has nothing else to play and `after_s` seconds are over.

        While the same kind is on, nothing changes.
        """
        sound = kind if isinstance(kind, Sound) else self._named[kind]
        if self.is_on and sound is self._sound:
            return
        self.stop()
        self._sound, self._at = sound, 0
        if after_s > 0:
            self._timer = self._later(after_s, self._step)
        else:
            self._step()

    def stop(self) -> None:
        """Silence at once. Call it before anything else is queued: it empties the queue if comfort plays."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._playing and self._leg is not None and not self._leg.drained:
            self._leg.flush()
        self._playing = False

    def _step(self) -> None:
        self._timer = self._later(STEP_S, self._step)
        leg = self._party()
        if leg is not self._leg:
            self._leg, self._playing = leg, False
        if (leg.drained or self._playing) and leg.queued_ms <= PIECE_MS:
            self._playing = self._queue(leg)

    def _queue(self, leg: Party) -> bool:
        name = f"{PREFIX}{next(_names)}"
        if not leg.play(name, self._piece(leg.format)):
            return False
        leg.end_item(name)
        return True

    def _piece(self, audio_format: Format) -> bytes:
        """The next PIECE_MS, round and round."""
        whole = self._sound.in_format(audio_format)
        if audio_format != self._format:
            at = self._at * audio_format.bytes_per_ms // self._format.bytes_per_ms
            self._format, self._at = audio_format, at - at % SAMPLE_BYTES
        size = PIECE_MS * audio_format.bytes_per_ms
        begin = self._at % len(whole)
        self._at = begin + size
        return (whole * (self._at // len(whole) + 1))[begin : self._at]
