"""Barge-in under load: how soon the caller hears silence, and whether the server is told exactly what he heard."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from tests.bench.cases import Case
from tests.bench.percentiles import summary
from tests.bench.run import Measured, Measurements
from tests.bench.table import Row

FRAME_MS = 20
_EDGE_NS = 300_000_000
"""An answer that began before the window shows in its first ms; one that is cut at its end may be told after it."""


@dataclass(frozen=True, slots=True)
class Compared:
    """Of the interruptions that lie in the window from the first frame of the answer to its truncate."""

    stop_ms: tuple[float, ...]
    """From the writing of speech_started to the last packet with old audio; negative: none came behind it."""
    wrong_ms: tuple[int, ...]
    """What the truncates said too much, or, negative, too little."""
    untold: int
    """Interruptions without a truncate."""


def compared(
    interruptions: Sequence[Sequence[int]],
    truncates: Sequence[Sequence[int]],
    heard: Sequence[Sequence[int]],
    window_ns: tuple[int, int],
) -> Compared:
    """Compare what the server did and was told with what arrived at the caller (see `reports` for the rows)."""
    told = {(call, response): audio_end_ms for call, response, audio_end_ms in truncates}
    arrived = {(row[0], row[1]): row for row in heard}
    begun, ended = window_ns
    stops, wrong, untold = [], [], 0
    for call, response, at_ns in interruptions:
        row = arrived.get((call, response))
        if row is None or row[3] < begun + _EDGE_NS or at_ns > ended - _EDGE_NS:
            continue
        _, _, frames, _, last_ns, _ = row
        stops.append((last_ns - at_ns) / 1e6)
        if (call, response) not in told:
            untold += 1
        elif difference := told[call, response] - FRAME_MS * frames:
            wrong.append(difference)
    return Compared(tuple(stops), tuple(wrong), untold)


def barge_in(case: Case, measure: Measurements) -> Iterator[Row]:
    """A row for each number of calls."""
    for calls in case.calls:
        measured = measure(case.traffic, calls, "--heard")
        found = _of(measured)
        stops = summary(np.maximum(found.stop_ms, 0.0))
        result = (
            f"silence after p50 {stops['p50']:.1f} p99 {stops['p99']:.1f} max {stops['max']:.1f} ms,"
            f" {len(found.stop_ms)} interruptions, {len(found.wrong_ms)} told wrong, {found.untold} untold"
        )
        if not found.stop_ms:
            result = "no interruption seen: more calls or --seconds show some"
        details = {"silence_after_ms": stops, "wrong_ms": sorted(found.wrong_ms), "untold": found.untold}
        yield Row.of(case.name, measured, result, barge_in=details)


def _of(measured: Measured) -> Compared:
    server, caller = measured.server, measured.caller
    return compared(server.interruptions, server.truncates, caller.heard, measured.seen.window_ns)
