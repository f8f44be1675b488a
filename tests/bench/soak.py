"""A soak: calls that come and go for as long as wanted, and whether the service grows."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np

from tests.bench.cases import Case
from tests.bench.curve import svg
from tests.bench.programs import ProgramFailed
from tests.bench.rig import Rig, Setting
from tests.bench.table import Row

SAMPLE_S = 5.0
HOLD_S = 10.0
"""Of one call; then another takes its place."""
_SHARE = 0.01
_SLACK_KIB = 512
"""What is no growth: one part in a hundred, and half a MiB, which is how coarsely the allocator takes and gives."""
_COUNTED = {
    "lost": "sipbridge_rtp_lost_total",
    "dropped": "sipbridge_uplink_dropped_bytes_total",
    "skipped": "sipbridge_pacer_skipped_slots_total",
    "failed": 'sipbridge_calls_total{reason="internal_error"}',
}


@dataclass(frozen=True, slots=True)
class Sample:
    """The service at one moment."""

    s: float
    """Since the soak began."""
    rss_kib: int
    calls: int
    files: int
    """Open descriptors."""


@dataclass(frozen=True, slots=True)
class Growth:
    """How the resident memory went, judged in two ways that do not know of each other."""

    kib_per_hour: float
    """The slope over the second half."""
    slope_kib: float
    """What that makes over this half."""
    quarters_kib: tuple[float, ...]
    """The means of the four quarters."""
    allowed_kib: float

    @property
    def grows(self) -> bool:
        """Whether the slope says so, and the last quarter against the third too."""
        return self.slope_kib > self.allowed_kib and self.quarters_kib[3] - self.quarters_kib[2] > self.allowed_kib / 2


def growth(samples: Sequence[Sample]) -> Growth:
    """Judge a soak of eight samples or more."""
    times, sizes = np.array([each.s for each in samples]), np.array([float(each.rss_kib) for each in samples])
    half = len(samples) // 2
    slope = float(np.polyfit(times[half:], sizes[half:], 1)[0])
    quarters = tuple(float(part.mean()) for part in np.array_split(sizes, 4))
    allowed = _SHARE * float(np.median(sizes[half:])) + _SLACK_KIB
    return Growth(3600 * slope, slope * float(times[-1] - times[half]), quarters, allowed)


def soak(
    case: Case, setting: Setting, minutes: float, calls: int, curve: Path, tell: Callable[[str], None]
) -> Iterator[Row]:
    """One row; the curve goes to a file."""
    with Rig(setting, case.traffic) as rig:
        caller = rig.caller(calls, "--hold-s", f"{HOLD_S:g}")
        rig.settled(caller, calls)
        before = rig.service.metrics()
        samples = _sampled(rig, 60 * minutes, tell)
        after = rig.service.metrics()
        caller.report(60)
        rig.service.until_idle()
        left = rig.service.metrics()["sipbridge_calls_active"]
    counted = {word: round(after.get(name, 0) - before.get(name, 0)) for word, name in _COUNTED.items()}
    ended = sum(after[name] - before.get(name, 0) for name in after if name.startswith("sipbridge_calls_total"))
    points = [(each.s / 60, each.rss_kib / 1024) for each in samples]
    curve.write_text(svg(points, f"{calls} calls of {HOLD_S:g} s, each replaced", "minutes", "resident MiB"))
    found = growth(samples)
    words = "grows" if found.grows else "no growth"
    result = f"{words}: {found.kib_per_hour:+.0f} KiB/h over the second half, {ended:.0f} calls ended, {left:.0f} left"
    result += "".join(f", {count} {word}" for word, count in counted.items() if count)
    yield Row(case.name, calls, f"{result}; curve in {curve}", details=_as_json(samples, found, counted))


def _sampled(rig: Rig, seconds: float, tell: Callable[[str], None]) -> list[Sample]:
    begun, samples = time.monotonic(), list[Sample]()
    for number in count(1):
        if (passed := time.monotonic() - begun) >= seconds:
            return samples
        if not rig.service.runs:
            raise ProgramFailed(rig.service.last_words())
        try:
            samples.append(_sample(rig, passed))
        except TimeoutError:  # others have the core: an hour's work is not thrown away for that
            tell(f"{passed / 60:.0f} min: the service did not answer, a sample is left out")
        else:
            newest = samples[-1]
            if number % 12 == 1:
                size = newest.rss_kib / 1024
                tell(f"{passed / 60:.0f} min: {size:.1f} MiB, {newest.calls} calls, {newest.files} files open")
        time.sleep(max(0.0, begun + number * SAMPLE_S - time.monotonic()))
    raise AssertionError("unreachable")


def _sample(rig: Rig, passed: float) -> Sample:
    calls = round(rig.service.metrics()["sipbridge_calls_active"])
    files = len(list(Path(f"/proc/{rig.service.pid}/fd").iterdir()))
    return Sample(passed, rig.service.memory().rss_kib, calls, files)


def _as_json(samples: Sequence[Sample], found: Growth, counted: dict[str, int]) -> dict[str, Any]:
    rows = [{"s": round(each.s, 1), "rss_kib": each.rss_kib, "calls": each.calls} for each in samples]
    judged = {
        "grows": found.grows,
        "kib_per_hour": found.kib_per_hour,
        "slope_kib": found.slope_kib,
        "quarters_kib": found.quarters_kib,
        "allowed_kib": found.allowed_kib,
    }
    files = {"first": samples[0].files, "last": samples[-1].files}
    return {"growth": judged, "open_files": files, "counted": counted, "samples": rows}
