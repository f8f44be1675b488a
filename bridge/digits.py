"""Keys the caller presses, gathered until they are a number."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

PAUSE_S = 1.5
"""A number is complete when no key came for so long, or with `#`."""
LONGEST = 32


class DigitCollector:
    """Gathers digits; `on_first` at the first key of a number, `on_digits` with the whole number."""

    def __init__(self, *, on_first: Callable[[], None], on_digits: Callable[[str], None]) -> None:
        self._on_first = on_first
        self._on_digits = on_digits
        self._digits = ""
        self._timer: asyncio.TimerHandle | None = None

    def press(self, digit: str) -> None:
        """One key."""
        if not self._digits:
            self._on_first()
        self._digits += digit
        self.close()
        if digit == "#" or len(self._digits) >= LONGEST:
            self._complete()
        else:
            self._timer = asyncio.get_running_loop().call_later(PAUSE_S, self._complete)

    def close(self) -> None:
        """Forget the running pause."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _complete(self) -> None:
        digits, self._digits, self._timer = self._digits, "", None
        self._on_digits(digits)
