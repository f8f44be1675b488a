"""A caller whose agent is lost, or was never had: what he hears on the wire, who gets him, and how the call ends."""

from __future__ import annotations

import asyncio
import random
import socket
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from bridge.agent.server import AgentServer
from bridge.audio.g711 import Law, decode
from bridge.sounds import FAREWELL
from tests.phones import wav
from tests.phones.processes import free_port
from tests.phones.rawpeer import RawPeer
from tests.phones.rawphone import RawPhone
from tests.phones.wire import frames, in_order, silence
from tests.service.numbered_caller import heard, on_wire
from tests.service.rig import Service, bench
from tests.service.transfers import ENDED, OUTCOME, came, reason, sound, uri

# The agent greets, and its service says goodbye while most of that is still queued.
GREETS_AND_GOES = """
vad: false
answer: {items: [{audio_ms: 1500}], speed: max}
rules: [{on: {append_ms: 200}, times: 1, do: [{close: {code: 1000, reason: gone}}]}]
"""
GREETING = 1500 * 8
DONE = 'sipbridge_plan_b_total{{outcome="{}"}}'.format


def announcement(folder: Path, name: str, ms: int = 800, seed: int = 1) -> tuple[str, bytes]:
    """A WAV file, and the bytes of G.711 in which it is heard."""
    codes = [code for code in range(256) if code not in (0xFF, 0x7F)]
    law = bytes(random.Random(seed).choices(codes, k=ms * 8))
    path = folder / f"{name}.wav"
    wav.write(path, decode(law, Law.PCMU), ms / 1000)
    return str(path), law


@asynccontextmanager
async def lost(folder: Path, phone: RawPhone, **agent: Any) -> AsyncIterator[tuple[Service, AgentServer]]:
    """A call whose agent is gone soon after its beginning; the caller talks all the while."""
    async with bench(folder, GREETS_AND_GOES, agent={"greeting": "Begin."} | agent) as (service, server), phone:
        assert (await phone.invite("127.0.0.1", service.sip_port)).status == 200
        playing = asyncio.create_task(phone.wire.play(frames(silence(60))))
        try:
            yield service, server
        finally:
            playing.cancel()


def heard_of(phone: RawPhone) -> bytes:
    """All that was heard, in order."""
    return b"".join(packet.payload for packet in in_order(phone.wire.packets) if packet.payload_type == 0)


def bye_of(phone: RawPhone) -> Any:
    return next(message for message in phone.messages if message.method == "BYE" and not message.status)


async def test_the_file_is_heard_behind_the_agents_last_words_and_then_the_call_ends(tmp_path: Path) -> None:
    path, law = announcement(tmp_path, "sorry")
    phone = RawPhone()
    async with lost(tmp_path, phone, plan_b={"file": path}) as (service, server):
        await asyncio.wait_for(phone.ended.wait(), 20)
        await service.until(ENDED("session_lost"), 1)
        assert (await service.metrics())[DONE("ended")] == 1
    everything = heard_of(phone)
    assert on_wire(phone.wire.packets)[1] == GREETING, "what the agent had said was heard out"
    assert everything.count(law) == 1 and FAREWELL.in_format(Law.PCMU) not in everything
    last = max(index for index, packet in enumerate(phone.wire.packets) if heard(packet.payload) is not None)
    begins = next(index for index, packet in enumerate(phone.wire.packets) if packet.payload == law[:160])
    assert last < begins, "behind the agent, not over it"
    bye = bye_of(phone)
    assert reason(bye) == "session_lost"
    assert max(packet.t_ns for packet in phone.wire.packets if packet.payload == law[-160:]) < bye.t_ns
    assert len(server.sessions) == 1, "after a goodbye nobody is called again"


async def test_without_a_plan_there_are_three_soft_notes_before_the_bye(tmp_path: Path) -> None:
    phone = RawPhone()
    async with lost(tmp_path, phone) as (service, _):
        await asyncio.wait_for(phone.ended.wait(), 20)
        await service.until(ENDED("session_lost"), 1)
    notes = FAREWELL.in_format(Law.PCMU)
    assert heard_of(phone).count(notes.rstrip(b"\xff\x7f")) == 1
    assert on_wire(phone.wire.packets)[1] == GREETING
    assert reason(bye_of(phone)) == "session_lost"


async def test_a_sentence_is_said_by_the_built_in_voice(tmp_path: Path) -> None:
    pytest.importorskip("espeakng_loader", reason="the extra 'agent' is not installed")
    phone = RawPhone()
    async with lost(tmp_path, phone, plan_b="We are sorry, please call again in a few minutes.") as (service, _):
        await asyncio.wait_for(phone.ended.wait(), 30)
        await service.until(ENDED("session_lost"), 1)
    spoken = [
        packet for packet in phone.wire.packets if packet.payload.strip(b"\xff\x7f") and not heard(packet.payload)
    ]
    assert len(spoken) * 20 > 1500, "a sentence of eleven words"
    assert FAREWELL.in_format(Law.PCMU).rstrip(b"\xff\x7f") not in heard_of(phone)


async def test_who_hangs_up_during_the_announcement_has_hung_up(tmp_path: Path) -> None:
    path, law = announcement(tmp_path, "long", 20_000)
    phone = RawPhone()
    async with lost(tmp_path, phone, plan_b={"file": path}) as (service, _):
        async with asyncio.timeout(20):
            while law[160:320] not in {packet.payload for packet in phone.wire.packets[-100:]}:
                await asyncio.sleep(0.02)
        assert (await phone.bye(within=2)).status == 200
        await service.until(ENDED("caller_hung_up"), 1, within=3)
        assert (await service.metrics())["sipbridge_rtp_ports_free"] == 100


# Somebody else


def with_desk(path: str, method: str, **plan: Any) -> dict[str, Any]:
    """Announcement first, then the desk."""
    return {"plan_b": {"file": path, "transfer": "desk"} | plan, "transfer": {"method": method, "timeout_s": 5}}


@pytest.mark.parametrize("at_once", [False, True], ids=["with a report", "with a BYE"])
async def test_after_the_announcement_the_pbx_takes_him_over(tmp_path: Path, at_once: bool) -> None:
    path, law = announcement(tmp_path, "moment")
    phone = RawPeer(user="pbx")
    phone.hangs_up_when_referred = at_once
    agent = with_desk(path, "refer")
    agent["transfer"]["targets"] = {"desk": "sip:desk@127.0.0.1:9"}
    async with lost(tmp_path, phone, **agent) as (service, _):
        refer = await phone.got("REFER", within=20)
        assert refer.header("Refer-To") == "<sip:desk@127.0.0.1:9>"
        await service.until(ENDED("transferred"), 1)
        await service.until(OUTCOME("transferred"), 1)
        await service.until(DONE("transferred"), 1)
    assert heard_of(phone).count(law) == 1
    assert max(packet.t_ns for packet in phone.wire.packets if packet.payload == law[-160:]) < refer.t_ns


async def test_or_the_desk_is_called_and_the_two_are_joined(tmp_path: Path) -> None:
    path, law = announcement(tmp_path, "moment")
    phone = RawPhone()
    agent = with_desk(path, "bridge")
    async with RawPeer() as desk:
        agent["transfer"]["targets"] = {"desk": uri(desk)}
        async with lost(tmp_path, phone, **agent) as (service, _):
            await desk.got("ACK", within=20)
            said = sound(7)
            await asyncio.sleep(0.3)
            await desk.wire.play(said)
            await asyncio.sleep(0.3)
            arrived = came(phone.wire, said)
            assert len(arrived) > 30 and arrived == said[-len(arrived) :], "he hears the desk"
            await phone.bye()
            await desk.got("BYE")
            await service.until(OUTCOME("joined"), 1)
            await service.until(DONE("transferred"), 1)
    assert heard_of(phone).count(law) == 1


async def test_when_nobody_is_at_the_desk_he_is_told_goodbye(tmp_path: Path) -> None:
    path, law = announcement(tmp_path, "moment")
    goodbye, last_words = announcement(tmp_path, "goodbye", seed=2)
    phone = RawPhone()
    agent = with_desk(path, "bridge", goodbye_file=goodbye)
    async with RawPeer() as desk:
        desk.answers = ((0, "180 Ringing"), (0.1, "486 Busy Here"))
        agent["transfer"]["targets"] = {"desk": uri(desk)}
        async with lost(tmp_path, phone, **agent) as (service, _):
            await asyncio.wait_for(phone.ended.wait(), 20)
            await service.until(ENDED("session_lost"), 1)
            await service.until(OUTCOME("busy"), 1)
            assert (await service.metrics())[DONE("ended")] == 1
    everything = heard_of(phone)
    assert everything.count(law) == everything.count(last_words) == 1
    assert everything.index(law) < everything.index(last_words)


# No session from the beginning


def nobody(**agent: Any) -> Mapping[str, Any]:
    """An agent whose service is not there."""
    return {"provider": f"ws://127.0.0.1:{free_port(socket.SOCK_STREAM)}/v1/realtime", "greeting": "Begin."} | agent


async def test_a_call_that_finds_no_agent_is_answered_for_the_announcement(tmp_path: Path) -> None:
    path, law = announcement(tmp_path, "closed")
    with await Service.started(tmp_path, nobody(plan_b={"file": path})) as service:
        async with RawPhone() as phone:
            assert (await phone.invite("127.0.0.1", service.sip_port)).status == 200
            playing = asyncio.create_task(phone.wire.play(frames(silence(30))))
            await asyncio.wait_for(phone.ended.wait(), 20)
            playing.cancel()
        await service.until(ENDED("session_failed"), 1)
    assert heard_of(phone).count(law) == 1
    assert reason(bye_of(phone)) == "session_failed"


@pytest.mark.parametrize("plan", ["none", "not answered"])
async def test_without_a_plan_that_answers_it_gets_503(tmp_path: Path, plan: str) -> None:
    path, _ = announcement(tmp_path, "closed")
    settings = {} if plan == "none" else {"plan_b": {"file": path, "answer": False}}
    with await Service.started(tmp_path, nobody(**settings)) as service:
        async with RawPhone() as phone:
            answer = await phone.invite("127.0.0.1", service.sip_port)
            assert (answer.status, answer.header("Retry-After")) == (503, "5")
            assert phone.wire.packets == []
        await service.until(ENDED("session_failed"), 1)
