"""Ten thousand packets of strangers during a call: none is heard, none moves the stream, and all are counted."""

from __future__ import annotations

import asyncio
import random
import struct
from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path

import pytest

from bridge.agent.patterns import counter
from tests.phones.processes import NotReady
from tests.phones.rawphone import RawPhone
from tests.phones.wire import FRAME, SILENCE, Wire, frames, silence
from tests.service.rig import bench, ended
from tests.service.test_phones import speech_like

pytestmark = pytest.mark.alone

FORGED = 10_000
AT_ONCE = 10
PAUSE_S = 0.005
SECONDS = 7
SENTENCE_MS = 5500
SCRIPT = f"vad: false\nanswer: {{items: [{{audio_ms: {SENTENCE_MS}}}], speed: 4}}"
MARK = b"\x5a\xa5\x5a\xa5\x11" * 32
"""What strangers say: one frame."""
OTHER_HOST = "127.0.0.3"


def rtp(payload_type: int, sequence: int, timestamp: int, ssrc: int, payload: bytes = MARK) -> bytes:
    return struct.pack("!BBHII", 0x80, payload_type, sequence & 0xFFFF, timestamp & 0xFFFFFFFF, ssrc) + payload


def forgeries(victim: Wire, seed: int) -> Iterator[tuple[str, bytes]]:
    """For ever: the name of a trick, and a packet that fits the victim's stream as it is then."""
    generator = random.Random(seed)
    own, turn = generator.getrandbits(32), 0
    tricks: dict[str, Callable[[], bytes]] = {
        "next": lambda: rtp(victim.payload_type, victim.sequence, victim.timestamp, victim.ssrc),
        "ahead": lambda: rtp(victim.payload_type, victim.sequence + 3, victim.timestamp + 480, victim.ssrc),
        "any sequence": lambda: rtp(victim.payload_type, generator.getrandbits(16), victim.timestamp, victim.ssrc),
        "stream of its own": lambda: rtp(victim.payload_type, turn, FRAME * turn, own),
        "key": lambda: rtp(101, victim.sequence, victim.timestamp, victim.ssrc, b"\x05\x8a\x05\0"),
        "sender report": lambda: struct.pack("!BBHI", 0x80, 200, 6, victim.ssrc) + generator.randbytes(20),
        "goodbye": lambda: struct.pack("!BBHI", 0x81, 203, 1, victim.ssrc),
        "garbage": lambda: generator.randbytes(generator.randrange(1, 400)),
        "version 1": lambda: b"\x40" + rtp(victim.payload_type, victim.sequence, 0, victim.ssrc)[1:],
    }
    while True:
        for name, make in tricks.items():
            yield name, make()
        turn += 1


FOREIGN = {"next", "ahead", "any sequence", "stream of its own", "key"}
"""Tricks that are RTP without fault but for their source."""


async def forge(strangers: list[Wire], victim: Wire, service: tuple[str, int], count: int) -> int:
    """Send `count` forgeries, the strangers by turns; how many were good RTP."""
    made = [forgeries(victim, seed) for seed in range(len(strangers))]
    good = 0
    for sent in range(count):
        turn = sent % len(strangers)
        name, datagram = next(made[turn])
        good += name in FOREIGN
        strangers[turn].send_raw(datagram, service)
        if sent % AT_ONCE == AT_ONCE - 1:
            await asyncio.sleep(PAUSE_S)
    return good


async def test_ten_thousand_forged_packets_change_nothing(tmp_path: Path) -> None:
    said = speech_like(SECONDS)
    async with bench(tmp_path, SCRIPT, agent={"greeting": "Begin."}) as (service, server):
        async with RawPhone() as phone:
            with Wire() as neighbour, Wire(OTHER_HOST) as foreigner:
                await phone.invite("127.0.0.1", service.sip_port)
                assert phone.wire.to is not None
                playing = asyncio.create_task(phone.wire.play(frames(said)))
                await asyncio.sleep(0.1)
                before = len(phone.wire.packets)
                good = await forge([neighbour, foreigner], phone.wire, phone.wire.to, FORGED)
                during = len(phone.wire.packets) - before
                assert not playing.done(), "the call must outlast the attack"
                await playing
                await asyncio.sleep(0.1)
                await phone.bye()
                for stranger in (neighbour, foreigner):
                    stranger.drain()
                    assert (stranger.packets, stranger.strays) == ([], []), "nobody answers a stranger"
        session = await ended(server.sessions[0])
        await service.until('sipbridge_calls_total{reason="caller_hung_up"}', 1)
        metrics = await service.metrics()
        (record,) = service.events("call.ended")

    got = bytes(session.input_audio)
    assert got[: len(said)] == said, "the call's own audio, byte for byte"
    assert MARK[:20] not in got
    assert metrics["sipbridge_digits_total"] == 0
    assert during > 100, "the attack lasted while the agent spoke"
    assert_stream_unmoved(phone, during)
    # The kernel may drop a datagram of a flood before anybody can count it.
    assert 0.99 * FORGED <= dropped(metrics) <= FORGED
    assert metrics['sipbridge_rtp_dropped_total{reason="stranger"}'] >= 0.99 * (good + (FORGED - good) / 2)
    assert record["strangers"] == metrics['sipbridge_rtp_dropped_total{reason="stranger"}']
    assert record["packets_in"] == len(said) // FRAME
    assert (record["lost"], record["late"], record["concealed_ms"]) == (0, 0, 0)


def assert_stream_unmoved(phone: RawPhone, during: int) -> None:
    """One source, one SSRC, every number once and in order, a frame of time each, and the sentence whole."""
    packets = phone.wire.packets
    assert len({(packet.source, packet.ssrc, packet.payload_type) for packet in packets}) == 1
    steps = [(b.sequence - a.sequence) & 0xFFFF for a, b in pairwise(packets)]
    assert set(steps) == {1}
    times = [(b.timestamp - a.timestamp) & 0xFFFFFFFF for a, b in pairwise(packets)]
    assert all(step % FRAME == 0 for step in times)
    assert times.count(FRAME) >= 0.98 * len(times), "slots were skipped because of strangers"
    assert phone.wire.heard().strip(SILENCE[0]) == counter(1, SENTENCE_MS * 8).strip(SILENCE[0])
    assert during < len(packets)


def dropped(metrics: dict[str, float]) -> float:
    """Datagrams dropped for any reason."""
    return sum(value for name, value in metrics.items() if name.startswith("sipbridge_rtp_dropped_total{"))


async def test_nobody_takes_the_place_of_a_caller_who_has_not_spoken_yet(tmp_path: Path) -> None:
    """Before the first packet the address in the description holds, whatever another host sends and how long."""
    async with bench(tmp_path, SCRIPT, agent={"greeting": "Begin."}) as (service, server):
        async with RawPhone() as phone:
            with Wire(OTHER_HOST) as foreigner:
                await phone.invite("127.0.0.1", service.sip_port)
                foreigner.to = phone.wire.to
                for _ in range(120):
                    foreigner.send(MARK)
                    await asyncio.sleep(0.005)
                unheard = len(phone.wire.packets)
                await phone.wire.play(frames(silence(0.3)))
                await phone.bye()
                foreigner.drain()
                assert foreigner.packets == []
        session = await ended(server.sessions[0])
        metrics = await service.metrics()
    assert unheard > 10, "the caller hears the agent, speaking or not"
    assert MARK[:20] not in bytes(session.input_audio)
    assert metrics['sipbridge_rtp_dropped_total{reason="stranger"}'] == 120


def sender_report(victim: Wire) -> bytes:
    """One that the victim might have sent (RFC 3550 section 6.4.1), and its name as RFC 3550 wants it behind."""
    report = struct.pack("!BBHIQIII", 0x80, 200, 6, victim.ssrc, 1 << 62, victim.timestamp, 1, FRAME)
    return report + struct.pack("!BBHIBB4sH", 0x81, 202, 3, victim.ssrc, 1, 4, b"name", 0)


def two_ports() -> tuple[Wire, Wire]:
    """A port for RTP and the next one, where RTCP goes without a word about it."""
    for _ in range(100):
        wire = Wire()
        try:
            return wire, Wire(wire.host, wire.port + 1)
        except OSError:
            wire.close()
    raise NotReady("no two ports in a row are free")


async def test_forged_reports_do_not_draw_ours_to_a_stranger(tmp_path: Path) -> None:
    """RTCP on a port of its own: reports with the caller's SSRC, from elsewhere, change nothing about where ours go."""
    async with bench(tmp_path, "vad: false") as (service, server):
        media, reports = two_ports()
        async with RawPhone(wire=media) as phone:
            with reports, Wire() as neighbour, Wire(OTHER_HOST) as foreigner:
                await phone.invite("127.0.0.1", service.sip_port)
                assert phone.wire.to is not None
                port = phone.wire.to[0], phone.wire.to[1] + 1
                for part in frames(silence(7)):
                    phone.wire.send(part)
                    forged = sender_report(phone.wire)
                    for stranger in (neighbour, foreigner):
                        stranger.send_raw(forged, port)
                    await asyncio.sleep(0.02)
                await phone.bye()
                await asyncio.sleep(0.05)
                for wire in (reports, neighbour, foreigner):
                    wire.drain()
        await ended(server.sessions[0])
    assert (neighbour.packets, foreigner.packets) == ([], []), "reports of the call went to a stranger"
    assert len(reports.packets) >= 2, "no reports have come at all"
