"""The items of one session in their order, and the rules for changing them."""

from collections.abc import Iterator
from typing import Any

from bridge.agent.checks import text
from bridge.agent.items import Item
from bridge.agent.refusal import Refusal, wrong_type, wrong_value

# Bounds of what one client can make the server keep.
MAX_ITEMS = 4096
MAX_AUDIO_BYTES = 8 << 20
MAX_TEXT_CHARS = 16 << 20


class Conversation:
    """Ordered items. Whatever is refused raises Refusal and leaves everything as it was."""

    def __init__(self, conversation_id: str) -> None:
        self.id = conversation_id
        self._items: dict[str, Item] = {}
        self._order: list[str] = []
        self._text_chars = 0

    def __iter__(self) -> Iterator[Item]:
        return iter([self._items[item_id] for item_id in self._order])

    def __len__(self) -> int:
        return len(self._order)

    def get(self, item_id: str) -> Item | None:
        return self._items.get(item_id)

    @property
    def last_id(self) -> str | None:
        """Id of the item at the end; None while there is none."""
        return self._order[-1] if self._order else None

    def place(self, previous_item_id: Any) -> int:
        """Where a new item goes: None = at the end, "root" = first, an id = after that item."""
        if previous_item_id is None:
            return len(self._order)
        if previous_item_id == "root":
            return 0
        if text(previous_item_id, "previous_item_id") not in self._items:
            raise wrong_value("previous_item_id", "the id of an item of this conversation")
        return self._order.index(previous_item_id) + 1

    def create(self, item: Item, previous_item_id: Any = None) -> str | None:
        """Put in an item that the client made. Gives the id of the item before it."""
        index = self.place(previous_item_id)
        if item.id in self._items:
            raise wrong_value("item.id", "unused in this conversation")
        if item.type == "function_call_output" and not self._knows_call(item.fields["call_id"]):
            raise Refusal(
                "item_create_invalid_tool_call_id",
                f"There is no tool call '{item.fields['call_id']}' in the conversation.",
                "item.call_id",
            )
        if len(self._order) >= MAX_ITEMS or self._text_chars + _weight(item) > MAX_TEXT_CHARS:
            raise Refusal("invalid_value", "The conversation is too long for another item.", "item")
        self._text_chars += _weight(item)
        return self.add(item, index)

    def add(self, item: Item, index: int | None = None) -> str | None:
        """Put in an item of the server itself; the oldest makes room. Gives the id of the item before it."""
        if len(self._order) >= MAX_ITEMS:
            del self._items[self._order.pop(0)]
            index = None
        index = len(self._order) if index is None else index
        self._items[item.id] = item
        self._order.insert(index, item.id)
        if item.audio:
            self._forget_old_audio()
        return self._order[index - 1] if index else None

    def retrieve(self, item_id: Any) -> Item:
        found = self._items.get(text(item_id, "item_id"))
        if found is None:
            raise _unknown(item_id, "item_retrieve_invalid_item_id")
        return found

    def delete(self, item_id: Any) -> None:
        if text(item_id, "item_id") not in self._items:
            raise _unknown(item_id, "item_delete_invalid_item_id")
        self._text_chars = max(0, self._text_chars - _weight(self._items.pop(item_id)))
        self._order.remove(item_id)

    def truncate(self, item_id: Any, content_index: Any, audio_end_ms: Any) -> None:
        """Cut an assistant item's audio at `audio_end_ms` (inclusive) and forget its transcript."""
        for name, value in (("content_index", content_index), ("audio_end_ms", audio_end_ms)):
            if isinstance(value, bool) or not isinstance(value, int):
                raise wrong_type(name, "an integer", value)
            if value < 0:
                raise wrong_value(name, "0 or more")
        item = self._items.get(text(item_id, "item_id"))
        if item is None:
            raise _unknown(item_id, "item_truncate_invalid_item_id")
        if not item.has_output_audio:
            raise Refusal("unsupported_content_type", "Only model output audio messages can be truncated")
        if content_index != 0:
            raise wrong_value("content_index", "0")
        if audio_end_ms > item.audio_ms:
            raise Refusal(
                "invalid_value",
                f"Audio content of {item.audio_ms}ms is already shorter than {audio_end_ms}ms",
                "audio_end_ms",
            )
        item.truncated_ms = audio_end_ms
        for part in item.content:
            part.pop("transcript", None)

    def previous(self, item_id: str) -> str | None:
        """The item before; None for the first and for an item that is not in the conversation."""
        if item_id not in self._items:
            return None
        index = self._order.index(item_id)
        return self._order[index - 1] if index else None

    def _knows_call(self, call_id: str) -> bool:
        return any(item.type == "function_call" and item.fields["call_id"] == call_id for item in self._items.values())

    def _forget_old_audio(self) -> None:
        kept = 0
        for item_id in reversed(self._order):
            item = self._items[item_id]
            if not item.audio:
                continue
            kept += len(item.audio)
            if kept > MAX_AUDIO_BYTES:
                item.audio = b""


def _weight(item: Item) -> int:
    return len(item.words or "") + len(str(item.fields))


def _unknown(item_id: Any, code: str) -> Refusal:
    return Refusal(code, f"There is no item '{item_id}' in the conversation.", "item_id")
