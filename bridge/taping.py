"""The recording of one call: it begins with the answer, follows the caller's place, and ends when the agent leaves."""

from __future__ import annotations

from collections.abc import Callable

from bridge.legs.leg import Party
from bridge.recording import Recording

Begin = Callable[[Party], Recording | None]
"""Begins a recording of a party; None when nothing is kept."""


def nothing_kept(party: Party) -> None:
    """No recording."""


class Taping:
    """At most one recording at a time."""

    def __init__(self, begin: Begin) -> None:
        self._begin = begin
        self._recording: Recording | None = None

    def start(self, party: Party) -> None:
        """The call is answered."""
        self._recording = self._begin(party)
        party.record(self._recording)

    def move(self, former: Party, party: Party) -> None:
        """Somebody else is in the caller's place."""
        if self._recording is not None:
            former.record(None)
            self._recording.follow(party.format)
            party.record(self._recording)

    def stop(self, party: Party) -> None:
        """The agent leaves. A second call does nothing."""
        if self._recording is not None:
            party.record(None)
            self._recording.close()
            self._recording = None
