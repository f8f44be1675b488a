"""Calls through a real Kamailio that stays in them by Record-Route, over UDP, TCP and TLS, in both directions."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from tests.interop.sound import GREETS, SAYS_A_SENTENCE_LATER, TALK_S, hears, hears_the_sentence, linear, words
from tests.phones.baresip import Baresip
from tests.phones.certificates import Authority
from tests.phones.kamailio import Kamailio
from tests.service.rig import Service, bench, ended

pytestmark = [pytest.mark.interop, pytest.mark.usefixtures("baresip")]

SAID = words(2)

# The caller's transport and the service's: alike, and mixed (two Record-Route entries).
LEGS = [("udp", "udp"), ("tcp", "tcp"), ("tls", "tls"), ("udp", "tls"), ("tcp", "udp")]
legs = pytest.mark.parametrize(("caller", "ours"), LEGS, ids=["-".join(pair) for pair in LEGS])


def listening(transport: str, authority: Authority) -> dict[str, Any]:
    return {"listen": [*dict.fromkeys(("udp", transport))], "authority": authority if transport == "tls" else None}


async def behind(proxy: Kamailio, folder: Path, authority: Authority, transport: str, **more: Any) -> Baresip:
    """A phone that sends everything to the proxy."""
    own = {"transport": transport, "outbound": proxy.uri(transport), "trust": authority.certificate}
    if transport == "tls":
        own["certificate"] = authority.issue("phone").both
    return await Baresip.start(folder, **({"pcm": linear(SAID), "seconds": 14} | own | more))


def through_the_proxy(service: Service, transport: str) -> str:
    return service.uri(transport).replace("transport", "over")


@legs
async def test_the_caller_holds_resumes_and_hangs_up(
    tmp_path: Path, proxy: Kamailio, authority: Authority, caller: str, ours: str
) -> None:
    """The re-INVITEs of hold and resume, and the BYE, go through the proxy too."""
    begun = len(proxy.seen("INVITE")), len(proxy.seen("BYE"))
    more = listening(ours, authority)
    async with bench(tmp_path, SAYS_A_SENTENCE_LATER, agent=GREETS, **more) as (service, server):
        async with await behind(proxy, tmp_path / "phone", authority, caller) as phone:
            await phone.dial(through_the_proxy(service, ours))
            await asyncio.sleep(TALK_S)
            await phone.hold()
            await asyncio.sleep(0.3)
            await phone.resume()
            await asyncio.sleep(0.3)
            await phone.hang_up()
        session = await ended(server.sessions[0])
        assert SAID in bytes(session.input_audio)
        assert hears_the_sentence(phone.heard())
        await service.until('sipbridge_calls_total{reason="caller_hung_up"}', 1)
    assert len(proxy.seen("INVITE")) - begun[0] == 3
    assert len(proxy.seen("BYE")) - begun[1] == 1


@legs
async def test_the_agent_hangs_up(
    tmp_path: Path, proxy: Kamailio, authority: Authority, caller: str, ours: str
) -> None:
    """Our BYE takes the recorded route back, over the transports it names."""
    begun = len(proxy.seen("BYE"))
    script = "vad: false\nanswer: {items: [{audio_ms: 500}, {call: hang_up, arguments: {}}]}"
    agent = GREETS | {"tools": ["hang_up"]}
    async with bench(tmp_path, script, agent=agent, **listening(ours, authority)) as (service, server):
        async with await behind(proxy, tmp_path / "phone", authority, caller) as phone:
            await phone.dial(through_the_proxy(service, ours))
            await phone.event("CALL_CLOSED", 6)
        await ended(server.sessions[0])
        await service.until('sipbridge_calls_total{reason="agent_hung_up"}', 1)
    assert len(proxy.seen("BYE")) - begun == 1


@pytest.mark.parametrize("transport", ["udp", "tcp", "tls"])
async def test_a_call_of_ours_goes_out_through_the_proxy(
    tmp_path: Path, proxy: Kamailio, authority: Authority, transport: str
) -> None:
    """The agent joins the caller with a second phone; both hear each other, and the caller's BYE ends all."""
    begun = len(proxy.seen("INVITE")), len(proxy.seen("BYE"))
    asked, told = words(12, seed=1), words(12, seed=2)
    script = "vad: false\nanswer: {items: [{call: transfer, arguments: {target: desk}}]}"
    own = {"user": "desk", "transport": transport, "trust": authority.certificate}
    own |= {"certificate": authority.issue("desk").both} if transport == "tls" else {}
    async with await Baresip.start(tmp_path / "desk", pcm=linear(told), seconds=14, **own) as desk:
        port = desk.port + (transport == "tls")
        target = f"sip:desk@127.0.0.1:{port};transport={transport}"
        transfer = {"targets": {"desk": target}, "method": "bridge"}
        agent = GREETS | {"tools": ["transfer"], "transfer": transfer}
        more = listening(transport, authority)
        more["trunks"] = {"proxy": {"peers": ["127.0.0.0/8"], "proxy": proxy.uri(transport)}}
        async with bench(tmp_path, script, agent=agent, **more) as (service, server):
            async with await behind(proxy, tmp_path / "phone", authority, transport, pcm=linear(asked)) as phone:
                await phone.dial(through_the_proxy(service, transport))
                await desk.event("CALL_ESTABLISHED", 10)
                await ended(server.sessions[0], within=10)
                await asyncio.sleep(2)
                await phone.hang_up()
                await desk.event("CALL_CLOSED", 5)
    assert any(hears(desk.heard(), asked[at : at + 4000]) for at in range(0, 64000, 160))
    assert any(hears(phone.heard(), told[at : at + 4000]) for at in range(0, 16000, 160))
    assert len(proxy.seen("INVITE")) - begun[0] == 2
    assert len(proxy.seen("BYE")) - begun[1] == 2
