"""Speech through the whole loop, scored against what was said (ITU-T P.862): real phones up and down, and bad lines.

The original is speech as G.711 can say it: PCM that survives encoding and decoding. Against the voice's own samples the
codec alone costs half a mark (the voice's pauses are empty, the codec's are not), which would hide what the loop costs.
"""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from bridge.agent.formats import AudioFormat
from bridge.agent.server import AgentSession
from bridge.agent.voice import require_extra
from bridge.agent.worker import Worker
from bridge.audio.g711 import Law, decode, encode
from bridge.audio.resample import Resampler
from tests.phones import pesq, wav
from tests.phones.baresip import Baresip
from tests.phones.linphone import Linphone
from tests.phones.rawphone import RawPhone
from tests.phones.relay import Profile, Relay
from tests.phones.sipp import Sipp
from tests.phones.wire import FRAME, frames
from tests.service.rig import bench, ended
from tests.service.test_bad_network import AFTER_S, behind, uncollected

pytestmark = pytest.mark.interop

TEXT = "The birch canoe slid on the smooth planks. Glue the sheet to the dark blue background."
AS_SAID = 4.4
"""The mark of what is the same but for one step in the last place."""
LOSSES = (0.01, 0.03, 0.05, 0.1)
SEED = 5
WELL = 3.5
"""The mark of a good call whatever the codec."""
UNDERSTOOD = 1.8
"""The mark that speech keeps at the worst of these losses."""
_ONE_ZERO = bytes.maketrans(b"\x7e\x7f\xfe", b"\xff\xff\xff")
"""The softphones' tables for µ-law differ by one step around zero: these words count as one."""


@pytest.fixture(scope="module")
def voice() -> bytes:
    """Speech of the agent's own voice, 16-bit PCM at 8000 Hz, whole frames; skipped where something is missing."""
    if reason := pesq.missing():
        pytest.skip(reason)
    try:
        require_extra("espeakng_loader", "soxr")
    except RuntimeError as error:
        pytest.skip(str(error))
    pcm = Resampler(24000, 8000).process(asyncio.run(_speak()), last=True)
    return pcm[: len(pcm) - len(pcm) % (2 * FRAME)]


async def _speak() -> bytes:
    worker = Worker("bridge.agent.voice_worker", 30)
    answer = await worker.ask({"text": TEXT, "format": "audio/pcm", "voice": "alloy", "speed": 1.0})
    await worker.close()
    assert answer is not None, "the voice failed"
    return answer[1]


def speakable(voice: bytes, law: Law) -> bytes:
    """The same words as that law can say them, in G.711 bytes that every encoder gives back from their own values."""
    return encode(decode(encode(voice, law), law), law)


def linear(session: AgentSession) -> bytes:
    """What the model got, whatever its format, as 16-bit PCM at 8000 Hz."""
    (update,) = [event for _, event in session.received if event["type"] == "session.update"]
    form = AudioFormat(update["session"]["audio"]["input"]["format"]["type"])
    return Resampler(form.rate, pesq.RATE).process(form.to_pcm(bytes(session.input_audio)), last=True)


def says(folder: Path, said: bytes, law: Law, *, after_ms: int = 1500) -> str:
    """A script: the agent says this speech, when a softphone has had its time to begin."""
    path = folder / "agent.wav"
    wav.write(path, decode(said, law), 0)
    item = f"{{audio_ms: {len(said) // 8}, pattern: 'wav:{path}'}}"
    return f"vad: false\nanswer: {{first_byte_ms: {after_ms}, items: [{item}]}}"


def words(code: bytes, law: Law) -> bytes:
    """To be compared with what a softphone made of them."""
    return code.translate(_ONE_ZERO) if law is Law.PCMU else code


def assert_heard_by_the_model(session: AgentSession, said: bytes, law: Law) -> None:
    """Byte for byte, and so with the best mark."""
    got = bytes(session.input_audio)
    assert said in got, "the model got other bytes than the phone said"
    mark = pesq.score(decode(said, law), decode(got, law))
    print(f"\nup, {law.name}: {mark:.2f}")
    assert mark >= AS_SAID


def assert_heard_by_the_phone(pcm: bytes, said: bytes, law: Law) -> None:
    """The same code words, and so with the best mark."""
    mark = pesq.score(decode(said, law), pcm)
    print(f"\ndown, {law.name}: {mark:.2f}")
    assert words(said, law) in words(encode(pcm, law), law), f"the phone played something else (mark {mark:.2f})"
    assert mark >= AS_SAID


@pytest.mark.parametrize("law", list(Law), ids=lambda law: law.name)
async def test_baresip_and_the_agent_say_the_same_to_each_other(
    tmp_path: Path, baresip: str, voice: bytes, law: Law
) -> None:
    said = speakable(voice, law)
    seconds = len(said) / 8000
    async with bench(tmp_path, says(tmp_path, said, law), agent={"greeting": "Begin."}) as (service, server):
        pcm = decode(said, law)
        async with await Baresip.start(tmp_path / "phone", pcm=pcm, seconds=seconds + 8, codec=law.name) as phone:
            await phone.dial(f"sip:600@127.0.0.1:{service.sip_port}")
            await asyncio.sleep(seconds + 2.5)
            await phone.hang_up()
            session = await ended(server.sessions[0])
            heard = phone.heard()
    assert_heard_by_the_model(session, said, law)
    assert_heard_by_the_phone(heard, said, law)


@pytest.mark.parametrize("law", list(Law), ids=lambda law: law.name)
async def test_sipp_is_heard_byte_for_byte(tmp_path: Path, sipp: str, voice: bytes, law: Law) -> None:
    said = encode(voice, law)
    seconds = len(said) / 8000
    async with bench(tmp_path, "vad: false") as (service, server):
        call = Sipp.calling(
            "127.0.0.1", service.sip_port, tmp_path / "sipp", seconds=seconds + 1, audio=said, law=law.name
        )
        with call as phone:
            result = await phone.result()
        assert result.ok, result.log
        session = await ended(server.sessions[0])
    assert_heard_by_the_model(session, said, law)


async def test_linphone_and_the_agent_understand_each_other(tmp_path: Path, linphone: str, voice: bytes) -> None:
    """Its jitter buffer follows a clock of its own, and it may choose another codec: scored and not compared."""
    said = speakable(voice, Law.PCMU)
    seconds = len(said) / 8000
    async with bench(tmp_path, says(tmp_path, said, Law.PCMU), agent={"greeting": "Begin."}) as (service, server):
        pcm = decode(said, Law.PCMU)
        async with await Linphone.start(tmp_path / "phone", pcm=pcm, seconds=seconds + 8) as phone:
            await phone.dial(service.uri())
            await asyncio.sleep(seconds + 2.5)
            await phone.hang_up()
            session = await ended(server.sessions[0])
            heard = phone.heard()
    up = pesq.score(pcm, linear(session))
    down = pesq.score(pcm, heard)
    print(f"\nlinphone: up {up:.2f}, down {down:.2f}")
    assert min(up, down) >= WELL


async def lossy_call(port: int, said: bytes, loss: float) -> None:
    """Say it over a line that loses that share."""
    async with RawPhone() as phone:
        with Relay(Profile(loss=loss), seed=SEED) as relay:
            assert (
                await phone.invite("127.0.0.1", port, f"6{round(loss * 100):02}", sdp=behind(phone, relay))
            ).status == 200
            assert phone.wire.to is not None
            relay.join((phone.wire.host, phone.wire.port), phone.wire.to)
            phone.wire.to = relay.near
            await phone.wire.play(frames(said))
            await asyncio.sleep(AFTER_S)
            await phone.bye()


@pytest.mark.parametrize("law", [Law.PCMU], ids=lambda law: law.name)
async def test_what_stands_in_for_lost_packets_sounds_better_than_silence(
    tmp_path: Path, voice: bytes, law: Law
) -> None:
    said = speakable(voice, law) * 2
    with uncollected():
        async with bench(tmp_path, "vad: false", agent={"instructions": "{called}"}) as (service, server):
            await asyncio.gather(*(lossy_call(service.sip_port, said, loss) for loss in LOSSES))
            sessions = {instructions(session): await ended(session) for session in server.sessions}
    marks = {}
    for loss in LOSSES:
        got = bytes(sessions[f"6{round(loss * 100):02}"].input_audio)
        holes = muted(said, got, law)
        assert holes.count(bytes([law.silence]) * FRAME) > 0
        original = decode(said, law)
        marks[loss] = pesq.score(original, decode(got, law)), pesq.score(original, decode(holes, law))
    print(
        "\n"
        + "\n".join(f"{loss:4.0%} lost: {ours:.2f}, with silence {mute:.2f}" for loss, (ours, mute) in marks.items())
    )
    ours, mute = (sum(pair[which] for pair in marks.values()) for which in (0, 1))
    assert ours > mute
    assert marks[0.01][0] > marks[0.05][0] > UNDERSTOOD
    assert marks[0.1][0] > UNDERSTOOD


def instructions(session: AgentSession) -> str:
    """What the agent was told: here the number that was called."""
    (update,) = [event for _, event in session.received if event["type"] == "session.update"]
    return str(update["session"]["instructions"])


def muted(said: bytes, got: bytes, law: Law) -> bytes:
    """What was said, with silence wherever something else was got."""
    quiet = bytes([law.silence]) * FRAME
    pairs = ((said[at : at + FRAME], got[at : at + FRAME]) for at in range(0, len(said), FRAME))
    return b"".join(one if one == other else quiet for one, other in pairs)
