"""Interruptions at random moments, judged by the packets on the wire.

The server's audio is a pattern that tells item and byte position, so each RTP packet says what of which item it
carries; the kernel stamps its arrival.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import pytest

from bridge.agent.patterns import locate
from bridge.agent.server import AgentSession
from tests.phones.rawphone import RawPhone
from tests.phones.wire import Packet, in_order
from tests.service.rig import bench, ended

CALLS = 12
INTERRUPTIONS = 20

# Each round: three items in one response, cut at a random moment; sent slowly, so that items are cut before their
# audio came, then fast, so that they wait unheard.
ROUND = """
            - response:
                items: [{audio_ms: [20, 700]}, {audio_ms: [300, 6000]}, {audio_ms: [100, 900]}]
                speed: SPEED
            - delay_ms: [10, 1600]
            - speech_started: {in_flight: 3}
            - delay_ms: [60, 160]
            - speech_stopped: {respond: false}
"""
SCRIPT = f"""
vad: false
seed: 11
rules:
  - on: response_create
    do:
      - repeat:
          times: {INTERRUPTIONS // 2}
          do:{ROUND.replace("SPEED", "1.5")}{ROUND.replace("SPEED", "10")}
      - delay_ms: 300
      - close: {{code: 1000}}
"""


@dataclass(frozen=True)
class OnWire:
    """What of one item left as RTP: bytes, and the nanosecond its last packet arrived."""

    sent: int
    last_ns: int


def on_wire(packets: Iterable[Packet]) -> dict[int, OnWire]:
    """Item number → what was on the wire; fails on a hole, a repeat or audio out of order."""
    sent: dict[int, int] = defaultdict(int)
    last: dict[int, int] = {}
    for packet in packets:
        for place in locate(packet.payload):
            assert place.position == sent[place.number], f"item {place.number}: hole or repeat at {place}"
            sent[place.number] = place.position + place.end - place.start
            last[place.number] = packet.t_ns
    return {number: OnWire(sent[number], last[number]) for number in sent}


def told(session: AgentSession) -> tuple[dict[str, int], set[str]]:
    """What the bridge said was heard: item id → ms of each truncate, and the ids of deletes."""
    truncated = {
        event["item_id"]: event["audio_end_ms"]
        for _, event in session.received
        if event["type"] == "conversation.item.truncate"
    }
    deleted = {e["item_id"] for _, e in session.received if e["type"] == "conversation.item.delete"}
    return truncated, deleted


def check_ledger(session: AgentSession, wire: dict[int, OnWire]) -> tuple[int, int, int]:
    """Every item of a session against the wire; how many were truncated in the air, truncated at 0, and heard."""
    truncated, deleted = told(session)
    in_air = waiting = heard = 0
    for item in session.items:
        sent = wire[item.number].sent if item.number in wire else 0
        if item.id in truncated:
            assert truncated[item.id] == sent // 8, f"item {item.number}: {sent} bytes on the wire"
            in_air += sent > 0
            waiting += sent == 0
        elif item.id in deleted:
            assert sent == 0
        else:
            assert sent == item.sent_bytes, f"item {item.number}: {sent} of {item.sent_bytes} bytes were heard"
            heard += 1
    return in_air, waiting, heard


def old_packets_after(session: AgentSession, packets: list[Packet]) -> list[tuple[int, float]]:
    """Per interruption: how many packets of cut items arrived after `speech_started` left, and the ms of the last."""
    starts = [t for t, event in session.sent if event["type"] == "input_audio_buffer.speech_started"]
    numbers = {item.id: item.number for item in session.items}
    found = []
    for began, until in zip(starts, [*starts[1:], 1 << 63], strict=True):
        cut = {
            numbers[event["item_id"]]
            for t, event in session.received
            if event["type"] == "conversation.item.truncate" and began < t < until
        }
        late = [
            (packet.t_ns - began) / 1e6
            for packet in packets
            if began < packet.t_ns < until and any(place.number in cut for place in locate(packet.payload))
        ]
        if cut:
            found.append((len(late), max(late, default=0.0)))
    return found


async def interrupted_call(port: int, number: int) -> RawPhone:
    """One call; its own byte tells later which session was its."""
    async with RawPhone() as phone:
        assert (await phone.invite("127.0.0.1", port)).status == 200
        for _ in range(3):
            phone.wire.send(bytes([number]) * 160)
            await asyncio.sleep(0.02)
        await asyncio.wait_for(phone.ended.wait(), 90)
    return phone


@pytest.mark.alone
async def test_what_the_session_is_told_is_what_was_on_the_wire(tmp_path: Path) -> None:
    async with bench(tmp_path, SCRIPT, agent={"greeting": "Begin."}) as (service, server):
        phones = await asyncio.gather(*(interrupted_call(service.sip_port, number) for number in range(CALLS)))
        sessions = {session.input_audio[0]: await ended(session) for session in server.sessions}
        metrics = await service.metrics()

    assert sorted(sessions) == list(range(CALLS))
    totals = [0, 0, 0]
    late: list[tuple[int, float]] = []
    for number, phone in enumerate(phones):
        packets = in_order(phone.wire.packets)
        assert [p.sequence for p in packets] == [(packets[0].sequence + n) & 0xFFFF for n in range(len(packets))]
        counts = check_ledger(sessions[number], on_wire(packets))
        totals = [total + count for total, count in zip(totals, counts, strict=True)]
        late += old_packets_after(sessions[number], packets)

    spread = sorted(ms for _, ms in late)
    print(f"\n{len(late)} interruptions; items cut in the air, cut unheard, heard whole: {totals}")
    print(
        f"last old packet after speech_started: median {spread[len(spread) // 2]:.1f} ms, longest {spread[-1]:.1f} ms"
    )
    assert len(late) >= 0.9 * CALLS * INTERRUPTIONS
    assert min(totals) > 0, "every kind of item must have occurred"
    # The slot that comes while the event is on its way may still carry old audio; more than one only in a stall.
    assert sum(count > 1 for count, _ in late) <= len(late) // 50
    assert metrics["sipbridge_barge_ins_total"] >= len(late)
    assert metrics["sipbridge_late_deltas_total"] > 0
