"""What the packets of a window say about each stream: loss, order, gaps, pacing, and what was heard of each answer."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from tests.bench.mmsg import Table
from tests.bench.percentiles import summary

PERIOD_MS = 20.0
_SAMPLES_PER_MS = 8.0
_FRAME_SAMPLES = 160


@dataclass(frozen=True, slots=True)
class StreamFigures:
    """One stream, in order of arrival. Times in ms."""

    lost: int
    """Sequence numbers between the lowest and the highest that never came."""
    duplicates: int
    reordered: int
    """Packets that came after one with a higher number."""
    pacing_ms: Table
    """How far each packet lies from its place on the grid of timestamps, against the middle one; later is positive."""
    intervals_ms: Table
    """Between packets that follow each other in number and time, less the 20 ms."""
    gaps_ms: Table
    """Between any packet and the next that arrived."""


def stream_figures(rows: Table) -> StreamFigures:
    """The figures of one stream of at least one packet. Over the wraps of number and timestamp."""
    numbers = _unwrapped(rows["sequence"], np.int16)
    stamps = _unwrapped(rows["timestamp"], np.int32)
    times = rows["t_ns"]
    unique = len(np.unique(numbers))
    highest = np.maximum.accumulate(numbers)
    late = (times - times[0]) / 1e6 - stamps / _SAMPLES_PER_MS
    gaps = np.diff(times) / 1e6
    follows = (np.diff(numbers) == 1) & (np.diff(stamps) == _FRAME_SAMPLES)
    duplicates = len(numbers) - unique
    return StreamFigures(
        lost=int(numbers.max() - numbers.min()) + 1 - unique,
        duplicates=duplicates,
        reordered=_behind(numbers, highest),
        pacing_ms=late - np.partition(late, len(late) // 2)[len(late) // 2],
        intervals_ms=gaps[follows] - PERIOD_MS,
        gaps_ms=gaps,
    )


def _unwrapped(values: Table, signed: type[np.signedinteger]) -> Table:
    """Counted from the first one on, in steps of less than half the range."""
    steps = np.diff(values).view(signed)
    return np.concatenate([np.zeros(1, np.int64), np.cumsum(steps, dtype=np.int64)])


def _behind(numbers: Table, highest: Table) -> int:
    """Packets that are new and yet lower than one before them."""
    late = numbers[numbers < highest]
    if not len(late):
        return 0
    _, first = np.unique(numbers, return_index=True)
    return int((numbers[first] < highest[first]).sum())


def _by(rows: Table, key: Table) -> Iterator[Table]:
    """The rows of one key after the other, each group in order of arrival."""
    order = np.argsort(key, kind="stable")
    ends = np.flatnonzero(np.diff(key[order])) + 1
    for group in np.split(order, ends):
        if len(group):
            yield rows[group]


def window_figures(rows: Table, begun_ns: int, ended_ns: int, lasting: Collection[int]) -> dict[str, Any]:
    """The figures of all streams together, for a report. `lasting`: the calls that were up from beginning to end.

    With those, a gap may also lie before the first packet or after the last; without any packet it is the window.
    """
    streams, edges, heard_of = [], [], set()
    for stream in _by(rows, rows["call"]):
        call = int(stream["call"][0])
        streams.append(stream_figures(stream))
        heard_of.add(call)
        if call in lasting:
            edges += [(int(stream["t_ns"][0]) - begun_ns) / 1e6, (ended_ns - int(stream["t_ns"][-1])) / 1e6]
    silent = len(set(lasting) - heard_of)
    edges += [(ended_ns - begun_ns) / 1e6] * silent
    gaps = _joined([stream.gaps_ms for stream in streams] + [np.array(edges)])
    return {
        "streams": len(streams),
        "silent_calls": silent,
        "received": len(rows),
        "lost": sum(stream.lost for stream in streams),
        "reordered": sum(stream.reordered for stream in streams),
        "duplicates": sum(stream.duplicates for stream in streams),
        "gaps_over_40_ms": int((gaps > 40).sum()),
        "gaps_over_100_ms": int((gaps > 100).sum()),
        "longest_gap_ms": round(float(gaps.max(initial=0)), 3),
        "pacing_ms": summary(np.abs(_joined([stream.pacing_ms for stream in streams]))),
        "interval_ms": summary(np.abs(_joined([stream.intervals_ms for stream in streams]))),
    }


def _joined(parts: list[Table]) -> Table:
    return np.concatenate(parts) if parts else np.empty(0)


def heard(rows: Table) -> list[list[int]]:
    """Of each answer at each call: call, response, frames, first and last stamp in ns, frames missing in between."""
    told = rows[rows["response"] > 0]
    key = told["call"].astype(np.int64) << 32 | told["response"]
    return [_heard_of_one(answer) for answer in _by(told, key)]


def _heard_of_one(answer: Table) -> list[int]:
    frames = np.unique(answer["frame"])
    missing = int(frames[-1]) - int(frames[0]) + 1 - len(frames)
    first, times = answer[0], answer["t_ns"]
    return [int(first["call"]), int(first["response"]), len(answer), int(times.min()), int(times.max()), missing]
