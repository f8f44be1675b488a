"""Calls through a real Kamailio that stays in them by Record-Route, over UDP, TCP and TLS."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from tests.interop.sound import GREETS, SAYS_A_SENTENCE_LATER, hears_the_sentence, linear, words
from tests.phones.baresip import Baresip
from tests.phones.certificates import Authority
from tests.phones.kamailio import Kamailio
from tests.service.rig import bench, ended

pytestmark = [pytest.mark.interop, pytest.mark.usefixtures("baresip")]

SAID = words(2)

# The caller's transport and the service's: alike, and mixed (two Record-Route entries).
LEGS = [("udp", "udp"), ("tcp", "tcp"), ("tls", "tls"), ("udp", "tls"), ("tcp", "udp")]


@pytest.mark.parametrize(("caller", "service_side"), LEGS, ids=["-".join(legs) for legs in LEGS])
async def test_a_call_through_the_proxy_until_the_caller_hangs_up(
    tmp_path: Path, proxy: Kamailio, authority: Authority, caller: str, service_side: str
) -> None:
    """The re-INVITEs of hold and resume, and the BYE, go through the proxy too."""
    begun = len(proxy.seen("INVITE")), len(proxy.seen("BYE"))
    secure = authority if service_side == "tls" else None
    listen = [*dict.fromkeys(("udp", service_side))]
    async with bench(tmp_path, SAYS_A_SENTENCE_LATER, agent=GREETS, listen=listen, authority=secure) as (
        service,
        server,
    ):
        async with await Baresip.start(
            tmp_path / "phone",
            pcm=linear(SAID),
            seconds=12,
            transport=caller,
            outbound=proxy.uri(caller),
            trust=authority.certificate,
        ) as phone:
            await phone.dial(service.uri(service_side).replace("transport", "over"))
            await asyncio.sleep(3.5)
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
