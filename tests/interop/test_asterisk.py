"""A real Asterisk 22 as the PBX: calls from its trunk and its phones, registration, hold, keys."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from tests.interop.sound import (
    GREETS,
    SAYS_A_SENTENCE,
    SAYS_A_SENTENCE_LATER,
    SENTENCE,
    TALK_S,
    hears_the_sentence,
    keys_told,
    linear,
    words,
)
from tests.phones.asterisk import MILLIWATT, MUSIC, PASSWORD, Asterisk
from tests.phones.baresip import Baresip
from tests.phones.certificates import Authority
from tests.service.rig import bench, ended

pytestmark = pytest.mark.interop

SAID = words(2)


async def desk_phone(folder: Path, pbx: Asterisk, *, said: bytes = SAID, seconds: float = 20) -> Baresip:
    """Phone 201 of the PBX, registered."""
    account = {"user": "201", "password": PASSWORD, "registrar": f"127.0.0.1:{pbx.port}"}
    phone = await Baresip.start(folder, pcm=linear(said), seconds=seconds, **account)
    await phone.registered()
    return phone


def at_the_pbx(pbx: Asterisk, *, password: str = PASSWORD, transport: str = "udp") -> dict[str, Any]:
    """A trunk that registers as `agent`."""
    server = f"sip:127.0.0.1:{pbx.port};transport={transport}"
    register = {"server": server, "user": "agent", "password": password, "expires_s": 60}
    return {"trunks": {"pbx": {"peers": ["127.0.0.0/8"], "register": register}}}


@pytest.mark.parametrize("transport", ["udp", "tcp", "tls", "srtp"])
async def test_a_call_from_the_trunk_carries_what_both_sides_say(
    tmp_path: Path, pbx: Asterisk, authority: Authority, transport: str
) -> None:
    """Its echo brings the agent's own bytes back to the session: untouched in both directions."""
    srtp = transport == "srtp"
    transport = "tls" if srtp else transport
    more: dict[str, Any] = {"listen": [*dict.fromkeys(("udp", transport))]}
    more |= {"authority": authority} if transport == "tls" else {}
    more |= {"trunks": {"pbx": {"peers": ["127.0.0.0/8"], "srtp": "required"}}} if srtp else {}
    async with bench(tmp_path, SAYS_A_SENTENCE, agent=GREETS, **more) as (service, server):
        await pbx.originate("trunk-srtp" if srtp else "trunk", service.uri(transport), "801")
        await service.until("sipbridge_calls_active", 1)
        await asyncio.sleep(3)
        await pbx.hang_up_all()
        session = await ended(server.sessions[0])
        assert SENTENCE in bytes(session.input_audio)
        await service.until('sipbridge_calls_total{reason="caller_hung_up"}', 1)
        await pbx.until_quiet()


async def test_the_agent_hangs_up_and_asterisk_lets_go(tmp_path: Path, pbx: Asterisk) -> None:
    script = "vad: false\nanswer: {items: [{audio_ms: 300}, {call: hang_up, arguments: {}}]}"
    async with bench(tmp_path, script, agent=GREETS | {"tools": ["hang_up"]}) as (service, _):
        await pbx.originate("trunk", service.uri(), "800")
        await service.until('sipbridge_calls_total{reason="agent_hung_up"}', 1)
        await pbx.until_quiet()


# Registration


@pytest.mark.usefixtures("baresip")
@pytest.mark.parametrize("transport", ["udp", "tcp"])
async def test_registered_with_digest_and_called_from_an_extension(
    tmp_path: Path, pbx: Asterisk, transport: str
) -> None:
    more = at_the_pbx(pbx, transport=transport) | {"listen": ["udp", "tcp"]}
    async with bench(tmp_path, SAYS_A_SENTENCE_LATER, agent=GREETS, **more) as (service, server):
        assert f":{service.sip_port}" in await pbx.contact_of("agent")
        async with await desk_phone(tmp_path / "phone", pbx) as phone:
            await phone.dial(pbx.uri("700"))
            await asyncio.sleep(TALK_S)
            await phone.hang_up()
            session = await ended(server.sessions[0])
        assert SAID in bytes(session.input_audio)
        assert hears_the_sentence(phone.heard())
    assert await pbx.contacts_of("agent") == [], "it takes its leave when it stops"


async def test_a_wrong_password_is_told_and_not_hammered(tmp_path: Path, pbx: Asterisk) -> None:
    before = pbx.requests("REGISTER")
    more = at_the_pbx(pbx, password="wrong") | {"until": "/healthz"}
    async with bench(tmp_path, "vad: false", **more) as (service, _):
        await asyncio.sleep(3)
        assert await pbx.contacts_of("agent") == []
        assert 1 <= pbx.requests("REGISTER") - before <= 4
        (told,) = service.events("registration.refused")
        assert "401" in told["detail"] and "password" in told["detail"]
        status, why = await service.get("/readyz")
        assert status == 503 and "not_registered" in why


# Hold


@pytest.mark.usefixtures("baresip")
async def test_hold_passed_through_as_a_reinvite(tmp_path: Path, pbx: Asterisk) -> None:
    """A sendonly re-INVITE: nothing leaves us on hold; afterwards both sides hear each other again."""
    said = words(9)
    answer = "vad: false\nanswer: {items: [{audio_ms: 9000}]}"
    async with bench(tmp_path, answer, agent=GREETS) as (service, server):
        await pbx.serve(port=service.sip_port)
        async with await desk_phone(tmp_path / "phone", pbx, said=said) as phone:
            await phone.dial(pbx.uri("610"))
            await asyncio.sleep(1.5)
            await phone.hold()
            await pbx.says(r"(?s)sendonly.*SIP/2\.0 200 OK.*a=recvonly", after=pbx.mark)
            await asyncio.sleep(0.3)
            sent = (await service.metrics())["sipbridge_rtp_packets_sent_total"]
            await asyncio.sleep(1)
            assert (await service.metrics())["sipbridge_rtp_packets_sent_total"] == sent
            await phone.resume()
            await asyncio.sleep(6.5)
            assert (await service.metrics())["sipbridge_rtp_packets_sent_total"] > sent + 200
            await phone.hang_up()
            session = await ended(server.sessions[0])
        assert said[-4000:] in bytes(session.input_audio)
        assert len(server.sessions) == 1


@pytest.mark.usefixtures("baresip")
async def test_hold_with_music_of_the_pbx(tmp_path: Path, pbx: Asterisk) -> None:
    """The PBX tells us nothing and plays music; the call goes on as if the caller had hummed."""
    said = words(6)
    async with bench(tmp_path, "vad: false") as (service, server):
        await pbx.serve(port=service.sip_port)
        async with await desk_phone(tmp_path / "phone", pbx, said=said) as phone:
            await phone.dial(pbx.uri("600"))
            await asyncio.sleep(1)
            await phone.hold()
            await asyncio.sleep(1.5)
            await phone.resume()
            await asyncio.sleep(4.5)
            await phone.hang_up()
            session = await ended(server.sessions[0])
        heard = bytes(session.input_audio)
        assert MUSIC * 40 in heard
        assert said[-4000:] in heard


# Keys


@pytest.mark.parametrize("endpoint", ["trunk", "trunk-info"])
async def test_keys_of_a_caller_behind_the_pbx(tmp_path: Path, pbx: Asterisk, endpoint: str) -> None:
    """RFC 4733 on the one, SIP INFO on the other: each key counts once."""
    async with bench(tmp_path, "vad: false") as (service, server):
        await pbx.originate(endpoint, service.uri(), "press")
        await service.until("sipbridge_digits_total", 3)
        await asyncio.sleep(2.5)
        await pbx.hang_up_all()
        session = await ended(server.sessions[0])
        assert keys_told(session) == "42#"
        assert (await service.metrics())["sipbridge_digits_total"] == 3


@pytest.mark.parametrize("endpoint", ["trunk", "trunk-info"])
async def test_the_agent_presses_keys(tmp_path: Path, pbx: Asterisk, endpoint: str) -> None:
    calls = '{call: send_digits, arguments: {digits: "19*0"}}'
    once = f"{{on: response_create, nth: 1, do: [{{delay_ms: 300}}, {{response: {{items: [{calls}]}}}}]}}"
    script = f"vad: false\nrules: [{once}]"
    async with bench(tmp_path, script, agent=GREETS | {"tools": ["send_digits"]}) as (service, _):
        await pbx.originate(endpoint, service.uri(), "803")
        await pbx.says(r"keys read: 19\*0", after=pbx.mark)
        await pbx.until_quiet()


async def test_the_agent_hears_a_tone_of_asterisk(tmp_path: Path, pbx: Asterisk) -> None:
    async with bench(tmp_path, "vad: false") as (service, server):
        await pbx.originate("trunk", service.uri(), "800")
        await service.until("sipbridge_calls_active", 1)
        await asyncio.sleep(1)
        await pbx.hang_up_all()
        session = await ended(server.sessions[0])
        assert MILLIWATT * 100 in bytes(session.input_audio)
