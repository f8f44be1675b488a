"""The comparison as a table that goes into `docs/comparison.md` as it is."""

from __future__ import annotations

from collections.abc import Sequence

from tests.bench.peers.subject import Figures

_HEAD = (
    "| | calls | CPU µs per call and second | of its core | pacing p50 / p99 / p99.9 ms "
    "| packets lost / never sent / lost upwards | gaps > 100 ms | KiB per call | remarks |"
)
_RULE = "| --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: | --- |"


def markdown(rows: Sequence[Figures]) -> str:
    """All rows, in the order given."""
    return "\n".join([_HEAD, _RULE, *map(_line, rows)])


def _line(row: Figures) -> str:
    pacing = " / ".join(f"{row.pacing_ms.get(name, 0):.2f}" for name in ("p50", "p99", "p99_9"))
    up = "–" if row.missing_up is None else str(row.missing_up)
    cells = (row.name, f"{row.calls}", f"{row.us_per_call:.0f}", f"{row.core:.0%}".replace("%", " %"), pacing)
    return (
        "| "
        + " | ".join(
            (*cells, f"{row.lost} / {row.unsent} / {up}", f"{row.gaps}", f"{row.kib_per_call:.0f}", row.remarks)
        )
        + " |"
    )
