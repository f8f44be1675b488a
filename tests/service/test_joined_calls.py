"""The second call: what a caller whose PBX refuses REFER hears until somebody picks up, and everything after that."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from bridge.agent.server import AgentServer, AgentSession
from bridge.audio.g711 import Law, translation
from bridge.audio.tone import ringing
from tests.phones.rawpeer import ANSWERS, Steps
from tests.phones.wire import frames
from tests.service.rig import Service, bench, ended
from tests.service.transfers import ENDED, OUTCOME, RawPeer, agent, asks, came, reason, results, sound, uri


class Bench:
    """The service, the caller in a call with it, and whom the agent wants to connect him to."""

    def __init__(self, service: Service, server: AgentServer, caller: RawPeer, desk: RawPeer) -> None:
        self.service, self.server, self.caller, self.desk = service, server, caller, desk

    @property
    def session(self) -> AgentSession:
        return self.server.sessions[0]

    async def joined(self) -> None:
        """Wait until the two are connected."""
        await self.service.until(OUTCOME("joined"), 1)

    async def quiet(self) -> None:
        """Everything is over, and nothing is left of it."""
        await ended(self.session)
        await self.service.until("sipbridge_rtp_ports_free", 100)
        assert (await self.service.metrics())["sipbridge_calls_active"] == 0
        assert not [line for line in self.service.lines() if "exception" in line or line["level"] == "error"]


@asynccontextmanager
async def calling(
    folder: Path,
    *,
    method: str = "bridge",
    timeout_s: float = 10,
    caller_law: str = "PCMU",
    desk_law: str = "PCMU",
    answers: Steps = ANSWERS,
    number: str = "600",
    invites: bool = True,
    **more: Any,
) -> AsyncIterator[Bench]:
    async with RawPeer(user="caller", law=caller_law) as caller, RawPeer(law=desk_law, answers=answers) as desk:
        settings = {"agent": agent(method, timeout_s=timeout_s, desk=uri(desk))} | more
        async with bench(folder, asks(), **settings) as (service, server):
            if invites:
                await caller.invite("127.0.0.1", service.sip_port, number)
            yield Bench(service, server, caller, desk)


async def test_a_refused_refer_becomes_a_second_call_that_is_joined(tmp_path: Path) -> None:
    async with calling(tmp_path, method="auto") as rig:
        rig.caller.refer = "405 Method Not Allowed"
        await rig.joined()
        assert len(rig.caller.requests("REFER")) == 1
        invite = await rig.desk.got("INVITE")
        assert invite.start == f"INVITE {uri(rig.desk)} SIP/2.0"
        assert invite.header("From").startswith("<sip:600@127.0.0.1")
        await ended(rig.session)  # at once: nobody pays for a session that nobody hears
        assert (await rig.service.metrics())["sipbridge_calls_active"] == 1
        there, back = sound(1), sound(2)
        await asyncio.gather(rig.caller.wire.play(there), rig.desk.wire.play(back))
        await asyncio.sleep(0.2)
        assert came(rig.desk.wire, there) == there and came(rig.caller.wire, back) == back
        heard = bytes(rig.session.input_audio)
        assert not any(frame in heard for frame in (*there, *back)), "the model listens to neither"
        await rig.caller.bye()
        assert reason(await rig.desk.got("BYE")) == "transferred"
        await rig.service.until(ENDED("transferred"), 1)
        await rig.quiet()
        assert rig.service.events("call.ended")[0]["reason"] == "transferred"


async def test_two_laws_are_translated_both_ways(tmp_path: Path) -> None:
    async with calling(tmp_path, caller_law="PCMU", desk_law="PCMA") as rig:
        rig.desk.answers = ((0, "200 OK"),)
        await rig.joined()
        there, back = sound(3), sound(4)
        up, down = translation(Law.PCMU, Law.PCMA), translation(Law.PCMA, Law.PCMU)
        assert up is not None and down is not None
        await asyncio.gather(rig.caller.wire.play(there), rig.desk.wire.play(back))
        await asyncio.sleep(0.2)
        heard = [frame.translate(up) for frame in there]
        assert came(rig.desk.wire, heard) == heard
        heard = [frame.translate(down) for frame in back]
        assert came(rig.caller.wire, heard) == heard
        await rig.desk.bye()
        assert reason(await rig.caller.got("BYE")) == "transferred"
        await rig.service.until(ENDED("transferred"), 1)
        await rig.quiet()


async def test_the_caller_hears_it_ring_and_the_model_hears_nothing_until_it_failed(tmp_path: Path) -> None:
    async with calling(tmp_path, answers=((0, "180 Ringing"), (1.2, "486 Busy Here"))) as rig:
        await rig.desk.got("INVITE")
        tone = ringing(Law.PCMU)
        known = set(frames(tone[: 160 * 50]))
        meanwhile, after = sound(5, 30), sound(6, 10)
        await asyncio.sleep(0.2)
        await rig.caller.wire.play(meanwhile)
        heard = [packet.payload for packet in rig.caller.wire.packets if packet.payload in known]
        assert b"".join(heard)[:1600] == tone[:1600]
        await rig.caller.wire.press("5")
        await rig.service.until('sipbridge_responses_total{status="completed"}', 2)
        assert results(rig.session) == [{"error": "busy"}]
        count = len(rig.caller.wire.packets)
        await rig.caller.wire.play(after)
        await asyncio.sleep(0.2)
        assert not any(packet.payload in known for packet in rig.caller.wire.packets[count:]), "it rings no more"
        said = bytes(rig.session.input_audio)
        assert not any(frame in said for frame in meanwhile)
        assert all(frame in said for frame in after)
        assert not [event for _, event in rig.session.received if "pressed" in str(event)]
        await rig.caller.bye()
        await rig.quiet()
        assert (await rig.service.metrics())[OUTCOME("busy")] == 1


async def test_early_media_takes_the_place_of_the_ringing_tone(tmp_path: Path) -> None:
    answers = ((0, "180 Ringing"), (0.2, "183 Session Progress"), (1.2, "200 OK"))
    async with calling(tmp_path, answers=answers) as rig:
        await rig.desk.got("INVITE")
        await asyncio.sleep(0.4)
        announcement = sound(7, 30)
        await rig.desk.wire.play(announcement)
        await asyncio.sleep(0.2)
        heard = rig.caller.wire.packets
        assert came(rig.caller.wire, announcement) == announcement
        tone = {frame for frame in frames(ringing(Law.PCMU)[: 160 * 50]) if frame.strip(b"\xff")}
        begun = next(at for at, packet in enumerate(heard) if packet.payload == announcement[0])
        assert any(packet.payload in tone for packet in heard[:begun])
        assert not any(packet.payload in tone for packet in heard[begun:])
        await rig.joined()
        back = sound(8)
        await rig.desk.wire.play(back)
        await asyncio.sleep(0.2)
        assert came(rig.caller.wire, back) == back
        await rig.desk.bye()
        await rig.quiet()


@pytest.mark.parametrize(
    ("answers", "word"),
    [
        (((0, "180 Ringing"),), "no answer"),
        ((), "no answer"),
        (((0, "603 Decline"),), "rejected"),
        (((0, "404 Not Found"),), "not found"),
        (((0, "480 Temporarily Unavailable"),), "unreachable"),
        (((0, "488 Not Acceptable Here"),), "no common codec"),
    ],
)
async def test_each_failure_has_its_word(tmp_path: Path, answers: Steps, word: str) -> None:
    async with calling(tmp_path, answers=answers, timeout_s=1) as rig:
        await rig.service.until('sipbridge_responses_total{status="completed"}', 2, within=6)
        assert results(rig.session) == [{"error": word}]
        if word == "no answer" and answers:
            cancel = await rig.desk.got("CANCEL")
            assert reason(cancel) == "no_answer"
        await rig.caller.bye()
        await rig.quiet()


async def test_an_answer_without_a_codec_of_ours_is_no_answer(tmp_path: Path) -> None:
    async with calling(tmp_path, invites=False) as rig:
        rig.desk.answer_sdp = rig.desk.sdp().replace("RTP/AVP 0 101", "RTP/AVP 18").replace("0 PCMU", "18 G729")
        await rig.caller.invite("127.0.0.1", rig.service.sip_port)
        await rig.service.until('sipbridge_responses_total{status="completed"}', 2)
        assert results(rig.session) == [{"error": "no common codec"}]
        assert reason(await rig.desk.got("BYE")) == "no_common_codec"
        await rig.caller.bye()
        await rig.quiet()


async def test_a_target_that_cannot_be_reached(tmp_path: Path) -> None:
    settings = agent("bridge", desk="sip:desk@127.0.0.1:9;transport=tcp")
    async with calling(tmp_path, agent=settings) as rig:
        await rig.service.until('sipbridge_responses_total{status="completed"}', 2)
        assert results(rig.session) == [{"error": "unreachable"}]
        await rig.caller.bye()
        await rig.quiet()


async def test_a_caller_who_hangs_up_while_it_rings_takes_the_second_call_along(tmp_path: Path) -> None:
    async with calling(tmp_path, answers=((0, "180 Ringing"),)) as rig:
        await rig.desk.got("INVITE")
        await asyncio.sleep(0.2)
        await rig.caller.bye()
        await rig.desk.got("CANCEL")
        await rig.service.until(ENDED("caller_hung_up"), 1)
        await rig.quiet()


async def test_a_target_that_hangs_up_as_soon_as_it_has_answered(tmp_path: Path) -> None:
    """Its BYE may come before anybody has joined the two."""
    async with calling(tmp_path, invites=False) as rig:
        desk = rig.desk
        answer = desk._take

        async def take(invite: Any, source: tuple[str, int]) -> None:
            await answer(invite, source)
            await desk.bye()

        desk._take = take  # type: ignore[method-assign]
        desk.answers = ((0, "200 OK"),)
        await rig.caller.invite("127.0.0.1", rig.service.sip_port)
        async with asyncio.timeout(10):
            while not results(rig.session) and not rig.caller.ended.is_set():
                await asyncio.sleep(0.02)
        if not rig.caller.ended.is_set():
            assert results(rig.session) == [{"error": "hung up"}]
            await rig.caller.bye()
        await rig.quiet()


async def test_keys_pass_both_ways(tmp_path: Path) -> None:
    async with calling(tmp_path, invites=False) as rig:
        rig.desk.answer_sdp = rig.desk.sdp().replace(" 101\r\n", "\r\n", 1)  # no telephone-events at that end
        await rig.caller.invite("127.0.0.1", rig.service.sip_port)
        await rig.joined()
        await rig.caller.wire.press("7")
        info = await rig.desk.got("INFO")
        assert info.header("Content-Type") == "application/dtmf-relay" and "Signal=7" in info.body
        await rig.desk.in_dialog("INFO", body="Signal=#\r\nDuration=100\r\n", content_type="application/dtmf-relay")
        await asyncio.sleep(0.4)
        events = [packet.payload for packet in rig.caller.wire.packets if packet.payload_type == 101]
        assert events and {payload[0] for payload in events} == {11}
        await rig.caller.bye()
        await rig.quiet()


async def test_hold_and_a_changed_law_while_joined(tmp_path: Path) -> None:
    async with calling(tmp_path) as rig:
        await rig.joined()
        assert (await rig.caller.in_dialog("INVITE", body=rig.caller.sdp(direction="sendonly"))).status == 200
        music, back = sound(9, 20), sound(10, 20)
        await asyncio.gather(rig.caller.wire.play(music), rig.desk.wire.play(back))
        await asyncio.sleep(0.2)
        assert not came(rig.desk.wire, music) and not came(rig.caller.wire, back)
        rig.caller.law, rig.caller.wire.payload_type = "PCMA", 8
        assert (await rig.caller.in_dialog("INVITE", body=rig.caller.sdp())).status == 200
        await asyncio.sleep(0.3)
        there = sound(11)
        await rig.caller.wire.play(there)
        await asyncio.sleep(0.2)
        table = translation(Law.PCMA, Law.PCMU)
        assert table is not None
        assert came(rig.desk.wire, heard := [frame.translate(table) for frame in there]) == heard
        await rig.caller.bye()
        await rig.quiet()


async def test_a_phone_with_a_fast_clock_builds_up_no_delay(tmp_path: Path) -> None:
    """Twice as fast for two seconds: half of it is dropped, the rest is not late."""
    async with calling(tmp_path) as rig:
        await rig.joined()
        said = sound(12, 200)
        await rig.caller.wire.play(said, ptime_ms=10)
        last = rig.caller.wire.sent[-1].t_ns
        await asyncio.sleep(0.5)
        heard = [packet for packet in rig.desk.wire.packets if packet.payload in set(said)]
        assert (heard[-1].t_ns - last) / 1e6 < 400, "two seconds would wait without a bound"
        assert said.index(heard[-1].payload) > 180
        assert len(heard) < 150
        await rig.caller.bye()
        await rig.quiet()


async def test_the_time_limit_ends_both(tmp_path: Path) -> None:
    async with calling(tmp_path, limits={"minutes": 0.06}) as rig:
        await rig.joined()
        assert reason(await rig.desk.got("BYE")) == "time_limit"
        assert reason(await rig.caller.got("BYE")) == "time_limit"
        await rig.service.until(ENDED("time_limit"), 1)
        await rig.quiet()


@pytest.mark.parametrize("answers", [ANSWERS, ((0, "180 Ringing"),)], ids=["joined", "ringing"])
async def test_the_end_of_the_service_ends_both(tmp_path: Path, answers: Steps) -> None:
    async with calling(tmp_path, answers=answers, limits={"drain_s": 0.2}) as rig:
        if answers is ANSWERS:
            await rig.joined()
        else:
            await rig.desk.got("INVITE")
            await asyncio.sleep(0.2)
        rig.service.process.send_signal(signal.SIGTERM)
        await rig.caller.got("BYE")
        await rig.desk.got("BYE" if answers is ANSWERS else "CANCEL")
        assert await asyncio.to_thread(rig.service.process.wait, 10) == 0


async def test_a_challenge_is_answered_and_the_proxy_of_the_trunk_is_asked(tmp_path: Path) -> None:
    """The trunk registers nowhere that answers; its account and its proxy are used for calls of ours all the same."""
    async with RawPeer(user="proxy") as proxy:
        proxy.challenges = True
        account = {"server": "127.0.0.1:9", "user": "us", "password": "secret"}
        trunk = {"peers": "127.0.0.0/8", "proxy": f"sip:127.0.0.1:{proxy.port}", "register": account}
        settings = {"agent": agent("bridge", desk="200"), "trunks": {"carrier": trunk}, "until": "/healthz"}
        async with calling(tmp_path, **settings) as rig:
            await rig.joined()
            first, second = proxy.requests("INVITE")
            assert second.start == f"INVITE sip:200@127.0.0.1:{proxy.port} SIP/2.0"
            assert second.header("Route") == f"<sip:127.0.0.1:{proxy.port};lr>"
            assert not first.header("Authorization") and 'username="us"' in second.header("Authorization")
            await rig.caller.bye()
            await rig.quiet()


async def test_the_rtp_of_one_party_stops(tmp_path: Path) -> None:
    async with calling(tmp_path, media={"rtp_timeout_s": 1}) as rig:
        await rig.joined()
        await asyncio.gather(rig.caller.wire.play(sound(13, 100)), rig.desk.got("BYE"))
        await rig.service.until(ENDED("rtp_timeout"), 1)
        await rig.quiet()


async def test_attended_the_pbx_joins_the_two_calls(tmp_path: Path) -> None:
    async with calling(tmp_path, method="attended") as rig:
        rig.caller.reports = ((0.3, "200 OK"),)
        refer = await rig.caller.got("REFER")
        target, _, replaces = refer.header("Refer-To").strip("<>").partition("?Replaces=")
        assert target == uri(rig.desk)
        theirs = rig.desk.to_header.partition(";tag=")[2]
        assert replaces == f"{rig.desk.call_id}%3Bto-tag%3D{rig.desk.from_tag}%3Bfrom-tag%3D{theirs}"
        assert reason(await rig.caller.got("BYE")) == "transferred"
        assert reason(await rig.desk.got("BYE")) == "transferred"
        await rig.service.until(ENDED("transferred"), 1)
        await rig.quiet()


async def test_attended_the_target_has_left_us_before_the_pbx_says_so(tmp_path: Path) -> None:
    """It has the PBX's INVITE with Replaces, so it hangs up on us; only then the PBX tells of its success."""
    async with calling(tmp_path, method="attended") as rig:
        rig.caller.reports = ((0, "100 Trying"), (0.4, "200 OK"))
        await rig.caller.got("REFER")
        await rig.desk.bye()
        await rig.caller.got("BYE")
        await rig.service.until(OUTCOME("transferred"), 1)
        await rig.quiet()


async def test_attended_and_refused_becomes_joined(tmp_path: Path) -> None:
    async with calling(tmp_path, method="attended") as rig:
        rig.caller.refer = "603 Decline"
        await rig.joined()
        there = sound(14)
        await rig.caller.wire.play(there)
        await asyncio.sleep(0.2)
        assert came(rig.desk.wire, there) == there
        await rig.desk.bye()
        await rig.quiet()


async def test_attended_and_the_target_gives_up_while_the_pbx_fails(tmp_path: Path) -> None:
    async with calling(tmp_path, method="attended") as rig:
        rig.caller.reports = ((0.5, "503 Service Unavailable"),)
        await rig.caller.got("REFER")
        await rig.desk.bye()
        await rig.service.until(OUTCOME("hung_up"), 1)
        await rig.service.until('sipbridge_responses_total{status="completed"}', 2)
        assert results(rig.session) == [{"error": "hung up"}]
        await rig.caller.bye()
        await rig.quiet()
