"""Keys: those the model presses, in RTP or by INFO, and those a caller presses by INFO."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import pytest

from tests.service.rig import bench, ended
from tests.service.transfers import RawPeer, agent, asks, results

RELAY, PLAIN = "application/dtmf-relay", "application/dtmf"


def texts(received: list[tuple[int, dict[str, object]]]) -> list[str]:
    """What the model was told of keys."""
    found = [json.dumps(event) for _, event in received if event["type"] == "conversation.item.create"]
    return [text for text in found if "keypad" in text]


async def test_the_model_presses_keys_in_rtp(tmp_path: Path) -> None:
    script = asks(tool="send_digits", digits="1 #d")
    async with bench(tmp_path, script, agent=agent()) as (service, server), RawPeer() as phone:
        await phone.invite("127.0.0.1", service.sip_port)
        await asyncio.sleep(1.5)
        events = [packet for packet in phone.wire.packets if packet.payload_type == 101]
        pressed = list(dict.fromkeys((packet.timestamp, packet.payload[0]) for packet in events))
        assert [event for _, event in pressed] == [1, 11, 15]
        assert results(server.sessions[0]) == [{"status": "sent"}]
        assert not phone.requests("INFO")
        await phone.bye()


async def test_without_telephone_events_the_keys_go_by_info_one_after_the_other(tmp_path: Path) -> None:
    script = asks(tool="send_digits", digits="12")
    async with bench(tmp_path, script, agent=agent()) as (service, _), RawPeer() as phone:
        plain = phone.sdp().replace(" 101\r\n", "\r\n", 1)
        await phone.invite("127.0.0.1", service.sip_port, sdp=plain)
        first, second = await phone.got("INFO"), await phone.got("INFO", 2)
        assert [message.header("Content-Type") for message in (first, second)] == [RELAY, RELAY]
        assert "Signal=1\r\n" in first.body and "Signal=2\r\n" in second.body
        assert second.t_ns - first.t_ns > 200_000_000, "a gateway plays each of them"
        assert not [packet for packet in phone.wire.packets if packet.payload_type == 101]
        await phone.bye()


@pytest.mark.parametrize("digits", ["", "12a4x", "5" * 65, "\u0665", "1;2"])
async def test_what_is_no_key_is_not_pressed(tmp_path: Path, digits: str) -> None:
    script = asks(tool="send_digits", digits=digits)
    async with bench(tmp_path, script, agent=agent()) as (service, server), RawPeer() as phone:
        await phone.invite("127.0.0.1", service.sip_port)
        await service.until('sipbridge_responses_total{status="completed"}', 2)
        assert results(server.sessions[0]) == [{"error": "digits must be 1 to 64 of 0-9 * # A-D"}]
        assert not [packet for packet in phone.wire.packets if packet.payload_type == 101]
        await phone.bye()


async def test_keys_by_info_reach_the_model_once_and_others_are_refused(tmp_path: Path) -> None:
    async with bench(tmp_path, "vad: false", agent=agent()) as (service, server), RawPeer() as phone:
        await phone.invite("127.0.0.1", service.sip_port)
        statuses = []
        for kind, body in (
            (RELAY, "Signal=4\r\nDuration=160\r\n"),
            (PLAIN, "2"),
            (RELAY, "Signal=16\r\nDuration=100\r\n"),  # a hook flash
            (RELAY, "Signal=x\r\n"),
            (PLAIN, "22"),
            ("text/plain", "4"),
            (PLAIN, "#"),
        ):
            statuses.append((await phone.in_dialog("INFO", body=body, content_type=kind)).status)
        assert statuses == [200, 200, 200, 400, 400, 415, 200]
        refused = next(message for message in phone.messages if message.status == 415)
        assert refused.header("Accept") == f"{RELAY}, {PLAIN}"
        await service.until("sipbridge_digits_total", 3)
        await phone.bye()
        session = await ended(server.sessions[0])
        (told,) = texts(session.received)
        assert "pressed 4 2 # on" in told


async def test_a_phone_that_tells_a_key_both_ways_presses_it_once(tmp_path: Path) -> None:
    async with bench(tmp_path, "vad: false", agent=agent()) as (service, server), RawPeer() as phone:
        await phone.invite("127.0.0.1", service.sip_port)
        await phone.wire.press("9", ms=60)
        await phone.in_dialog("INFO", body="Signal=9\r\n", content_type=RELAY)
        await phone.wire.press("#", ms=60)
        await service.until("sipbridge_digits_total", 2)
        await phone.bye()
        session = await ended(server.sessions[0])
        (told,) = texts(session.received)
        assert "pressed 9 # on" in told
