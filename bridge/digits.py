"""Keys the caller presses, gathered until they are a number."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

PAUSE_S = 1.5
"""A number is complete when no key came for so long, or with the key that ends it."""
LONGEST = 32


class DigitCollector:
    """Gathers digits; `on_first` at the first key of a number, `on_digits` with the whole number."""

    def __init__(
        self,
        *,
        on_first: Callable[[], None],
        on_digits: Callable[[str], None],
        pause_s: float = PAUSE_S,
        end: str = "#",
    ) -> None:
        self.on_first = on_first
        self.on_digits = on_digits
        self._pause_s = pause_s
        self._end = end
        self.digits = ""
        """What is pressed of a number so far."""
        self._timer: asyncio.TimerHandle | None = None

    def press(self, digit: str) -> None:
        """One key."""
        if not self.digits:
            self.on_first()
        self.put(self.digits + digit)

    def put(self, digits: str) -> None:
        """Go on with a number of which so much is pressed; `on_first` does not hear of it."""
        self.close()
        self.digits = digits
        if digits[-1:] == self._end or len(digits) >= LONGEST:
            self.complete()
        elif digits:
            self._timer = asyncio.get_running_loop().call_later(self._pause_s, self.complete)

    def take(self) -> str:
        """What is pressed of a number so far, which nobody else is told."""
        self.close()
        digits, self.digits = self.digits, ""
        return digits

    def close(self) -> None:
        """Forget the running pause."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def complete(self) -> None:
        """The number is complete as it is; nothing pressed, nothing told."""
        if digits := self.take():
            self.on_digits(digits)
