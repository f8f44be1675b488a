"""What the collector of cycles looks at, and when: with the real collector, put back afterwards."""

from __future__ import annotations

import asyncio
import gc
import os
import weakref
from collections.abc import Iterator

import pytest

from bridge.cycles import FREEZES, MOST_GROWTH_BYTES, NEVER, ROUND_S, Cycles, resident_bytes


class Node:
    """An object that may be in a cycle."""

    def __init__(self) -> None:
        self.other: object = None


def cycle() -> weakref.ref[Node]:
    """Two objects that keep each other; nobody else does."""
    one, two = Node(), Node()
    one.other, two.other = two, one
    return weakref.ref(one)


def grow_old() -> None:
    """What is there now has survived both younger generations, as after some calls have begun."""
    gc.collect(0)
    gc.collect(1)
    assert gc.get_count()[2]


@pytest.fixture
def calls() -> Iterator[list[int]]:
    """How many calls there are: its length."""
    thresholds, enabled = gc.get_threshold(), gc.isenabled()
    gc.disable()
    yield []
    gc.set_threshold(*thresholds)
    gc.unfreeze()
    if enabled:
        gc.enable()


async def started(calls: list[int]) -> Cycles:
    cycles = Cycles(lambda: len(calls))
    cycles.start()
    return cycles


async def test_no_full_collection_comes_by_itself_until_it_is_closed(calls: list[int]) -> None:
    before = gc.get_threshold()
    cycles = await started(calls)
    assert gc.get_threshold() == (*before[:2], NEVER)
    assert gc.get_freeze_count() > 0
    cycles.close()
    assert (gc.get_threshold(), gc.get_freeze_count()) == (before, 0)


async def test_what_stays_is_put_out_of_sight_and_what_died_is_freed_before(calls: list[int]) -> None:
    cycles = await started(calls)
    frozen = gc.get_freeze_count()
    kept, dead = [Node() for _ in range(1000)], cycle()
    grow_old()
    cycles.round()
    assert dead() is None
    assert gc.get_freeze_count() >= frozen + len(kept)
    cycles.close()


async def test_little_is_not_worth_a_look(calls: list[int]) -> None:
    cycles = await started(calls)
    frozen, kept = gc.get_freeze_count(), Node()
    cycles.round()
    assert gc.get_freeze_count() == frozen and kept.other is None
    cycles.close()


async def test_what_dies_out_of_sight_is_found_when_nobody_calls(calls: list[int]) -> None:
    cycles = await started(calls)
    calls.append(1)
    one = Node()
    one.other = one
    seen = weakref.ref(one)
    for _ in range(FREEZES):
        grow_old()
        cycles.round()
    del one
    cycles.round()
    assert seen() is not None  # a call is going on: no time for it
    calls.clear()
    cycles.round()
    assert seen() is None
    cycles.close()


async def test_not_after_every_call(calls: list[int]) -> None:
    cycles = await started(calls)
    one = Node()
    one.other = one
    seen = weakref.ref(one)
    grow_old()
    cycles.round()
    del one
    cycles.round()
    assert seen() is not None
    cycles.close()


async def test_where_memory_goes_everything_is_looked_through_whatever_goes_on(calls: list[int]) -> None:
    memory = [100]
    cycles = Cycles(lambda: len(calls), lambda: memory[0])
    cycles.start()
    calls.append(1)
    one = Node()
    one.other = one
    seen = weakref.ref(one)
    for _ in range(FREEZES):
        grow_old()
        cycles.round()
    del one
    memory[0] += MOST_GROWTH_BYTES
    cycles.round()
    assert seen() is not None
    memory[0] += 1
    cycles.round()
    assert seen() is None
    cycles.close()


async def test_a_round_in_which_nothing_has_come_looks_at_nothing(
    calls: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    cycles = await started(calls)
    calls.append(1)
    for _ in range(FREEZES):
        grow_old()
        cycles.round()
    asked = list[str]()
    for name in ("collect", "freeze", "unfreeze", "get_freeze_count", "get_objects"):
        monkeypatch.setattr(gc, name, lambda *_, name=name: asked.append(name))
    cycles.round()
    monkeypatch.undo()
    assert asked == []
    cycles.close()


def test_memory_is_what_the_system_says() -> None:
    before = resident_bytes()
    block = bytearray(os.urandom(1)) * (32 << 20)
    assert resident_bytes() - before > len(block) // 2


async def test_it_runs_by_itself(calls: list[int]) -> None:
    cycles = await started(calls)
    dead = cycle()
    grow_old()
    async with asyncio.timeout(20 * ROUND_S + 10):
        while dead() is not None:
            await asyncio.sleep(ROUND_S)
    cycles.close()
