"""Packets of 10 to 60 ms, in every codec: of the right size, at the right pace, with a ledger that is still exact."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack
from itertools import groupby, pairwise
from pathlib import Path

import pytest

from bridge.agent.server import AgentSession
from bridge.audio import g722, opus
from bridge.audio.level import rms
from tests.interop.likeness import voice
from tests.interop.sound import GREETS
from tests.interop.test_wideband import assert_heard, assert_heard_by_the_model, says, talk
from tests.phones.baresip import Baresip
from tests.phones.rawphone import RawPhone
from tests.phones.wire import Packet, in_order
from tests.service.rig import bench, ended
from tests.service.test_barge_in import check_ledger, on_wire, told

pytestmark = pytest.mark.interop

ALL = {"codecs": ["pcmu", "g722", "opus"]}
CODECS = {
    # payload type, its line, ticks a ms, bytes a ms (0: they vary)
    "PCMU": (0, "PCMU/8000", 8, 8),
    "G722": (9, "G722/8000", 8, 8),
    "OPUS": (96, "opus/48000/2", 48, 0),
}
LOUD = 1000
"""RMS of what is the tone; it has 5600."""
FADE_MS = 6
"""A cut tone is not switched off: it falls for 5 ms, which nobody counts as heard."""
ROUNDS = 6
CUTS = f"""
vad: false
seed: 7
rules:
  - on: response_create
    do:
      - repeat:
          times: {ROUNDS}
          do:
            - response: {{items: [{{audio_ms: 3000, pattern: 'PATTERN'}}], speed: 10}}
            - delay_ms: [300, 700]
            - speech_started: {{in_flight: 3}}
            - delay_ms: 300
            - speech_stopped: {{respond: false}}
      - delay_ms: 300
      - close: {{code: 1000}}
"""


def offer(phone: RawPhone, codec: str, *lines: str) -> str:
    """One codec and what the phone says on packets."""
    number, encoding, _, _ = CODECS[codec]
    head = f"v=0\r\no=raw 1 1 IN IP4 {phone.host}\r\ns=-\r\nc=IN IP4 {phone.host}\r\nt=0 0\r\n"
    media = f"m=audio {phone.wire.port} RTP/AVP {number}\r\na=rtpmap:{number} {encoding}\r\n"
    return head + media + "".join(f"a={line}\r\n" for line in lines)


def loud_ms(codec: str, packets: list[Packet]) -> list[int]:
    """Of each stretch of tone that they carry, how many ms it lasts."""
    decoder = g722.G722Decoder() if codec == "G722" else opus.OpusDecoder()
    pcm = b"".join(decoder.decode(packet.payload) for packet in packets)
    step = 2 * decoder.rate // 500  # 2 ms: a period of the tone
    steps = [rms(pcm[at : at + step]) > LOUD for at in range(0, len(pcm), step)]
    return [2 * len(list(run)) for loud, run in groupby(steps) if loud]


ASKED = {
    # what the phone says → what it gets
    ("ptime:10",): 10,
    ("ptime:30",): 30,
    ("ptime:40",): 40,
    ("ptime:60",): 60,
    ("ptime:60", "maxptime:40"): 40,
    ("maxptime:10",): 10,
    ("ptime:35",): 30,
    (): 20,
}


@pytest.mark.parametrize("codec", CODECS)
async def test_each_phone_gets_packets_of_the_length_it_asks_for(tmp_path: Path, codec: str) -> None:
    """All at once, so that they have the same time: the counts are then as the lengths."""
    async with bench(tmp_path, "vad: false", agent=ALL) as (service, server), AsyncExitStack() as stack:
        phones = [await stack.enter_async_context(RawPhone(user=f"raw{number}")) for number in range(len(ASKED))]
        for phone, lines in zip(phones, ASKED, strict=True):
            sdp = offer(phone, codec, *lines)
            assert (await phone.invite("127.0.0.1", service.sip_port, sdp=sdp)).status == 200
        before = [len(phone.wire.packets) for phone in phones]
        await asyncio.sleep(2.4)
        counts = [len(phone.wire.packets) - count for phone, count in zip(phones, before, strict=True)]
        for phone in phones:
            assert not phone.ended.is_set(), service.events("call.ended")
            await phone.bye()
        assert not [line for line in service.lines() if line["level"] == "error"]
        skipped = int((await service.metrics())["sipbridge_pacer_skipped_slots_total"])
    assert len(server.sessions) == len(ASKED)
    reference = 20 * counts[list(ASKED).index(())]
    for phone, count, (lines, ptime) in zip(phones, counts, ASKED.items(), strict=True):
        ptime = 20 if (codec, ptime) == ("OPUS", 30) else ptime  # Opus has no frames of 30 ms (RFC 6716 2.1.4)
        assert_in_packets_of(ptime, codec, in_order(phone.wire.packets), skipped)
        assert abs(ptime * count - reference) <= 2 * ptime + 60 + 60 * skipped, (lines, count)


def assert_in_packets_of(ptime: int, codec: str, packets: list[Packet], skipped: int = 0) -> None:
    """By size, by timestamp, and by what their own bytes say."""
    _, _, ticks, size = CODECS[codec]
    steps = [(b.timestamp - a.timestamp) & 0xFFFFFFFF for a, b in pairwise(packets)]
    slots, rest = zip(*(divmod(step, ticks * ptime) for step in steps), strict=True)
    assert set(rest) == {0} and min(slots) == 1
    assert sum(slots) - len(slots) <= skipped, "a longer step is a slot that the machine missed"
    assert {(b.sequence - a.sequence) & 0xFFFF for a, b in pairwise(packets)} == {1}
    if size:
        assert {len(packet.payload) for packet in packets} == {size * ptime}
    else:
        assert {opus.duration_ms(packet.payload) for packet in packets} == {ptime}


async def cut_call(port: int, codec: str, ptime: int) -> RawPhone:
    """A call of the number `ptime`, until the agent's server ends it."""
    async with RawPhone() as phone:
        sdp = offer(phone, codec, f"ptime:{ptime}")
        assert (await phone.invite("127.0.0.1", port, str(ptime), sdp=sdp)).status == 200
        await asyncio.wait_for(phone.ended.wait(), 60)
    return phone


@pytest.mark.parametrize("codec", CODECS)
async def test_the_ledger_is_exact_whatever_the_packets(tmp_path: Path, codec: str) -> None:
    """What the session is told to have been heard when it was cut is what was on the wire."""
    ptimes = [10, 40, 60] if codec == "OPUS" else [10, 30, 60]
    script = CUTS.replace("PATTERN", "counter" if codec == "PCMU" else "tone:500")
    agent = ALL | GREETS | {"instructions": "{called}"}
    async with bench(tmp_path, script, agent=agent) as (service, server):
        phones = await asyncio.gather(*(cut_call(service.sip_port, codec, ptime) for ptime in ptimes))
        sessions = {number_of(await ended(session)): session for session in server.sessions}
    for ptime, phone in zip(ptimes, phones, strict=True):
        session, packets = sessions[str(ptime)], in_order(phone.wire.packets)
        truncated, _ = told(session)
        cuts = [truncated[item.id] for item in session.items]
        assert len(cuts) == ROUNDS and all(ms % ptime == 0 for ms in cuts) and sum(cuts) > 1000
        if codec == "PCMU":
            assert check_ledger(session, on_wire(packets))[0] == ROUNDS
        else:
            # Behind the last cut come the notes with which a call ends whose agent is gone.
            loud = loud_ms(codec, packets)[:ROUNDS]
            assert len(loud) == ROUNDS
            assert all(0 <= ms - cut <= FADE_MS for ms, cut in zip(loud, cuts, strict=True)), (ptime, loud, cuts)


def number_of(session: AgentSession) -> str:
    """The number that its caller called."""
    (update,) = [event for _, event in session.received if event["type"] == "session.update"]
    return str(update["session"]["instructions"])


@pytest.mark.usefixtures("baresip")
@pytest.mark.parametrize(("codec", "ptime"), [("PCMU", 10), ("PCMU", 60), ("G722", 30), ("opus", 40)])
async def test_baresip_with_other_packets_hears_and_is_heard(tmp_path: Path, codec: str, ptime: int) -> None:
    """Ours are as it asks; its own are as our answer says, 20 ms."""
    rate = {"PCMU": 8000, "G722": 16000, "opus": 48000}[codec]
    script = says(tmp_path, rate=8000 if codec == "PCMU" else 24000)
    async with bench(tmp_path, script, agent=GREETS) as (service, server):
        phone = await Baresip.start(tmp_path / "phone", pcm=voice(rate), seconds=15, codec=codec, ptime_ms=ptime)
        async with phone:
            await phone.dial(service.uri())
            await talk()
            await phone.hang_up()
            session = await ended(server.sessions[0])
            heard = phone.heard()
        (ending,) = service.events("call.ended")
    assert ending["packets_out"] * ptime / 1000 == pytest.approx(ending["seconds"], abs=0.3)
    assert (ending["lost"], ending["concealed_ms"]) == (0, 0)
    assert_heard_by_the_model(session, codec)
    assert_heard(heard, phone.rate, 2, codec, "down")
