"""The one shape in which the benchmark tells a spread: how many values, the middle, the tail, the worst."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

SHARES = {"p50": 0.5, "p99": 0.99, "p99_9": 0.999}


def summary(values_ms: Sequence[float] | NDArray[Any]) -> dict[str, float]:
    """Count, p50, p99, p99_9 and max, in the values' own unit; all 0 when there is none.

    A percentile is a value that occurred: the first that at least so many do not exceed, never one between two.
    """
    values = np.sort(np.asarray(values_ms, dtype=np.float64))
    count = len(values)
    if not count:
        return {"count": 0} | dict.fromkeys((*SHARES, "max"), 0.0)
    marks = {name: values[min(int(count * share), count - 1)] for name, share in SHARES.items()}
    return {"count": count} | {name: round(float(value), 3) for name, value in (marks | {"max": values[-1]}).items()}
