"""Recordings of the running service: what stands in the file, when it ends, and what a kill leaves of it."""

from __future__ import annotations

import asyncio
import json
import os
import stat
import wave
from array import array
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from bridge.agent.patterns import counter
from bridge.audio.g711 import Law, decode
from tests.phones.rawphone import RawPhone
from tests.phones.wire import FRAME, frames, in_order
from tests.service.rig import Service, bench, ended
from tests.service.transfers import OUTCOME, RawPeer, agent, asks, came, sound, uri

AGENT = {"greeting": "Begin.", "record": True}
HEADER = 44
STARTED = 'sipbridge_recordings_total{{outcome="{}"}}'.format


def says(*items_ms: int) -> str:
    items = [{"audio_ms": ms} for ms in items_ms]
    return json.dumps({"vad": False, "answer": {"items": items}})


def settings(folder: Path, **more: Any) -> dict[str, Any]:
    made = folder / "recordings"
    made.mkdir()
    return {"folder": str(made), "min_free_megabytes": 0} | more


def files(folder: Path) -> list[Path]:
    return sorted((folder / "recordings").iterdir())


def tracks(path: Path) -> tuple[bytes, bytes]:
    """Left and right as 16-bit PCM of 8000 Hz, by Python's own reader."""
    with wave.open(str(path)) as file:
        assert (file.getnchannels(), file.getsampwidth(), file.getframerate()) == (2, 2, 8000)
        both = array("h", file.readframes(file.getnframes()))
    return both[0::2].tobytes(), both[1::2].tobytes()


def seconds(path: Path) -> float:
    with wave.open(str(path)) as file:
        return file.getnframes() / file.getframerate()


def place(track: bytes, audio: bytes) -> int:
    """The sample at which PCM stands in a track; fails where it does not, or is not whole."""
    at = track.find(audio)
    while at % 2 == 1:
        at = track.find(audio, at + 1)
    assert at >= 0, "it is not there"
    return at // 2


def is_open(service: Service, path: Path) -> bool:
    """Whether the service still has the file open."""
    handles = Path(f"/proc/{service.process.pid}/fd")
    return any(os.path.realpath(handle) == str(path) for handle in handles.iterdir())


async def closed(service: Service, path: Path) -> None:
    async with asyncio.timeout(10):
        while is_open(service, path):
            await asyncio.sleep(0.02)


async def mirror(phone: RawPhone) -> None:
    """Say what is heard, at once: so both tracks carry the same, a moment apart."""
    said = 0
    while True:
        for packet in phone.wire.packets[said:]:
            phone.wire.send(packet.payload)
            said += 1
        await asyncio.sleep(0.002)


@pytest.mark.parametrize("law", [Law.PCMU, Law.PCMA])
async def test_both_sides_stand_where_they_were_said(tmp_path: Path, law: Law) -> None:
    async with bench(tmp_path, says(2000), agent=AGENT, recording=settings(tmp_path)) as (service, server):
        async with RawPhone(law=law.value) as phone, RawPhone(law=law.value) as other:
            for each in (phone, other):
                assert (await each.invite("127.0.0.1", service.sip_port)).status == 200
            mirrors = [asyncio.create_task(mirror(each)) for each in (phone, other)]
            await asyncio.sleep(3)
            await asyncio.gather(phone.bye(), other.bye())
            for task in mirrors:
                task.cancel()
            slots = len(in_order(phone.wire.packets))
        for session in server.sessions:
            await ended(session)
        made = files(tmp_path)
        assert len(made) == 2 and len({file.name for file in made}) == 2
        for file in made:
            await closed(service, file)
        metrics = await service.metrics()
        log = service.log.read_text()
    said = decode(counter(1, 16000), law)
    for file in made:
        assert stat.S_IMODE(file.stat().st_mode) == 0o600
        left, right = tracks(file)
        behind = place(left, said) - place(right, said)
        assert 0 <= behind <= 3 * FRAME, "the mirror takes a slot, and another where the packets meet"
        assert (seconds(file) * 50 - slots) ** 2 <= 25, "as long as the call"
    assert metrics[STARTED("started")] == 2
    assert metrics["sipbridge_recorded_bytes_total"] == sum(file.stat().st_size - HEADER for file in made)
    assert metrics["sipbridge_recording_dropped_seconds_total"] == 0
    assert not [word for word in ("failed", "limited", "refused") if metrics[STARTED(word)]]
    assert '"level": "error"' not in log and "recording.failed" not in log


async def test_hold_is_silence_on_both_sides(tmp_path: Path) -> None:
    """The music that a PBX plays to who holds the line is no word of the caller's, and others have rights in it."""
    before, music, after = sound(1, 20), sound(2, 40), sound(3, 20)
    async with bench(tmp_path, says(2000), agent=AGENT, recording=settings(tmp_path)) as (service, server):
        async with RawPhone() as phone:
            await phone.invite("127.0.0.1", service.sip_port)
            await phone.wire.play(before)
            await phone.in_dialog("INVITE", body=phone.sdp(direction="sendonly"))
            await asyncio.sleep(0.05)
            held = len(phone.wire.packets)
            await phone.wire.play(music)
            assert len(phone.wire.packets) == held, "nothing leaves on hold"
            await phone.in_dialog("INVITE", body=phone.sdp())
            await phone.wire.play([*after, *[b"\xff" * FRAME] * 80])
            await phone.bye()
            words = [decode(p.payload, Law.PCMU) for p in in_order(phone.wire.packets) if p.payload.strip(b"\xff")]
        await ended(server.sessions[0])
        (file,) = files(tmp_path)
        await closed(service, file)
        heard = bytes(server.sessions[0].input_audio)
    left, right = tracks(file)
    ends = place(left, decode(b"".join(before), Law.PCMU)) + 20 * FRAME
    begins = place(left, decode(b"".join(after), Law.PCMU))
    assert left[2 * ends : 2 * begins].strip(b"\0") == b"" and begins - ends >= 35 * FRAME
    assert not any(frame in heard for frame in music), "nor is it for the model"
    at = [place(right, word) for word in words]
    assert at == sorted(at) and len(at) == 100, "all that the agent said, in order"
    quiet = max(later - sooner for sooner, later in pairwise(at))
    assert quiet >= 35 * FRAME and right.count(b"\0" * 2 * 30 * FRAME) >= 1


async def test_a_killed_service_leaves_a_file_that_can_be_read(tmp_path: Path) -> None:
    async with bench(tmp_path, says(6000), agent=AGENT, recording=settings(tmp_path)) as (service, _):
        async with RawPhone() as phone:
            await phone.invite("127.0.0.1", service.sip_port)
            phone.wire.send(b"\xff" * FRAME)
            (file,) = await appeared(tmp_path)
            async with asyncio.timeout(10):
                while file.stat().st_size < HEADER + 4 * 8000 * 2:
                    await asyncio.sleep(0.02)
            service.process.kill()
            service.process.wait()
    _, right = tracks(file)
    assert seconds(file) >= 1 and place(right, decode(counter(1, 8 * 500), Law.PCMU)) < 8000
    assert stat.S_IMODE(file.stat().st_mode) == 0o600


async def appeared(folder: Path) -> list[Path]:
    async with asyncio.timeout(10):
        while not (found := files(folder)):
            await asyncio.sleep(0.02)
    return found


async def test_at_its_limit_the_recording_ends_and_the_call_goes_on(tmp_path: Path) -> None:
    limits = settings(tmp_path, max_minutes=0.025)
    async with bench(tmp_path, says(3000), agent=AGENT, recording=limits) as (service, server):
        async with RawPhone() as phone:
            await phone.invite("127.0.0.1", service.sip_port)
            phone.wire.send(b"\xff" * FRAME)
            await service.until(STARTED("limited"), 1)
            (file,) = files(tmp_path)
            await closed(service, file)
            assert not phone.ended.is_set()
            async with asyncio.timeout(10):
                while phone.wire.heard().strip(b"\xff") != counter(1, 24000).strip(b"\xff"):
                    await asyncio.sleep(0.05)
            await phone.bye()
        await ended(server.sessions[0])
        await service.until("sipbridge_rtp_ports_free", 100)
        metrics = await service.metrics()
    assert seconds(file) == 1.5
    assert metrics["sipbridge_recorded_bytes_total"] == 1.5 * 8000 * 4
    assert metrics[STARTED("started")] == 1


async def test_a_disk_that_is_too_full_refuses_recordings_and_no_call(tmp_path: Path) -> None:
    full = settings(tmp_path, min_free_megabytes=10**9)
    async with bench(tmp_path, says(200), agent=AGENT, recording=full) as (service, _), RawPhone() as phone:
        assert (await phone.invite("127.0.0.1", service.sip_port)).status == 200
        await service.until(STARTED("refused"), 1)
        await phone.bye()
        assert (await service.metrics())[STARTED("started")] == 0
        assert service.events("recording.disk_full")
    assert files(tmp_path) == []


async def test_who_is_connected_to_somebody_else_is_recorded_no_more(tmp_path: Path) -> None:
    async with RawPeer(user="caller") as caller, RawPeer() as desk:
        wanted = agent("bridge", desk=uri(desk)) | {"record": True}
        async with bench(tmp_path, asks(audio_ms=1000), agent=wanted, recording=settings(tmp_path)) as (
            service,
            server,
        ):
            await caller.invite("127.0.0.1", service.sip_port)
            before, there, back = sound(1), sound(2), sound(3)
            await caller.wire.play(before)
            await service.until(OUTCOME("joined"), 1)
            (file,) = files(tmp_path)
            await closed(service, file)
            size = file.stat().st_size
            await asyncio.gather(caller.wire.play(there), desk.wire.play(back))
            await asyncio.sleep(0.2)
            assert came(desk.wire, there) == there and file.stat().st_size == size
            await caller.bye()
            await ended(server.sessions[0])
    left, right = tracks(file)
    place(left, decode(b"".join(before), Law.PCMU))
    place(right, decode(counter(1, 8000), Law.PCMU))
    for frame in (*there, *back):
        pcm = decode(frame, Law.PCMU)
        assert pcm not in left and pcm not in right


@pytest.mark.parametrize(("record", "has_folder"), [(False, True), (True, False)])
async def test_nobody_is_recorded_without_both_a_folder_and_the_agent_s_word(
    tmp_path: Path, record: bool, has_folder: bool
) -> None:
    made = settings(tmp_path)
    sections = {"recording": made} if has_folder else {}
    async with bench(tmp_path, says(200), agent=AGENT | {"record": record}, **sections) as (service, server):
        async with RawPhone() as phone:
            await phone.invite("127.0.0.1", service.sip_port)
            await phone.wire.play(frames(b"\x11" * 1600))
            await phone.bye()
        await ended(server.sessions[0])
        metrics = await service.metrics()
        assert len(service.events("recording.off")) == (record and not has_folder)
    assert files(tmp_path) == [] and metrics[STARTED("started")] == 0
