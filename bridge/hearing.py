"""What caller and session hear of each other: each in its own format, or nothing while the caller waits for another."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bridge.audio.conversion import Converter, converter
from bridge.audio.format import Format
from bridge.audio.g711 import Law, decode
from bridge.audio.level import rms
from bridge.comfort import owns as is_comfort
from bridge.legs.rtp import nothing
from bridge.realtime import events as ev

MOST_QUEUED_MS = 300
"""Of a service whose audio comes at the pace of speech; a delay beyond it would never drain (Live reference, 6)."""
FAR_BEHIND_MS = 1500
QUIET_RMS = 20
"""0.0006 of full scale."""

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from bridge.call import Call
    from bridge.own_turns import OwnTurns


class Hearing:
    """The audio between the caller's leg and the session of one call, whoever the caller is just now."""

    def __init__(self, call: Call, audio: Format) -> None:
        """`audio` is what the session will probably speak, both ways; `speak` says what it does."""
        self.is_open = True
        """False while the caller waits for somebody else to pick up."""
        self._call = call
        self._formats = (audio, audio)  # to the session, and from it
        self._began = False  # whether they have ever heard each other
        self._down: Converter | None = None  # from the session's format to the leg's; None: the bytes stay as they are
        self._item = ""  # of which the converter may keep the last milliseconds back

    def open(self) -> None:
        """Session and caller hear each other from here."""
        self.is_open = self._began = True
        self.convert()

    def close(self) -> None:
        """The session hears and says nothing until `open`; what it was just saying ends here."""
        self._call.session.interrupted(self.flush(), by_server=False)
        self.is_open = False
        self._call.leg.on_audio = nothing

    def speak(self, to_session: Format, from_session: Format) -> None:
        """What the session speaks, which another session may do otherwise."""
        self._formats = to_session, from_session
        if self._began:
            self.convert()
        else:  # nobody hears the caller yet, but the greeting may come
            self._item, self._down = "", converter(from_session, self._call.leg.format)

    def convert(self) -> None:
        """The caller's format is known, or has changed."""
        if not self.is_open:
            return
        call, leg = self._call, self._call.leg
        to_session, from_session = self._formats
        self._item, self._down = "", converter(from_session, leg.format)
        up = converter(leg.format, to_session)
        if up is None:
            leg.on_audio = call.session.append
        else:
            leg.on_audio = lambda audio: call.session.append(up(audio))
        if call.floor.own_turns is not None:
            self._listen_first(call.floor.own_turns, leg.on_audio)

    def _listen_first(self, turns: OwnTurns, then: Callable[[bytes], None]) -> None:
        """The bridge finds the caller's turns by itself: it hears him before the session does."""
        audio_format = self._call.leg.format

        def on_audio(audio: bytes) -> None:
            turns.hear(audio, audio_format)
            then(audio)

        self._call.leg.on_audio = on_audio

    def play(self, delta: ev.AudioDelta) -> None:
        """Audio of the session: for the caller, or for nobody, and then its response is ended."""
        call = self._call
        call.comfort.stop()
        if not self.is_open:
            call.session.interrupted([ev.Unheard(delta.item_id)], by_server=False)
            return
        if not call.session.abilities.bursts and self._lags(delta.audio):
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

    def _lags(self, audio: bytes) -> bool:
        """Of a service that never pauses, what would keep the agent behind: its silence, and at last anything."""
        queued_ms = self._call.leg.queued_ms
        if queued_ms <= MOST_QUEUED_MS:
            return False
        spoken = self._formats[1]
        return queued_ms > FAR_BEHIND_MS or rms(decode(audio, spoken) if isinstance(spoken, Law) else audio) < QUIET_RMS

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
        return [item for item in self._call.leg.flush() if not is_comfort(item.item_id)]

    def _finish(self) -> None:
        item, self._item = self._item, ""
        if item and self._down is not None and (rest := self._down.finish()):
            self._call.leg.play(item, rest)
