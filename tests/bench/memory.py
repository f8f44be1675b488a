"""What a call costs in memory: the service with more and more calls, and when they are gone."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from tests.bench.bench_service import Memory
from tests.bench.cases import Case
from tests.bench.limit import FULL
from tests.bench.programs import Pinned
from tests.bench.reports import Json
from tests.bench.rig import Rig, Setting
from tests.bench.table import Row

_STEADY_S = 10.0
"""With so many seconds every call has heard a whole answer: its queue of audio was as long as it gets."""
_GONE_S = 35.0
"""Transactions are kept for 32 s (64*T1, RFC 3261 section 17) after the last message."""


@dataclass(frozen=True, slots=True)
class Level:
    """The service with so many calls."""

    calls: int
    memory: Memory
    cpu_share: float


def kib_per_call(levels: Sequence[Level]) -> float:
    """The slope of the resident memory over the calls, through all levels that have any."""
    used = [level for level in levels if level.calls and level.cpu_share < FULL] or list(levels)
    if len(used) < 2:
        used = list(levels[:2])
    calls = [float(level.calls) for level in used]
    return float(np.polyfit(calls, [float(level.memory.rss_kib) for level in used], 1)[0])


def memory_per_call(case: Case, setting: Setting, tell: Callable[[str], None]) -> Iterator[Row]:
    """One row: all levels, the slope, and what is left."""
    with Rig(setting, case.traffic) as rig:
        levels, callers = [Level(0, rig.service.memory(), 0.0)], []
        for calls in sorted(set(case.calls)):
            more = calls - levels[-1].calls
            callers.append(caller := rig.caller(more))
            rig.settled(caller, more)
            levels.append(_level(rig, calls))
            tell(f"{calls} calls: {levels[-1].memory.rss_kib / 1024:.1f} MiB, core {levels[-1].cpu_share:.0%}")
            if levels[-1].cpu_share > FULL:
                break
        gone = _gone(rig, callers)
    yield Row(case.name, levels[-1].calls, _said(levels, gone), details=_as_json(levels, gone))


def _level(rig: Rig, calls: int) -> Level:
    before, begun = rig.service.cpu(), time.monotonic()
    time.sleep(_STEADY_S)
    share = (rig.service.cpu() - before).all_s / (time.monotonic() - begun)
    return Level(calls, rig.service.memory(), share)


def _gone(rig: Rig, callers: Sequence[Pinned]) -> Memory:
    for caller in callers:
        caller.report(60)
    rig.service.until_idle()
    time.sleep(_GONE_S)
    return rig.service.memory()


def _said(levels: Sequence[Level], gone: Memory) -> str:
    steps = ", ".join(f"{level.calls}: {level.memory.rss_kib / 1024:.1f}" for level in levels)
    full = f" (beyond {levels[-2].calls} the core is full)" if levels[-1].cpu_share > FULL else ""
    return f"{kib_per_call(levels):.0f} KiB per call; MiB at {steps}{full}; gone: {gone.rss_kib / 1024:.1f}"


def _as_json(levels: Sequence[Level], gone: Memory) -> Json:
    told = [
        {"calls": each.calls, "rss_kib": each.memory.rss_kib, "pss_kib": each.memory.pss_kib, "core": each.cpu_share}
        for each in levels
    ]
    after = {"rss_kib": gone.rss_kib, "pss_kib": gone.pss_kib}
    return {"levels": told, "kib_per_call": kib_per_call(levels), "after_all_calls": after}
