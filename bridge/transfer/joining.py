"""Two parties who hear each other: what a call is after its agent has connected the caller to somebody."""

from __future__ import annotations

from itertools import count

from bridge.audio.conversion import converter
from bridge.legs.leg import Party

BACKLOG_MS = 160
"""Audio that may wait on the way to a party, in ms. More is what a phone with a fast clock sent too much: dropped."""

_names = count(1)


class Joined:
    """Leads audio and keys of each party to the other, converted where they speak different formats."""

    def __init__(self, one: Party, other: Party) -> None:
        self.dropped_frames = 0
        self._one = one
        self._other = other
        for party in (one, other):
            party.flush()
            party.on_format = self._lead_both
            party.on_drained = lambda: None
        self._lead_both()

    def _lead_both(self) -> None:
        self._lead(self._one, self._other)
        self._lead(self._other, self._one)

    def _lead(self, source: Party, sink: Party) -> None:
        convert = converter(source.format, sink.format)
        stream = f"joined_{next(_names)}"
        sink.end_all()

        def pass_on(audio: bytes) -> None:
            if sink.queued_ms > BACKLOG_MS:
                self.dropped_frames += 1
            else:
                sink.play(stream, audio if convert is None else convert(audio))

        source.on_audio = pass_on
        source.on_digit = sink.send_digits
