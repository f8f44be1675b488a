"""Tables that a server fills: only the newest entries are kept, so that no server can grow our memory."""

from __future__ import annotations

from typing import Any


def keep_newest(table: dict[str, Any], most: int) -> None:
    """Drop the oldest entries until no more than `most` are left."""
    while len(table) > most:
        del table[next(iter(table))]
