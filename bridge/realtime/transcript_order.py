"""The order of a conversation: by the chain of its items, not by what came first (quirk G1, reference section 4)."""

from __future__ import annotations

from collections.abc import Iterable
from heapq import heappop, heappush

from bridge.realtime.transcript_slot import Slot


def in_order(slots: Iterable[Slot]) -> list[Slot]:
    """Each behind the one it names; of those that could come next, the one that arrived first.

    One that names an item nobody knows stands where it arrived; so do those of a ring, which no good server makes.
    """
    known = {slot.item_id: slot for slot in slots}
    behind: dict[str, list[Slot]] = {}
    ready: list[tuple[int, str]] = []
    for slot in known.values():
        if slot.previous is not None and slot.previous in known:
            behind.setdefault(slot.previous, []).append(slot)
        else:
            ready.append((slot.arrival, slot.item_id))
    ready.sort()
    rings = iter(sorted(known.values(), key=lambda slot: slot.arrival))
    order: dict[str, Slot] = {}
    while len(order) < len(known):
        if not ready:
            first = next(slot for slot in rings if slot.item_id not in order)
            ready.append((first.arrival, first.item_id))
        slot = known[heappop(ready)[1]]
        if slot.item_id in order:
            continue
        order[slot.item_id] = slot
        for follower in behind.get(slot.item_id, ()):
            heappush(ready, (follower.arrival, follower.item_id))
    return list(order.values())
