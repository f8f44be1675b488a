"""What caller and session hear of each other: each its own law, or nothing while the caller waits for somebody else."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bridge.audio.g711 import Law, translation
from bridge.legs.rtp import nothing
from bridge.realtime import events as ev

if TYPE_CHECKING:
    from collections.abc import Iterable

    from bridge.call import Call


class Hearing:
    """The audio between the caller's leg and the session of one call, whoever the caller is just now."""

    def __init__(self, call: Call, session_law: Law) -> None:
        self.is_open = True
        """False while the caller waits for somebody else to pick up."""
        self._call = call
        self._law = session_law
        self._down: bytes | None = None  # the table of 256 bytes between the laws; None: the bytes stay as they are

    def open(self) -> None:
        """Session and caller hear each other from here."""
        self.is_open = True
        self.translate()

    def close(self) -> None:
        """The session hears and says nothing until `open`; what it was just saying ends here."""
        self._call.session.interrupted(self.flush(), by_server=False)
        self.is_open = False
        self._call.leg.on_audio = nothing

    def translate(self) -> None:
        """The caller's law is known, or has changed."""
        if not self.is_open:
            return
        call, leg = self._call, self._call.leg
        self._down = translation(self._law, leg.law)
        up = translation(leg.law, self._law)
        if up is None:
            leg.on_audio = call.session.append
        else:
            leg.on_audio = lambda audio: call.session.append(audio.translate(up))

    def play(self, delta: ev.AudioDelta) -> None:
        """Audio of the session: for the caller, or for nobody, and then its response is ended."""
        call = self._call
        if not self.is_open:
            call.session.interrupted([ev.Unheard(delta.item_id)], by_server=False)
            return
        audio = delta.audio if self._down is None else delta.audio.translate(self._down)
        if not call.leg.play(delta.item_id, audio):
            call.counts.audio_overflow += 1

    def end_all(self) -> None:
        """No more audio of the session comes that is not yet here."""
        if self.is_open:
            self._call.leg.end_all()

    def flush(self) -> Iterable[ev.HeardItem]:
        """Fall silent; what the caller had heard. While he waits he hears others, of whom the session knows nothing."""
        return self._call.leg.flush() if self.is_open else ()
