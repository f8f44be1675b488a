"""Real softphones straight at the service: every transport, its own registrar, SRTP as configured, keys as SIP INFO."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from tests.interop.sound import GREETS, SAYS_A_SENTENCE_LATER, TALK_S, hears_the_sentence, keys_told, linear, words
from tests.phones.baresip import Baresip
from tests.phones.certificates import Authority
from tests.phones.linphone import Linphone
from tests.phones.peers import Peer
from tests.phones.sipp import Sipp, over_tls
from tests.service.rig import bench, ended

pytestmark = pytest.mark.interop

SAID = words(2)
TRANSPORTS = ["udp", "tcp", "tls"]
PASSWORD = "secret"
REGISTRAR = {"realm": "phones.test", "users": {"alice": {"password": PASSWORD}}}


def listening(transport: str, authority: Authority) -> dict[str, Any]:
    """What the service needs for that transport, beside UDP."""
    return {"listen": [*dict.fromkeys(("udp", transport))], "authority": authority if transport == "tls" else None}


def with_srtp(mode: str) -> dict[str, Any]:
    return {"trunks": {"phones": {"peers": ["127.0.0.0/8"], "srtp": mode}}}


async def baresip_phone(folder: Path, authority: Authority, **more: Any) -> Baresip:
    return await Baresip.start(folder, pcm=linear(SAID), seconds=12, trust=authority.certificate, **more)


async def linphone_phone(folder: Path, authority: Authority, **more: Any) -> Linphone:
    return await Linphone.start(folder, pcm=linear(SAID), seconds=12, trust=authority.certificate, **more)


PHONES = {"baresip": baresip_phone, "linphone": linphone_phone}


@pytest.fixture(params=PHONES)
def make(request: pytest.FixtureRequest) -> Any:
    """Starts a softphone: baresip, then linphone; the test is skipped where it is not installed."""
    request.getfixturevalue(request.param)
    return PHONES[request.param]


@pytest.mark.parametrize("transport", TRANSPORTS)
async def test_a_call_over_each_transport(tmp_path: Path, authority: Authority, make: Any, transport: str) -> None:
    more = listening(transport, authority)
    async with bench(tmp_path, SAYS_A_SENTENCE_LATER, agent=GREETS, **more) as (service, server):
        async with await make(tmp_path / "phone", authority, transport=transport) as phone:
            await phone.dial(service.uri(transport))
            await asyncio.sleep(TALK_S)
            await phone.hang_up()
            session = await ended(server.sessions[0])
        assert SAID in bytes(session.input_audio)
        assert hears_the_sentence(phone.heard())
        await service.until('sipbridge_calls_total{reason="caller_hung_up"}', 1)


@pytest.mark.parametrize("transport", TRANSPORTS)
async def test_a_phone_registered_at_the_service_calls(
    tmp_path: Path, authority: Authority, make: Any, transport: str
) -> None:
    """A phone that insists on registering is pointed straight at the service."""
    more = listening(transport, authority) | {"registrar": REGISTRAR}
    async with bench(tmp_path, SAYS_A_SENTENCE_LATER, agent=GREETS, **more) as (service, server):
        port = service.tls_port if transport == "tls" else service.sip_port
        account = {"user": "alice", "password": PASSWORD, "registrar": f"127.0.0.1:{port}", "transport": transport}
        if make is linphone_phone:
            account["realm"] = REGISTRAR["realm"]
        async with await make(tmp_path / "phone", authority, **account) as phone:
            await phone.registered()
            await phone.dial(service.uri(transport))
            await asyncio.sleep(TALK_S)
            await phone.hang_up()
            session = await ended(server.sessions[0])
        assert SAID in bytes(session.input_audio)
        assert hears_the_sentence(phone.heard())


@pytest.mark.usefixtures("baresip")
async def test_a_wrong_password_registers_nobody(tmp_path: Path, authority: Authority) -> None:
    async with bench(tmp_path, "vad: false", registrar=REGISTRAR) as (service, _):
        account = {"user": "alice", "password": "wrong", "registrar": f"127.0.0.1:{service.sip_port}"}
        async with await baresip_phone(tmp_path / "phone", authority, **account) as phone:
            with pytest.raises(TimeoutError):
                await phone.registered(within=2)
        assert "SIP/2.0 401" in phone.output()


SRTP = {
    # the trunk's srtp: what an offer of plain RTP and one of SRTP come to
    "off": (True, False),
    "optional": (True, True),
    "required": (False, True),
}


@pytest.mark.parametrize("encrypted", [False, True], ids=["plain", "srtp"])
@pytest.mark.parametrize("mode", SRTP)
async def test_srtp_is_refused_or_taken_as_configured(
    tmp_path: Path, authority: Authority, make: Any, mode: str, encrypted: bool
) -> None:
    names = {baresip_phone: "srtp-mand", linphone_phone: "srtp"}
    more = {"encryption": names[make]} if encrypted else {}
    async with bench(tmp_path, SAYS_A_SENTENCE_LATER, agent=GREETS, **with_srtp(mode)) as (service, server):
        async with await make(tmp_path / "phone", authority, **more) as phone:
            if not SRTP[mode][encrypted]:
                assert (await phone.refused(service.uri())).startswith("488")
                assert server.sessions == []
                return
            await phone.dial(service.uri())
            await asyncio.sleep(TALK_S)
            await phone.hang_up()
            session = await ended(server.sessions[0])
        assert SAID in bytes(session.input_audio)
        assert hears_the_sentence(phone.heard())


@pytest.mark.parametrize("mode", SRTP)
async def test_sipp_over_tls_with_srtp(tmp_path: Path, authority: Authority, new_sipp: Peer, mode: str) -> None:
    own = authority.issue("sipp")
    more = listening("tls", authority) | with_srtp(mode)
    async with bench(tmp_path, "vad: false", **more) as (service, server):
        with Sipp.calling(
            "127.0.0.1",
            service.tls_port,
            tmp_path / "sipp",
            seconds=3,
            audio=SAID,
            program=new_sipp.command,
            options=over_tls(own.certificate, own.key),
            srtp=True,
        ) as phone:
            result = await phone.result()
        if mode == "off":
            assert result.failed == 1 and "SIP/2.0 488" in result.log
            assert server.sessions == []
            return
        assert result.ok, result.log
        assert SAID in bytes((await ended(server.sessions[0])).input_audio)


@pytest.mark.usefixtures("linphone")
async def test_keys_as_sip_info_reach_the_agent_once(tmp_path: Path, authority: Authority) -> None:
    async with bench(tmp_path, "vad: false") as (service, server):
        async with await linphone_phone(tmp_path / "phone", authority, keys="info") as phone:
            await phone.dial(service.uri())
            await phone.press("42#")
            await service.until("sipbridge_digits_total", 3)
            await asyncio.sleep(2.5)
            await phone.hang_up()
            session = await ended(server.sessions[0])
        assert keys_told(session) == "42#"
        assert (await service.metrics())["sipbridge_digits_total"] == 3
