"""Calls that outlive their session interval: Asterisk insists on the shortest there is, 90 s."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from tests.phones.asterisk import MILLIWATT, Asterisk
from tests.service.rig import bench, ended

pytestmark = pytest.mark.interop

LONGER_S = 100
"""Without a refresh both sides hang up 30 s before the 90 are over (RFC 4028 section 10)."""


async def _stays_up(folder: Path, pbx: Asterisk, refresher: str) -> tuple[int, int]:
    """Hold a call for longer than its interval; how many refreshes went out and came in."""
    timer = {"session_timer": {"expires_s": 90, "min_s": 90, "refresher": refresher}}
    async with bench(folder, "vad: false", sip=timer, limits={"drain_s": 0}) as (service, server):
        await pbx.originate("trunk-timers", service.uri(), "800")
        await service.until("sipbridge_calls_active", 1)
        before = await service.metrics()
        await asyncio.sleep(LONGER_S)
        after = await service.metrics()
        assert after["sipbridge_calls_active"] == 1, service.said()
        tail = bytes(server.sessions[0].input_audio)[-8000:]
        assert MILLIWATT * 100 in tail, "and sound still flows"
        await asyncio.to_thread(service.stop)
        await ended(server.sessions[0])

    def grown(name: str) -> int:
        return int(sum(after[key] - before.get(key, 0) for key in after if key.startswith(name)))

    received = grown('sipbridge_sip_requests_received_total{method="INVITE"}')
    received += grown('sipbridge_sip_requests_received_total{method="UPDATE"}')
    return grown('sipbridge_sip_responses_received_total{status="200"}'), received


@pytest.mark.timeout(180)
async def test_calls_longer_than_their_interval_stay_up(tmp_path: Path, pbx: Asterisk) -> None:
    """Both roles at once: in one call we refresh, in the other Asterisk does, each at half the interval."""
    ours, theirs = await asyncio.gather(
        _stays_up(tmp_path / "ours", pbx, "us"), _stays_up(tmp_path / "theirs", pbx, "peer")
    )
    assert ours[0] >= 2 and ours[1] == 0
    assert theirs[0] == 0 and theirs[1] >= 2
    await pbx.until_quiet()
