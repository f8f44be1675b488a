"""Real phones that speak G.722 and Opus: each side hears what the other says, in wide band and in full length."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from bridge.agent.formats import AudioFormat
from bridge.agent.server import AgentSession
from tests.interop.likeness import SECONDS, alike, lags_ms, voice
from tests.interop.sound import GREETS
from tests.phones import wav
from tests.phones.asterisk import Asterisk
from tests.phones.baresip import Baresip
from tests.phones.linphone import Linphone
from tests.service.rig import bench, ended

pytestmark = pytest.mark.interop

ALL = ["opus", "g722", "pcmu", "pcma"]
LEAST = {"PCMU": (0.98, 0.0), "PCMA": (0.98, 0.0), "G722": (0.98, 0.9), "opus": (0.75, 0.8)}
"""How alike a codec leaves a voice, in narrow band and above it. Opus, made for it, makes up much of its noise."""
SLIP_MS = 1.5
"""How much of the time line the filters between two rates may keep back."""
FIRST_BYTE_MS = 1200
"""A softphone needs its time after the answer before it plays what it hears."""


def says(folder: Path, *, rate: int = 24000, seed: int = 2) -> str:
    """A script: the agent says the other voice."""
    wav.write(folder / "agent.wav", voice(rate, seed), SECONDS, rate=rate)
    item = f"{{audio_ms: {SECONDS * 1000:.0f}, pattern: 'wav:{folder / 'agent.wav'}'}}"
    return f"vad: false\nanswer: {{first_byte_ms: {FIRST_BYTE_MS}, items: [{item}]}}"


def formats(session: AgentSession) -> tuple[str, str]:
    """Of the session's audio, in and out."""
    (update,) = [event for _, event in session.received if event["type"] == "session.update"]
    audio = update["session"]["audio"]
    return audio["input"]["format"]["type"], audio["output"]["format"]["type"]


def assert_heard(
    heard: bytes, rate: int, seed: int, codec: str, who: str, slip_ms: float = SLIP_MS, least: float = 1.0
) -> None:
    """That voice is in there: nothing left out, nothing put in, and sounding as that codec sounds."""
    said = voice(rate, seed)
    lags = lags_ms(said, heard, rate)
    narrow, wide = alike(said, heard, rate, lags[2])
    print(f"\n{who}, {codec}: {narrow:.3f} {wide:.3f}, at {lags[0]:.1f} ms, slips {max(lags) - min(lags):.2f} ms")
    assert max(lags) - min(lags) <= slip_ms, lags
    least_narrow, least_wide = LEAST[codec]
    assert narrow >= min(least, least_narrow)
    assert wide >= least_wide or rate == 8000


def assert_heard_by_the_model(session: AgentSession, codec: str, seed: int = 1) -> None:
    """In the format that this codec makes of a session."""
    law = {"PCMU": "audio/pcmu", "PCMA": "audio/pcma"}.get(codec, "audio/pcm")
    assert formats(session) == (law, law)
    form = AudioFormat(law)
    assert_heard(form.to_pcm(bytes(session.input_audio)), form.rate, seed, codec, "up")


async def talk() -> None:
    """Until both have said all."""
    await asyncio.sleep(FIRST_BYTE_MS / 1000 + SECONDS + 1)


@pytest.mark.usefixtures("baresip")
@pytest.mark.parametrize(
    ("codec", "encryption"), [("PCMU", "srtp-mand"), ("G722", ""), ("opus", ""), ("opus", "srtp-mand")]
)
async def test_baresip_and_the_agent_hear_each_other(tmp_path: Path, codec: str, encryption: str) -> None:
    trunks = {"phones": {"peers": ["127.0.0.0/8"], "srtp": "required" if encryption else "off"}}
    script = says(tmp_path, rate=8000 if codec == "PCMU" else 24000)
    async with bench(tmp_path, script, agent=GREETS, trunks=trunks) as (service, server):
        async with await baresip_saying(tmp_path, codec, encryption=encryption) as phone:
            await phone.dial(service.uri())
            await talk()
            await phone.hang_up()
            session = await ended(server.sessions[0])
            heard = phone.heard()
        (told,) = service.events("call.ended")
    assert told["codec"] == codec.upper()
    assert (told["lost"], told["concealed_ms"], told["underruns"]) == (0, 0, 0)
    assert_heard_by_the_model(session, codec)
    assert_heard(heard, phone.rate, 2, codec, "down")


PREFERENCES = {
    # the agent's codecs, what a phone offers → what they speak
    "default": ([], ("opus", "G722", "PCMU"), "PCMU"),
    "default, no G.711": ([], ("opus", "G722"), "G722"),
    "opus first": (["opus", "g722", "pcmu"], ("PCMU", "G722", "opus"), "opus"),
    "g722 only": (["g722"], ("PCMU", "G722", "opus"), "G722"),
}


@pytest.mark.usefixtures("baresip")
@pytest.mark.parametrize("case", PREFERENCES)
async def test_the_agents_preference_decides(tmp_path: Path, case: str) -> None:
    codecs, offers, spoken = PREFERENCES[case]
    agent = {"codecs": codecs} if codecs else {}
    async with bench(tmp_path, "vad: false", agent=agent) as (service, server):
        async with await baresip_saying(tmp_path, spoken, offers=offers) as phone:
            await phone.dial(service.uri())
            await asyncio.sleep(1)
            await phone.hang_up()
            session = await ended(server.sessions[0])
        (told,) = service.events("call.ended")
    assert told["codec"] == spoken.upper()
    # It is not said, it is spoken.
    assert told["packets_in"] > 20 and len(session.input_audio) > 0
    assert formats(session)[0] == ("audio/pcmu" if spoken == "PCMU" else "audio/pcm")


@pytest.mark.usefixtures("baresip")
async def test_a_phone_without_any_of_the_agents_codecs_is_refused(tmp_path: Path) -> None:
    async with bench(tmp_path, "vad: false", agent={"codecs": ["pcma"]}) as (service, server):
        async with await baresip_saying(tmp_path, "G722") as phone:
            assert (await phone.refused(service.uri())).startswith("488")
        assert server.sessions == []


async def baresip_saying(folder: Path, codec: str, **more: Any) -> Baresip:
    """A phone that says its voice in that codec."""
    rate = {"G722": 16000, "opus": 48000}.get(codec, 8000)
    return await Baresip.start(folder / "phone", pcm=voice(rate), seconds=15, codec=codec, **more)


@pytest.mark.parametrize("codec", ["PCMU", "opus"])
async def test_linphone_and_the_agent_hear_each_other(tmp_path: Path, linphone: str, codec: str) -> None:
    """It plays at a clock of its own, so its jitter buffer may slip a little; what it says has its full length."""
    rate = 48000 if codec == "opus" else 8000
    script = says(tmp_path, rate=8000 if codec == "PCMU" else 24000)
    async with bench(tmp_path, script, agent=GREETS) as (service, server):
        phone = await Linphone.start(tmp_path / "phone", pcm=voice(rate), seconds=15, rate=rate, codecs=(codec,))
        async with phone:
            await phone.dial(service.uri())
            await talk()
            await phone.hang_up()
            session = await ended(server.sessions[0])
            heard, heard_rate = phone.heard(), phone.heard_rate
        (told,) = service.events("call.ended")
    assert told["codec"] == codec.upper()
    assert_heard_by_the_model(session, codec)
    # A slip of its buffer takes some of the likeness away.
    assert_heard(heard, heard_rate, 2, codec, "down", slip_ms=45, least=0.75)


@pytest.mark.parametrize("codec", ["g722", "opus"])
async def test_asterisk_and_the_agent_hear_each_other(tmp_path: Path, pbx: Asterisk, codec: str) -> None:
    """Its own codecs, from 16 kHz and to 16 kHz."""
    pbx.speaks(voice(16000))
    async with bench(tmp_path, says(tmp_path), agent=GREETS) as (service, server):
        await pbx.originate(f"trunk-{codec}", service.uri(), "805")
        await service.until("sipbridge_calls_active", 1)
        await talk()
        await pbx.hang_up_all()
        session = await ended(server.sessions[0])
        await service.until('sipbridge_calls_total{reason="caller_hung_up"}', 1)
        (told,) = service.events("call.ended")
        await pbx.until_quiet()
    name = {"g722": "G722", "opus": "opus"}[codec]
    assert told["codec"] == codec.upper()
    assert_heard_by_the_model(session, name)
    assert_heard(pbx.heard(), 16000, 2, name, "down")
