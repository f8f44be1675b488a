"""The ledger of the model's audio: what waits, what was sent, and so what the caller has heard.

Audio comes in bursts of any size and leaves in frames of a packet's length, one per slot of the pacer. Milliseconds are
counted where a frame is pulled for the wire and nowhere else; silence that fills a frame is never counted, nor is the
fall to silence at a cut: what follows the cut, for 5 ms and ever softer, so that nothing clicks.
"""

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

from bridge.audio.fade import FADE_MS, faded
from bridge.audio.format import Format, silence_of
from bridge.audio.g711 import Law
from bridge.media.item import Item

REMEMBERED = 256
"""Items done with whose ids are still known, so that audio that comes too late is refused."""


class Frame(NamedTuple):
    """One frame for the wire: `payload` is full, its first `heard_bytes` are the item's, the rest silence.

    The fall to silence after a cut is of no item: its id is empty, and no byte of it is heard.
    """

    item_id: str
    payload: bytes
    heard_bytes: int


@dataclass(frozen=True, slots=True)
class Heard:
    """What the caller has heard of an item that was cut: milliseconds sent and received, rounded down."""

    item_id: str
    sent_ms: int
    received_ms: int
    ended: bool


class Playout:
    """Queue and ledger of one call. Items play one after the other, in the order first pushed or announced.

    An item starts when `lead_ms` of it is there, or it has ended, or its first bytes have waited that long. The
    next item waits for the `end` of the one before. All audio is in the format of the caller's leg. `pause` stops
    time where it is until `resume`.
    """

    __slots__ = (
        "_bytes_per_ms",
        "_cap",
        "_cap_ms",
        "_fade",
        "_format",
        "_in_air",
        "_items",
        "_lead_bytes",
        "_lead_ms",
        "_lead_ticks",
        "_past",
        "_paused",
        "_queue",
        "_silence",
        "dropped_late",
        "frame_bytes",
        "on_drained",
        "refused",
        "underruns",
    )  # fmt: skip

    def __init__(
        self,
        frame_bytes: int = 160,
        lead_ms: int = 60,
        *,
        audio_format: Format = Law.PCMU,
        cap_ms: int = 600_000,
        on_drained: Callable[[], None] | None = None,
    ) -> None:
        self.frame_bytes = frame_bytes
        self.on_drained = on_drained
        """Called when the last byte of an ended item has been pulled and nothing else is queued."""
        self.underruns = 0
        """Gaps inside an item: it ran dry and then more of it came."""
        self.refused = 0
        """Pushes over the cap."""
        self.dropped_late = 0
        """Pushes for items that were flushed or had ended."""
        self._lead_ms = lead_ms
        self._cap_ms = cap_ms
        self._adopt(audio_format)
        self._queue: deque[Item] = deque()
        self._items: dict[str, Item] = {}
        self._past: dict[str, int] = {}  # milliseconds sent of items done with, oldest first
        self._in_air: Item | None = None  # whose frame the last pull gave; until a pull, and after it was undone
        self._paused = False
        self._fade = b""  # what the next slot brings of a cut

    @property
    def drained(self) -> bool:
        """Nothing waits and no item is open."""
        return not self._queue

    @property
    def queued_ms(self) -> int:
        """Audio that waits, all items."""
        return self.queued // self._bytes_per_ms

    @property
    def queued(self) -> int:
        """The same in bytes."""
        return sum(item.waiting for item in self._queue)

    @property
    def paused(self) -> bool:
        """Whether what is queued waits for `resume`."""
        return self._paused

    @property
    def playing(self) -> str | None:
        """The item in the air, also while it has run dry; None between items."""
        return self._queue[0].item_id if self._queue and self._queue[0].started else None

    def sent_ms(self, item_id: str) -> int:
        """Milliseconds of an item that went out so far; 0 for an unknown or long past one."""
        item = self._items.get(item_id)
        return item.sent // self._bytes_per_ms if item else self._past.get(item_id, 0)

    def announce(self, item_id: str) -> None:
        """Give an item its place in the order before its audio comes."""
        if item_id not in self._items and item_id not in self._past:
            item = self._items[item_id] = Item(item_id, self._format)
            self._queue.append(item)

    def push(self, item_id: str, data: bytes) -> bool:
        """Queue audio of an item. False: refused, because the item is over or the call's cap is reached."""
        item = self._items.get(item_id)
        if item_id in self._past or (item is not None and item.ended):
            self.dropped_late += 1
            return False
        if self.queued + len(data) > self._cap:
            self.refused += 1
            return False
        if item is None:
            self.announce(item_id)
            item = self._items[item_id]
        if data:
            self._append(item, data)
        return True

    def end(self, item_id: str) -> None:
        """No more audio of this item will come."""
        item = self._items.get(item_id)
        if item is not None and not item.ended:
            item.ended = True
            self._retire()

    def end_all(self) -> None:
        """No more audio will come of any item that is queued now."""
        for item in self._queue:
            item.ended = True
        self._retire()

    def pull(self) -> Frame | None:
        """The frame of this slot; None when there is nothing to play now. Call it once per slot."""
        self._in_air = None
        if self._fade:
            return self._fall()
        if self._paused or not self._queue:
            return None
        item = self._queue[0]
        available = item.received - item.sent
        if not item.started and not self._may_start(item, available):
            return None
        if available >= self.frame_bytes:
            item.in_gap = item.gap_counted = False
            return self._take(item, self.frame_bytes)
        if not item.ended:
            # Less than a frame waits for the rest of it: sent alone it would be a scrap between two holes.
            item.in_gap = True
            return None
        return self._take(item, available)

    def put_back(self, frame: Frame) -> None:
        """The frame of the last pull did not leave the machine: it was not heard and is next again."""
        item, self._in_air = self._in_air, None
        if item is None:
            return
        if item.item_id not in self._items:
            self._items[item.item_id] = item
            self._queue.appendleft(item)
        item.put_back(frame.payload[: frame.heard_bytes])

    def pause(self) -> None:
        """Fall silent and keep everything: nothing is heard, and nothing counted, until `resume` or `flush`."""
        if not self._paused:
            self._cut()
            self._paused = True

    def resume(self) -> None:
        """Go on with the first byte that was not heard."""
        self._paused = False
        self._fade = b""

    def change(self, audio_format: Format, frame_bytes: int) -> None:
        """The call goes on in another format or packet length; what waits is put into it, nothing is counted anew."""
        changes = audio_format != self._format
        self.frame_bytes = frame_bytes
        self._adopt(audio_format)
        if changes:
            self._in_air, self._fade = None, b""
            for item in self._queue:
                item.change(audio_format)

    def flush(self) -> tuple[Heard, ...]:
        """Drop everything at once; what was heard of each item that is not heard to its end, in order of play."""
        if not self._paused:
            self._cut()
        self._paused = False
        per_ms = self._bytes_per_ms
        heard = tuple(
            Heard(item.item_id, item.sent // per_ms, item.received // per_ms, item.ended) for item in self._queue
        )
        for item in self._queue:
            self._remember(item)
        self._queue.clear()
        self._in_air = None
        return heard

    def _adopt(self, audio_format: Format) -> None:
        self._format = audio_format
        self._bytes_per_ms = audio_format.bytes_per_ms
        self._silence = silence_of(1, audio_format)
        self._lead_bytes = self._lead_ms * self._bytes_per_ms
        self._lead_ticks = -(-self._lead_bytes // self.frame_bytes)
        self._cap = self._cap_ms * self._bytes_per_ms

    def _cut(self) -> None:
        """The item in the air stops here: let what would have come next fall to silence."""
        if self._in_air is not None and self._queue and self._in_air is self._queue[0]:
            rest = self._queue[0].peek(min(FADE_MS * self._bytes_per_ms, self.frame_bytes))
            self._fade = faded(rest, self._format)

    def _fall(self) -> Frame:
        fade, self._fade = self._fade, b""
        return Frame("", self._filled(fade), 0)

    def _filled(self, audio: bytes) -> bytes:
        """A whole frame, silent to its end."""
        missing = self.frame_bytes - len(audio)
        return audio + self._silence * (missing // len(self._silence)) + self._silence[: missing % len(self._silence)]

    def _append(self, item: Item, data: bytes) -> None:
        item.append(data)
        if item.in_gap and not item.gap_counted:
            item.gap_counted = True
            self.underruns += 1

    def _may_start(self, item: Item, available: int) -> bool:
        if not available:
            return False
        item.started = item.ended or available >= self._lead_bytes or item.lead_ticks >= self._lead_ticks
        item.lead_ticks += 1
        return item.started

    def _take(self, item: Item, size: int) -> Frame:
        payload = item.take(size)
        size = len(payload)
        if size < self.frame_bytes:
            payload = self._filled(payload)
        frame = Frame(item.item_id, payload, size)
        self._in_air = item
        if item.ended and item.sent == item.received:
            self._retire()
        return frame

    def _retire(self) -> None:
        """Take items that were heard to their end off the head of the queue."""
        retired = False
        while self._queue and self._queue[0].ended and self._queue[0].sent == self._queue[0].received:
            self._remember(self._queue.popleft())
            retired = True
        if retired and not self._queue and self.on_drained is not None:
            self.on_drained()

    def _remember(self, item: Item) -> None:
        del self._items[item.item_id]
        self._past[item.item_id] = item.sent // self._bytes_per_ms
        if len(self._past) > REMEMBERED:
            del self._past[next(iter(self._past))]
