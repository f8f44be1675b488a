"""Interruptions on trial, judged by the packets on the wire and by what the session was told.

The agent says a pattern that tells item and byte position, so it shows whether it went on with the very next byte.
"""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from bridge.agent.patterns import locate
from bridge.agent.server import AgentServer, AgentSession
from tests.phones.rawphone import RawPhone
from tests.phones.wire import FRAME, Packet, in_order
from tests.service.rig import Service, bench, ended
from tests.service.test_barge_in import check_ledger, on_wire, told
from tests.service.transfers import ENDED, results

SILENCE = b"\xff" * FRAME
AROUND_MS = 300 + 500
"""What the server's times have besides the speech: padding before it, silence behind it."""
FADE_BYTES = 40
AGENT = {"greeting": "Begin.", "barge_in": "reversible", "tools": ["hang_up"]}
WITH_WORDS = AGENT | {
    "barge_in": {"mode": "reversible", "words": True, "words_wait_ms": 10_000},
    "transcription": {"model": "whisper-1"},
}
Step = dict[str, Any]


def heard(speech_ms: int, *, lasts_ms: int = 400, at_ms: int = 1000) -> list[Step]:
    """The server hears so much speech; `lasts_ms` of real time pass between its start and its stop."""
    return [
        {"speech_started": {"audio_start_ms": at_ms}},
        {"delay_ms": lasts_ms},
        {"speech_stopped": {"audio_end_ms": at_ms + AROUND_MS + speech_ms}},
    ]


def script(*steps: Step, items: list[Step] | None = None, speed: float = 10, **more: Any) -> str:
    """Say something, and let the steps happen meanwhile; what is asked for later is said in 400 ms."""
    said = {"response": {"items": items or [{"audio_ms": 3000}], "speed": speed}}
    rule = {"on": "response_create", "nth": 1, "do": [said, *steps]}
    return json.dumps({"vad": False, "heard": None, "rules": [rule], "answer": {"items": [{"audio_ms": 400}]}} | more)


@dataclass
class Rig:
    service: Service
    server: AgentServer
    phone: RawPhone

    @property
    def session(self) -> AgentSession:
        return self.server.sessions[0]

    @property
    def packets(self) -> list[Packet]:
        return in_order(self.phone.wire.packets)

    def received(self, *kinds: str) -> list[tuple[int, dict[str, Any]]]:
        """What the bridge sent of these types, without its audio."""
        return [(at, event) for at, event in self.session.received if event["type"] in kinds]

    def sent(self, kind: str) -> list[tuple[int, dict[str, Any]]]:
        """What the server sent of a type."""
        return [(at, event) for at, event in self.session.sent if event.get("type") == kind]

    async def comes(self, kind: str, count: int = 1) -> None:
        """Wait until the server has sent so many of a type."""
        async with asyncio.timeout(10):
            while not self.server.sessions or len(self.sent(kind)) < count:
                await asyncio.sleep(0.005)

    async def has_heard(self, ms: int, number: int = 1) -> None:
        """Wait until so much of an item was on the wire."""
        async with asyncio.timeout(20):
            while (sent := on_wire(self.packets).get(number)) is None or sent.sent < 8 * ms:
                await asyncio.sleep(0.1)

    async def quiet(self) -> dict[str, float]:
        """Everything is over, nothing was wrong; the metrics."""
        await ended(self.session)
        await self.service.until("sipbridge_rtp_ports_free", 100)
        assert self.sent("error") == []
        assert not [line for line in self.service.lines() if "exception" in line or line["level"] == "error"]
        return await self.service.metrics()


@asynccontextmanager
async def calling(folder: Path, text: str, agent: dict[str, Any] = AGENT) -> AsyncIterator[Rig]:
    async with bench(folder, text, agent=agent) as (service, server), RawPhone() as phone:
        assert (await phone.invite("127.0.0.1", service.sip_port)).status == 200
        phone.wire.send(SILENCE)
        yield Rig(service, server, phone)


def shape(packets: list[Packet]) -> str:
    """The call frame by frame: `p` pattern, `f` the fall to silence after a cut, `s` silence, `x` anything else."""
    letters = []
    for packet in packets:
        payload = packet.payload
        places = locate(payload)
        if payload == SILENCE:
            letters.append("s")
        elif places and places[0].start == 0 and payload[places[-1].end :].strip(b"\xff") == b"":
            letters.append("p")
        else:
            letters.append("f" if not places and payload[FADE_BYTES:].strip(b"\xff") == b"" else "x")
    return "".join(letters)


NEVER = ("conversation.item.truncate", "response.cancel", "response.create")


async def test_a_cough_is_a_pause_of_which_the_model_knows_nothing(tmp_path: Path) -> None:
    steps = [{"delay_ms": 700}, *heard(100)]
    async with calling(tmp_path, script(*steps)) as rig:
        await rig.has_heard(3000)
        await rig.phone.bye()
        metrics = await rig.quiet()
    assert re.fullmatch(r"s*p{5,}f?s{5,}p{5,}s*", shape(rig.packets)), shape(rig.packets)
    assert on_wire(rig.packets)[1].sent == rig.session.items[0].sent_bytes == 24000
    assert [event["type"] for _, event in rig.received(*NEVER)] == ["response.create"], "the greeting alone"
    (committed_at, committed), (deleted_at, deleted) = (
        rig.sent("input_audio_buffer.committed")[0],
        rig.received("conversation.item.delete")[0],
    )
    assert deleted["item_id"] == committed["item_id"] and deleted_at > committed_at
    assert len(rig.received("conversation.item.delete")) == len(rig.sent("conversation.item.deleted")) == 1
    assert (metrics["sipbridge_false_starts_total"], metrics["sipbridge_barge_ins_total"]) == (1, 0)


async def test_what_the_session_is_asked_for(tmp_path: Path) -> None:
    """Quirk B7: one switch alone would still let the server cancel."""
    async with calling(tmp_path, script()) as rig:
        await rig.comes("session.updated")
        await rig.phone.bye()
    (_, update), *_ = rig.received("session.update")
    asked = update["session"]["audio"]["input"]["turn_detection"]
    assert (asked["create_response"], asked["interrupt_response"]) == (False, False)


@pytest.mark.parametrize("speed", [1, 10], ids=["while it is being made", "when all of it is here"])
@pytest.mark.parametrize("lasts_ms", [300, 1500], ids=["told at its end", "told when it lasts"])
async def test_speech_is_an_interruption_to_the_byte(tmp_path: Path, speed: float, lasts_ms: int) -> None:
    steps = [{"delay_ms": 700}, *heard(max(400, lasts_ms), lasts_ms=lasts_ms)]
    async with calling(tmp_path, script(*steps, items=[{"audio_ms": 4000}], speed=speed)) as rig:
        await rig.has_heard(400, number=2)
        await rig.phone.bye()
        metrics = await rig.quiet()
    frames = shape(rig.packets)
    assert re.fullmatch(r"s*p{5,}(?:s{1,3}p+)*f?s{5,}p{20}s*", frames), frames
    assert check_ledger(rig.session, on_wire(rig.packets)) == (1, 0, 1)
    truncated, deleted = told(rig.session)
    assert list(truncated) == [rig.session.items[0].id] and deleted == set()
    acts = rig.received(*NEVER)[1:]
    active = speed == 1
    assert [event["type"] for _, event in acts] == ["response.cancel"] * active + [NEVER[0], NEVER[2]]
    (stopped_at, _), *_ = rig.sent("input_audio_buffer.speech_stopped")
    assert acts[-1][0] > stopped_at, "the model answers when he has finished"
    (started_at, _), *_ = rig.sent("input_audio_buffer.speech_started")
    first = [p for p in rig.packets if any(place.number == 1 for place in locate(p.payload))]
    assert sum(packet.t_ns > started_at for packet in first) <= 2, "silent at once, whatever comes of it"
    if lasts_ms > AROUND_MS:
        assert acts[0][0] < stopped_at, "what lasts is told before it ends"
    assert (metrics["sipbridge_false_starts_total"], metrics["sipbridge_barge_ins_total"]) == (0, 1)


async def test_after_many_pauses_in_one_item_the_ledger_is_exact(tmp_path: Path) -> None:
    coughs = [step for n in range(8) for step in ({"delay_ms": [40, 300]}, *heard(n * 30, lasts_ms=60 + 17 * n))]
    steps = [{"delay_ms": 500}, *coughs, {"delay_ms": 333}, *heard(500)]
    async with calling(tmp_path, script(*steps, items=[{"audio_ms": 9000}, {"audio_ms": 500}], seed=5)) as rig:
        await rig.has_heard(400, number=3)
        await rig.phone.bye()
        metrics = await rig.quiet()
    wire = on_wire(rig.packets)
    assert check_ledger(rig.session, wire) == (1, 1, 1)
    assert shape(rig.packets).count("x") == 0 and 1500 * 8 < wire[1].sent < 9000 * 8
    noises = [event["item_id"] for _, event in rig.sent("input_audio_buffer.committed")]
    assert [event["item_id"] for _, event in rig.received("conversation.item.delete")] == noises[:-1]
    assert (metrics["sipbridge_false_starts_total"], metrics["sipbridge_barge_ins_total"]) == (8, 1)


@pytest.mark.parametrize("text", ["", " ... "])
async def test_where_words_are_wanted_a_noise_without_any_is_none(tmp_path: Path, text: str) -> None:
    steps = [{"delay_ms": 700}, *heard(2000), {"delay_ms": 300}, {"transcription": {"text": text}}]
    async with calling(tmp_path, script(*steps), WITH_WORDS) as rig:
        await rig.has_heard(3000)
        await rig.phone.bye()
        metrics = await rig.quiet()
    assert re.fullmatch(r"s*p{5,}f?s{10,}p{5,}s*", shape(rig.packets)), shape(rig.packets)
    assert [event["type"] for _, event in rig.received(*NEVER)] == ["response.create"]
    (_, committed), *_ = rig.sent("input_audio_buffer.committed")
    assert [event["item_id"] for _, event in rig.received("conversation.item.delete")] == [committed["item_id"]]
    assert metrics["sipbridge_false_starts_total"] == 1
    assert metrics["sipbridge_turn_seconds_count"] == 0, "nobody answered anything"


@pytest.mark.parametrize("words", [{"text": "Stop."}, {"failed": True}], ids=["words", "nobody can tell"])
@pytest.mark.parametrize("speed", [1, 10])
async def test_and_with_some_it_is_speech(tmp_path: Path, words: dict[str, Any], speed: float) -> None:
    steps = [{"delay_ms": 700}, *heard(500), {"delay_ms": 300}, {"note": "words"}, {"transcription": words}]
    async with calling(tmp_path, script(*steps, items=[{"audio_ms": 4000}], speed=speed), WITH_WORDS) as rig:
        await rig.has_heard(400, number=2)
        await rig.phone.bye()
        metrics = await rig.quiet()
    assert check_ledger(rig.session, on_wire(rig.packets)) == (1, 0, 1)
    kinds = [event["type"] for _, event in rig.received(*NEVER)[1:]]
    assert kinds == ["response.cancel"] * (speed == 1) + [NEVER[0], NEVER[2]]
    assert rig.received("conversation.item.delete") == []
    completed = next(at for at, event in rig.session.sent if "input_audio_transcription" in event.get("type", ""))
    assert rig.received(*NEVER)[1][0] > completed, "undecided until then"
    assert metrics["sipbridge_barge_ins_total"] == metrics["sipbridge_turn_seconds_count"] == 1


async def test_a_key_decides_at_once(tmp_path: Path) -> None:
    slow = AGENT | {"barge_in": {"mode": "reversible", "min_speech_ms": 5000}}
    steps = [{"delay_ms": 700}, *heard(100, lasts_ms=1500)]
    async with calling(tmp_path, script(*steps, items=[{"audio_ms": 4000}]), slow) as rig:
        await rig.comes("input_audio_buffer.speech_started")
        await asyncio.sleep(0.1)
        for key in "5#":
            await rig.phone.wire.press(key, ms=60)
        await rig.comes("response.done", 2)
        await asyncio.sleep(0.6)
        await rig.phone.bye()
        metrics = await rig.quiet()
    wire = on_wire(rig.packets)
    truncated, deleted = told(rig.session)
    assert truncated == {rig.session.items[0].id: wire[1].sent // 8} and deleted == set()
    (truncated_at, _), *_ = rig.received("conversation.item.truncate")
    (stopped_at, _), *_ = rig.sent("input_audio_buffer.speech_stopped")
    assert truncated_at < stopped_at
    assert [event for _, event in rig.received("conversation.item.create") if "5 #" in json.dumps(event)]
    assert len(rig.received("response.create")) == 2, "one answer to what he said and pressed"
    assert (metrics["sipbridge_false_starts_total"], metrics["sipbridge_barge_ins_total"]) == (0, 1)


@pytest.mark.parametrize("agent", [AGENT, WITH_WORDS], ids=["on trial", "awaiting words"])
async def test_a_caller_may_hang_up_in_the_pause(tmp_path: Path, agent: dict[str, Any]) -> None:
    words = agent is WITH_WORDS
    steps = heard(600, lasts_ms=100) if words else heard(600, lasts_ms=5000)
    async with calling(tmp_path, script({"delay_ms": 500}, *steps), agent) as rig:
        await rig.comes("input_audio_buffer." + ("committed" if words else "speech_started"))
        await asyncio.sleep(0.1)
        await rig.phone.bye()
        metrics = await rig.quiet()
        await asyncio.sleep(1)  # the time of the trial
    assert metrics[ENDED("caller_hung_up")] == 1
    assert [event["type"] for _, event in rig.received(*NEVER)] == ["response.create"]
    assert (metrics["sipbridge_false_starts_total"], metrics["sipbridge_barge_ins_total"]) == (0, 0)


FAREWELL = [{"audio_ms": 2000}, {"call": "hang_up"}]


async def test_a_cough_into_the_farewell_does_not_stop_the_end(tmp_path: Path) -> None:
    async with calling(tmp_path, script({"delay_ms": 700}, *heard(100), items=FAREWELL)) as rig:
        await asyncio.wait_for(rig.phone.ended.wait(), 10)
        metrics = await rig.quiet()
    assert re.fullmatch(r"s*p{5,}f?s{5,}p{5,}s*", shape(rig.packets)), shape(rig.packets)
    assert on_wire(rig.packets)[1].sent == 16000, "he has heard it to its end"
    assert metrics[ENDED("agent_hung_up")] == metrics["sipbridge_false_starts_total"] == 1


async def test_a_farewell_that_comes_while_he_coughs_is_one(tmp_path: Path) -> None:
    cough = [{"speech_started": {"audio_start_ms": 1000}}, {"until": "response_done"}, {"delay_ms": 100}]
    steps = [{"delay_ms": 700}, *cough, {"speech_stopped": {"audio_end_ms": 1900}}]
    async with calling(tmp_path, script(*steps, items=FAREWELL, speed=1.5)) as rig:
        await asyncio.wait_for(rig.phone.ended.wait(), 10)
        metrics = await rig.quiet()
    assert on_wire(rig.packets)[1].sent == 16000
    assert metrics[ENDED("agent_hung_up")] == metrics["sipbridge_false_starts_total"] == 1


async def test_speech_into_the_farewell_does(tmp_path: Path) -> None:
    async with calling(tmp_path, script({"delay_ms": 700}, *heard(500), items=FAREWELL)) as rig:
        await rig.has_heard(400, number=2)
        await asyncio.sleep(0.5)
        assert not rig.phone.ended.is_set()
        await rig.phone.bye()
        metrics = await rig.quiet()
    assert metrics[ENDED("caller_hung_up")] == metrics["sipbridge_barge_ins_total"] == 1
    assert results(rig.session) == [{"status": "the call ends when the caller has heard you"}]


async def test_what_is_said_in_the_pause_is_heard_after_it(tmp_path: Path) -> None:
    """The model goes on speaking while the caller coughs: nothing of it is lost, or late."""
    steps = [{"delay_ms": 500}, *heard(100, lasts_ms=700)]
    async with calling(tmp_path, script(*steps, items=[{"audio_ms": 1500}, {"audio_ms": 1500}], speed=1.3)) as rig:
        await rig.has_heard(1500, number=2)
        await rig.phone.bye()
        metrics = await rig.quiet()
    assert check_ledger(rig.session, on_wire(rig.packets)) == (0, 0, 2)
    assert metrics["sipbridge_late_deltas_total"] == 0 and metrics["sipbridge_false_starts_total"] == 1


async def test_immediate_is_as_it_was(tmp_path: Path) -> None:
    steps = [{"delay_ms": 700}, *heard(100)]
    async with calling(tmp_path, script(*steps), AGENT | {"barge_in": "immediate"}) as rig:
        await rig.comes("response.done", 2)
        await rig.phone.bye()
        metrics = await rig.quiet()
    (_, update), *_ = rig.received("session.update")
    asked = update["session"]["audio"]["input"]["turn_detection"]
    assert (asked["create_response"], asked["interrupt_response"]) == (True, True)
    assert [event["type"] for _, event in rig.received(*NEVER)] == ["response.create", NEVER[0]], "the server answers"
    assert rig.received("conversation.item.delete") == []
    wire = on_wire(rig.packets)
    assert told(rig.session)[0] == {rig.session.items[0].id: wire[1].sent // 8}
    assert (metrics["sipbridge_false_starts_total"], metrics["sipbridge_barge_ins_total"]) == (0, 1)
