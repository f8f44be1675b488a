"""Real phones against the service: what they say reaches the session, what the agent says comes back."""

from __future__ import annotations

import asyncio
import random
from itertools import pairwise
from pathlib import Path

import pytest

from bridge.agent.patterns import counter, locate
from bridge.agent.server import AgentSession
from bridge.audio._audioop import audioop
from bridge.audio.g711 import Law, decode, encode
from tests.phones.baresip import Baresip
from tests.phones.pyvoip import PyVoip
from tests.phones.rawphone import RawPhone
from tests.phones.registrar import Registrar
from tests.phones.sipp import Sipp
from tests.phones.wire import frames, in_order, silence
from tests.service.rig import bench, ended

SECONDS = 4
MUSIC = b"\x21\x43" * 2400
SENTENCE_MS = 1730
SAYS_A_SENTENCE = f"vad: false\nanswer: {{items: [{{audio_ms: {SENTENCE_MS}}}]}}"

SAYS_A_SENTENCE_LATER = f"vad: false\nanswer: {{first_byte_ms: 1500, items: [{{audio_ms: {SENTENCE_MS}}}]}}"
"""A softphone needs its time after the answer before it plays what it hears."""


def speech_like(seconds: float, seed: int = 5) -> bytes:
    """G.711 bytes without any repetition, so that one lost, doubled or moved byte shows."""
    return random.Random(seed).randbytes(round(seconds * 8000 / 160) * 160)


def assert_carried(session: AgentSession, said: bytes) -> None:
    """The session got the phone's bytes, all, in order, once; around them only what the phone sent as silence."""
    got = bytes(session.input_audio)
    at = got.find(said)
    assert at >= 0, f"{len(said)} bytes were said, {len(got)} came, but not these"
    assert got.find(said, at + 1) < 0


@pytest.mark.phone
@pytest.mark.parametrize("law", ["PCMU", "PCMA"])
async def test_sipp_audio_reaches_the_session_byte_for_byte(tmp_path: Path, sipp: str, law: str) -> None:
    said = speech_like(SECONDS)
    async with bench(tmp_path, SAYS_A_SENTENCE, agent={"greeting": "Begin."}) as (service, server):
        port = service.sip_port
        with Sipp.calling("127.0.0.1", port, tmp_path / "sipp", seconds=SECONDS + 1, audio=said, law=law) as phone:
            result = await phone.result()
        assert result.ok, result.log
        session = await ended(server.sessions[0])
        assert_carried(session, said)
        (update,) = [event for _, event in session.received if event["type"] == "session.update"]
        asked = update["session"]["audio"]
        assert asked["input"]["format"] == asked["output"]["format"] == {"type": f"audio/{law.lower()}"}
        assert (await service.metrics())['sipbridge_calls_total{reason="caller_hung_up"}'] == 1


@pytest.mark.parametrize("law", ["PCMU", "PCMA"])
async def test_the_agents_sentence_is_heard_without_gap_repeat_or_loss(tmp_path: Path, law: str) -> None:
    async with bench(tmp_path, SAYS_A_SENTENCE, agent={"greeting": "Begin."}) as (service, server):
        async with RawPhone(law=law) as phone:
            await phone.invite("127.0.0.1", service.sip_port)
            await phone.wire.play(frames(silence(3, phone.wire.payload_type)))
            await phone.bye()
        await ended(server.sessions[0])

    packets = in_order(phone.wire.packets)
    heard = b"".join(packet.payload for packet in packets)
    quiet = Law[law].silence
    sentence = counter(1, SENTENCE_MS * 8)
    assert heard.strip(bytes([quiet])) == sentence.strip(bytes([quiet]))
    assert {packet.payload_type for packet in packets} == {Law[law].payload_type}
    assert {len(packet.payload) for packet in packets} == {160}
    for one, other in pairwise(packets):
        assert (other.sequence - one.sequence) & 0xFFFF == 1
        assert (other.timestamp - one.timestamp) & 0xFFFFFFFF == 160
    marked = [index for index, packet in enumerate(packets) if packet.marker]
    first_word = next(index for index, packet in enumerate(packets) if locate(packet.payload))
    assert marked == sorted({0, first_word})


async def test_a_server_that_forgets_to_end_an_item_does_not_hold_up_the_next(tmp_path: Path) -> None:
    item = "{audio_ms: 300}"
    script = f"vad: false\nanswer: {{items: [{item}, {item}], skip: [response.output_audio.done]}}"
    async with bench(tmp_path, script, agent={"greeting": "Begin."}) as (service, _), RawPhone() as phone:
        await phone.invite("127.0.0.1", service.sip_port)
        await phone.wire.play(frames(silence(2)))
        await phone.bye()
    heard = phone.wire.heard()
    assert counter(1, 2400) in heard and counter(2, 2400) in heard


async def test_a_session_of_the_other_law_is_translated_by_table(tmp_path: Path) -> None:
    said = speech_like(1)
    async with bench(tmp_path, "vad: false", agent={"audio": "pcmu"}) as (service, server):
        async with RawPhone(law="PCMA") as phone:
            await phone.invite("127.0.0.1", service.sip_port)
            await phone.wire.play(frames(said))
            await asyncio.sleep(0.1)
            await phone.bye()
        session = await ended(server.sessions[0])
        assert_carried(session, encode(decode(said, Law.PCMA), Law.PCMU))


@pytest.mark.parametrize("append_ms", [20, 60, 100])
async def test_appends_hold_as_much_as_configured(tmp_path: Path, append_ms: int) -> None:
    said = speech_like(1)
    async with bench(tmp_path, "vad: false", media={"append_ms": append_ms}) as (service, server):
        async with RawPhone() as phone:
            await phone.invite("127.0.0.1", service.sip_port)
            await phone.wire.play(frames(said))
            await asyncio.sleep(0.1)
            await phone.bye()
        session = await ended(server.sessions[0])
        assert_carried(session, said)
        appends = [event["audio"] for _, event in session.received if event["type"] == "input_audio_buffer.append"]
        assert {len(text) for text in appends[:-1]} == {-(-append_ms * 8 // 3) * 4}


async def test_keys_reach_the_agent_as_words(tmp_path: Path) -> None:
    async with bench(tmp_path, "vad: false") as (service, server):
        async with RawPhone() as phone:
            await phone.invite("127.0.0.1", service.sip_port)
            await phone.wire.play(frames(silence(0.2)))
            for digit in "42#":
                await phone.wire.press(digit)
                await phone.wire.play(frames(silence(0.1)))
            await phone.wire.play(frames(silence(0.3)))
            await phone.bye()
        session = await ended(server.sessions[0])
        created = [event["item"] for _, event in session.received if event["type"] == "conversation.item.create"]
        assert [item["content"][0]["text"] for item in created] == ["The caller pressed 4 2 # on the keypad."]
        assert "response.create" in [event["type"] for _, event in session.received]
        assert (await service.metrics())["sipbridge_digits_total"] == 3


async def test_a_phone_that_takes_the_music_off_hold_goes_on(tmp_path: Path) -> None:
    """A re-INVITE with the same media, hold and resume: the call and its one session go on."""
    async with bench(tmp_path, "vad: false") as (service, server):
        async with RawPhone() as phone:
            await phone.invite("127.0.0.1", service.sip_port)
            await phone.wire.play(frames(silence(0.2)))
            same = await phone.in_dialog("INVITE", body=phone.sdp())
            assert same.status == 200 and "a=sendrecv" in same.body
            held = await phone.in_dialog("INVITE", body=phone.sdp(direction="sendonly"))
            assert "a=recvonly" in held.body
            await asyncio.sleep(0.1)
            at_hold = len(phone.wire.packets)
            await asyncio.sleep(0.3)
            assert len(phone.wire.packets) == at_hold, "nothing is sent to a phone that holds"
            await phone.wire.play(frames(MUSIC))
            resumed = await phone.in_dialog("INVITE", body=phone.sdp())
            assert "a=sendrecv" in resumed.body
            await phone.wire.play(frames(silence(0.3)))
            assert len(phone.wire.packets) > at_hold
            await phone.bye()
        session = await ended(server.sessions[0])
        assert len(server.sessions) == 1
        assert MUSIC[:160] not in bytes(session.input_audio), "music on hold is no speech"
        assert len(session.input_audio) >= 8000, "but the session's time goes on"


async def test_a_changed_codec_is_followed_and_the_session_keeps_its_law(tmp_path: Path) -> None:
    first, said = speech_like(0.5), speech_like(0.5)
    async with bench(tmp_path, "vad: false") as (service, server):
        async with RawPhone() as phone:
            await phone.invite("127.0.0.1", service.sip_port)
            await phone.wire.play(frames(first))
            other = phone.sdp().replace("RTP/AVP 0 101", "RTP/AVP 8 101").replace("0 PCMU/8000", "8 PCMA/8000")
            answer = await phone.in_dialog("INVITE", body=other)
            assert answer.status == 200 and " RTP/AVP 8 101" in answer.body
            phone.wire.payload_type = 8
            await phone.wire.play(frames(said))
            await asyncio.sleep(0.1)
            await phone.bye()
            packets = phone.wire.packets
        assert_carried(await ended(server.sessions[0]), first + encode(decode(said, Law.PCMA), Law.PCMU))
    assert {packet.payload_type for packet in packets} == {0, 8}
    assert len({packet.ssrc for packet in packets}) == 1


async def test_a_codec_that_is_none_of_ours_is_refused_and_the_call_goes_on(tmp_path: Path) -> None:
    said = speech_like(0.5)
    async with bench(tmp_path, "vad: false") as (service, server):
        async with RawPhone() as phone:
            await phone.invite("127.0.0.1", service.sip_port)
            moved = phone.sdp().replace("IN IP4 127.0.0.1\r\nt", "IN IP4 240.0.0.1\r\nt")
            refused = await phone.in_dialog("INVITE", body=moved)
            assert refused.status == 488 and refused.header("Warning").startswith("301 ")
            other = phone.sdp().replace("RTP/AVP 0 101", "RTP/AVP 18 101").replace("0 PCMU/8000", "18 G729/8000")
            assert (await phone.in_dialog("INVITE", body=other)).status == 488
            await phone.wire.play(frames(said))
            await asyncio.sleep(0.1)
            await phone.bye()
        assert_carried(await ended(server.sessions[0]), said)


async def test_an_invite_without_an_offer_is_answered_with_ours(tmp_path: Path) -> None:
    async with bench(tmp_path, SAYS_A_SENTENCE, agent={"greeting": "Begin."}) as (service, server):
        async with RawPhone() as phone:
            await phone.start_invite("127.0.0.1", service.sip_port, sdp="")
            answer = await phone.answer(sdp=phone.sdp())
            assert "m=audio" in answer.body and " 0 8 9 107 101 102" in answer.body
            await phone.wire.play(frames(silence(2.5)))
            await phone.bye()
        await ended(server.sessions[0])
        heard = phone.wire.heard()
        assert heard.strip(b"\xff") == counter(1, SENTENCE_MS * 8)


def code_words(seconds: float, law: Law) -> bytes:
    """G.711 bytes that every encoder gives back from their own linear values."""
    code = speech_like(seconds)
    return code.replace(b"\x7f", b"\xff") if law is Law.PCMU else code  # µ-law has two words for zero


@pytest.mark.phone
@pytest.mark.usefixtures("baresip")
@pytest.mark.parametrize("law", ["PCMU", "PCMA"])
async def test_baresip_talks_with_the_agent(tmp_path: Path, law: str) -> None:
    said = code_words(3, Law[law])
    async with bench(tmp_path, SAYS_A_SENTENCE_LATER, agent={"greeting": "Begin."}) as (service, server):
        pcm = decode(said, Law[law])
        async with await Baresip.start(tmp_path / "phone", pcm=pcm, seconds=8, codec=law) as phone:
            await phone.dial(f"sip:600@127.0.0.1:{service.sip_port}")
            await asyncio.sleep(4)
            await phone.hang_up()
            session = await ended(server.sessions[0])
            heard = phone.heard()
    assert_carried(session, said)
    # baresip's table for µ-law is 2 off around zero: what it played is compared as code words, these taken as one.
    around_zero = bytes.maketrans(b"\x7e\x7f", b"\xff\xff") if law == "PCMU" else None
    sentence = counter(1, SENTENCE_MS * 8).translate(around_zero)
    assert sentence in encode(heard, Law[law]).translate(around_zero)


@pytest.mark.phone
async def test_pyvoip_talks_with_the_agent(tmp_path: Path) -> None:
    """pyVoIP takes G.711 through 8 bits, so its own conversion is the measure; it registers before it calls."""
    said = bytes(random.Random(4).randrange(256) for _ in range(2 * 8000))
    async with bench(tmp_path, SAYS_A_SENTENCE_LATER, agent={"greeting": "Begin."}) as (service, server):
        async with Registrar(("127.0.0.1", service.sip_port), passwords={"pyvoip": "secret"}) as registrar:
            address = ("127.0.0.1", registrar.port)
            with PyVoip.calling(address, tmp_path / "phone", samples=said, seconds=4) as phone:
                told = await phone.result()
        session = await ended(server.sessions[0])
    assert told["registered"] and told["answered"] and not told["ended_by_far"], phone.said()
    assert_carried(session, audioop.lin2ulaw(audioop.bias(said, 1, -128), 1))
    sentence = audioop.bias(audioop.ulaw2lin(counter(1, SENTENCE_MS * 8), 1), 1, 128)
    assert sentence in phone.heard()
