"""Churn: calls that come and go leave nothing behind."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from tests.phones.rawphone import call_many
from tests.service.rig import Service, bench

ROUNDS = 40
CALLS = 40
SETTLED = 30
"""Rounds after which as many transactions end (32 s, 64*T1) as begin, and the heap has its size."""


def resident_kib(service: Service) -> int:
    text = Path(f"/proc/{service.process.pid}/status").read_text()
    return int(text.partition("VmRSS:")[2].split()[0])


def open_files(service: Service) -> int:
    return len(list(Path(f"/proc/{service.process.pid}/fd").iterdir()))


@pytest.mark.long
@pytest.mark.timeout(600)
async def test_memory_and_descriptors_stay_flat_over_hundreds_of_calls(tmp_path: Path) -> None:
    script = "vad: false\nanswer: {items: [{audio_ms: 1500}], speed: 6}"
    limits = {"calls_per_second": 100}
    async with bench(tmp_path, script, agent={"greeting": "Begin."}, limits=limits, journal=False) as (service, _):
        sizes: list[int] = []
        files: list[int] = []
        for _ in range(ROUNDS):
            reports = await call_many("127.0.0.1", service.sip_port, calls=CALLS, seconds=1.5, rate=25)
            assert [report.status for report in reports] == [200] * CALLS
            while (await service.metrics())["sipbridge_calls_active"]:
                await asyncio.sleep(0.1)
            sizes.append(resident_kib(service))
            files.append(open_files(service))
        metrics = await service.metrics()
    print(f"\nresident KiB after each {CALLS} calls: {sizes}; open files: {files}")
    assert metrics['sipbridge_calls_total{reason="caller_hung_up"}'] == ROUNDS * CALLS
    assert metrics["sipbridge_rtp_ports_free"] == 100
    assert files[-1] <= files[SETTLED] + 2
    calls_since = (ROUNDS - SETTLED - 1) * CALLS
    assert sizes[-1] - sizes[SETTLED] < 2 * calls_since, "less than 2 KiB a call: nothing of a call is kept"
