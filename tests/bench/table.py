"""What the benchmark says: one table of fixed width for people, one JSON document for programs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Self

from tests.bench.run import Measured

_COLUMNS = (
    ("case", 12),
    ("calls", 6),
    ("core %", 6),
    ("us/call/s", 9),
    ("pacing p99", 10),
    ("p99.9", 6),
    ("up p50", 6),
    ("p99", 6),
    ("down p50", 8),
    ("p99", 6),
    ("result", 0),
)
"""Head and width; times in ms. The last is as wide as it is."""


@dataclass(frozen=True, slots=True)
class Row:
    """One line of the table, and what the JSON has of it."""

    case: str
    calls: int
    result: str
    figures: tuple[str, ...] = ("",) * 8
    """The columns between `calls` and `result`, as text."""
    details: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def of(cls, case: str, measured: Measured, result: str = "", **details: Any) -> Self:
        """The row of one measurement; what was wrong with it goes with the result."""
        words = [result] if result else []
        words += measured.faults
        words += [f"generator: {limit}" for limit in measured.generator]
        words += [f"noisy: others used {measured.seen.foreign:.1f} cores"] * measured.noisy
        caller, server = measured.caller, measured.server
        times = (
            (caller.pacing_ms, "p99"),
            (caller.pacing_ms, "p99_9"),
            (server.uplink_ms, "p50"),
            (server.uplink_ms, "p99"),
            (caller.downlink_ms, "p50"),
            (caller.downlink_ms, "p99"),
        )
        costs = f"{100 * measured.cpu_share:.1f}", f"{measured.us_per_call:.0f}"
        figures = (*costs, *(_ms(summary, name) for summary, name in times))
        return cls(case, measured.calls, ", ".join(words), figures, {"measured": measured.as_json()} | details)


def _ms(summary: Mapping[str, float], name: str) -> str:
    return f"{summary[name]:.2f}" if summary.get("count") else ""


def table(rows: Sequence[Row], machine: Mapping[str, Any]) -> str:
    """All rows under one head, with the machine above it."""
    heads = [" ".join(_cells([head for head, _ in _COLUMNS])).rstrip()]
    lines = [" ".join(_cells([row.case, str(row.calls), *row.figures, row.result])).rstrip() for row in rows]
    told = ", ".join(f"{value}" for value in machine.values())
    return "\n".join([told, *heads, "-" * len(heads[0]), *lines])


def _cells(texts: Sequence[str]) -> list[str]:
    """Words to the left, numbers to the right."""
    cells = []
    for (head, width), text in zip(_COLUMNS, texts, strict=True):
        cells.append(text.ljust(width) if head in ("case", "result") else text.rjust(width))
    return cells


def document(rows: Sequence[Row], machine: Mapping[str, Any], settings: Mapping[str, Any]) -> dict[str, Any]:
    """The JSON document."""
    cases = [{"case": row.case, "calls": row.calls, "result": row.result, **row.details} for row in rows]
    return {"machine": dict(machine), "settings": dict(settings), "rows": cases}
