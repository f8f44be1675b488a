"""Texts that come again are read once: a phone writes the same Contact, From and Allow in every message of every call.

Only for what reads a short text into a value that never changes; what is refused is read anew each time.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache, wraps
from typing import Concatenate, ParamSpec, TypeVar

MOST = 256
"""Values that each reader remembers: what all calls have in common, and the latest of the others."""
LONGEST = 512
"""Characters of a text that is remembered. A longer one is a flood's, and would fill the memory of thousands."""

_P = ParamSpec("_P")
_T = TypeVar("_T")


def remembered(read: Callable[Concatenate[str, _P], _T]) -> Callable[Concatenate[str, _P], _T]:
    """`read` with a memory. Its first argument is the text, the others must be hashable."""
    known = lru_cache(MOST)(read)

    @wraps(read)
    def once(text: str, /, *rest: _P.args, **named: _P.kwargs) -> _T:
        if len(text) > LONGEST:
            return read(text, *rest, **named)
        return known(text, *rest, **named)  # type: ignore[arg-type]  # lru_cache asks for Hashable

    return once
