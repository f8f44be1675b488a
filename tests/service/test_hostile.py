"""Garbage on every port: counted, answered or dropped, and the call beside it goes on unharmed."""

from __future__ import annotations

import asyncio
import random
import socket
from pathlib import Path

from bridge.agent.patterns import counter
from tests.phones.rawphone import RawPhone
from tests.phones.wire import Wire, frames
from tests.service.rig import bench, ended
from tests.service.test_phones import SAYS_A_SENTENCE, SENTENCE_MS, assert_carried, speech_like

SEED = 12


def sip_garbage(count: int, port: int) -> list[bytes]:
    """Random bytes, broken and mutated messages, and texts that only look like SIP."""
    generator = random.Random(SEED)
    good = (
        f"INVITE sip:600@127.0.0.1:{port} SIP/2.0\r\nVia: SIP/2.0/UDP 127.0.0.1:9;branch=z9hG4bKx\r\n"
        "From: <sip:a@b>;tag=1\r\nTo: <sip:600@b>\r\nCall-ID: x\r\nCSeq: 1 INVITE\r\nMax-Forwards: 70\r\n"
        "Contact: <sip:a@127.0.0.1:9>\r\nContent-Length: 0\r\n\r\n"
    ).encode()
    made = [b"\0" * 1000, b"\r\n" * 500 + b"x", b"SIP/2.0 200 OK\r\n\r\n", b"INVITE\r\n\r\n", good[:60], good * 2]
    while len(made) < count:
        if generator.random() < 0.5:
            made.append(generator.randbytes(generator.randrange(1, 1400)))
            continue
        mutated = bytearray(good)
        for _ in range(generator.randrange(1, 20)):
            mutated[generator.randrange(len(mutated))] = generator.randrange(256)
        made.append(bytes(mutated))
    return made


async def test_garbage_on_sip_and_rtp_ports_harms_no_call(tmp_path: Path) -> None:
    said = speech_like(3)
    async with bench(tmp_path, SAYS_A_SENTENCE, agent={"greeting": "Begin."}) as (service, server):
        async with RawPhone() as phone:
            await phone.invite("127.0.0.1", service.sip_port)
            assert phone.wire.to is not None
            attack = asyncio.create_task(bombard(service.sip_port, phone.wire.to))
            await phone.wire.play(frames(said))
            thrown = await attack
            await phone.bye()
        session = await ended(server.sessions[0])
        metrics = await service.metrics()
        rtp_counted = total(metrics, "rtp_dropped")
        sip_counted = sum(total(metrics, name) for name in SIP_IN)
        status, _ = await service.get("/healthz")
        log = service.said(1_000_000)

    assert_carried(session, said)
    assert phone.wire.heard().strip(b"\xff") == counter(1, SENTENCE_MS * 8)
    # The kernel may drop a datagram of a flood before anybody can count it.
    assert rtp_counted >= 0.99 * 2 * thrown, "each datagram at the RTP port is counted"
    assert sip_counted >= 0.99 * thrown, "each datagram at the SIP port is counted"
    assert total(metrics, "sip_dropped") > 50
    assert status == 200
    assert "Traceback" not in log and '"internal"' not in log
    assert not [name for name in metrics if "dropped" in name and "internal" in name]


SIP_IN = ("sip_requests_received", "sip_responses_received", "sip_dropped", "sip_keepalives")


def total(metrics: dict[str, float], name: str) -> float:
    """The sum of a counter over its labels."""
    return sum(value for key, value in metrics.items() if key.partition("{")[0] == f"sipbridge_{name}_total")


async def bombard(sip_port: int, rtp: tuple[str, int]) -> int:
    """Throw garbage for the length of the call: how many at the SIP port; as many twice at the RTP port."""
    generator = random.Random(SEED)
    thrown = 0
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as stranger, Wire() as rtp_stranger:
        rtp_stranger.to = rtp
        for garbage in sip_garbage(400, sip_port):
            stranger.sendto(garbage, ("127.0.0.1", sip_port))
            stranger.sendto(generator.randbytes(generator.randrange(0, 1600)), rtp)
            rtp_stranger.send(b"\x00" * 160)  # good RTP from the wrong source
            thrown += 1
            await asyncio.sleep(0.005)
    return thrown


async def test_garbage_on_the_web_socket_harms_no_call(tmp_path: Path) -> None:
    said = speech_like(2)
    script = f"""
vad: false
rules:
  - on: response_create
    do:
      - send_text: "not JSON"
      - send_text: "[1, 2"
      - send_text: "[]"
      - send_text: "{{}}"
      - send_binary: 400
      - send: {{type: telepathy.delta}}
      - send: {{type: response.output_audio.delta, response_id: r, item_id: i, delta: "@@@"}}
      - send: {{type: response.output_audio.delta, delta: 5}}
      - send: {{type: response.done, response: 7}}
      - send: {{type: error, error: gone}}
      - send_filler: 3000000
      - response: {{items: [{{audio_ms: {SENTENCE_MS}}}]}}
"""
    async with bench(tmp_path, script, agent={"greeting": "Begin."}) as (service, server):
        async with RawPhone() as phone:
            await phone.invite("127.0.0.1", service.sip_port)
            await phone.wire.play(frames(said))
            await asyncio.sleep(0.3)
            await phone.bye()
        session = await ended(server.sessions[0])
        await service.until('sipbridge_calls_total{reason="caller_hung_up"}', 1)
        metrics = await service.metrics()
        log = service.said(1_000_000)
        session.sent[:] = [(t, event) for t, event in session.sent if event["type"].startswith("session")]

    assert_carried(session, said)
    assert phone.wire.heard().strip(b"\xff") == counter(1, SENTENCE_MS * 8)
    assert metrics["sipbridge_session_malformed_total"] == 9
    assert metrics["sipbridge_session_unknown_events_total"] == 2
    assert "Traceback" not in log


async def test_a_message_of_a_hundred_megabytes_ends_one_call_and_not_the_service(tmp_path: Path) -> None:
    script = "vad: false\nrules: [{on: response_create, do: [{send_filler: 100000000}]}]"
    async with bench(tmp_path, script, agent={"greeting": "Begin."}) as (service, server):
        async with RawPhone() as phone:
            await phone.invite("127.0.0.1", service.sip_port)
            await asyncio.wait_for(phone.ended.wait(), 20)
        await service.until('sipbridge_calls_total{reason="session_lost"}', 1)
        assert (await service.metrics())["process_resident_memory_bytes"] < 400e6
        assert (await service.get("/healthz"))[0] == 200
        await ended(server.sessions[0])


async def test_a_server_that_stops_reading_costs_old_audio_and_never_the_phone(tmp_path: Path) -> None:
    script = "vad: false\nrules: [{on: response_create, do: [{stall_read_ms: 4000}]}]"
    async with bench(tmp_path, script, agent={"greeting": "Begin."}) as (service, _), RawPhone() as phone:
        await phone.invite("127.0.0.1", service.sip_port)
        await phone.wire.play(frames(speech_like(2)))
        spoken = len(phone.wire.packets)
        assert spoken >= 80, "packets keep leaving while the server does not read"
        assert (await phone.bye()).status == 200


async def test_a_repeated_invite_makes_no_second_call(tmp_path: Path) -> None:
    async with bench(tmp_path, "vad: false") as (service, server), RawPhone() as phone:
        await phone.start_invite("127.0.0.1", service.sip_port)
        for _ in range(5):
            phone.send_raw(phone._invite)
        assert (await phone.answer()).status == 200
        await asyncio.sleep(0.2)
        assert len(server.sessions) == 1
        await phone.bye()
