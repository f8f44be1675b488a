"""Whether things are freed by reference counts alone, without the collector of cycles."""

from __future__ import annotations

import gc
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager

OURS = ("bridge.", "websockets.")


@contextmanager
def uncollected() -> Iterator[None]:
    """The collector of cycles does nothing meanwhile, and what was there before is not looked at."""
    gc.collect()
    gc.freeze()
    gc.disable()
    try:
        yield
    finally:
        gc.unfreeze()
        gc.enable()


def in_cycles() -> dict[str, int]:
    """What only the collector would free now: how many of each type that is ours, or of a connection of ours.

    What was there before is told from what is there after. The collector's own word (`gc.garbage`, its result) leaves
    out what a suspended generator held: that is freed by counts again, once the collector has closed the generator.
    """
    before = _by_type()
    gc.collect()
    return {name: count for name, count in (before - _by_type()).items() if name.startswith(OURS)}


def _by_type() -> Counter[str]:
    return Counter(f"{type(one).__module__}.{type(one).__qualname__}" for one in gc.get_objects())


def alive(*kinds: type) -> list[object]:
    """All that has come of these types and is there, also of those that have no place for weak references."""
    return [one for one in gc.get_objects() if type(one) in kinds]
