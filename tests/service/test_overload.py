"""A service whose machine can do no more: it refuses, and those who talk go on."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
from collections.abc import AsyncIterator
from pathlib import Path

from bridge.pressure import FEW
from tests.phones.rawphone import RawPhone
from tests.phones.wire import frames, silence
from tests.service.rig import Service, bench

TALKS = "vad: false\nanswer: {items: [{audio_ms: 30000}], speed: 3}"
STOPPED_S, RUNNING_S = 0.03, 0.01
"""Of each 40 ms the service may run for 10: so most of its rounds are late, by 20 ms and more."""


@contextlib.asynccontextmanager
async def starved(service: Service) -> AsyncIterator[None]:
    """Something else has the core for most of the time."""
    pid, over = service.process.pid, asyncio.Event()

    async def starve() -> None:
        while not over.is_set():
            os.kill(pid, signal.SIGSTOP)
            await asyncio.sleep(STOPPED_S)
            os.kill(pid, signal.SIGCONT)
            await asyncio.sleep(RUNNING_S)

    starving = asyncio.create_task(starve())
    try:
        yield
    finally:
        over.set()
        await starving


async def until_page(service: Service, status: int, word: str) -> None:
    async with asyncio.timeout(10):
        while await service.get("/readyz") != (status, f"{word}\n"):
            await asyncio.sleep(0.05)


async def test_past_its_limit_it_refuses_and_the_running_calls_go_on(tmp_path: Path) -> None:
    # 20 ms: a machine with other tests on it must not close the doors before the test does.
    limits = {"late_ms": 20}
    async with bench(tmp_path, TALKS, agent={"greeting": "Begin."}, limits=limits) as (service, _):
        async with contextlib.AsyncExitStack() as stack:
            phones = [await stack.enter_async_context(RawPhone()) for _ in range(FEW)]
            for phone in phones:
                assert (await phone.invite("127.0.0.1", service.sip_port)).status == 200
                stack.callback(asyncio.create_task(phone.wire.play(frames(silence(60)))).cancel)
            await asyncio.sleep(1.5)
            assert (await service.get("/readyz"))[0] == 200
            async with starved(service):
                await until_page(service, 503, "overloaded")
                await assert_refused(service)
                before = [len(phone.wire.packets) for phone in phones]
                await asyncio.sleep(1)
                # A slot in 40 ms is what the machine still allows.
                assert all(len(phone.wire.packets) >= count + 20 for phone, count in zip(phones, before, strict=True))
            await until_page(service, 200, "ready")
            async with RawPhone() as another:
                assert (await another.invite("127.0.0.1", service.sip_port)).status == 200
                assert (await another.bye()).status == 200
            for phone in phones:
                assert not phone.ended.is_set()
                assert (await phone.bye()).status == 200
        await service.until('sipbridge_calls_total{reason="caller_hung_up"}', FEW + 1)


async def assert_refused(service: Service) -> None:
    """By its word in answer, log and metrics, and with the next step once."""
    for _ in range(3):
        async with RawPhone() as phone:
            answer = await phone.invite("127.0.0.1", service.sip_port)
        assert answer.status == 503
        assert (answer.header("Warning"), answer.header("Retry-After")) == ('399 sipbridge "overloaded"', "5")
    metrics = await service.metrics()
    assert metrics['sipbridge_refusals_total{reason="overloaded"}'] == 3
    assert metrics["sipbridge_overloaded"] == 1
    assert [line["reason"] for line in service.events("call.refused")] == 3 * ["overloaded"]
    (said,) = service.events("service.overloaded")
    assert said["calls"] == FEW and said["late_percent"] >= 15 and said["advice"]
