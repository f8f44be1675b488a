"""What caller and session hear of each other: each in its own format, or nothing while the caller waits for another."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bridge.audio.conversion import Converter, converter
from bridge.audio.format import Format
from bridge.legs.rtp import nothing
from bridge.realtime import events as ev

if TYPE_CHECKING:
    from collections.abc import Iterable

    from bridge.call import Call


class Hearing:
    """The audio between the caller's leg and the session of one call, whoever the caller is just now."""

    def __init__(self, call: Call, session_format: Format) -> None:
        self.is_open = True
        """False while the caller waits for somebody else to pick up."""
        self._call = call
        self._format = session_format
        self._down: Converter | None = None  # from the session's format to the leg's; None: the bytes stay as they are
        self._item = ""  # of which the converter may keep the last milliseconds back

    def open(self) -> None:
        """Session and caller hear each other from here."""
        self.is_open = True
        self.convert()

    def close(self) -> None:
        """The session hears and says nothing until `open`; what it was just saying ends here."""
        self._call.session.interrupted(self.flush(), by_server=False)
        self.is_open = False
        self._call.leg.on_audio = nothing

    def convert(self) -> None:
        """The caller's format is known, or has changed."""
        if not self.is_open:
            return
        call, leg = self._call, self._call.leg
        self._item, self._down = "", converter(self._format, leg.format)
        up = converter(leg.format, self._format)
        if up is None:
            leg.on_audio = call.session.append
        else:
            leg.on_audio = lambda audio: call.session.append(up(audio))

    def play(self, delta: ev.AudioDelta) -> None:
        """Audio of the session: for the caller, or for nobody, and then its response is ended."""
        call = self._call
        if not self.is_open:
            call.session.interrupted([ev.Unheard(delta.item_id)], by_server=False)
            return
        if self._down is None:
            audio = delta.audio
        else:
            if delta.item_id != self._item:
                self._finish()
                self._item = delta.item_id
            audio = self._down(delta.audio)
        if not call.leg.play(delta.item_id, audio):
            call.counts.audio_overflow += 1

    def end_item(self, item_id: str) -> None:
        """No more audio of this item comes."""
        if item_id == self._item:
            self._finish()
        self._call.leg.end_item(item_id)

    def end_all(self) -> None:
        """No more audio of the session comes that is not yet here."""
        if self.is_open:
            self._finish()
            self._call.leg.end_all()

    def flush(self) -> Iterable[ev.HeardItem]:
        """Fall silent; what the caller had heard. While he waits he hears others, of whom the session knows nothing."""
        if not self.is_open:
            return ()
        if self._down is not None:
            self._down.finish()
        self._item = ""
        return self._call.leg.flush()

    def _finish(self) -> None:
        item, self._item = self._item, ""
        if item and self._down is not None and (rest := self._down.finish()):
            self._call.leg.play(item, rest)
