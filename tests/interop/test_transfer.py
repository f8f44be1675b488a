"""The agent sends a caller on to an extension of a real Asterisk: by REFER, by a second call where that is refused."""

from __future__ import annotations

import asyncio
import random
from pathlib import Path
from typing import Any

import pytest

from tests.interop.sound import GREETS, hears, hears_the_sentence, linear, words
from tests.interop.test_asterisk import desk_phone
from tests.phones.asterisk import MILLIWATT, Asterisk
from tests.phones.linphone import Linphone
from tests.service.rig import bench, ended

pytestmark = [pytest.mark.interop, pytest.mark.usefixtures("baresip")]

ASKS = """\
vad: false
rules:
  - on: response_create
    nth: 1
    do: [{response: {first_byte_ms: 1200, items: [{audio_ms: 400}, {call: transfer, arguments: {target: desk}}]}}]
answer: {items: [{audio_ms: 1000}]}
"""
TONE = MILLIWATT * 100


def with_target(uri: str, method: str = "auto") -> dict[str, Any]:
    transfer = {"targets": {"desk": uri}, "method": method, "timeout_s": 4}
    return {"agent": GREETS | {"tools": ["transfer"], "transfer": transfer}}


async def test_blind_transfer_to_an_extension(tmp_path: Path, pbx: Asterisk) -> None:
    """REFER, NOTIFY with the outcome, BYE: the caller talks to the extension, and our call is over."""
    async with bench(tmp_path, ASKS, **with_target(pbx.uri("800"))) as (service, server):
        await pbx.serve(port=service.sip_port)
        async with await desk_phone(tmp_path / "phone", pbx) as phone:
            await phone.dial(pbx.uri("600"))
            await service.until('sipbridge_calls_total{reason="transferred"}', 1)
            await ended(server.sessions[0])
            await asyncio.sleep(1.5)
            assert hears(phone.heard(), TONE)
            assert await pbx.channels() == 1, "the caller and his extension, nobody else"
            assert pbx.requests("REFER", after=pbx.mark) == 1
            await phone.hang_up()
        await pbx.until_quiet()


async def test_a_refused_refer_becomes_a_second_call(tmp_path: Path, pbx: Asterisk) -> None:
    async with bench(tmp_path, ASKS, **with_target(pbx.uri("801"))) as (service, server):
        await pbx.serve(port=service.sip_port)
        said = words(10)
        async with await desk_phone(tmp_path / "phone", pbx, said=said) as phone:
            await phone.dial(pbx.uri("630"))
            await ended(server.sessions[0], within=10)
            await asyncio.sleep(2.5)
            assert pbx.requests("REFER", after=pbx.mark) == 1
            assert await pbx.channels() == 3, "the caller, his call to us, and ours to the extension"
            # The extension sends back what it hears: the caller hears himself, through us, in both directions.
            heard = phone.heard()
            assert any(hears(heard, said[at : at + 1600]) for at in range(16000, 64000, 160))
            await phone.hang_up()
        await pbx.until_quiet()
        assert (await service.metrics())["sipbridge_calls_active"] == 0


async def test_the_extension_hangs_up_a_bridged_call(tmp_path: Path, pbx: Asterisk) -> None:
    async with bench(tmp_path, ASKS, **with_target(pbx.uri("800"), "bridge")) as (service, server):
        await pbx.serve(port=service.sip_port)
        async with await desk_phone(tmp_path / "phone", pbx) as phone:
            await phone.dial(pbx.uri("600"))
            await ended(server.sessions[0], within=10)
            await asyncio.sleep(1)
            assert hears(phone.heard(), TONE)
            assert pbx.requests("REFER", after=pbx.mark) == 0
            await pbx.hang_up("trunk", application="Milliwatt")
            await phone.event("CALL_CLOSED", 5)
        await pbx.until_quiet()


@pytest.mark.parametrize("method", ["refer", "bridge"])
async def test_a_busy_extension_leaves_the_caller_with_the_agent(tmp_path: Path, pbx: Asterisk, method: str) -> None:
    """The agent learns why and speaks on."""
    async with bench(tmp_path, ASKS, **with_target(pbx.uri("802"), method)) as (service, server):
        await pbx.serve(port=service.sip_port)
        async with await desk_phone(tmp_path / "phone", pbx) as phone:
            await phone.dial(pbx.uri("600"))
            await service.until('sipbridge_responses_total{status="completed"}', 2, within=15)
            results = [
                event["item"]["output"]
                for _, event in server.sessions[0].received
                if event["type"] == "conversation.item.create" and event["item"]["type"] == "function_call_output"
            ]
            assert len(results) == 1 and "busy" in results[0]
            await phone.hang_up()
        await pbx.until_quiet()


@pytest.mark.usefixtures("linphone")
async def test_attended_transfer_to_the_agent(tmp_path: Path) -> None:
    """A phone that has asked the agent first hands its own caller over: INVITE with Replaces.

    linphone sends the caller to the address that it dialled, without the port: so the service has port 5060, at an
    address of its own.
    """
    said = words(12)
    here = f"127.{random.randrange(1, 255)}.{random.randrange(256)}.2"
    listen = {"listen": [f"udp://{here}:5060"]}
    later = "{on: connect, do: [{delay_ms: 4000}, {response: {items: [{audio_ms: 1000}]}}]}"
    async with bench(tmp_path, f"vad: false\nrules: [{later}]", sip=listen) as (service, server):
        caller = await Linphone.start(tmp_path / "caller", user="caller", pcm=linear(said), seconds=12, answer=True)
        async with caller, await Linphone.start(tmp_path / "assistant") as assistant:
            await assistant.dial(f"sip:caller@127.0.0.1:{caller.port}")
            assistant.type("pause")
            await asyncio.sleep(0.5)
            await assistant.dial(f"sip:600@{here}", call=2)
            assistant.type("transfer 1 --to-call 2")
            await assistant.says(r"Call 2 with .* ended", 10)
            await asyncio.sleep(8)
            await caller.hang_up()
            session = await ended(server.sessions[0])
        await service.until('sipbridge_calls_total{reason="caller_hung_up"}', 1)
        assert len(server.sessions) == 1, "one conversation, whoever talks"
        heard = bytes(session.input_audio)
        assert any(said[at : at + 16000] in heard for at in range(0, len(said) - 16000, 160))
        assert hears_the_sentence(caller.heard())
