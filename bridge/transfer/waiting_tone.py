"""What a caller hears while the target of a transfer rings: its own early media, or a ringing tone."""

from __future__ import annotations

import asyncio
from itertools import count

from bridge.audio.conversion import Converter, converter
from bridge.audio.format import Format
from bridge.audio.g711 import Law
from bridge.audio.tone import PERIOD_S, ringing
from bridge.legs.leg import Party
from bridge.legs.outgoing import OutgoingLeg

BACKLOG_MS = 160
"""Early media that may wait on the way to the caller, in ms; more than that is dropped."""
_names = count(1)


class WaitingTone:
    """Plays to `caller` until `stop`; early media of the target silences the tone."""

    def __init__(self, caller: Party, target: OutgoingLeg) -> None:
        self._caller = caller
        self._target = target
        self._name = f"waiting_{next(_names)}"
        self._next: asyncio.TimerHandle | None = None
        self._formats = (caller.format, caller.format)
        self._convert: Converter | None = None  # between these two
        target.on_ringing = lambda status: self._ring()
        target.on_audio = self._early

    def stop(self) -> None:
        """The target has answered or failed."""
        self._silence()
        self._target.on_ringing = lambda status: None
        self._target.on_audio = lambda audio: None
        self._caller.flush()

    def _ring(self) -> None:
        if self._next is None and self._target.stream is None:
            self._again()

    def _again(self) -> None:
        self._next = asyncio.get_running_loop().call_later(PERIOD_S, self._again)
        if not self._caller.drained:
            return  # he holds us, and shall not hear it all afterwards
        name = f"waiting_{next(_names)}"
        self._caller.play(name, _ringing(self._caller.format))
        self._caller.end_item(name)

    def _early(self, audio: bytes) -> None:
        if self._next is not None:
            self._silence()
            self._caller.flush()
        if self._caller.queued_ms > BACKLOG_MS:
            return
        formats = self._target.format, self._caller.format
        if formats != self._formats:
            self._formats, self._convert = formats, converter(*formats)
        self._caller.play(self._name, audio if self._convert is None else self._convert(audio))

    def _silence(self) -> None:
        if self._next is not None:
            self._next.cancel()
            self._next = None


def _ringing(audio_format: Format) -> bytes:
    if isinstance(audio_format, Law):
        return ringing(audio_format)
    convert = converter(Law.PCMU, audio_format)
    assert convert is not None
    return convert(ringing(Law.PCMU)) + convert.finish()
