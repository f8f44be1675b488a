"""Memory over time and over calls, interruptions compared, the picture, the ratio."""

from __future__ import annotations

import math
import random
import xml.etree.ElementTree as ET
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from tests.bench.bench_service import Memory
from tests.bench.curve import svg
from tests.bench.interruptions import Compared, compared
from tests.bench.memory import Level, kib_per_call
from tests.bench.programs import ProgramFailed
from tests.bench.ratio import CALLS, Ratio, _check, recorded
from tests.bench.reports import CallerReport
from tests.bench.soak import Sample, growth

HOUR = 720
"""Samples."""


def soaked(rss_kib: Callable[[float], float], samples: int = HOUR) -> list[Sample]:
    noise = random.Random(7)
    return [Sample(5.0 * n, round(rss_kib(5.0 * n) + noise.gauss(0, 200)), 100, 40) for n in range(samples)]


def test_a_service_that_settles_does_not_grow() -> None:
    found = growth(soaked(lambda s: 90_000 + 30_000 * (1 - math.exp(-s / 300))))
    assert not found.grows
    assert abs(found.kib_per_hour) < 300


def test_a_leak_is_growth_by_its_slope_and_by_its_quarters() -> None:
    found = growth(soaked(lambda s: 100_000 + s * 6000 / 3600))
    assert found.grows
    assert found.kib_per_hour == pytest.approx(6000, rel=0.05)
    assert found.slope_kib == pytest.approx(3000, rel=0.05)
    assert found.quarters_kib[3] - found.quarters_kib[2] == pytest.approx(1500, rel=0.1)


def test_one_step_that_stays_is_no_leak() -> None:
    assert not growth(soaked(lambda s: 100_000 + 8000 * (s > 1500))).grows


def test_a_burst_of_work_at_the_end_is_no_leak() -> None:
    found = growth(soaked(lambda s: 100_000 + 5000 * (s > 0.969 * 5 * HOUR)))
    assert found.slope_kib > found.allowed_kib, "by the slope alone it would be one"
    assert not found.grows


def test_a_call_costs_the_slope_of_the_levels_that_have_calls() -> None:
    sizes = {0: 80_000, 100: 100_000, 200: 112_000, 400: 136_000}
    levels = [Level(calls, Memory(kib, kib), calls / 500) for calls, kib in sizes.items()]
    assert kib_per_call(levels) == pytest.approx(120)
    full = [*levels, Level(800, Memory(900_000, 900_000), 0.99)]
    assert kib_per_call(full) == pytest.approx(120)
    assert kib_per_call(levels[:2]) == pytest.approx(200)


MS = 1_000_000
WINDOW = (0, 10_000 * MS)


def test_an_interruption_is_timed_to_the_last_old_packet_and_its_truncate_compared() -> None:
    interruptions = [(1, 4, 5000 * MS), (2, 7, 5000 * MS)]
    heard = [
        (1, 4, 150, 2000 * MS, 5003 * MS, 0),
        (2, 7, 149, 2000 * MS, 4990 * MS, 0),
        (2, 8, 10, 6000 * MS, 6200 * MS, 0),
    ]
    found = compared(interruptions, [(1, 4, 3000), (2, 7, 3000)], heard, WINDOW)
    assert found == Compared((3.0, -10.0), (20,), 0)


def test_an_interruption_that_nobody_was_told_of_counts() -> None:
    assert compared([(1, 4, 5000 * MS)], [], [(1, 4, 150, 2000 * MS, 5003 * MS, 0)], WINDOW).untold == 1


def test_answers_that_reach_over_the_windows_edge_say_nothing() -> None:
    began_before = [(1, 4, 150, 10 * MS, 3000 * MS, 0)]
    assert compared([(1, 4, 3000 * MS)], [(1, 4, 9)], began_before, WINDOW) == Compared((), (), 0)
    cut_at_its_end = [(1, 4, 150, 7000 * MS, 9990 * MS, 0)]
    assert compared([(1, 4, 9990 * MS)], [], cut_at_its_end, WINDOW) == Compared((), (), 0)


def test_the_curve_is_a_picture_with_axes() -> None:
    root = ET.fromstring(svg([(0, 100.0), (5, 104.0), (10, 103.0)], "a & b", "minutes", "MiB"))
    names = {name: root.findall(f".//{{*}}{name}") for name in ("text", "polyline")}
    words = [text.text for text in names["text"]]
    assert {"a & b", "minutes", "MiB", "0", "10", "100"} <= set(words)
    points = [tuple(map(float, point.split(","))) for point in names["polyline"][0].get("points", "").split()]
    assert points[0][0] < points[1][0] < points[2][0]
    assert points[1][1] < points[2][1] < points[0][1], "more lies higher"


def test_a_ratio_compares_medians(tmp_path: Path) -> None:
    found = Ratio.of([3000.0, 3400.0], [14.0, 99.0, 15.0], 0.1)
    assert found.ratio == pytest.approx(3200 / (50 * 15))
    found.save(tmp_path / "ratio.json")
    assert recorded(tmp_path / "ratio.json") == pytest.approx(found.ratio, abs=0.001)


def test_a_service_that_does_less_has_no_ratio() -> None:
    whole = CallerReport(CALLS, 0, {}, 0, 18_000, 18_000, 0, 0, 0, 0, 0, 1.0, {}, {}, {}, {})
    _check(whole)
    lesser = [replace(whole, up=CALLS - 1), replace(whole, ended=1)]
    for told in (*lesser, replace(whole, sent=17_000), replace(whole, received=17_000)):
        with pytest.raises(ProgramFailed, match="calls up"):
            _check(told)
