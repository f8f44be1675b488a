"""What is measured, whoever it is: a process that answers calls. And the figures of one window."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.bench.bench_service import cpu_time, memory
from tests.bench.machine import Foreign
from tests.bench.programs import Pinned
from tests.bench.reports import LATE_P99_MS, NOISY_CORES, CallerReport
from tests.bench.rig import CALLER, SETTLED_S, Setting

_REPORT_S = 60.0
_FRAMES_PER_S = 50


@dataclass(frozen=True, slots=True)
class Subject:
    """A running service with everything behind it."""

    pid: int
    target: str
    """HOST:PORT for callers."""
    far: Pinned | None
    """What it sends the callers' audio to; None when that comes back at once."""
    to: str = "600"
    """Whom the callers call."""
    frames: Callable[[Mapping[str, Any]], int] = lambda report: 0
    """How many 20 ms of the callers' audio the report of `far` tells of."""


@dataclass(frozen=True, slots=True)
class Figures:
    """Of one subject with so many calls, in one window."""

    name: str
    calls: int
    up: int
    core: float
    """Share of its core, from its CPU time: all threads, kernel and user."""
    pacing_ms: Mapping[str, float]
    """How far packets lie from the 20 ms grid of their timestamps."""
    lost: int
    """Of the packets to the callers, by their numbers."""
    unsent: int
    """Packets that 20 ms of each call should have brought and that nobody numbered."""
    gaps: int
    """Longer than 100 ms."""
    missing_up: int | None
    """Of the callers' packets, those that never reached the far end; None where there is no far end."""
    kib_per_call: float
    foreign: float
    """Cores that others used."""
    late_ms: float
    """p99 of the callers' own lateness."""

    @property
    def us_per_call(self) -> float:
        """CPU time in µs per call and second."""
        return 1e6 * self.core / max(1, self.up)

    @property
    def remarks(self) -> str:
        """What makes the figures less than they seem."""
        words = [f"{self.calls - self.up} calls not up"] * (self.up < self.calls)
        words += [f"noisy: others used {self.foreign:.1f} cores"] * (self.foreign > NOISY_CORES)
        words += [f"callers late by {self.late_ms:.1f} ms"] * (self.late_ms > LATE_P99_MS)
        return ", ".join(words)


def measure(name: str, subject: Subject, calls: int, setting: Setting, folder: Path) -> Figures:
    """Place the calls, let a window pass, hang up."""
    before_kib = memory(subject.pid).rss_kib
    command = [*CALLER, "--target", subject.target, "--calls", str(calls), "--rate", f"{setting.rate:g}"]
    with Pinned([*command, "--to", subject.to], setting.load_cores, folder / "caller.log") as caller:
        own = [subject.pid, caller.pid, *([subject.far.pid] if subject.far else [])]
        caller.line(calls / setting.rate + SETTLED_S)
        time.sleep(setting.settle_s)
        _tell(signal.SIGUSR1, caller, subject.far)
        cpu, began_s, foreign = cpu_time(subject.pid), time.monotonic(), Foreign(lambda: own)
        time.sleep(setting.seconds)
        used, seconds, others = cpu_time(subject.pid) - cpu, time.monotonic() - began_s, foreign.cores()
        _tell(signal.SIGUSR2, caller, subject.far)
        held_kib = memory(subject.pid).rss_kib - before_kib
        called = CallerReport.of(caller.report(_REPORT_S))
        far = subject.far.report(_REPORT_S) if subject.far else None
    arrived = subject.frames(far) if far is not None else None
    return Figures(
        name=name,
        calls=calls,
        up=called.up,
        core=used.all_s / seconds,
        pacing_ms=called.pacing_ms,
        lost=called.lost,
        unsent=missing(round(called.up * _FRAMES_PER_S * seconds), called.received + called.lost, calls) or 0,
        gaps=called.gaps_over_100_ms,
        missing_up=missing(called.sent, arrived, calls),
        kib_per_call=held_kib / calls,
        foreign=others,
        late_ms=called.late_ms.get("p99", 0.0),
    )


def missing(sent: int, arrived: int | None, calls: int) -> int | None:
    """Frames that were sent and did not arrive, beyond three for each call, which the window's edges explain."""
    return None if arrived is None else max(0, sent - arrived - 3 * calls)


def _tell(number: signal.Signals, *programs: Pinned | None) -> None:
    for program in programs:
        if program is not None:
            program.tell(number)
