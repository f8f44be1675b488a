"""Calls outlive their sessions, moment by moment: changed in time, ended by the service, gone for good."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Iterator
from itertools import chain, pairwise
from pathlib import Path
from typing import Any

import pytest

from bridge.audio.conversion import converter
from bridge.audio.format import Linear
from bridge.audio.g711 import Law
from tests.phones.rawphone import RawPhone
from tests.phones.wire import Packet, frames, silence
from tests.service.killed_server import ITEMS, Lived
from tests.service.numbered_caller import NumberedCaller, count, heard, numbered, on_wire, quiet, speech
from tests.service.rig import bench as service_bench
from tests.service.survival_bench import Bench, bench
from tests.service.survival_journal import beginning

pytestmark = pytest.mark.interop  # too many whole calls for each run of the quick tests

RESUMED = 'sipbridge_sessions_resumed_total{{outcome="{}"}}'.format
ENDED = 'sipbridge_calls_total{{reason="{}"}}'.format
SAYS = "answer: {items: [{audio_ms: 1000}]}\nheard: [Hello.]\nheard_ms: 20"


def heard_by(lived: Lived) -> list[int]:
    """The numbers of the caller's frames in one session."""
    return count(lived.audio).numbers


def tones(packets: list[Packet]) -> list[Packet]:
    """Packets in which something sounds that is no item's."""
    return [packet for packet in packets if packet.payload.strip(b"\xff\x7f") and heard(packet.payload) is None]


async def caller(it: Bench, life: Iterator[bool] | None = None) -> NumberedCaller:
    """One caller, connected; without a life he is silent."""
    one = NumberedCaller("raw")
    one.life = iter(()) if life is None else life
    await it.ring(one)
    return one


async def served(it: Bench, sessions: int, appends: int = 1) -> list[Lived]:
    """Once so many sessions have heard something, the last of them in so many pieces."""

    def are_there(lived: list[Lived]) -> bool:
        heard_so_much = [len(each.got("input_audio_buffer.append")) for each in lived]
        return sum(count > 0 for count in heard_so_much) >= sessions and heard_so_much[-1] >= appends

    return await it.server.until(are_there, 20)


def has_greeted(lived: list[Lived]) -> bool:
    """Whether the first server has said its greeting."""
    return any(event["type"] == "response.done" for _, event in lived[0].sent) if lived else False


async def assert_whole(it: Bench, numbers: list[int]) -> None:
    """The caller's frames in order, each once, none missing but what the network's side has left out and counted."""
    metrics = await it.service.metrics()
    late = metrics["sipbridge_rtp_late_total"] + metrics["sipbridge_rtp_lost_total"]
    late += round(metrics['sipbridge_rtp_drift_seconds_total{direction="left_out"}'] / 0.02)
    assert all(a < b for a, b in pairwise(numbers))
    assert numbers[-1] - numbers[0] + 1 - len(numbers) <= late


# A change in time


async def test_a_session_near_its_end_is_changed_without_a_frame_lost_or_doubled(tmp_path: Path) -> None:
    """One of eight seconds: half of it is over, and nobody speaks."""
    async with bench(tmp_path, SAYS, session_seconds=8, apart=8) as it:
        life = chain(quiet(5200), speech(500), quiet(1200))
        one = await caller(it, life)
        await one.over.wait()
        await it.service.until("sipbridge_turn_seconds_count", 1)
        await it.hang_up(one)
        await it.service.until(ENDED("caller_hung_up"), 1)
        first, second = it.server.sessions()[:2]
        said = it.service.events("session.back")[0]
        assert not it.service.events("session.away"), "nobody was without a session"
        assert (await it.service.metrics())[RESUMED("planned")] >= 1
        await assert_whole(it, heard_by(first) + heard_by(second))
    assert said["planned"] and said["kept_ms"] == 0
    assert [each.line for each in beginning(second).told] == ["You: word1 word2 word3"]
    assert second.got("response.create") == [], "nothing was owed"
    assert {ITEMS + 1, ITEMS + 9} <= on_wire(one.phone.wire.packets).keys(), "the next turn was answered"


async def test_the_change_waits_until_the_agent_has_been_heard(tmp_path: Path) -> None:
    """A session of 42 seconds: from 21 s on a quiet moment is looked for, from 22 s on any will do."""
    rule = "rules: [{on: {append_ms: 20400}, do: [{response: {items: [{audio_ms: 1100}], speed: max}}]}]"
    async with bench(tmp_path, f"{rule}\nvad: false", agent={"greeting": None}, session_seconds=42, apart=8) as it:
        one = await caller(it)
        await it.service.until(RESUMED("planned"), 1, within=40)
        await it.hang_up(one)
        first, second = it.server.sessions()[:2]
        assert not it.service.events("session.away")
        await assert_whole(it, heard_by(first) + heard_by(second))
    wire = one.phone.wire.packets
    assert on_wire(wire)[ITEMS + 1] == 1100 * 8
    assert max(packet.t_ns for packet in wire if is_of(packet, 1)) < second.sent[0][0]


async def test_at_the_last_moment_a_change_cuts_the_agent_off_and_asks_for_the_rest(tmp_path: Path) -> None:
    script = "answer: {items: [{audio_ms: 20000}], speed: 1.2}"
    async with bench(tmp_path, script, session_seconds=6, apart=8) as it:
        one = await caller(it)
        await served(it, 2, 20)
        await it.hang_up(one)
        await it.service.until(ENDED("caller_hung_up"), 1)
        first, second = it.server.sessions()[:2]
        (away,) = it.service.events("session.away")[:1]
    assert (away["code"], away["reason"]) == (1001, "planned")
    assert beginning(second).asked == ["rest"]
    wire, delivered = on_wire(one.phone.wire.packets), sum(len_of(event) for _, event in first.sent)
    assert wire[ITEMS + 1] <= delivered
    assert heard_by(second)[0] <= heard_by(first)[-1] + 1
    assert first.got("conversation.item.truncate") == [] == second.got("conversation.item.truncate")


def len_of(event: dict[str, Any]) -> int:
    """Bytes of an audio delta."""
    return len(event["delta"]) * 3 // 4 if event["type"] == "response.output_audio.delta" else 0


def is_of(packet: Packet, item: int, server: int = 1) -> bool:
    """Whether a packet carries that item of that server."""
    found = heard(packet.payload)
    return found is not None and found[0] == server * ITEMS + item


async def test_a_session_that_has_expired_is_followed_by_another_one(tmp_path: Path) -> None:
    rule = "rules: [{on: {append_ms: 900}, times: 1, do: [{error: {code: session_expired, message: Over.}}, CLOSE]}]"
    script = SAYS + "\n" + rule.replace("CLOSE", "{close: {code: 1001, reason: expired}}")
    async with bench(tmp_path, script) as it:
        life = chain(quiet(400), speech(300), quiet(9000))
        one = await caller(it, life)
        sessions = await served(it, 2)
        await it.service.until("sipbridge_turn_seconds_count", 1)
        await it.hang_up(one)
        await it.service.until(ENDED("caller_hung_up"), 1)
        metrics = await it.service.metrics()
        old, new = heard_by(sessions[0]), heard_by(it.server.sessions()[-1])
        await assert_whole(it, new)
    assert new[0] <= old[-1] + 1
    assert metrics[RESUMED("back")] + metrics.get(RESUMED("planned"), 0) >= 1


# While there is no session


async def test_a_caller_who_hangs_up_while_there_is_no_session_is_let_go_at_once(tmp_path: Path) -> None:
    async with bench(tmp_path, SAYS, agent={"recovery": {"patience_s": 60}}) as it:
        one = await caller(it)
        await served(it, 1)
        it.server.prepare(SAYS)
        it.server.kill()
        await it.service.until("sipbridge_calls_active", 1)
        while not it.service.events("session.not_yet"):
            await asyncio.sleep(0.02)
        it.callers.remove(one)
        answer = await one.phone.bye(within=2)
        one.phone.close()
        assert answer.status == 200
        await it.service.until(ENDED("caller_hung_up"), 1, within=5)
        assert (await it.service.metrics())["sipbridge_calls_active"] == 0
        tried = len(it.service.events("session.not_yet"))
        await it.server.start()
        another = await caller(it)
        await it.server.until(lambda lived: any(each.server == 2 for each in lived))
        await it.hang_up(another)
        assert len(it.service.events("session.not_yet")) == tried, "nobody tries on for a call that is over"
        assert len([each for each in it.server.sessions() if each.server == 2]) == 1


async def test_a_caller_who_hangs_up_while_the_next_session_opens_leaves_nothing_open(tmp_path: Path) -> None:
    async with bench(tmp_path, SAYS) as it:
        one = await caller(it)
        await served(it, 1)
        it.server.prepare("rules: [{on: connect, instead: true, do: []}]")
        it.server.kill()
        await it.server.start()
        await it.server.until(lambda lived: any(each.server == 2 for each in lived))
        it.callers.remove(one)
        assert (await one.phone.bye(within=2)).status == 200
        one.phone.close()
        await it.service.until(ENDED("caller_hung_up"), 1, within=5)
        log = tmp_path / "server-2" / "output.log"
        async with asyncio.timeout(5):  # it is another process that writes it
            while (words := log.read_text()).count("session.closed") < words.count("session.opened"):
                await asyncio.sleep(0.02)
        assert words.count("session.opened") >= 1


async def test_keys_pressed_while_there_is_no_session_are_told_to_the_next_one_once(tmp_path: Path) -> None:
    async with bench(tmp_path, SAYS) as it:
        one = await caller(it)
        await it.server.until(has_greeted)
        it.server.prepare(SAYS)
        it.server.kill()
        for key in "42#":
            await one.phone.wire.press(key)
        await it.service.until("sipbridge_digits_total", 3)
        await it.server.start()
        await served(it, 2, 20)
        await it.hang_up(one)
        new = it.server.sessions()[-1]
    keypad = [event for event in new.got("conversation.item.create") if "4 2 #" in json.dumps(event)]
    assert len(keypad) == 1 and "keypad" in json.dumps(keypad)
    assert len(new.got("response.create")) == 1, "he is answered once"
    assert new.got("conversation.item.truncate") == []


async def test_keys_that_interrupt_while_the_next_session_opens_leave_no_item_twice(tmp_path: Path) -> None:
    """What it was told at its beginning is corrected, not told again."""
    slow = "heard: [Hello.]\nrules: [{on: connect, instead: true, do: [{delay_ms: 1500}, CREATED]}]"
    created = "{send: {type: session.created, session: {type: realtime, id: sess_slow, model: m}}}"
    long = "answer: {items: [{audio_ms: 8000}], speed: max}"
    async with bench(tmp_path, long) as it:
        one = await caller(it)
        await it.server.until(has_greeted)
        async with asyncio.timeout(10):  # some words of it are heard
            while on_wire(one.phone.wire.packets).get(ITEMS + 1, 0) < 1000 * 8:
                await asyncio.sleep(0.02)
        it.server.prepare(slow.replace("CREATED", created))
        it.server.kill()
        await it.server.start()
        await it.server.until(lambda lived: any(each.server == 2 for each in lived))
        for key in "42#":
            await one.phone.wire.press(key)
        await served(it, 2, 20)
        await it.hang_up(one)
        _, new = it.server.sessions()
        errors = [event for _, event in new.sent if event["type"] == "error"]
    assert errors == []
    ids = [event["item"]["id"] for event in new.got("conversation.item.create") if "id" in event["item"]]
    assert len(ids) == len(set(ids)), "each item once"
    heard_ms = on_wire(one.phone.wire.packets)[ITEMS + 1] // 8
    gone = {event["item_id"] for event in new.got("conversation.item.delete")}
    said = [
        event["item"]["content"][0]["text"]
        for event in new.got("conversation.item.create")
        if event["item"].get("role") == "assistant" and event["item"]["id"] not in gone
    ]
    words = "".join(said).removesuffix("...[interrupted]").split()
    assert len(said) == 1 and abs(len(words) * 400 - heard_ms) <= 800, f"{heard_ms} ms were heard, told was {said}"


async def test_a_soft_tone_fills_the_silence_and_ends_with_it(tmp_path: Path) -> None:
    async with bench(tmp_path, SAYS, agent={"recovery": {"tone_after_s": 0.3}}) as it:
        life = chain(quiet(6000), speech(400), quiet(9000))
        one = await caller(it, life)
        await it.server.until(has_greeted)
        await asyncio.sleep(1.2)  # it is heard to its end
        it.server.prepare(SAYS)
        dies_ns = time.time_ns()
        it.server.kill()
        await asyncio.sleep(1.5)
        await it.server.start()
        back_ns = time.time_ns()
        await it.service.until("sipbridge_turn_seconds_count", 1, within=20)
        await it.hang_up(one)
    sounds = [packet.t_ns for packet in tones(one.phone.wire.packets)]
    assert sounds and min(sounds) >= dies_ns + 300_000_000, "only after so much silence"
    assert [t for t in sounds if t < back_ns], "while there is no session"
    first_word = min(packet.t_ns for packet in one.phone.wire.packets if is_of(packet, 1, 2))
    assert first_word - back_ns > 1_500_000_000, "the caller has waited before he spoke"
    assert max(sounds) < back_ns + 1_000_000_000, "not when the session is back, though nobody speaks"


async def test_without_a_tone_configured_there_is_none(tmp_path: Path) -> None:
    async with bench(tmp_path, SAYS, agent={"recovery": {"tone_after_s": 0}}) as it:
        one = await caller(it)
        await it.server.until(has_greeted)
        it.server.prepare(SAYS)
        it.server.kill()
        await asyncio.sleep(1.5)
        await it.server.start()
        await served(it, 2, 10)
        await it.hang_up(one)
    assert tones(one.phone.wire.packets) == []


async def test_beyond_the_bound_the_newest_is_kept_and_the_rest_is_said_to_be_lost(tmp_path: Path) -> None:
    async with bench(tmp_path, SAYS, agent={"recovery": {"keep_s": 1}}) as it:
        life = chain(quiet(1500), speech(4000), quiet(9000))
        one = await caller(it, life)
        await it.server.until(lambda lived: any("speech_started" in e["type"] for x in lived for _, e in x.sent))
        it.server.prepare(SAYS)
        it.server.kill()
        await asyncio.sleep(1.8)
        await it.server.start()
        await it.service.until("sipbridge_turn_seconds_count", 1, within=20)
        await it.hang_up(one)
        (lost,) = it.service.events("session.audio_lost")
        old, new = it.server.sessions()
        await assert_whole(it, heard_by(new))
    begins = heard_by(new)[0]
    started = next(e["audio_start_ms"] for _, e in old.sent if e["type"] == "input_audio_buffer.speech_started")
    assert lost["ms"] == (begins - heard_by(old)[0]) * 20 - started, "exactly what is missing of the turn"
    kept_ms = len(beginning(new).replay) // 8
    assert 980 <= kept_ms <= 1040


# What comes back


async def test_a_server_that_comes_back_with_another_format_is_spoken_to_in_that(tmp_path: Path) -> None:
    async with bench(tmp_path, SAYS) as it:
        one = await caller(it)
        await it.server.until(has_greeted)
        it.server.prepare("vad: false\nanswer: {items: [{audio_ms: 1000}]}", echo_format="audio/pcm")
        it.server.kill()
        await asyncio.sleep(0.5)
        await it.server.start()
        await served(it, 2, 40)
        await one.phone.wire.press("#")
        await it.hang_up(one)
        await it.service.until(ENDED("caller_hung_up"), 1)
        metrics = await it.service.metrics()
        (fallback,) = it.service.events("session.format_fallback")
    old, new = it.server.sessions()
    assert fallback["caller"] == fallback["agent"] == Linear(24000).name
    assert sum(value for name, value in metrics.items() if "session_fallbacks" in name and "created" not in name) == 1
    first = heard_by(old)[0]
    convert = converter(Law.PCMU, Linear(24000))
    assert convert is not None
    same = convert(b"".join(numbered(n, loud=False) for n in range(first, one.frames))) + convert.finish()
    assert len(new.audio) > 20 * 960 and len(new.audio) % 2 == 0
    replay = beginning(new).replay
    assert replay[:9600] == same[:9600], "from the first frame on, in the new format"
    assert abs(len(new.audio) - len(same)) <= 5 * 960, "what was on its way at the BYE"


async def test_a_wrong_key_on_return_is_the_end_at_once(tmp_path: Path) -> None:
    async with bench(tmp_path, SAYS, agent={"recovery": {"patience_s": 60}, "key": "right"}) as it:
        one = await caller(it)
        await it.server.until(has_greeted)
        it.server.prepare(SAYS, keys=["another"])
        it.server.kill()
        await it.server.start()
        await asyncio.wait_for(one.phone.ended.wait(), 20)
        await it.service.until(ENDED("session_lost"), 1)
        refused = [line for line in it.service.events("session.not_yet") if line["reason"] == "invalid_api_key"]
        metrics = await it.service.metrics()
        it.callers.remove(one)
        one.phone.close()
    assert len(refused) == 1, "not tried again"
    assert metrics[RESUMED("given_up")] == 1


async def test_a_server_that_drops_every_session_is_given_up(tmp_path: Path) -> None:
    drops = "vad: false\nrules: [{on: append, nth: 5, do: [{drop: {}}]}]"
    async with service_bench(tmp_path, drops) as (service, server), RawPhone() as phone:
        assert (await phone.invite("127.0.0.1", service.sip_port)).status == 200
        playing = asyncio.create_task(phone.wire.play(frames(silence(60))))
        await asyncio.wait_for(phone.ended.wait(), 30)
        playing.cancel()
        await service.until(ENDED("session_lost"), 1)
        metrics = await service.metrics()
    assert metrics[RESUMED("back")] == 6 and len(server.sessions) == 7
    assert tones(phone.wire.packets), "not without a sign"


async def test_when_patience_is_at_its_end_so_is_the_call(tmp_path: Path) -> None:
    async with bench(tmp_path, SAYS, agent={"recovery": {"patience_s": 1.5}}) as it:
        one = await caller(it)
        await it.server.until(has_greeted)
        it.server.kill()
        await asyncio.wait_for(one.phone.ended.wait(), 20)
        await it.service.until(ENDED("session_lost"), 1)
        metrics = await it.service.metrics()
        it.callers.remove(one)
        one.phone.close()
    assert metrics[RESUMED("given_up")] == 1
    assert tones(one.phone.wire.packets), "three soft notes at least"
