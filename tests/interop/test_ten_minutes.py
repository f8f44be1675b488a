"""Ten minutes of one call on the wire, by the kernel's own clock: nothing drifts, nothing bursts, nothing adds up."""

from __future__ import annotations

import asyncio
from itertools import pairwise
from pathlib import Path

import pytest

from bridge.agent.patterns import locate
from tests.phones.rawphone import RawPhone
from tests.phones.wire import FRAME, Packet, pacing_errors_ms
from tests.service.rig import bench, ended
from tests.service.test_bad_network import uncollected, words

MINUTES = 10
A_MINUTE = 3000
"""Packets."""
PAUSE_MS = 150
"""A longer one of the phone is no fault of the service, and from 200 ms on silence stands for it."""
ITEM_MS = 20_000
ITEMS = 3 * MINUTES - 1
SCRIPT = f"vad: false\nanswer: {{items: [{', '.join([f'{{audio_ms: {ITEM_MS}}}'] * ITEMS)}], speed: 1.5}}"


@pytest.mark.long
@pytest.mark.alone
@pytest.mark.timeout(MINUTES * 60 + 120)
async def test_ten_minutes_are_ten_minutes_both_ways(tmp_path: Path) -> None:
    said = [words(1, n % 0x10000) for n in range(MINUTES * A_MINUTE)]
    with uncollected():
        async with bench(tmp_path, SCRIPT, agent={"greeting": "Begin."}, log={"level": "info"}) as (service, server):
            async with RawPhone() as phone:
                assert (await phone.invite("127.0.0.1", service.sip_port)).status == 200
                await phone.wire.play(said)
                await asyncio.sleep(0.05)
                assert (await phone.bye()).status == 200
            session = await ended(server.sessions[0])
            await service.until('sipbridge_calls_total{reason="caller_hung_up"}', 1)
            metrics = await service.metrics()
    skipped = metrics["sipbridge_pacer_skipped_slots_total"]
    pause = max(b.t_ns - a.t_ns for a, b in pairwise(phone.wire.sent)) / 1e6
    errors = assert_even(phone.wire.packets, skipped)
    print(f"\n{MINUTES} min: {len(phone.wire.packets)} packets, {skipped:.0f} slots skipped, {told(errors)}")
    assert_agent_went_on(phone.wire.packets)

    if pause > PAUSE_MS:
        pytest.skip(f"this machine held up the phone for {pause:.0f} ms: what it sent was no call of even time")
    got = bytes(session.input_audio)
    assert abs(len(got) - len(said) * FRAME) <= FRAME, "milliseconds of the call are milliseconds for the model"
    assert got[: len(said) * FRAME] == b"".join(said)[: len(got)]
    assert metrics["sipbridge_rtp_lost_total"] == metrics["sipbridge_rtp_late_total"] == 0


def assert_even(packets: list[Packet], skipped: float) -> list[float]:
    """As many as the time has slots, one after the other; how many ms each was off its place."""
    until = packets[0].t_ns + MINUTES * 60 * 10**9
    count = sum(packet.t_ns < until for packet in packets)
    missing = until - packets[-1].t_ns  # the call ended so much before the last minute did, if it did
    expected = MINUTES * A_MINUTE - max(0, missing) / 20e6
    assert abs(count + skipped - expected) <= 2, "it sends faster or slower than the clock"
    assert [p.sequence for p in packets] == [(packets[0].sequence + n) & 0xFFFF for n in range(len(packets))]
    errors = pacing_errors_ms(packets)
    assert abs(median(errors[:500]) - median(errors[-500:])) < 10, "its time line runs away from the clock"
    # Even after a stall each slot has one packet: three within the time of one were a burst.
    bursts = [n for n in range(len(packets) - 2) if packets[n + 2].t_ns - packets[n].t_ns < 15e6]
    assert bursts == []
    return errors


def assert_agent_went_on(packets: list[Packet]) -> None:
    """Every item of the agent was sent whole, without hole or repeat."""
    heard: dict[int, int] = {}
    for packet in packets:
        for place in locate(packet.payload):
            assert place.position == heard.get(place.number, 0)
            heard[place.number] = place.position + place.end - place.start
    assert heard == {number: ITEM_MS * 8 for number in range(1, ITEMS + 1)}


def median(values: list[float]) -> float:
    return sorted(values)[len(values) // 2]


def told(errors: list[float]) -> str:
    """How even it was, for whoever reads the report."""
    spread = sorted(errors)
    return f"off their place: p50 {median(errors):.1f}, p99.9 {spread[int(len(spread) * 0.999)]:.1f} ms"
