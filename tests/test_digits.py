"""Keys become numbers."""

from __future__ import annotations

import asyncio
from typing import Any

from bridge.digits import LONGEST, DigitCollector


class Heard:
    def __init__(self, **options: Any) -> None:
        self.firsts = 0
        self.numbers: list[str] = []
        self.collector = DigitCollector(on_first=self.first, on_digits=self.numbers.append, **options)

    def first(self) -> None:
        self.firsts += 1

    def press(self, keys: str) -> None:
        for key in keys:
            self.collector.press(key)


async def test_the_pound_key_completes_a_number_at_once() -> None:
    heard = Heard()
    heard.press("42#7")
    assert heard.numbers == ["42#"]
    assert heard.firsts == 2, "the first key of each number interrupts"
    heard.collector.close()


async def test_a_pause_completes_a_number() -> None:
    heard = Heard(pause_s=0.01)
    heard.press("12")
    await asyncio.sleep(0.02)
    heard.press("3")
    await asyncio.sleep(0.02)
    assert heard.numbers == ["12", "3"]


async def test_a_number_has_an_end() -> None:
    heard = Heard()
    heard.press("1" * 40)
    assert heard.numbers == ["1" * LONGEST]
    heard.collector.close()


async def test_nothing_comes_after_the_call_is_over() -> None:
    heard = Heard(pause_s=0.01)
    heard.press("1")
    heard.collector.close()
    await asyncio.sleep(0.02)
    assert heard.numbers == []
