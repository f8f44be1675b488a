"""The items and responses of a session, and what to say about them when the caller interrupts.

Theory: audio arrives much faster than it is played, so at `speech_started` an item is in one of four states, and each
has its own message (reference section 10):

    in the air            some of its audio left as RTP       truncate at the milliseconds sent
    waiting               audio is here, none of it left      truncate at 0
    announced             no audio has come yet               delete
    heard                 all of it left, nothing more comes  nothing

The first two and the last are known by the playout ledger, which is asked at the moment of the flush; this module adds
the announced ones, remembers what is dead, and so recognises late audio.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from bridge.realtime.events import HeardItem, Truncated

_REMEMBERED = 256
"""Items and responses kept: a response has a handful of items, and only the newest few can still matter."""

DELETED = -1
"""`Truncated.heard_ms` of an item that was deleted because none of its audio had come."""


@dataclass(slots=True)
class _Item:
    response_id: str
    is_message: bool
    has_audio: bool = False
    finished: bool = False


class Conversation:
    """Which response is active, which items belong to which response, and which of them are dead."""

    def __init__(self) -> None:
        self.active: str | None = None
        """The response that the server is making; None between responses."""
        self.late_deltas = 0
        """Audio deltas of interrupted items that came after the interruption."""
        self._items: dict[str, _Item] = {}
        self._dead: dict[str, None] = {}
        self._ended_early: str | None = None

    def response_created(self, response_id: str) -> None:
        """The server began a response."""
        self.active = response_id

    def response_done(self, response_id: str, status: str) -> None:
        """The server ended a response; it may say so before or after `speech_started` (quirk B5)."""
        if self.active == response_id:
            self.active = None
        self._ended_early = response_id if status in ("cancelled", "incomplete") else None

    def item_added(self, response_id: str, item_id: str, *, is_message: bool) -> bool:
        """A response announced an item. False: its response is dead, so the item must be deleted unheard."""
        self._items[item_id] = _Item(response_id, is_message)
        _trim(self._items)
        return not (is_message and response_id in self._dead)

    def item_done(self, item_id: str) -> None:
        """The server finished an item."""
        item = self._items.get(item_id)
        if item is not None:
            item.finished = True

    def accepts_audio(self, item_id: str, response_id: str) -> bool:
        """Whether a delta may be played; False counts a late delta of an interrupted response."""
        if response_id in self._dead:
            self.late_deltas += 1
            return False
        item = self._items.get(item_id)
        if item is None:  # a server that announces no items: the delta itself is the announcement
            item = self._items[item_id] = _Item(response_id, is_message=True)
            _trim(self._items)
        item.has_audio = True
        return True

    def interrupt(self, heard: Iterable[HeardItem], far_end_delay_ms: int = 0) -> list[Truncated]:
        """Declare what is unheard dead; return what the server must be told, item by item, in order of play."""
        cuts = [Truncated(item.item_id, max(0, item.sent_ms - far_end_delay_ms)) for item in heard]
        responses = {known.response_id for cut in cuts if (known := self._items.get(cut.item_id))}
        responses |= {response for response in (self.active, self._ended_early) if response}
        self._ended_early = None
        for response_id in responses:
            self._dead[response_id] = None
        _trim(self._dead)
        return cuts + self._announced_only(responses)

    def _announced_only(self, responses: set[str]) -> list[Truncated]:
        cuts = []
        for item_id, item in self._items.items():
            if item.response_id in responses and item.is_message and not item.has_audio and not item.finished:
                item.finished = True  # deleted once; its response may still report its end
                cuts.append(Truncated(item_id, DELETED))
        return cuts


def _trim(table: dict[str, _Item] | dict[str, None]) -> None:
    while len(table) > _REMEMBERED:
        del table[next(iter(table))]
