"""What becomes of the keys the caller presses: words to the model, the result of its tool, a line in the log."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import structlog

from bridge.config import Digits as Settings
from bridge.digits import DigitCollector

log = structlog.get_logger("sipbridge.call")

KEPT = 32
"""Keys pressed before the model asks for them."""
MOST_SECONDS = 120


@dataclass(frozen=True, slots=True)
class Wanted:
    """What a call of the tool read_digits asks for; 0 digits: as many as come."""

    digits: int
    timeout_s: float

    @classmethod
    def of(cls, arguments: dict[str, Any]) -> Wanted:
        """Out of what the model wrote; ValueError for what makes no sense."""
        digits, timeout_s = int(arguments.get("max_digits", 0)), float(arguments.get("timeout_s", 10))
        if not 0 <= digits <= KEPT or not 0 < timeout_s <= MOST_SECONDS:
            raise ValueError
        return cls(digits, timeout_s)


class Keys:
    """The keys of one call. `say` tells the model, `on_first` hears of the first key of a number."""

    def __init__(
        self, settings: Settings, *, say: Callable[[str], None], on_first: Callable[[], None], shown: bool
    ) -> None:
        """`shown`: keys may stand in the log."""
        self._settings = settings
        self._say = say
        self._shown = shown
        self._collector = DigitCollector(
            on_first=on_first if settings.interrupt else _nothing,
            on_digits=self._collected,
            pause_s=settings.pause_s,
            end=settings.end,
        )
        self._early = ""  # pressed before the model asked
        self._wanted: Wanted | None = None  # while the model waits for keys
        self._give: Callable[[dict[str, Any]], None] = _nothing
        self._timer: asyncio.TimerHandle | None = None  # while the model waits and nobody presses
        self._closed_until = 0.0  # till then an end key belongs to the number that had its digits

    def press(self, key: str) -> None:
        """One key."""
        closes, self._closed_until = asyncio.get_running_loop().time() < self._closed_until, 0.0
        if closes and key == self._settings.end:
            return
        self._stop()
        self._collector.press(key)
        if self._wanted is not None and len(self._collector.digits) == self._wanted.digits:
            self._collector.complete()

    def read(self, wanted: Wanted, give: Callable[[dict[str, Any]], None]) -> None:
        """The model asks for keys; `give` gets the result once, with what was pressed before it asked."""
        self._answer("superseded", "")
        self._wanted, self._give = wanted, give
        keys = self._early + self._collector.take()
        number = self._first_number(keys, wanted.digits)
        self._early = ""
        if number:
            self._answer("complete", number)
        elif not keys:
            self._timer = asyncio.get_running_loop().call_later(wanted.timeout_s, self._answer, "timeout", "")
        self._collector.put(keys[len(number) :])

    def _first_number(self, keys: str, most: int) -> str:
        """The keys up to the end key, or `most` of them, with the end key behind them; empty when more may come."""
        end = self._settings.end
        before, found, _ = keys.partition(end) if end else (keys, "", "")
        if most and len(before) > most:
            return keys[:most]
        return before + found if found or (most and len(before) == most) else ""

    def close(self) -> None:
        """The call is over, or somebody else hears the keys."""
        self._collector.close()
        self._collector.on_first = self._collector.on_digits = self._say = self._give = _nothing
        self._stop()
        self._wanted = None

    def _stop(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _collected(self, digits: str) -> None:
        if self._wanted is not None:
            self._answer("complete", digits)
        elif self._settings.to == "message":
            self._say(f"The caller pressed {' '.join(digits)} on the keypad.")
        elif self._settings.to == "tool" and digits != self._settings.end:  # alone it ends a number that was over
            self._early = (self._early + digits)[-KEPT:]
        elif self._settings.to == "event":
            shown = {"digits": digits} if self._shown else {}
            log.info("digits.pressed", count=len(digits), **shown)

    def _answer(self, status: str, digits: str) -> None:
        self._stop()
        wanted, self._wanted = self._wanted, None
        if wanted is None:
            return
        end = self._settings.end
        number = digits.removesuffix(end)
        if number == digits and wanted.digits and len(number) == wanted.digits:
            self._closed_until = asyncio.get_running_loop().time() + self._settings.pause_s
        self._give({"status": status, "digits": number})


def _nothing(*_: object) -> None:
    """Nobody asks for keys, or none are told any more."""
