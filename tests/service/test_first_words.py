"""How soon the agent is heard: asked before the answer, by a connection that was there, and measured stage by stage."""

from __future__ import annotations

import asyncio
from itertools import chain
from pathlib import Path
from typing import Any

import pytest

from bridge.agent.server import AgentSession
from tests.phones.rawphone import Message, RawPhone
from tests.phones.wire import frames, silence
from tests.service.killed_server import ITEMS
from tests.service.numbered_caller import NumberedCaller, heard, on_wire, quiet, speech
from tests.service.rig import bench, ended
from tests.service.survival_bench import bench as killed_bench

SAYS = "vad: false\nanswer: {items: [{audio_ms: 600}], first_byte_ms: FIRST}"
STAGES = ("vad", "commit", "first_delta", "first_rtp")
WARM = 'sipbridge_warm_sessions_total{{outcome="{}"}}'.format


def says(first_byte_ms: int) -> str:
    """An agent whose first audio comes so long after it was asked."""
    return SAYS.replace("FIRST", str(first_byte_ms))


def answered(phone: RawPhone) -> Message:
    return next(message for message in phone.messages if message.status == 200 and message.method == "INVITE")


def moment(session: AgentSession, kind: str) -> int:
    """When an event of one kind first went either way, in ns."""
    return next(t for t, event in chain(session.received, session.sent) if event["type"] == kind)


async def greeted(phone: RawPhone, port: int) -> None:
    """A call in which the greeting was heard."""
    assert (await phone.invite("127.0.0.1", port)).status == 200
    await phone.wire.play(frames(silence(1.2)))
    await phone.bye()


async def test_the_greeting_is_asked_for_before_the_answer_and_its_first_words_come_with_it(tmp_path: Path) -> None:
    async with bench(tmp_path, says(200), agent={"greeting": "Begin."}) as (service, server):
        async with RawPhone() as phone:
            await greeted(phone, service.sip_port)
        session = await ended(server.sessions[0])
    asked, first = moment(session, "response.create"), moment(session, "response.output_audio.delta")
    assert asked < first < answered(phone).t_ns, "the phone rang until there was something to hear"
    packets = [packet for packet in phone.wire.packets if packet.payload_type == 0]
    assert heard(packets[0].payload) == (1, 0, 160), "the first packet is the first of the greeting"
    assert on_wire(packets) == {1: 600 * 8}
    assert len([event for _, event in session.received if event["type"] == "response.create"]) == 1


async def test_the_phone_does_not_ring_on_for_ever_for_a_slow_greeting(tmp_path: Path) -> None:
    """The agent thinks for 1.5 s, the phone waits for a fifth of it."""
    agent = {"greeting": "Begin.", "greeting_wait_ms": 300}
    async with bench(tmp_path, says(1500), agent=agent) as (service, server):
        async with RawPhone() as phone:
            assert (await phone.invite("127.0.0.1", service.sip_port)).status == 200
            await phone.wire.play(frames(silence(3)))
            await phone.bye()
        session = await ended(server.sessions[0])
    asked, first = moment(session, "response.create"), moment(session, "response.output_audio.delta")
    waited = answered(phone).t_ns - asked
    assert 0.9 * 300e6 < waited < (first - asked) * 0.8
    assert on_wire(phone.wire.packets) == {1: 600 * 8}, "it comes when it comes, once"


async def test_without_waiting_the_call_is_answered_at_once(tmp_path: Path) -> None:
    agent = {"greeting": "Begin.", "greeting_wait_ms": 0}
    async with bench(tmp_path, says(800), agent=agent) as (service, server):
        async with RawPhone() as phone:
            assert (await phone.invite("127.0.0.1", service.sip_port)).status == 200
            await phone.wire.play(frames(silence(2)))
            await phone.bye()
        session = await ended(server.sessions[0])
    asked, first = moment(session, "response.create"), moment(session, "response.output_audio.delta")
    assert answered(phone).t_ns - asked < (first - asked) / 2
    assert on_wire(phone.wire.packets) == {1: 600 * 8}


async def test_where_the_caller_speaks_first_nothing_is_asked_and_nobody_waits(tmp_path: Path) -> None:
    async with bench(tmp_path, says(0), agent={"greeting_wait_ms": 5000}) as (service, server):
        async with RawPhone() as phone:
            assert (await phone.invite("127.0.0.1", service.sip_port)).status == 200
            await phone.wire.play(frames(silence(0.5)))
            await phone.bye()
        session = await ended(server.sessions[0])
    assert phone.answer_ms < 4000, "not for a greeting that does not come"
    assert not [event for _, event in session.received if event["type"] == "response.create"]
    assert on_wire(phone.wire.packets) == {}


async def test_with_early_media_it_is_asked_for_once_too(tmp_path: Path) -> None:
    sip = {"early_media": True}
    async with bench(tmp_path, says(0), agent={"greeting": "Begin."}, sip=sip) as (service, server):
        async with RawPhone() as phone:
            await greeted(phone, service.sip_port)
        session = await ended(server.sessions[0])
    assert len([event for _, event in session.received if event["type"] == "response.create"]) == 1
    assert on_wire(phone.wire.packets)[1] == 600 * 8


async def test_a_session_lost_while_the_phone_rings_costs_neither_call_nor_greeting(tmp_path: Path) -> None:
    agent = {"greeting_wait_ms": 5000}
    async with killed_bench(tmp_path, says(4000), agent=agent) as it, RawPhone(user="raw") as phone:
        await phone.start_invite("127.0.0.1", it.service.sip_port)
        await it.server.until(lambda lived: any(each.got("response.create") for each in lived))
        it.server.prepare(says(0))
        it.server.kill()
        await asyncio.sleep(0.3)
        await it.server.start()
        assert (await phone.answer()).status == 200
        await phone.wire.play(frames(silence(1.5)))
        await phone.bye()
        _, second = it.server.sessions()
    (asked,) = second.got("response.create")
    assert asked["response"]["metadata"]["purpose"] == "greeting"
    assert on_wire(phone.wire.packets) == {2 * ITEMS + 1: 600 * 8}


async def test_connections_are_there_before_the_call_are_used_by_it_and_replaced(tmp_path: Path) -> None:
    async with bench(tmp_path, says(0), agent={"greeting": "Begin.", "warm": 2}) as (service, server):
        async with asyncio.timeout(10):
            while len(server.sessions) < 2:
                await asyncio.sleep(0.02)
        before = list(server.sessions)
        assert all(session.received == [] for session in before), "nothing is sent on them"
        async with RawPhone() as phone:
            await greeted(phone, service.sip_port)
            async with asyncio.timeout(10):
                while len(server.sessions) < 3:
                    await asyncio.sleep(0.02)
        metrics = await service.metrics()
    used = [session for session in server.sessions if session.received]
    assert len(used) == 1 and used[0] in before
    assert moment(used[0], "session.created") < phone.messages[0].t_ns
    assert (metrics[WARM("taken")], metrics[WARM("missed")]) == (1, 0)
    assert len(server.sessions) == 3, "two are ready again, and no more"


async def test_more_calls_than_warm_connections_are_served_too(tmp_path: Path) -> None:
    async with bench(tmp_path, says(0), agent={"greeting": "Begin.", "warm": 1}) as (service, server):
        async with asyncio.timeout(10):
            while not server.sessions:
                await asyncio.sleep(0.02)
        phones = [RawPhone(user=f"raw{number}") for number in range(4)]
        for phone in phones:
            await phone.__aenter__()
        await asyncio.gather(*(greeted(phone, service.sip_port) for phone in phones))
        for phone in phones:
            phone.close()
        metrics = await service.metrics()
    assert [on_wire(phone.wire.packets) for phone in phones] == [{1: 600 * 8}] * 4
    assert metrics[WARM("taken")] >= 1 and metrics[WARM("taken")] + metrics[WARM("missed")] == 4


ANSWERS = """
rules: [{on: turn, do: [{delay_ms: MS}, {response: {items: [{audio_ms: 500}]}}]}]
"""
# Its ear says when it has heard enough, and much later that the turn is complete.
COMMITS_LATE = """
vad: false
rules:
  - on: {append_ms: 300}
    do:
      - speech_started: {}
      - delay_ms: 900
      - send: {type: input_audio_buffer.speech_stopped, item_id: item_u, audio_end_ms: 1200}
      - delay_ms: 900
      - send: {type: input_audio_buffer.committed, item_id: item_u, previous_item_id: null}
      - response: {items: [{audio_ms: 500}]}
"""


@pytest.mark.parametrize(
    ("slow", "script"),
    [("", ANSWERS.replace("MS}", "0}")), ("first_delta", ANSWERS.replace("MS}", "900}")), ("commit", COMMITS_LATE)],
    ids=["nothing slow", "slow to answer", "slow to commit"],
)
async def test_the_wait_for_an_answer_is_measured_stage_by_stage(tmp_path: Path, slow: str, script: str) -> None:
    """Each stage of one turn; where one is slow, it is that which shows."""
    agent = {"turn_detection": {"type": "server_vad", "silence_duration_ms": 400}}
    async with bench(tmp_path, script, agent=agent) as (service, _):
        caller = NumberedCaller("raw")
        assert await caller.call(service.sip_port) == 200
        caller.life = chain(quiet(300), speech(500), quiet(2500))
        while not caller.over.is_set():
            caller.tick()
            await asyncio.sleep(0.02)
        metrics = await service.metrics()
        await caller.phone.bye()
        caller.phone.close()
    assert on_wire(caller.phone.wire.packets) == {1: 500 * 8}
    spent = {stage: stage_of(metrics, stage) for stage in STAGES}
    assert {count for count, _ in spent.values()} == {1}, spent
    seconds = {stage: total for stage, (_, total) in spent.items()}
    assert 0.3 < seconds["vad"] < 0.9, "what the service waits for counts as its own"
    if slow:
        assert seconds[slow] > 0.8 and sum(seconds[name] for name in STAGES[1:] if name != slow) < 0.5, seconds
    else:
        assert sum(seconds[name] for name in STAGES[1:]) < 0.5, seconds


def stage_of(metrics: dict[str, float], stage: str) -> tuple[float, float]:
    """How often a stage was measured, and how many seconds in all."""
    names: Any = (f'sipbridge_turn_stage_seconds_{what}{{stage="{stage}"}}' for what in ("count", "sum"))
    count, seconds = (metrics.get(name, 0.0) for name in names)
    return count, seconds
