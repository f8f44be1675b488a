"""`turn_detection: manual`: the bridge itself finds the turns of callers who really speak; the server's ear is off."""

from __future__ import annotations

import asyncio
import json
import random
from array import array
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from itertools import cycle
from pathlib import Path
from typing import Any

import pytest

from bridge.agent.formats import AudioFormat
from bridge.agent.orders import Speak
from bridge.agent.script import Script
from bridge.agent.server import AgentServer, AgentSession
from bridge.agent.voice import Voice
from bridge.audio._audioop import audioop
from bridge.audio.g722 import G722Encoder
from bridge.audio.resample import Resampler
from tests.phones.rawphone import RawPhone
from tests.phones.wire import frames, in_order
from tests.service.rig import Service, bench, ended
from tests.service.sines import alaw, ulaw
from tests.service.test_barge_in import check_ledger, on_wire
from tests.service.transfers import ENDED

pytestmark = pytest.mark.interop  # too many whole calls for each run of the quick tests

pytest.importorskip("webrtcvad", reason="the extra 'turns' is not installed")
pytest.importorskip("G722", reason="the extra 'wideband' is not installed")
pytest.importorskip("espeakng_loader", reason="the extra 'agent' is not installed")

RATE = 24000
QUESTION = "What time is it?"
MANUAL = {"type": "manual", "silence_duration_ms": 400}
AGENT: dict[str, Any] = {"greeting": "Begin.", "turn_detection": MANUAL}
QUIET_MS = 700
"""Longer than the silence that ends a turn, with the detector's own delay."""
ACTS = ("input_audio_buffer.commit", "response.create", "response.cancel", "conversation.item.truncate")
Step = dict[str, Any]


@pytest.fixture(scope="module")
def spoken() -> dict[str, bytes]:
    """A voice's words, as PCM of 24000 Hz."""

    async def speak() -> dict[str, bytes]:
        voice = Voice()
        try:
            return {text: await _said(voice, text) for text in (QUESTION, "Stop!", "Yes.")}
        finally:
            await voice.pool.close()

    return asyncio.run(speak())


async def _said(voice: Voice, text: str) -> bytes:
    audio = await voice.speak(Speak("", text, AudioFormat.PCM, "alloy", 1.0))
    assert audio
    return audio


def noise(ms: int, level: int) -> bytes:
    """A hiss, as PCM of 24000 Hz."""
    chance = random.Random(3)
    return array("h", (int(chance.gauss(0, level)) for _ in range(RATE * ms // 1000))).tobytes()


def quiet(ms: int) -> bytes:
    return bytes(2 * RATE * ms // 1000)


class Caller:
    """A phone that speaks one codec, on a line that hisses all the time, at this level."""

    def __init__(self, phone: RawPhone, codec: str, hiss: int = 0) -> None:
        self.phone, self.codec = phone, codec
        self._hiss = noise(2000, hiss)
        self._silence: asyncio.Task[None] | None = None

    def coded(self, pcm: bytes) -> bytes:
        hiss = self._hiss * (len(pcm) // len(self._hiss) + 1)
        pcm = audioop.add(pcm, hiss[: len(pcm)], 2)
        if self.codec == "G722":
            wide = Resampler(RATE, 16000).process(pcm, last=True)
            return G722Encoder().encode(wide[: len(wide) // 4 * 4])
        narrow = Resampler(RATE, 8000).process(pcm, last=True)
        return alaw(narrow) if self.codec == "PCMA" else ulaw(narrow)

    async def call(self, service: Service) -> None:
        phone = self.phone
        sdp = phone.sdp().replace("RTP/AVP 0", "RTP/AVP 9").replace("rtpmap:0 PCMU", "rtpmap:9 G722")
        answer = await phone.invite("127.0.0.1", service.sip_port, sdp=sdp if self.codec == "G722" else None)
        assert answer.status == 200
        self._listen()

    async def say(self, *pcm: bytes) -> None:
        """All of it, and go on in silence."""
        await self.stop()
        await self.phone.wire.play(frames(self.coded(b"".join(pcm))))
        self._listen()

    def _listen(self) -> None:
        idle = list(frames(self.coded(quiet(2000))))
        self._silence = asyncio.create_task(self.phone.wire.play(cycle(idle)))

    async def stop(self) -> None:
        if self._silence is not None:
            self._silence.cancel()
            await asyncio.gather(self._silence, return_exceptions=True)


def acts(session: AgentSession) -> list[str]:
    """What the bridge did about turns, in short."""
    return [event["type"].rpartition(".")[2] for _, event in session.received if event["type"] in ACTS]


class Rig:
    def __init__(self, service: Service, server: AgentServer, caller: Caller) -> None:
        self.service, self.server, self.caller = service, server, caller

    @property
    def session(self) -> AgentSession:
        return self.server.sessions[0]

    def acts(self) -> list[str]:
        """What the bridge did about turns, after the greeting."""
        return acts(self.session)[1:]

    def sent(self, kind: str) -> list[dict[str, Any]]:
        return [event for _, event in self.session.sent if event.get("type") == kind]

    async def comes(self, kind: str, count: int = 1) -> None:
        """Wait until the server has sent so many of a type."""
        async with asyncio.timeout(10):
            while len(self.sent(kind)) < count:
                await asyncio.sleep(0.02)

    async def has_heard(self, number: int, ms: int) -> None:
        """Wait until so much of the agent's item was on the wire."""
        async with asyncio.timeout(10):
            while (sent := self.wire().get(number)) is None or sent.sent < 8 * ms:
                await asyncio.sleep(0.05)

    def wire(self) -> Any:
        return on_wire(in_order(self.caller.phone.wire.packets))

    async def over(self) -> dict[str, float]:
        """The caller hangs up; the metrics."""
        await self.caller.stop()
        await self.caller.phone.bye()
        await ended(self.session)
        await self.service.until(ENDED("caller_hung_up"), 1)
        assert self.sent("error") == []
        assert not [line for line in self.service.lines() if "exception" in line or line["level"] == "error"]
        return await self.service.metrics()


def script(*answers: Step, heard: str | None = None) -> str:
    """What is said to each request, in turn; no ear. `heard` is what each turn of the caller is taken for."""
    rules: list[Step] = [
        {"on": "response_create", "nth": n, "do": [{"response": {"items": [item], "speed": 10}}]}
        for n, item in enumerate(answers, 1)
    ]
    if heard is not None:
        rules.append({"on": "committed", "do": [{"delay_ms": 200}, {"transcription": {"text": heard}}]})
    return json.dumps({"vad": False, "heard": None, "rules": rules, "answer": {"items": [{"audio_ms": 300}]}})


@asynccontextmanager
async def calling(folder: Path, text: str, codec: str = "PCMU", *, hiss: int = 0, **agent: Any) -> AsyncIterator[Rig]:
    async with bench(folder, text, agent=AGENT | agent) as (service, server):
        async with RawPhone() as phone:
            rig = Rig(service, server, Caller(phone, "PCMU", hiss))
            await rig.caller.call(service)
            try:
                await rig.comes("response.done")
                yield rig
            finally:
                await rig.caller.stop()


async def test_each_turn_is_one_commit_and_one_answer(tmp_path: Path, spoken: dict[str, bytes]) -> None:
    """Of callers of every codec, at the same time; a pause between two words ends nothing."""

    async def talk(service: Service, codec: str) -> None:
        async with RawPhone(law="PCMA" if codec == "PCMA" else "PCMU") as phone:
            caller = Caller(phone, codec)
            await caller.call(service)
            for words in (spoken[QUESTION] + quiet(250) + spoken["Stop!"], spoken["Yes."]):
                await caller.say(quiet(500), words, quiet(QUIET_MS))
            await caller.stop()
            await phone.bye()

    codecs = ("PCMU", "PCMA", "G722")
    async with bench(tmp_path, script({"audio_ms": 200}), agent=AGENT) as (service, server):
        await asyncio.gather(*(talk(service, codec) for codec in codecs))
        await service.until(ENDED("caller_hung_up"), 3)
        metrics = await service.metrics()
        sessions = [await ended(session) for session in server.sessions]
    formats = set()
    for session in sessions:
        assert acts(session) == ["create", "commit", "create", "commit", "create"]
        assert len([e for _, e in session.sent if e.get("type") == "input_audio_buffer.committed"]) == 2
        (asked,) = [event["session"]["audio"]["input"] for _, event in session.received if "session" in event]
        assert asked["turn_detection"] is None
        formats.add(asked["format"]["type"])
    assert formats == {"audio/pcmu", "audio/pcma", "audio/pcm"}
    assert metrics["sipbridge_turn_seconds_count"] == 6 and metrics["sipbridge_barge_ins_total"] == 0


async def test_speech_into_the_answer_is_told_to_the_byte(tmp_path: Path, spoken: dict[str, bytes]) -> None:
    async with calling(tmp_path, script({"audio_ms": 200}, {"audio_ms": 6000})) as rig:
        await rig.caller.say(quiet(300), spoken[QUESTION], quiet(QUIET_MS))
        await rig.has_heard(2, 400)
        await rig.caller.say(spoken["Stop!"], quiet(QUIET_MS))
        await rig.has_heard(3, 300)
        metrics = await rig.over()
    assert check_ledger(rig.session, rig.wire()) == (1, 0, 2)
    assert [act for act in rig.acts() if act != "cancel"] == ["commit", "create", "truncate", "commit", "create"]
    assert metrics["sipbridge_barge_ins_total"] == 1


async def test_an_answer_in_the_making_is_cancelled(tmp_path: Path, spoken: dict[str, bytes]) -> None:
    """The server does not do it: its ear is off."""
    slow = script({"audio_ms": 200}, {"audio_ms": 6000}).replace('"speed": 10', '"speed": 1.2')
    async with calling(tmp_path, slow) as rig:
        await rig.caller.say(quiet(300), spoken[QUESTION], quiet(QUIET_MS))
        await rig.has_heard(2, 400)
        await rig.caller.say(spoken["Stop!"], quiet(QUIET_MS))
        await rig.has_heard(3, 300)
        await rig.over()
    assert check_ledger(rig.session, rig.wire()) == (1, 0, 2)
    assert sorted(rig.acts()[2:4]) == ["cancel", "truncate"] and rig.acts()[4:] == ["commit", "create"]
    statuses = [event["response"]["status"] for event in rig.sent("response.done")]
    assert statuses == ["completed", "cancelled", "completed"]


@pytest.mark.parametrize("hiss", [30, 300])
async def test_a_line_that_hisses_begins_no_turn_and_hides_none(
    tmp_path: Path, spoken: dict[str, bytes], hiss: int
) -> None:
    async with calling(tmp_path, script({"audio_ms": 200}), hiss=hiss) as rig:
        await rig.caller.say(quiet(1000))
        assert rig.acts() == []
        await rig.caller.say(quiet(300), spoken[QUESTION], quiet(QUIET_MS))
        await rig.comes("response.done", 2)
        await rig.caller.say(quiet(500))
        metrics = await rig.over()
    assert rig.acts() == ["commit", "create"]
    assert metrics["sipbridge_barge_ins_total"] == 0


async def test_a_knock_begins_no_turn(tmp_path: Path) -> None:
    async with calling(tmp_path, script({"audio_ms": 2500})) as rig:
        for _ in range(3):
            await rig.caller.say(quiet(300), noise(60, 6000), quiet(300))
        metrics = await rig.over()
    assert rig.acts() == []
    assert metrics["sipbridge_barge_ins_total"] == 0


REVERSIBLE: dict[str, Any] = {"barge_in": {"mode": "reversible", "min_speech_ms": 600}}


async def test_what_is_too_short_is_only_a_pause(tmp_path: Path, spoken: dict[str, bytes]) -> None:
    """`Yes.` begins a turn, but is shorter than what interrupts: the agent goes on, and the model never knows."""
    async with calling(tmp_path, script({"audio_ms": 4000}), **REVERSIBLE) as rig:
        await rig.has_heard(1, 500)
        await rig.caller.say(spoken["Yes."], quiet(QUIET_MS))
        await rig.has_heard(1, 4000)
        metrics = await rig.over()
    assert rig.wire()[1].sent == rig.session.items[0].sent_bytes == 8 * 4000
    assert metrics["sipbridge_false_starts_total"] == 1 and metrics["sipbridge_barge_ins_total"] == 0
    assert not {"truncate", "create", "cancel"} & set(rig.acts())
    committed = [event["item_id"] for event in rig.sent("input_audio_buffer.committed")]
    deleted = [event["item_id"] for event in rig.sent("conversation.item.deleted")]
    assert deleted == committed, "it stays in no conversation"


async def test_what_lasts_is_an_interruption(tmp_path: Path, spoken: dict[str, bytes]) -> None:
    async with calling(tmp_path, script({"audio_ms": 6000}), **REVERSIBLE) as rig:
        await rig.has_heard(1, 500)
        await rig.caller.say(spoken[QUESTION], quiet(QUIET_MS))
        await rig.has_heard(2, 300)
        metrics = await rig.over()
    assert check_ledger(rig.session, rig.wire()) == (1, 0, 1)
    assert rig.acts().count("create") == 1 and rig.acts().count("commit") == 1
    assert metrics["sipbridge_false_starts_total"] == 0 and metrics["sipbridge_barge_ins_total"] == 1


WORDS = {"mode": "reversible", "min_speech_ms": 0, "words": True, "words_wait_ms": 10_000}
WITH_WORDS: dict[str, Any] = {"barge_in": WORDS, "transcription": {"model": "whisper-1"}}


async def test_where_words_are_wanted_a_turn_without_any_is_taken_back(
    tmp_path: Path, spoken: dict[str, bytes]
) -> None:
    async with calling(tmp_path, script({"audio_ms": 4000}, heard=""), **WITH_WORDS) as rig:
        await rig.has_heard(1, 500)
        await rig.caller.say(spoken["Yes."], quiet(QUIET_MS))
        await rig.has_heard(1, 4000)
        metrics = await rig.over()
    assert metrics["sipbridge_false_starts_total"] == 1 and metrics["sipbridge_barge_ins_total"] == 0
    assert rig.acts() == ["commit"]
    committed = [event["item_id"] for event in rig.sent("input_audio_buffer.committed")]
    assert [event["item_id"] for event in rig.sent("conversation.item.deleted")] == committed


async def test_and_one_with_words_is_an_interruption(tmp_path: Path, spoken: dict[str, bytes]) -> None:
    async with calling(tmp_path, script({"audio_ms": 6000}, heard="Yes."), **WITH_WORDS) as rig:
        await rig.has_heard(1, 500)
        await rig.caller.say(spoken["Yes."], quiet(QUIET_MS))
        await rig.has_heard(2, 300)
        metrics = await rig.over()
    assert check_ledger(rig.session, rig.wire()) == (1, 0, 1)
    assert rig.acts()[-3:] == ["commit", "truncate", "create"]
    assert rig.sent("conversation.item.deleted") == []
    assert metrics["sipbridge_barge_ins_total"] == 1


async def test_a_turn_that_ends_while_there_is_no_session_is_answered_by_the_next(
    tmp_path: Path, spoken: dict[str, bytes]
) -> None:
    former = AgentServer(script=Script.parse(script({"audio_ms": 200})), journal=True)
    following = AgentServer(script=Script.parse(script({"audio_ms": 400})), journal=True)
    url = await former.start()
    agent = {"provider": url, "recovery": {"patience_s": 20, "tone_after_s": 0}} | AGENT
    try:
        with await Service.started(tmp_path, agent) as service:
            async with RawPhone() as phone:
                caller = Caller(phone, "PCMU")
                await caller.call(service)
                try:
                    await caller.say(quiet(500))
                    saying = asyncio.create_task(caller.say(spoken[QUESTION], quiet(QUIET_MS)))
                    await asyncio.sleep(0.4)
                    await former.close()
                    await saying
                    await following.start(port=int(url.split(":")[2].partition("/")[0]))
                    await service.until('sipbridge_sessions_resumed_total{outcome="back"}', 1)
                    await caller.say(quiet(1500))
                finally:
                    await caller.stop()
                await phone.bye()
                await service.until(ENDED("caller_hung_up"), 1)
        session = await ended(following.sessions[0])
    finally:
        await former.close()
        await following.close()
    assert acts(session) == ["commit", "create"]
    assert [e for _, e in session.sent if e.get("type") == "error"] == []
