"""Somebody else takes the caller's place and goes on with the same agent: by REFER, by INVITE with Replaces."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from itertools import pairwise
from pathlib import Path

import pytest

from bridge.audio.g711 import Law, translation
from tests.phones.rawpeer import ANSWERS, Steps
from tests.phones.rawphone import Message, RawPhone
from tests.service.rig import bench
from tests.service.test_joined_calls import Bench
from tests.service.transfers import ENDED, OUTCOME, RawPeer, agent, came, reason, sound, uri

SCRIPT = "{vad: false, answer: {items: [{audio_ms: 300}]}}"


@asynccontextmanager
async def talking(
    folder: Path, *, law: str = "PCMU", answers: Steps = ANSWERS, timeout_s: float = 10
) -> AsyncIterator[Bench]:
    """A caller in a call with the agent, and a desk that he may be exchanged for."""
    async with RawPeer(user="caller") as caller, RawPeer(law=law, answers=answers) as desk:
        settings = agent(desk=uri(desk), timeout_s=timeout_s)
        async with bench(folder, SCRIPT, agent=settings) as (service, server):
            await caller.invite("127.0.0.1", service.sip_port)
            await service.until('sipbridge_responses_total{status="completed"}', 1)
            yield Bench(service, server, caller, desk)


async def refer(rig: Bench, target: str, *headers: str) -> Message:
    lines = [f"Refer-To: <{target}>", "Referred-By: <sip:caller@pbx.example>", *headers]
    return await rig.caller.in_dialog("REFER", headers=lines)


def reports(peer: RawPeer) -> list[str]:
    return [message.body.strip() for message in peer.requests("NOTIFY")]


async def talks_with_the_agent(rig: Bench, peer: RawPeer, seed: int = 21) -> None:
    """Whether the model hears a party, whatever its law; the session is the one that was there from the start."""
    said = sound(seed)
    await peer.wire.play(said)
    await asyncio.sleep(0.2)
    table = translation(Law[peer.law], Law.PCMU)
    heard = bytes(rig.session.input_audio)
    missing = [at for at, frame in enumerate(said) if (frame if table is None else frame.translate(table)) not in heard]
    assert not missing
    assert len(rig.server.sessions) == 1


@pytest.mark.parametrize("law", ["PCMU", "PCMA"])
async def test_the_new_party_goes_on_with_the_agent(tmp_path: Path, law: str) -> None:
    async with talking(tmp_path, law=law) as rig:
        assert (await refer(rig, uri(rig.desk))).status == 202
        invite = await rig.desk.got("INVITE")
        assert invite.header("Referred-By") == "<sip:caller@pbx.example>"
        bye = await rig.caller.got("BYE", within=5)
        assert reason(bye) == "transferred"
        assert reports(rig.caller) == ["SIP/2.0 100 Trying", "SIP/2.0 180 Ringing", "SIP/2.0 200 OK"]
        states = [message.header("Subscription-State") for message in rig.caller.requests("NOTIFY")]
        assert states[-1].startswith("terminated") and states[0].startswith("active")
        await talks_with_the_agent(rig, rig.desk)
        assert not came(rig.caller.wire, sound(21))
        assert (await rig.service.metrics())["sipbridge_rtp_ports_free"] == 99, "the old party's port is free again"
        await rig.desk.wire.press("4")
        await rig.service.until("sipbridge_digits_total", 1)
        await rig.desk.bye()
        await rig.service.until(ENDED("caller_hung_up"), 1)
        await rig.quiet()
        assert (await rig.service.metrics())[OUTCOME("taken_over")] == 1


async def test_a_pbx_that_hangs_up_as_soon_as_we_accepted(tmp_path: Path) -> None:
    """The agent waits for the new party, and neither speaks to nor hears anybody meanwhile."""
    async with talking(tmp_path, answers=((0, "180 Ringing"), (0.6, "200 OK"))) as rig:
        assert (await refer(rig, uri(rig.desk))).status == 202
        await rig.caller.bye()
        await rig.desk.got("ACK")
        await asyncio.sleep(0.1)
        await talks_with_the_agent(rig, rig.desk)
        await rig.desk.bye()
        await rig.quiet()


async def test_nobody_is_left_when_the_new_party_is_busy(tmp_path: Path) -> None:
    async with talking(tmp_path, answers=((0.3, "486 Busy Here"),)) as rig:
        assert (await refer(rig, uri(rig.desk))).status == 202
        await rig.caller.bye()
        await rig.service.until(ENDED("caller_hung_up"), 1)
        await rig.quiet()


@pytest.mark.parametrize(
    ("answers", "last"),
    [
        (((0, "180 Ringing"), (0.1, "486 Busy Here")), "SIP/2.0 486 Busy Here"),
        (((0, "180 Ringing"),), "SIP/2.0 487 Request Terminated"),
    ],
    ids=["busy", "no answer"],
)
async def test_a_failure_is_told_and_the_call_goes_on(tmp_path: Path, answers: Steps, last: str) -> None:
    async with talking(tmp_path, answers=answers, timeout_s=1) as rig:
        assert (await refer(rig, uri(rig.desk))).status == 202
        await rig.caller.got("NOTIFY", 3)
        assert reports(rig.caller)[-1] == last
        await talks_with_the_agent(rig, rig.caller)
        assert (await refer(rig, uri(rig.desk))).status == 202, "and may be tried again"
        await rig.caller.got("NOTIFY", 6)
        await rig.caller.bye()
        await rig.quiet()


async def test_whom_the_list_does_not_name_nobody_calls(tmp_path: Path) -> None:
    async with talking(tmp_path) as rig:
        desk, port = rig.desk, rig.desk.port
        for target in (
            "sip:boss@127.0.0.1:9",
            f"sip:desk@localhost:{port}",
            f"sip:desk@127.0.0.2:{port};maddr=127.0.0.1",
            f"{uri(desk)};maddr=127.0.0.1",
            f"{uri(desk)};method=BYE",
            f"{uri(desk)}?Subject=x",
            f"sip:200@127.0.0.1:{port}",
            "tel:+4930123",
        ):
            answer = await refer(rig, target)
            expected = 202 if "Subject" in target else 603
            assert answer.status == expected, target
        invite = await desk.got("INVITE")
        assert not invite.header("Subject"), "a stranger's headers are not sent on"
        assert len(desk.requests("INVITE")) == 1
        await rig.caller.got("BYE")
        await desk.bye()
        await rig.quiet()
        assert rig.service.events("transfer.not_allowed")


async def test_a_second_refer_while_the_first_one_rings(tmp_path: Path) -> None:
    async with talking(tmp_path, answers=((0, "180 Ringing"), (0.5, "200 OK"))) as rig:
        assert (await refer(rig, uri(rig.desk))).status == 202
        assert (await refer(rig, uri(rig.desk))).status == 603
        await rig.caller.got("BYE")
        assert len(rig.desk.requests("INVITE")) == 1
        await rig.desk.bye()
        await rig.quiet()


async def test_replaces_in_refer_to_is_sent_on(tmp_path: Path) -> None:
    async with talking(tmp_path) as rig:
        escaped = "abc%40pbx%3Bto-tag%3D1%3Bfrom-tag%3D2"
        assert (await refer(rig, f"{uri(rig.desk)}?Replaces={escaped}")).status == 202
        assert (await rig.desk.got("INVITE")).header("Replaces") == "abc@pbx;to-tag=1;from-tag=2"
        await rig.caller.got("BYE")
        await talks_with_the_agent(rig, rig.desk)
        await rig.desk.bye()
        await rig.quiet()


# INVITE with Replaces


def replaces(peer: RawPeer) -> str:
    """The name of a peer's call, as the service knows it (RFC 3891)."""
    return f"Replaces: {peer.call_id};to-tag={peer.to_header.partition(';tag=')[2]};from-tag={peer.from_tag}"


@pytest.mark.parametrize("delayed", [False, True], ids=["offer", "delayed offer"])
async def test_an_invite_with_replaces_takes_over(tmp_path: Path, delayed: bool) -> None:
    async with talking(tmp_path, law="PCMA") as rig:
        headers = [replaces(rig.caller)]
        if delayed:
            await rig.desk.start_invite("127.0.0.1", rig.service.sip_port, sdp="", headers=headers)
            answer = await rig.desk.answer(sdp=rig.desk.sdp())
            rig.desk.wire.payload_type = 8
        else:
            answer = await rig.desk.invite("127.0.0.1", rig.service.sip_port, headers=headers)
        assert answer.status == 200
        assert reason(await rig.caller.got("BYE")) == "transferred"
        await talks_with_the_agent(rig, rig.desk)
        metrics = await rig.service.metrics()
        assert metrics["sipbridge_calls_active"] == 1 and metrics["sipbridge_rtp_ports_free"] == 99
        await rig.desk.bye()
        await rig.service.until(ENDED("caller_hung_up"), 1)
        await rig.quiet()
        assert (await rig.service.metrics())[OUTCOME("replaced")] == 1


async def test_who_replaces_and_leaves_before_the_ack_leaves_nothing(tmp_path: Path) -> None:
    """The caller is gone or not: no port and no call stays behind."""
    async with talking(tmp_path) as rig:
        await rig.desk.start_invite("127.0.0.1", rig.service.sip_port, sdp="", headers=[replaces(rig.caller)])
        final = await rig.desk._final("INVITE", 1, rig.desk._invite, 5, give_way_to_provisional=True)
        assert final.status == 200
        await rig.caller.bye()
        await rig.service.until(ENDED("caller_hung_up"), 1)
        rig.desk.to_header = final.header("To")
        rig.desk._learn(final)
        rig.desk._ack(final, rig.desk.sdp())
        await rig.desk.got("BYE")
        await rig.quiet()


async def test_replaces_of_nothing_and_of_nonsense(tmp_path: Path) -> None:
    async with talking(tmp_path) as rig:
        call, port = rig.caller, rig.service.sip_port
        assert (await rig.desk.invite("127.0.0.1", port, headers=["Replaces: no;to-tag=a;from-tag=b"])).status == 481
        assert (await rig.desk.invite("127.0.0.1", port, headers=["Replaces: no"])).status == 400
        early = f"{replaces(call)};early-only"
        assert (await rig.desk.invite("127.0.0.1", port, headers=[early])).status == 486
        await talks_with_the_agent(rig, call)
        await call.bye()
        await rig.quiet()


async def test_a_call_of_another_trunk_cannot_be_taken(tmp_path: Path) -> None:
    trunks = {"pbx": {"peers": "127.0.0.1"}, "other": {"peers": "127.0.0.2"}}
    async with RawPeer(user="caller") as caller, RawPhone(host="127.0.0.2") as eve:
        async with bench(tmp_path, SCRIPT, agent=agent(desk="200"), trunks=trunks) as (service, _):
            await caller.invite("127.0.0.1", service.sip_port)
            answer = await eve.invite("127.0.0.1", service.sip_port, headers=[replaces(caller)])
            assert answer.status == 403
            assert answer.header("Warning") == '399 sipbridge "replaces_not_allowed"'
            assert not caller.ended.is_set()
            assert (await service.metrics())['sipbridge_refusals_total{reason="replaces_not_allowed"}'] == 1
            await caller.bye()
            await service.until("sipbridge_rtp_ports_free", 100)


async def test_who_takes_over_a_call_may_be_taken_over(tmp_path: Path) -> None:
    """But not for ever: each change leaves a record behind."""
    async with talking(tmp_path) as rig:
        phones = [rig.caller, *[await RawPeer(user=f"p{index}").__aenter__() for index in range(17)]]
        statuses = []
        for old, new in pairwise(phones):
            answer = await new.invite("127.0.0.1", rig.service.sip_port, headers=[replaces(old)])
            statuses.append(answer.status)
        assert statuses == [200] * 16 + [403]
        assert (await rig.service.metrics())["sipbridge_rtp_ports_free"] == 99
        await phones[16].bye()
        for phone in phones[1:]:
            phone.close()
        await rig.quiet()
