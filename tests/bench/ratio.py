"""What a call costs against the calibration loop: a figure that a slower machine does not change.

The service under some calls and the loop (see `bare.py`) are measured by turns on the same core in the same minute, and
`awake.py` keeps that core awake for both. The ratio is the service's CPU time per call and second, over 50 packets of
the loop. A recorded one lies in `ratio.json`.
"""

from __future__ import annotations

import json
import signal
import statistics
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from tests.bench.cases import Traffic
from tests.bench.machine import Foreign, described
from tests.bench.programs import Pinned, ProgramFailed
from tests.bench.reports import CallerReport
from tests.bench.rig import WOKEN, Rig, Setting

RECORDED = Path(__file__).parent / "ratio.json"
FOREIGN_CORES = 0.4
CALLS = 60
TURNS = 2
"""Of the service; the loop runs before, between and behind them."""
WINDOWS = 2
"""In each turn of the service."""
WINDOW_S = 3.0
_SERVER = ("--say-ms", "2000", "--pause-ms", "500")
"""An answer and the caller's turn take 3 s then: each window has a whole one of every call, wherever it begins."""
_PACKETS_PER_S = 50
_SETTLE_S = 1.0
_BARE_S = 60.0
_REPORT_S = 30.0
_WHOLE = 0.95
"""Share of the packets that must have been there."""


@dataclass(frozen=True, slots=True)
class Ratio:
    """The figure, and what it was made of: µs of each measurement, and how many cores others used at most."""

    ratio: float
    service_us: tuple[float, ...]
    """Per call and second."""
    bare_us: tuple[float, ...]
    """Per packet."""
    foreign: float

    @classmethod
    def of(cls, service_us: Sequence[float], bare_us: Sequence[float], foreign: float) -> Ratio:
        """From the measurements, by their medians."""
        ratio = statistics.median(service_us) / (_PACKETS_PER_S * statistics.median(bare_us))
        return cls(ratio, tuple(service_us), tuple(bare_us), foreign)

    @property
    def noisy(self) -> bool:
        """Whether others had so much of the machine that caches and clock were theirs too, and not alike for both."""
        return self.foreign > FOREIGN_CORES

    def save(self, path: Path = RECORDED) -> None:
        """Make it the one that later runs are compared with."""
        known = json.loads(path.read_text()) if path.exists() else {}
        known[described()["cpu"]] = round(self.ratio, 3)
        path.write_text(json.dumps(known, indent=1, sort_keys=True) + "\n")

    def __str__(self) -> str:
        service = ", ".join(f"{us:.0f}" for us in self.service_us)
        loop = f"{min(self.bare_us):.1f} to {max(self.bare_us):.1f}"
        return f"ratio {self.ratio:.2f}: service {service} us per call and second, loop {loop} us per packet"


def recorded(path: Path = RECORDED) -> float | None:
    """The ratio on record for this processor: to wake another core costs one host twice what it costs another."""
    found = json.loads(path.read_text()).get(described()["cpu"])
    return None if found is None else float(found)


def measure(setting: Setting) -> Ratio:
    """Measure by turns; half a minute. The server is woken, as another process is in the loop."""
    service_us, foreign = list[float](), 0.0
    with Rig(replace(setting, server=WOKEN), Traffic(), _SERVER) as rig, _awake(rig) as awake:
        bare_us = _bare(rig)
        for _ in range(TURNS):
            watched = Foreign(lambda: [*rig.pids(), awake.pid])
            service_us += _service(rig)
            foreign = max(foreign, watched.cores())
            bare_us += _bare(rig)
    return Ratio.of(service_us, bare_us, foreign)


def _awake(rig: Rig) -> Pinned:
    command = [sys.executable, "-m", "tests.bench.awake"]
    return Pinned(command, [rig.setting.service_core], rig.folder / "awake.log")


def _service(rig: Rig) -> list[float]:
    """µs per call and second, of each window. Raises ProgramFailed when the calls were not what they should be."""
    caller = rig.caller(CALLS)
    rig.settled(caller, CALLS)
    time.sleep(_SETTLE_S)
    caller.tell(signal.SIGUSR1)
    costs = [_window_us(rig) for _ in range(WINDOWS)]
    caller.tell(signal.SIGUSR2)
    _check(CallerReport.of(caller.report(_REPORT_S)))
    caller.stop()
    rig.service.until_idle()
    return costs


def _check(told: CallerReport) -> None:
    """A service that does less costs less: the ratio is for whole calls only."""
    whole = _WHOLE * CALLS * _PACKETS_PER_S * WINDOWS * WINDOW_S
    if told.up < CALLS or told.ended or min(told.sent, told.received) < whole:
        raise ProgramFailed(
            f"{told.up} of {CALLS} calls up, {told.ended} ended, {told.sent} packets sent, {told.received} received:"
            f" {', '.join(told.refusals)}"
        )


def _window_us(rig: Rig) -> float:
    before, begun = rig.service.cpu(), time.monotonic()
    time.sleep(WINDOW_S)
    cpu, seconds = (rig.service.cpu() - before).all_s, time.monotonic() - begun
    return 1e6 * cpu / seconds / CALLS


def _bare(rig: Rig) -> list[float]:
    """µs per packet, on the service's core while it has no calls."""
    command = [sys.executable, "-m", "tests.bench.bare"]
    with Pinned(command, [rig.setting.service_core], rig.folder / "bare.log") as loop:
        return list(map(float, loop.line(_BARE_S)["us_per_packet"]))
