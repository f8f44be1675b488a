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
from typing import Any

from bridge.realtime.bounded import keep_newest
from bridge.realtime.events import HeardItem, Placed, Role, Truncated

_REMEMBERED = 256
"""Items and responses kept: a response has a handful of items, and only the newest few can still matter."""
WORDS_LIMIT = 4000
"""Characters of one item's words that are kept."""

DELETED = -1
"""`Truncated.heard_ms` of an item that was deleted because none of its audio had come."""

_MESSAGE_ROLES: dict[Any, Role] = {"user": "caller", "assistant": "agent", "system": "note", "developer": "note"}


@dataclass(slots=True)
class _Item:
    response_id: str
    is_message: bool
    audio_bytes: int = 0
    words: str = ""
    finished: bool = False


class Conversation:
    """Which items belong to which response, which of them are dead, and where each has its place."""

    def __init__(self, *, keep_words: bool = False) -> None:
        """`keep_words` of the items, for `heard_words`."""
        self.late_deltas = 0
        """Audio deltas of interrupted items that came after the interruption."""
        self._items: dict[str, _Item] = {}
        self._places: dict[str, str | None] = {}
        self._dead: dict[str, None] = {}
        self._ended_early: str | None = None
        self._words_limit = WORDS_LIMIT if keep_words else 0

    def response_done(self, response_id: str, status: str) -> None:
        """The server ended a response; it may say so before or after `speech_started` (quirk B5)."""
        self._ended_early = response_id if status in ("cancelled", "incomplete") else None

    def kill(self, response_id: str) -> None:
        """Nothing of this response is to be heard."""
        self._dead[response_id] = None
        keep_newest(self._dead, _REMEMBERED)

    def placed(self, item_id: str, role: Role, previous_item_id: str | None) -> Placed | None:
        """An item's place was told: None where that is no news."""
        known = item_id in self._places
        if known and (previous_item_id is None or self._places[item_id] == previous_item_id):
            return None
        self._places[item_id] = previous_item_id
        keep_newest(self._places, _REMEMBERED)
        return Placed(item_id, role, previous_item_id)

    def item_added(self, response_id: str, item_id: str, *, is_message: bool) -> bool:
        """A response announced an item. False: its response is dead, so the item must be deleted unheard."""
        if item_id not in self._items:
            self._items[item_id] = _Item(response_id, is_message)
            keep_newest(self._items, _REMEMBERED)
        return not (is_message and response_id in self._dead)

    def item_done(self, item_id: str) -> None:
        """The server finished an item."""
        item = self._items.get(item_id)
        if item is not None:
            item.finished = True

    def says(self, item_id: str, response_id: str, words: str) -> bool:
        """More of what an item says; False: it is dead."""
        item = self._living(item_id, response_id)
        if item is None:
            return False
        item.words += words[: max(0, self._words_limit - len(item.words))]
        return True

    def accepts_audio(self, item_id: str, response_id: str, size: int) -> bool:
        """Whether a delta of so many bytes may be played; False counts a late one of an interrupted response."""
        item = self._living(item_id, response_id)
        if item is None:
            self.late_deltas += 1
            return False
        item.audio_bytes += size
        return True

    def interrupt(
        self, heard: Iterable[HeardItem], active: str | None, *, bytes_per_ms: int, far_end_delay_ms: int = 0
    ) -> list[Truncated]:
        """Declare what is unheard dead; return what the server must be told, item by item, in order of play."""
        cuts = [self._cut(item, bytes_per_ms, far_end_delay_ms) for item in heard]
        responses = {known.response_id for cut in cuts if (known := self._items.get(cut.item_id))}
        responses |= {response for response in (active, self._ended_early) if response}
        self._ended_early = None
        for response_id in responses:
            self.kill(response_id)
        return cuts + self._announced_only(responses)

    def heard_words(self, cut: Truncated, bytes_per_ms: int) -> str:
        """The words of an item that was cut, as far as they were heard by its share of the audio; whole words only."""
        item = self._items.get(cut.item_id)
        if item is None or cut.heard_ms <= 0 or not item.audio_bytes:
            return ""
        received_ms = max(1, item.audio_bytes // bytes_per_ms)
        length = len(item.words) * cut.heard_ms // received_ms
        if length >= len(item.words):
            return item.words.strip()
        return item.words[:length].rpartition(" ")[0].strip()

    def _cut(self, heard: HeardItem, bytes_per_ms: int, far_end_delay_ms: int) -> Truncated:
        """Never more than came of it (quirk A1), nor than the ear can have."""
        sent_ms = heard.sent_ms
        item = self._items.get(heard.item_id)
        if item is not None and item.audio_bytes:
            sent_ms = min(sent_ms, item.audio_bytes // bytes_per_ms)
        return Truncated(heard.item_id, max(0, sent_ms - far_end_delay_ms))

    def _living(self, item_id: str, response_id: str) -> _Item | None:
        item = self._items.get(item_id)
        if (response_id or (item.response_id if item else "")) in self._dead:
            return None
        if item is None:  # a server that announces no items: the delta itself is the announcement
            item = self._items[item_id] = _Item(response_id, is_message=True)
            keep_newest(self._items, _REMEMBERED)
        return item

    def _announced_only(self, responses: set[str]) -> list[Truncated]:
        cuts = []
        for item_id, item in self._items.items():
            if item.response_id in responses and item.is_message and not item.audio_bytes and not item.finished:
                item.finished = True  # deleted once; its response may still report its end
                cuts.append(Truncated(item_id, DELETED))
        return cuts


def role_of(item: dict[str, Any]) -> Role | None:
    """Whose an item is; None for one that is nobody's words or deed."""
    kind = item.get("type")
    if kind == "message":
        role = item.get("role")
        return _MESSAGE_ROLES.get(role) if isinstance(role, str) else None
    named = isinstance(kind, str) and (kind.startswith("function_call") or kind == "mcp_call")
    return "tool" if named else None
