"""When a session gives way: the times are those of the test's own, tiny patience."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from bridge.realtime import events as ev
from bridge.realtime import renewal as module
from bridge.realtime.dialer import SessionFailed
from bridge.realtime.patience import Losses, Patience, is_final
from bridge.realtime.renewal import Renewal
from tests.realtime.wooden import Protocol


class Bench:
    def __init__(self, *, quiet: bool, change_at_last_s: float = 0.0, works: bool = True) -> None:
        self.quiet = quiet
        self.works = works
        self.tried: list[bool] = []
        self.asked = 0
        patience = Patience(change_before_s=100, change_at_last_s=change_at_last_s)
        self.renewal = Renewal(patience, is_quiet=self._is_quiet)

    def due_in(self, seconds: float) -> None:
        self.renewal.due_in(seconds, self._change)

    def _is_quiet(self) -> bool:
        self.asked += 1
        return self.quiet

    async def _change(self, late: bool) -> bool:
        self.tried.append(late)
        return self.works

    async def until(self, tries: int) -> None:
        async with asyncio.timeout(5):
            while len(self.tried) < tries:
                await asyncio.sleep(0)


@pytest.fixture(autouse=True)
async def fast(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[None]:
    monkeypatch.setattr(module, "CHECK_S", 0)
    yield


async def test_a_quiet_moment_before_the_end_is_taken() -> None:
    bench = Bench(quiet=True)
    bench.due_in(0.02)
    await bench.until(1)
    assert bench.tried == [False]
    bench.renewal.stop()


async def test_while_somebody_speaks_it_waits() -> None:
    bench = Bench(quiet=False)
    bench.due_in(0.02)
    while bench.asked < 20:
        await asyncio.sleep(0)
    assert bench.tried == []
    bench.quiet = True
    await bench.until(1)
    bench.renewal.stop()


async def test_at_last_any_moment_will_do() -> None:
    bench = Bench(quiet=False, change_at_last_s=1000)
    bench.due_in(0.02)
    await bench.until(1)
    assert bench.tried == [True]
    bench.renewal.stop()


async def test_a_change_that_failed_is_tried_again() -> None:
    bench = Bench(quiet=True, works=False)
    bench.due_in(0.02)
    await bench.until(3)
    bench.renewal.stop()


async def test_long_before_the_end_nothing_is_asked() -> None:
    bench = Bench(quiet=True)
    bench.due_in(3600)
    for _ in range(50):
        await asyncio.sleep(0)
    assert (bench.asked, bench.tried) == (0, [])
    bench.renewal.stop()


def test_more_losses_a_minute_than_allowed_are_too_many() -> None:
    losses = Losses(3)
    assert [losses.too_many(second) for second in (0, 10, 20, 59)] == [False, False, False, True]
    assert not Losses(1).too_many(0)
    late = Losses(3)
    assert not any(late.too_many(second) for second in (0, 30, 59, 61))


@pytest.mark.parametrize(
    ("end", "final"),
    [
        (ev.Lost(1006, ""), False),
        (ev.Lost(1001, "maximum duration"), False),
        (ev.Lost(1011, ""), False),
        (ev.Lost(1000, ""), True),
        (ev.Lost(3000, "invalid_request_error.invalid_api_key"), True),
        (ev.Lost(4000, ""), True),
        (SessionFailed("invalid_api_key", ""), True),
        (SessionFailed("insufficient_quota", ""), True),
        (SessionFailed("http_401", ""), True),
        (SessionFailed("http_503", ""), False),
        (SessionFailed("unreachable", ""), False),
        (SessionFailed("timeout", ""), False),
        (SessionFailed("session_expired", ""), False),
        (SessionFailed("closed", "", (3000, "")), True),
        (SessionFailed("closed", "", (1011, "")), False),
    ],
)
def test_what_would_end_the_same_way_again_is_final(end: ev.Lost | SessionFailed, final: bool) -> None:
    assert is_final(end, Protocol()) is final
