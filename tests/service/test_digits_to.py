"""Keys of a caller on the running service: where they go, each of them once, however his phone tells them."""

from __future__ import annotations

import asyncio
import itertools
import json
import math
import re
import struct
from array import array
from pathlib import Path
from typing import Any

import pytest

from bridge.agent.server import AgentServer
from bridge.audio.g711 import Law, encode
from tests.phones.rawphone import RawPhone
from tests.phones.wire import FRAME, Wire, event_payloads, frames, silence
from tests.service.rig import Service, bench, ended
from tests.service.transfers import results

AGENT = {"greeting": "Begin.", "tools": ["read_digits"]}
KEYS = "0123456789*#ABCD"
ROWS, COLUMNS = (697, 770, 852, 941), (1209, 1336, 1477, 1633)
LAYOUT = "123A456B789C*0#D"


def without_times(log: str) -> str:
    """The log less its timestamps and identifiers, in which any four digits may stand."""
    return re.sub(r'"(?:timestamp|call)": "[^"]*"', "", log)


def agent(to: str, **digits: Any) -> dict[str, Any]:
    return AGENT | {"digits": {"to": to, "pause_s": 0.3} | digits}


def asks(*delays_ms: int, said: list[dict[str, Any]] | None = None, **arguments: Any) -> str:
    """A script: say something, then call read_digits, once after each of the delays."""
    steps: list[dict[str, Any]] = [{"response": {"items": said or [{"audio_ms": 200}]}}, {"until": "response_done"}]
    for number, delay_ms in enumerate(delays_ms):
        call = {"call": "read_digits", "arguments": arguments, "call_id": f"call_{number}"}
        steps += [{"delay_ms": delay_ms}, {"response": {"items": [call]}}, {"until": "response_done"}]
    rule = {"on": "response_create", "nth": 1, "do": steps}
    return json.dumps({"vad": False, "rules": [rule], "answer": {"items": [{"audio_ms": 100}]}})


def told(server: AgentServer) -> list[str]:
    """What the model was told of keys, as words."""
    created = [event["item"] for _, event in server.sessions[0].received if event["type"] == "conversation.item.create"]
    texts = [item["content"][0]["text"] for item in created if item["type"] == "message"]
    return [text.removeprefix("The caller pressed ").removesuffix(" on the keypad.") for text in texts]


def of_type(server: AgentServer, kind: str) -> list[dict[str, Any]]:
    return [event for _, event in server.sessions[0].received if event["type"] == kind]


async def key(wire: Wire, payloads: list[bytes], *, ms: int, marker: bool = True, pace_s: float = 0.02) -> None:
    """One key, packet by packet, with the time of its first; `ms` is how long it lasts."""
    stamp = wire.timestamp
    for index, payload in enumerate(payloads):
        wire.send(payload, payload_type=101, marker=marker and index == 0, timestamp=stamp, advance=0)
        await asyncio.sleep(0 if payload[1] & 0x80 else pace_s)
    wire.timestamp = (stamp + 8 * ms) & 0xFFFFFFFF


def tones(digit: str, ms: int, level: int = 6000) -> bytes:
    """A key as two tones, mu-law."""
    row, column = ROWS[LAYOUT.index(digit) // 4], COLUMNS[LAYOUT.index(digit) % 4]
    wave = (
        level * (math.sin(2 * math.pi * row * at / 8000) + math.sin(2 * math.pi * column * at / 8000))
        for at in range(8 * ms)
    )
    return encode(array("h", map(round, wave)).tobytes(), Law.PCMU)


async def called(phone: RawPhone, service: Service) -> None:
    await phone.invite("127.0.0.1", service.sip_port)
    await phone.wire.play(frames(silence(0.1)))


async def over(phone: RawPhone, service: Service, server: AgentServer) -> dict[str, float]:
    await phone.bye()
    await ended(server.sessions[0])
    await service.until("sipbridge_rtp_ports_free", 100)
    assert not [line for line in service.lines() if "exception" in line or line["level"] == "error"]
    return await service.metrics()


# Each of them once


async def test_every_key_in_every_way_that_phones_send_it(tmp_path: Path) -> None:
    async with bench(tmp_path, "vad: false", agent=agent("message", end="")) as (service, server), RawPhone() as phone:
        await called(phone, service)
        for digit in KEYS:  # sixteen quick ones
            await phone.wire.press(digit, ms=40)
        await asyncio.sleep(0.6)
        for digit in "159":
            await key(phone.wire, event_payloads(digit, 80), ms=80, marker=False)
        await asyncio.sleep(0.6)
        for digit in "260":  # the ends are lost, and the next key comes, or none
            await key(phone.wire, [part for part in event_payloads(digit, 100) if not part[1] & 0x80], ms=100)
        await asyncio.sleep(0.9)
        for digit in "37":  # ends over and over, also late
            await key(phone.wire, event_payloads(digit, 60) + event_payloads(digit, 60)[-3:] * 3, ms=60)
        await asyncio.sleep(0.6)
        for digit in "444":  # the same key, three times
            await phone.wire.press(digit, ms=60)
            await asyncio.sleep(0.06)
        await asyncio.sleep(0.6)
        metrics = await over(phone, service, server)
    assert told(server) == [" ".join(each) for each in (KEYS, "159", "260", "37", "444")]
    assert metrics["sipbridge_digits_total"] == 16 + 3 + 3 + 2 + 3


async def test_a_key_that_is_held_for_long_is_one(tmp_path: Path) -> None:
    """RFC 4733 section 2.5.1.3: what is longer than 65535 samples goes on in another segment."""
    long = [struct.pack("!BBH", 5, 10, 160 * n) for n in range(1, 150)] + [struct.pack("!BBH", 5, 138, 24000)] * 3
    segments = [
        [struct.pack("!BBH", 6, 10, min(160 * n, 65535)) for n in range(1, 411)],
        [struct.pack("!BBH", 6, 10, 160 * n) for n in range(1, 100)] + [struct.pack("!BBH", 6, 138, 16000)] * 3,
    ]
    async with bench(tmp_path, "vad: false", agent=agent("message", end="")) as (service, server), RawPhone() as phone:
        await called(phone, service)
        await key(phone.wire, long, ms=3000)
        await asyncio.sleep(0.6)
        await key(phone.wire, segments[0], ms=0, pace_s=0.002)
        phone.wire.timestamp += 65535
        await key(phone.wire, segments[1], ms=2000, marker=False, pace_s=0.002)
        await asyncio.sleep(0.6)
        metrics = await over(phone, service, server)
    assert told(server) == ["5", "6"] and metrics["sipbridge_digits_total"] == 2


# Where they go


@pytest.mark.parametrize(
    ("to", "interrupts"), [("message", True), ("event", True), ("nothing", True), ("tool", True), ("message", False)]
)
async def test_where_they_go_and_whether_they_interrupt(tmp_path: Path, to: str, interrupts: bool) -> None:
    script = json.dumps({"vad": False, "answer": {"items": [{"audio_ms": 3000}]}})
    chosen = agent(to, interrupt=interrupts)
    async with bench(tmp_path, script, agent=chosen) as (service, server), RawPhone() as phone:
        await called(phone, service)
        await asyncio.sleep(0.5)
        for digit in "1836#":
            await phone.wire.press(digit, ms=60)
        await service.until("sipbridge_digits_total", 5)
        await asyncio.sleep(0.3)
        await over(phone, service, server)
        lines = service.events("digits.pressed")
        log = without_times(service.log.read_text())
    assert told(server) == (["1 8 3 6 #"] if to == "message" else [])
    assert len(of_type(server, "response.create")) == 1 + (to == "message")
    assert len(of_type(server, "conversation.item.truncate")) == interrupts
    assert [line["count"] for line in lines] == [5] * (to == "event")
    assert "1836" not in log and "1 8 3 6" not in log, "perhaps it is a PIN"


async def test_with_transcripts_they_may_stand_in_the_log(tmp_path: Path) -> None:
    chosen = agent("event")
    async with bench(tmp_path, "vad: false", agent=chosen, log={"transcripts": True}) as (service, server):
        async with RawPhone() as phone:
            await called(phone, service)
            for digit in "1836#":
                await phone.wire.press(digit, ms=60)
            await service.until("sipbridge_digits_total", 5)
            await over(phone, service, server)
            assert [line["digits"] for line in service.events("digits.pressed")] == ["1836#"]


# The tool


async def test_the_tool_gets_the_keys_that_come(tmp_path: Path) -> None:
    script = asks(100, 600, max_digits=4, timeout_s=5)
    async with bench(tmp_path, script, agent=agent("tool")) as (service, server), RawPhone() as phone:
        await called(phone, service)
        await service.until('sipbridge_responses_total{status="completed"}', 2)
        for digit in "1836#":  # the end key, though nobody needs it
            await phone.wire.press(digit, ms=60)
        await service.until('sipbridge_responses_total{status="completed"}', 4)
        await phone.wire.press("7", ms=60)
        await asyncio.sleep(0.6)
        await over(phone, service, server)
        assert "1836" not in without_times(service.log.read_text())
    assert results(server.sessions[0]) == [
        {"status": "complete", "digits": "1836"},
        {"status": "complete", "digits": "7"},
    ]
    assert told(server) == [] and len(of_type(server, "response.create")) == 3, "each result asks for an answer"


async def test_the_tool_gets_what_was_pressed_before_it_asked(tmp_path: Path) -> None:
    script = asks(1200, max_digits=4, timeout_s=5)
    async with bench(tmp_path, script, agent=agent("tool", pause_s=1)) as (service, server), RawPhone() as phone:
        await called(phone, service)
        await service.until('sipbridge_responses_total{status="completed"}', 1)
        for digit in "18":
            await phone.wire.press(digit, ms=60)
        await service.until('sipbridge_responses_total{status="completed"}', 2)
        for digit in "36":
            await phone.wire.press(digit, ms=60)
        await service.until('sipbridge_responses_total{status="completed"}', 3)
        await over(phone, service, server)
    assert results(server.sessions[0]) == [{"status": "complete", "digits": "1836"}]


async def test_the_tool_is_told_when_nobody_presses(tmp_path: Path) -> None:
    script = asks(100, timeout_s=0.3)
    async with bench(tmp_path, script, agent=agent("tool")) as (service, server), RawPhone() as phone:
        await called(phone, service)
        await service.until('sipbridge_responses_total{status="completed"}', 3)
        await over(phone, service, server)
    assert results(server.sessions[0]) == [{"status": "timeout", "digits": ""}]


async def test_what_makes_no_sense_is_told_at_once(tmp_path: Path) -> None:
    script = asks(100, max_digits=99)
    async with bench(tmp_path, script, agent=agent("tool")) as (service, server), RawPhone() as phone:
        await called(phone, service)
        await service.until('sipbridge_responses_total{status="completed"}', 3)
        await over(phone, service, server)
    assert results(server.sessions[0]) == [{"error": "max_digits must be 0 to 32, timeout_s above 0 and at most 120"}]


# As tones


async def test_tones_are_keys_and_silence_to_the_model(tmp_path: Path) -> None:
    chosen = agent("message", inband=True, end="")
    async with bench(tmp_path, "vad: false", agent=chosen) as (service, server), RawPhone() as phone:
        await called(phone, service)
        sound = b"".join(tones(digit, 100) + silence(0.08) for digit in LAYOUT)
        await phone.wire.play(frames(sound + silence(0.8)))
        metrics = await over(phone, service, server)
        heard = bytes(server.sessions[0].input_audio)
    assert told(server) == [" ".join(LAYOUT)] and metrics["sipbridge_digits_total"] == 16
    loud = sum(len(list(run)) for quiet, run in itertools.groupby(heard, b"\xff".__contains__) if not quiet)
    assert loud <= 0.45 * 16 * 100 * 8, "what is heard before it is known to be a key is some 40 ms of each"


async def test_without_inband_tones_are_sound(tmp_path: Path) -> None:
    async with bench(tmp_path, "vad: false", agent=agent("message")) as (service, server), RawPhone() as phone:
        await called(phone, service)
        sound = tones("5", 200)
        await phone.wire.play(frames(sound + silence(0.5)))
        metrics = await over(phone, service, server)
        heard = bytes(server.sessions[0].input_audio)
    assert told(server) == [] and metrics["sipbridge_digits_total"] == 0 and sound in heard


async def test_who_tells_a_key_both_ways_presses_it_once(tmp_path: Path) -> None:
    """A gateway that notices the key late lets the beginning of its tones through; others send both to the end."""
    chosen = agent("message", inband=True, end="")
    async with bench(tmp_path, "vad: false", agent=chosen) as (service, server), RawPhone() as phone:
        await called(phone, service)
        wire = phone.wire
        for digit in "1836":
            await wire.play(frames(tones(digit, 60)))
            await wire.press(digit, ms=100)
            await wire.play(frames(silence(0.1)))
        for digit in "77":
            stamp = wire.timestamp
            for frame, payload in zip(frames(tones(digit, 160)), event_payloads(digit, 160), strict=False):
                wire.send(payload, payload_type=101, timestamp=stamp, advance=0)
                wire.send(frame)
                await asyncio.sleep(FRAME / 8000)
            for payload in event_payloads(digit, 160)[-3:]:
                wire.send(payload, payload_type=101, timestamp=stamp, advance=0)
            await wire.play(frames(silence(0.2)))
        await wire.play(frames(silence(0.6)))
        metrics = await over(phone, service, server)
    assert "".join(told(server)).replace(" ", "") == "183677" and metrics["sipbridge_digits_total"] == 6
