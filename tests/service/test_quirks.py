"""Quirks of realtime services that only a whole call can show; `tests/realtime/test_quirks.py` has the list."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path

import pytest

from tests.phones.rawphone import RawPhone
from tests.phones.wire import in_order
from tests.service.rig import bench, ended
from tests.service.test_barge_in import old_packets_after, on_wire

pytestmark = pytest.mark.phone

MINUTE = """
vad: false
rules:
  - on: response_create
    do:
      - response: {items: [{audio_ms: 60000}], speed: max}
      - delay_ms: 600
      - speech_started: {}
      - delay_ms: 400
      - close: {code: 1000}
"""
LONG = "{vad: false, answer: {items: [{audio_ms: 20000}], speed: max}}"


async def test_c2_a_minute_of_audio_at_once_does_not_delay_the_interruption(tmp_path: Path) -> None:
    async with bench(tmp_path, MINUTE, agent={"greeting": "Begin.", "recovery": {"patience_s": 0}}) as (
        service,
        server,
    ):
        async with RawPhone() as phone:
            assert (await phone.invite("127.0.0.1", service.sip_port)).status == 200
            for _ in range(3):
                phone.wire.send(b"\x55" * 160)
                await asyncio.sleep(0.02)
            await asyncio.wait_for(phone.ended.wait(), 20)
        session = await ended(server.sessions[0])
    packets = in_order(phone.wire.packets)
    (late,) = old_packets_after(session, packets)
    assert late[0] <= 2, "the slot that comes while the event is on its way, and one more"
    (cut,) = [event for _, event in session.received if event["type"] == "conversation.item.truncate"]
    assert cut["audio_end_ms"] == on_wire(packets)[1].sent // 8


async def test_h2_a_caller_who_hangs_up_closes_the_session_at_once(tmp_path: Path) -> None:
    async with bench(tmp_path, LONG, agent={"greeting": "Begin."}) as (service, server):
        async with RawPhone() as phone:
            assert (await phone.invite("127.0.0.1", service.sip_port)).status == 200
            for _ in range(10):
                phone.wire.send(b"\x55" * 160)
                await asyncio.sleep(0.02)
            began = time.monotonic()
            await phone.bye()
            await ended(server.sessions[0], within=2)
            assert time.monotonic() - began < 2
        await service.until('sipbridge_calls_total{reason="caller_hung_up"}', 1)
