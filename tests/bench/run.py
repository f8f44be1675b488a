"""One measurement: so many calls, a window of some seconds, and everything that was seen meanwhile."""

from __future__ import annotations

import dataclasses
import signal
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from tests.bench.bench_service import CpuTime, Memory
from tests.bench.cases import Traffic
from tests.bench.machine import Foreign
from tests.bench.programs import Pinned
from tests.bench.reports import NOISY_CORES, WAITED, CallerReport, ServerReport, faults, generator_limits
from tests.bench.rig import Rig, Setting

_REPORT_S = 60.0
_TOLD = (
    'sipbridge_calls_total{reason="internal_error"}',
    "sipbridge_rtp_lost_total",
    "sipbridge_rtp_late_total",
    "sipbridge_uplink_dropped_bytes_total",
    "sipbridge_playout_underruns_total",
    "sipbridge_pacer_skipped_slots_total",
    "sipbridge_barge_ins_total",
)
"""Of the service's own counts, those that the report repeats."""


@dataclass(frozen=True, slots=True)
class Seen:
    """What was seen of the service from outside, in one window."""

    window_ns: tuple[int, int]
    """Its beginning and end since the epoch."""
    cpu: CpuTime
    foreign: float
    """Cores that others used meanwhile."""
    memory: Memory
    """At its end."""
    metrics: Mapping[str, float]
    """What it added to the service's own counts."""

    @property
    def seconds(self) -> float:
        """Its length."""
        return (self.window_ns[1] - self.window_ns[0]) / 1e9


@dataclass(frozen=True, slots=True)
class Measured:
    """What a window with so many calls has shown."""

    calls: int
    seen: Seen
    caller: CallerReport
    server: ServerReport
    faults: tuple[str, ...]
    """Why these calls were not carried; empty: they were."""
    generator: tuple[str, ...]
    """In what the generator was at its limit."""

    @property
    def carried(self) -> bool:
        """Whether every call was well."""
        return not self.faults

    @property
    def noisy(self) -> bool:
        """Whether others used so much of the machine that the figures are partly theirs."""
        return self.seen.foreign > NOISY_CORES or self.seen.cpu.waited_s > WAITED * self.seen.seconds

    @property
    def cpu_share(self) -> float:
        """Of the service's core."""
        return self.seen.cpu.all_s / self.seen.seconds

    @property
    def us_per_call(self) -> float:
        """CPU time of the service in µs per call and second."""
        return 1e6 * self.seen.cpu.all_s / self.seen.seconds / max(1, self.caller.up)

    def as_json(self) -> dict[str, Any]:
        """For the report; without the lists that were only to be compared."""
        told = dataclasses.asdict(self)
        for side, names in (("caller", ("heard",)), ("server", ("interruptions", "truncates"))):
            for name in names:
                del told[side][name]
        figures = {"carried": self.carried, "noisy": self.noisy, "cpu_share": self.cpu_share}
        return told | figures | {"us_per_call_and_second": self.us_per_call}


class Window:
    """A measuring window over running calls; `end` closes it."""

    def __init__(self, rig: Rig, caller: Pinned) -> None:
        self._rig, self._caller = rig, caller
        # Before it begins: the page costs the service some ms of its loop.
        self._metrics = rig.service.metrics()
        self._tell(signal.SIGUSR1)
        self._cpu, self._foreign = rig.service.cpu(), Foreign(rig.pids)
        self._began_ns = time.time_ns()

    def end(self) -> Seen:
        """End it: what was seen from outside."""
        self._tell(signal.SIGUSR2)
        ended_ns = time.time_ns()
        service = self._rig.service
        cpu, foreign = service.cpu() - self._cpu, self._foreign.cores()
        now = service.metrics()
        added = {name: now.get(name, 0) - self._metrics.get(name, 0) for name in _TOLD}
        return Seen((self._began_ns, ended_ns), cpu, foreign, service.memory(), added)

    def _tell(self, number: signal.Signals) -> None:
        self._caller.tell(number)
        self._rig.server.tell(number)


def measure(setting: Setting, traffic: Traffic, calls: int, *options: str) -> Measured:
    """Start everything, place the calls, let the window pass, stop everything. `options` go to the caller."""
    with Rig(setting, traffic) as rig:
        caller = rig.caller(calls, *options)
        rig.settled(caller, calls)
        time.sleep(setting.settle_s)
        window = Window(rig, caller)
        time.sleep(setting.seconds)
        seen = window.end()
        called = CallerReport.of(caller.report(_REPORT_S))
        served = ServerReport.of(rig.server.report(_REPORT_S))
    return Measured(
        calls,
        seen,
        called,
        served,
        tuple(faults(traffic, calls, called, served, seen.metrics, seconds=seen.seconds)),
        tuple(generator_limits(called, served, seen.seconds, len(setting.load_cores))),
    )


class Measurements:
    """Measures, and remembers: two cases that ask for the same calls share one measurement."""

    def __init__(self, setting: Setting, tell: Callable[[str], None] = lambda line: None) -> None:
        self.setting = setting
        self._tell = tell
        self._known: dict[tuple[Traffic, int, tuple[str, ...]], Measured] = {}

    def __call__(self, traffic: Traffic, calls: int, *options: str, again: bool = False) -> Measured:
        """As `measure`; `again`: although it is known."""
        key = traffic, calls, options
        if again or key not in self._known:
            self._known[key] = measured = measure(self.setting, traffic, calls, *options)
            self._tell(f"{calls} calls: {told(measured)}")
        return self._known[key]


def told(measured: Measured) -> str:
    """One line about a measurement, for whoever waits."""
    p99 = measured.caller.pacing_ms.get("p99", 0)
    words = [f"core {measured.cpu_share:.0%}", f"pacing p99 {p99:.2f} ms", *measured.faults]
    words += [f"generator: {limit}" for limit in measured.generator]
    return ", ".join(words + ["noisy"] * measured.noisy)
