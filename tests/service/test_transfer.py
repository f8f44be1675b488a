"""Blind transfer: the agent's word becomes a REFER when the caller has heard it, and the PBX says what came of it."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import pytest

from tests.phones.wire import frames, silence
from tests.service.rig import bench, ended
from tests.service.transfers import ENDED, OUTCOME, RawPeer, agent, asks, reason, results

DESK = "sip:desk@127.0.0.1:9"


async def test_refer_when_the_last_word_was_heard_and_bye_when_the_pbx_has_him(tmp_path: Path) -> None:
    async with bench(tmp_path, asks(), agent=agent(desk=DESK)) as (service, server), RawPeer() as pbx:
        pbx.reports = ((0, "100 Trying"), (0.2, "180 Ringing"), (0.2, "200 OK"))
        await pbx.invite("127.0.0.1", service.sip_port)
        refer = await pbx.got("REFER")
        assert refer.header("Refer-To") == f"<{DESK}>"
        assert refer.header("Referred-By") == f"<sip:600@127.0.0.1:{service.sip_port}>"
        bye = await pbx.got("BYE")
        assert reason(bye) == "transferred"
        words = [packet for packet in pbx.wire.packets if packet.payload.strip(b"\xff")]
        assert sum(len(packet.payload.strip(b"\xff")) for packet in words) == server.sessions[0].items[0].sent_bytes
        assert words[-1].t_ns < refer.t_ns, "REFER before he has heard it all"
        notified = [message for message in pbx.messages if message.status and message.method == "NOTIFY"]
        assert [message.status for message in notified] == [200, 200, 200]
        await service.until(ENDED("transferred"), 1)
        await service.until(OUTCOME("transferred"), 1)
        await ended(server.sessions[0])
        assert service.events("transfer.ended")[0]["outcome"] == "transferred"
        assert service.events("call.ended")[0]["reason"] == "transferred"
        assert results(server.sessions[0]) == []
        assert (await service.metrics())["sipbridge_rtp_ports_free"] == 100


async def test_a_pbx_that_hangs_up_as_soon_as_it_has_accepted_has_transferred(tmp_path: Path) -> None:
    async with bench(tmp_path, asks(), agent=agent(desk=DESK)) as (service, _), RawPeer() as pbx:
        pbx.hangs_up_when_referred = True
        await pbx.invite("127.0.0.1", service.sip_port)
        await service.until(ENDED("transferred"), 1)
        assert (await service.metrics())[OUTCOME("transferred")] == 1


@pytest.mark.parametrize(
    ("status", "word"),
    [
        ("486 Busy Here", "busy"),
        ("603 Decline", "rejected"),
        ("404 Not Found", "not found"),
        ("480 Temporarily Unavailable", "no answer"),
        ("488 Not Acceptable Here", "no common codec"),
    ],
)
async def test_the_model_is_told_what_the_pbx_says_and_the_call_goes_on(tmp_path: Path, status: str, word: str) -> None:
    async with bench(tmp_path, asks(), agent=agent(desk=DESK)) as (service, server), RawPeer() as pbx:
        pbx.reports = ((0, "180 Ringing"), (0.1, status))
        await pbx.invite("127.0.0.1", service.sip_port)
        await service.until('sipbridge_responses_total{status="completed"}', 2)
        session = server.sessions[0]
        assert results(session) == [{"error": word}]
        before = len(session.input_audio)
        await pbx.wire.play(frames(silence(0.3)))
        assert len(session.input_audio) > before and not pbx.ended.is_set()
        await pbx.bye()
        await service.until(ENDED("caller_hung_up"), 1)
        assert (await service.metrics())[OUTCOME(word.replace(" ", "_"))] == 1


@pytest.mark.parametrize(("rings", "word"), [(False, "timeout"), (True, "no answer")])
async def test_a_pbx_that_never_says_how_it_ended_gets_the_configured_time(
    tmp_path: Path, rings: bool, word: str
) -> None:
    """Though it says something all the while."""
    async with bench(tmp_path, asks(), agent=agent(desk=DESK, timeout_s=1)) as (service, server), RawPeer() as pbx:
        pbx.reports = ((0.1, "180 Ringing" if rings else "100 Trying"),) * 100
        await pbx.invite("127.0.0.1", service.sip_port)
        await service.until('sipbridge_responses_total{status="completed"}', 2, within=5)
        assert results(server.sessions[0]) == [{"error": word}]
        await asyncio.sleep(0.2)
        assert pbx.messages[-1].status == 481, "we want no more reports"
        assert len(pbx.requests("INVITE")) == 0
        await pbx.bye()


async def test_a_pbx_that_does_not_answer_refer_at_all(tmp_path: Path) -> None:
    async with bench(tmp_path, asks(), agent=agent(desk=DESK, timeout_s=1)) as (service, server), RawPeer() as pbx:
        pbx.refer = ""
        await pbx.invite("127.0.0.1", service.sip_port)
        await service.until(OUTCOME("timeout"), 1, within=5)
        assert results(server.sessions[0]) == [{"error": "timeout"}]
        await pbx.bye()


async def test_a_refused_refer_is_all_where_nothing_else_is_wanted(tmp_path: Path) -> None:
    async with bench(tmp_path, asks(), agent=agent("refer", desk=DESK)) as (service, server), RawPeer() as pbx:
        pbx.refer = "405 Method Not Allowed"
        await pbx.invite("127.0.0.1", service.sip_port)
        await service.until('sipbridge_responses_total{status="completed"}', 2)
        assert results(server.sessions[0]) == [{"error": "refused"}]
        assert service.events("transfer.refused")[0]["status"] == 405
        assert (await service.metrics())[OUTCOME("refused")] == 1
        await pbx.bye()


async def test_a_number_goes_to_the_pbx_of_the_call(tmp_path: Path) -> None:
    targets = {"sales": "200", "anybody": "3??"}
    async with bench(tmp_path, asks("3 1-7"), agent=agent(**targets)) as (service, _), RawPeer() as pbx:
        await pbx.invite("127.0.0.1", service.sip_port)
        assert (await pbx.got("REFER")).header("Refer-To") == f"<sip:317@127.0.0.1:{pbx.port}>"
        await service.until(ENDED("transferred"), 1)


async def test_a_number_goes_to_the_server_of_the_trunk_that_has_one(tmp_path: Path) -> None:
    trunks = {"carrier": {"peers": "127.0.0.0/8", "proxy": "sip:carrier.invalid:5070"}}
    settings = {"agent": agent(sales="200"), "trunks": trunks}
    async with bench(tmp_path, asks("SALES"), **settings) as (_, __), RawPeer() as pbx:
        await pbx.invite("127.0.0.1", _.sip_port)
        assert (await pbx.got("REFER")).header("Refer-To") == "<sip:200@carrier.invalid:5070>"
        await pbx.got("BYE")


STRANGE = [
    "boss",
    "400",
    "2000",
    "sip:200@evil.example",
    "200@evil.example",
    "200;maddr=evil.example",
    "200\r\nX-Evil: yes",
    "300?Replaces=a",
    "\u0663\u0660\u0660",
    "*",
    "3" * 5000,
    "",
]


async def test_nobody_is_called_who_is_not_listed(tmp_path: Path) -> None:
    targets = {"anybody": "3??", "desk": DESK, "sales": "200"}
    calls = [{"call": "transfer", "arguments": {"target": wanted}} for wanted in STRANGE]
    calls += [{"call": "transfer", "arguments": text} for text in ("{", "[]", '{"target": ["300"]}')]
    rule = {"on": "response_create", "nth": 1, "do": [{"response": {"items": calls}}]}
    script = json.dumps({"vad": False, "rules": [rule], "answer": {"items": [{"audio_ms": 100}]}})
    async with bench(tmp_path, script, agent=agent(**targets)) as (service, server), RawPeer() as pbx:
        await pbx.invite("127.0.0.1", service.sip_port)
        await service.until(OUTCOME("not_allowed"), len(STRANGE))
        await service.until('sipbridge_responses_total{status="completed"}', 2)
        told = {"error": "this target is not allowed", "allowed": ["anybody", "desk", "sales"]}
        answered = results(server.sessions[0])
        # Arguments are judged at once; a transfer is looked at only once the call is answered.
        judged = [answer for answer in answered if answer != told]
        assert len(answered) - len(judged) == len(STRANGE)
        assert [answer["error"][:13] for answer in judged] == ["the arguments"] * 3
        await asyncio.sleep(0.5)
        assert not pbx.requests("REFER")
        assert service.events("transfer.not_allowed")[0]["advice"] == "list it in agents.<name>.transfer.targets"
        await pbx.bye()


async def test_a_caller_who_speaks_before_it_begins_is_not_transferred(tmp_path: Path) -> None:
    call = {"call": "transfer", "arguments": {"target": "desk"}}
    steps = [
        {"response": {"items": [{"audio_ms": 3000}, call], "speed": "max"}},
        {"until": "response_done"},
        {"delay_ms": 300},
        {"speech_started": {}},
        {"delay_ms": 100},
        {"speech_stopped": {"respond": False}},
        {"response": {"items": [{"audio_ms": 200}]}},
    ]
    script = json.dumps({"vad": False, "rules": [{"on": "response_create", "nth": 1, "do": steps}]})
    async with bench(tmp_path, script, agent=agent(desk=DESK)) as (service, server), RawPeer() as pbx:
        await pbx.invite("127.0.0.1", service.sip_port)
        await service.until('sipbridge_responses_total{status="completed"}', 2)
        assert results(server.sessions[0]) == [{"error": "the caller spoke: not transferred"}]
        await asyncio.sleep(0.6)
        assert not pbx.requests("REFER") and not pbx.ended.is_set()
        assert (await service.metrics())[OUTCOME("interrupted")] == 1
        await pbx.bye()


async def test_one_transfer_at_a_time(tmp_path: Path) -> None:
    call = {"call": "transfer", "arguments": {"target": "desk"}}
    again = {"on": "response_create", "nth": 1, "do": [{"response": {"items": [call, call, {"call": "hang_up"}]}}]}
    script = json.dumps({"vad": False, "rules": [again], "answer": {"items": [{"audio_ms": 100}]}})
    async with bench(tmp_path, script, agent=agent(desk=DESK)) as (service, server), RawPeer() as pbx:
        pbx.reports = ((0, "100 Trying"), (1, "200 OK"))
        await pbx.invite("127.0.0.1", service.sip_port)
        await service.until(ENDED("transferred"), 1)
        told = [result["error"] for result in results(server.sessions[0])]
        assert told[:2] == ["another transfer, or the end of the call, is under way", "a transfer is under way"]
        assert len(pbx.requests("REFER")) == 1
