"""Two parties who hear each other: what a call is after its agent has connected the caller to somebody."""

from __future__ import annotations

from itertools import count

from bridge.audio.g711 import translation
from bridge.legs.leg import Party

BACKLOG_MS = 160
"""Audio that may wait on the way to a party, in ms. More is what a phone with a fast clock sent too much: dropped."""

_names = count(1)


class Joined:
    """Leads audio and keys of each party to the other, translated where they speak different laws."""

    def __init__(self, one: Party, other: Party) -> None:
        self.dropped_frames = 0
        self._one = one
        self._other = other
        for party in (one, other):
            party.flush()
            party.on_law = self._lead_both
            party.on_drained = lambda: None
        self._lead_both()

    def _lead_both(self) -> None:
        self._lead(self._one, self._other)
        self._lead(self._other, self._one)

    def _lead(self, source: Party, sink: Party) -> None:
        table = translation(source.law, sink.law)
        stream = f"joined_{next(_names)}"
        sink.end_all()

        def pass_on(audio: bytes) -> None:
            if sink.queued_ms > BACKLOG_MS:
                self.dropped_frames += 1
            else:
                sink.play(stream, audio if table is None else audio.translate(table))

        source.on_audio = pass_on
        source.on_digit = sink.send_digits
