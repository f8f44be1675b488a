"""An ended call is freed by reference counts alone: the service runs without its collector of cycles.

What a collection of the service finds after some calls is looked at from outside. Their SIP transactions live on for
32 s and are another test's (tests/sip/test_freed.py); all else of them must be gone.
"""

from __future__ import annotations

import asyncio
import json
import signal
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from bridge.agent.server import AgentServer
from tests.phones.rawpeer import RawPeer
from tests.phones.rawphone import RawPhone
from tests.phones.wire import frames, silence
from tests.service.calling import Line, call_each
from tests.service.compatible import Compatible, Kind
from tests.service.foreign import ElevenLabs, Gemini, Live
from tests.service.rig import Service, bench
from tests.service.test_plan_b import announcement
from tests.service.transfers import ENDED, OUTCOME, agent, asks, uri
from tests.tools.application import Application, never
from tests.tools.wooden import own

FOLDER = Path(__file__).parent / "uncollected"
OF_A_CALL = (
    "bridge.call.Call",
    "bridge.legs.outgoing.OutgoingLeg",
    "bridge.legs.sip.SipLeg",
    "bridge.media.stream.MediaStream",
    "bridge.realtime.lasting.LastingSession",
    "bridge.realtime.session.Session",
    "bridge.realtime.transcript.Transcript",
    "websockets.asyncio.client.ClientConnection",
)
MOST_OF_OTHERS = 30
"""Objects per call in cycles of other libraries: errors that know the frames which know them."""


class Look:
    """What a collection in the service finds."""

    def __init__(self, folder: Path) -> None:
        self._file = folder / "uncollected.json"
        self._looks = 0
        self.environ = {"PYTHONPATH": str(FOLDER), "UNCOLLECTED": str(self._file)}

    async def at(self, service: Service) -> dict[str, Any]:
        """Look now; what is found is freed."""
        service.process.send_signal(signal.SIGUSR1)
        self._looks += 1
        async with asyncio.timeout(10):
            while not self._file.exists() or (text := self._file.read_text()).count("\n") < self._looks:
                await asyncio.sleep(0.02)
        found: dict[str, Any] = json.loads(text.splitlines()[-1])
        return found

    async def assert_freed(self, service: Service, calls: int) -> None:
        """Nothing is left of so many calls that have ended."""
        async with asyncio.timeout(10):
            while (await service.metrics())["sipbridge_calls_active"]:
                await asyncio.sleep(0.02)
        await asyncio.sleep(0.3)  # the last connections close
        found = await self.at(service)
        cycles = found["cycles"]
        ours = {name: count for name, count in cycles.items() if name.startswith(("bridge.", "websockets."))}
        assert ours == {}, "in cycles"
        assert {name: found["alive"][name] for name in OF_A_CALL if name in found["alive"]} == {}, "still held"
        assert sum(cycles.values()) <= MOST_OF_OTHERS * calls, cycles


@asynccontextmanager
async def looked_at(
    folder: Path, script: str, *, agent: Mapping[str, Any], **more: Any
) -> AsyncIterator[tuple[Service, AgentServer, Look]]:
    """The service after its start, of which nothing is counted."""
    look = Look(folder)
    async with bench(folder, script, agent=agent, environ=look.environ, **more) as (service, server):
        await look.at(service)
        yield service, server, look


async def talks(phone: RawPhone, service: Service, seconds: float = 0.6) -> None:
    """A call that is answered, and in which the caller says so much."""
    assert (await phone.invite("127.0.0.1", service.sip_port)).status == 200
    await phone.wire.play(frames(silence(seconds)))


async def test_whoever_hangs_up_and_whenever(tmp_path: Path) -> None:
    script = asks(tool="hang_up")
    async with looked_at(tmp_path, script, agent={"greeting": "Begin.", "tools": ["hang_up"]}) as (service, _, look):
        for _ in range(2):
            async with RawPhone() as phone:
                await talks(phone, service, 0.1)
                await phone.bye()
        async with RawPhone() as phone:
            await talks(phone, service)
            await asyncio.wait_for(phone.ended.wait(), 10)
        async with RawPhone() as phone:
            sdp = phone.sdp().replace("RTP/AVP 0 ", "RTP/AVP 18 ").replace("RTP/AVP 0\r", "RTP/AVP 18\r")
            assert (await phone.invite("127.0.0.1", service.sip_port, sdp=sdp)).status == 488
        await service.until(ENDED("agent_hung_up"), 1)
        await look.assert_freed(service, 4)


async def test_whoever_gives_up_while_it_rings(tmp_path: Path) -> None:
    late = {"on": "response_create", "nth": 1, "do": [{"delay_ms": 2000}, {"response": {"items": [{"audio_ms": 300}]}}]}
    settings = {"greeting": "Begin.", "greeting_wait_ms": 5000}
    async with looked_at(tmp_path, json.dumps({"rules": [late]}), agent=settings) as (service, _, look):
        async with RawPhone() as phone:
            await phone.start_invite("127.0.0.1", service.sip_port)
            while not service.events("session.ready"):
                await asyncio.sleep(0.02)
            await phone.cancel()
        await service.until(ENDED("caller_cancelled"), 1)
        await look.assert_freed(service, 1)


@pytest.mark.parametrize("method", ["bridge", "refer", "attended"])
async def test_a_caller_who_is_transferred(tmp_path: Path, method: str) -> None:
    async with RawPeer(user="caller") as caller, RawPeer() as desk:
        settings = agent(method, desk=uri(desk))
        async with looked_at(tmp_path, asks(), agent=settings) as (service, _, look):
            await talks(caller, service)
            if method == "bridge":
                await service.until(OUTCOME("joined"), 1)
                await caller.bye()
            else:
                await caller.got("REFER")
                await caller.notify("200 OK")
            await service.until(ENDED("transferred"), 1)
            await look.assert_freed(service, 2)


async def test_a_transfer_to_somebody_who_is_busy(tmp_path: Path) -> None:
    async with RawPeer(user="caller") as caller, RawPeer(answers=[(0.1, "486 Busy Here")]) as desk:
        async with looked_at(tmp_path, asks(), agent=agent("bridge", desk=uri(desk))) as (service, _, look):
            await talks(caller, service)
            await service.until(OUTCOME("busy"), 1)
            await caller.bye()
            await look.assert_freed(service, 2)


async def test_a_caller_who_hangs_up_while_the_desk_rings(tmp_path: Path) -> None:
    async with RawPeer(user="caller") as caller, RawPeer(answers=[(0, "180 Ringing")]) as desk:
        async with looked_at(tmp_path, asks(), agent=agent("bridge", desk=uri(desk))) as (service, _, look):
            await talks(caller, service)
            await desk.got("INVITE")
            await caller.bye()
            await desk.got("CANCEL")
            await look.assert_freed(service, 2)


async def test_a_caller_who_sends_us_on_and_is_gone_before_anybody_answers(tmp_path: Path) -> None:
    script = "{vad: false, answer: {items: [{audio_ms: 300}]}}"
    async with RawPeer(user="caller") as caller, RawPeer(answers=[(0, "180 Ringing")]) as desk:
        settings = agent(desk=uri(desk), timeout_s=1)
        async with looked_at(tmp_path, script, agent=settings) as (service, _, look):
            await talks(caller, service)
            await caller.in_dialog("REFER", headers=[f"Refer-To: <{uri(desk)}>"])
            await desk.got("INVITE")
            await caller.bye()
            await desk.got("CANCEL")
            await look.assert_freed(service, 2)


async def test_tools_that_have_not_answered_when_he_hangs_up(tmp_path: Path) -> None:
    first: list[dict[str, Any]] = [{"call": name, "arguments": {}, "call_id": name} for name in ("slow", "kept")]
    script = {"on": "response_create", "nth": 1, "do": [{"response": {"items": first}}]}
    async with Application([never]) as application, RawPhone() as phone:
        about: dict[str, Any] = {"url": application.url, "timeout_s": 2}
        tools = [own("slow", **about), own("kept", after_call=True, **about)]
        settings = {"greeting": "Begin.", "tools": tools}
        async with looked_at(tmp_path, json.dumps({"vad": False, "rules": [script]}), agent=settings) as (
            service,
            _,
            look,
        ):
            await talks(phone, service)
            await application.came(2)
            await phone.bye()
            await service.until('sipbridge_tool_calls_total{outcome="timeout"}', 1)
            await look.assert_freed(service, 1)


async def test_who_hangs_up_while_he_is_told_that_there_is_nobody(tmp_path: Path) -> None:
    gone = "rules: [{on: {append_ms: 100}, times: 1, do: [{close: {code: 1000, reason: gone}}]}]"
    plan = {"greeting": "Begin.", "plan_b": {"file": announcement(tmp_path, "long", 20_000)[0]}}
    async with looked_at(tmp_path, gone, agent=plan) as (service, _, look), RawPhone() as phone:
        await talks(phone, service)
        while not service.events("plan_b.began"):
            await asyncio.sleep(0.02)
        await phone.bye()
        await look.assert_freed(service, 1)


LOST_AGAIN_AND_AGAIN = """
answer: {items: [{audio_ms: 300}]}
rules: [{on: {append_ms: 100}, times: 1, do: [{close: {code: 1011, reason: gone}}]}]
"""


async def test_sessions_that_are_lost_one_after_the_other_and_then_for_good(tmp_path: Path) -> None:
    plan: dict[str, Any] = {"greeting": "Begin.", "plan_b": {"file": announcement(tmp_path, "sorry", 200)[0]}}
    async with looked_at(tmp_path, LOST_AGAIN_AND_AGAIN, agent=plan) as (service, server, look), RawPhone() as phone:
        assert (await phone.invite("127.0.0.1", service.sip_port)).status == 200
        playing = asyncio.create_task(phone.wire.play(frames(silence(30))))
        await asyncio.wait_for(phone.ended.wait(), 20)
        playing.cancel()
        assert len(server.sessions) > 3
        await service.until(ENDED("session_lost"), 1)
        await look.assert_freed(service, 1)


async def test_a_session_that_is_refused(tmp_path: Path) -> None:
    settings = {"greeting": "Begin."}
    async with looked_at(tmp_path, "{}", agent=settings, keys=["another"]) as (service, _, look):
        for _ in range(2):
            async with RawPhone() as phone:
                assert (await phone.invite("127.0.0.1", service.sip_port)).status == 503
        await service.until(ENDED("session_failed"), 2)
        await look.assert_freed(service, 2)


@pytest.mark.parametrize(
    "provider", [Live, Gemini, lambda: ElevenLabs(private=True), lambda: Compatible(Kind("xai"), "xai")]
)
async def test_with_each_provider(tmp_path: Path, provider: Any) -> None:
    look = Look(tmp_path)

    async def story(line: Line) -> None:
        await look.at(line.service)
        await line.far.say("Good morning.", 600, 400)
        await line.has_heard(1)
        await line.speak(440, 300)
        await line.hang_up()
        await look.assert_freed(line.service, 1)

    await call_each(tmp_path, {"it": provider}, story, environ=look.environ)
