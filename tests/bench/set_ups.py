"""Calls that begin and end: how many a second one core takes, what each costs, how long the caller waits."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from tests.bench.cases import Case, Traffic
from tests.bench.limit import Outcome, guess, search
from tests.bench.machine import Foreign
from tests.bench.reports import CPU_SHARE, NOISY_CORES
from tests.bench.rig import Rig, Setting
from tests.bench.table import Row

SLOW_P99_MS = 500.0
"""T1 of RFC 3261: a caller who has heard nothing by then sends his INVITE again."""
MOST = 1000
_FIRST = 50
"""Set-ups per second: with fewer, most of the cost is that of waking up, and the search begins far below the limit."""
_BESIDE = 10.0
"""Set-ups per second of the case that only times them."""
_HOLD_S = 1.0
_PLACED_S = 8.0
_STEADY_S = 2.5
"""Then the caller has started, and calls end as well as begin."""
_WAIT_S = 60.0
_AT_ONCE = ("--first-audio-ms", "0")
"""The greeting is waited for before the 200: with a server that speaks at once, what is left is the service's share."""


@dataclass(frozen=True, slots=True)
class SetUps:
    """What came of some seconds with a rate of set-ups, each call torn down after a second."""

    rate: float
    placed: int
    failed: int
    """Refused, unanswered, or ended by the service."""
    refusals: Mapping[str, int]
    answer_ms: Mapping[str, float]
    """From the INVITE to the 200."""
    cpu_share: float
    """Of the service's core, while as many calls end as begin."""
    foreign: float
    caller_share: float
    """Of a core: with more than nine tenths the caller was at its own limit."""

    @property
    def carried(self) -> bool:
        """Whether all were answered, and in time."""
        return self.failed == 0 and self.answer_ms["p99"] <= SLOW_P99_MS

    @property
    def ms_each(self) -> float:
        """CPU time of the service for one call from INVITE to BYE, its second of audio to the caller included."""
        return 1000 * self.cpu_share / self.rate


def set_ups(case: Case, setting: Setting, tell: Callable[[str], None]) -> Iterator[Row]:
    """One row: the largest rate."""
    seen: dict[int, SetUps] = {}

    def attempt(rate: int) -> Outcome:
        with Rig(setting, case.traffic) as rig:
            seen[rate] = found = _placed(rig, rate)
        tell(f"{rate} set-ups/s: core {found.cpu_share:.0%}, {_said(found)}")
        if found.carried:
            return Outcome.CARRIED
        return Outcome.GENERATOR if found.caller_share > CPU_SHARE else Outcome.FAILED

    known = _FIRST if attempt(_FIRST) is Outcome.CARRIED else 0
    base = seen[_FIRST]
    found = search(attempt, guess(_FIRST, base.cpu_share), most=MOST, known=known, steps=6, precision=0.05)
    best = seen.get(found.carried, base)
    why = f" (at {found.over}: {_said(seen[found.over])})" if found.over else ""
    result = f"{found} set-ups/s per core{why}, {best.ms_each:.1f} ms CPU each, {_said(best)}"
    details = {"per_second": found.carried, "attempts": {str(rate): _as_json(each) for rate, each in seen.items()}}
    yield Row(case.name, 0, result, details=details)


def set_up_time(case: Case, setting: Setting) -> Iterator[Row]:
    """Two rows for each number of calls beside which others are set up: all of it, and the service's own share."""
    for calls in case.calls:
        for traffic, what in ((Traffic(), "session and greeting included"), (Traffic(warm=True), "connection open")):
            with Rig(setting, traffic, _AT_ONCE) as rig:
                if calls:
                    rig.settled(rig.caller(calls), calls)
                    time.sleep(setting.settle_s)
                found = _placed(rig, _BESIDE)
            yield Row(case.name, calls, f"at {_BESIDE:g} calls/s, {what}: {_said(found)}", details=_as_json(found))


def _placed(rig: Rig, rate: float) -> SetUps:
    options = ["--setups-per-s", f"{rate:g}", "--for-s", f"{_PLACED_S:g}", "--hold-s", f"{_HOLD_S:g}"]
    foreign, begun = Foreign(rig.pids), time.monotonic()
    caller = rig.caller(0, *options)
    time.sleep(_STEADY_S)
    before, at = rig.service.cpu(), time.monotonic()
    time.sleep(begun + _PLACED_S - at)
    share = (rig.service.cpu() - before).all_s / (time.monotonic() - at)
    others = foreign.cores()
    told = caller.line(_HOLD_S + _WAIT_S)
    failed = told["placed"] - told["up"] + told["ended"]
    refusals = told["reasons"] or told["refusals"]
    caller_share = told["cpu_s"] / told["window_s"]
    return SetUps(rate, told["placed"], failed, refusals, told["setup_ms"], share, others, caller_share)


def _said(found: SetUps) -> str:
    words = f"INVITE to 200 p50 {found.answer_ms['p50']:.1f} p99 {found.answer_ms['p99']:.1f} ms"
    if found.failed:
        words += f", {found.failed} of {found.placed} failed"
    if found.refusals:
        words += f" ({', '.join(found.refusals)})"
    words += f", generator: caller {found.caller_share:.0%} of a core" * (found.caller_share > CPU_SHARE)
    return words + f", noisy: others used {found.foreign:.1f} cores" * (found.foreign > NOISY_CORES)


def _as_json(found: SetUps) -> dict[str, Any]:
    return {name: getattr(found, name) for name in SetUps.__slots__} | {"ms_each": found.ms_each}
