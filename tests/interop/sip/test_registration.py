"""Our registration with a server (RFC 3261 section 10.2): SIPp is the registrar."""

from __future__ import annotations

import random

import pytest

from bridge.sip.binding import Binding
from bridge.sip.digest import Credentials
from bridge.sip.registration import Registration
from bridge.sip.ua import UserAgent
from bridge.sip.uri import Uri
from tests.sip.phone import until

from .scenario import Sipp
from .serving import Clock, serving

pytestmark = pytest.mark.phone

WHO = Uri.parse("sip:alice@here.example.com")
STATE = Registration.State


def registration(service: UserAgent, *servers: str) -> Registration:
    credentials = (Credentials("alice", "secret"),)
    binding = Binding(tuple(Uri.parse(uri.replace("600@", "")) for uri in servers), WHO, credentials, expires_s=60)
    return Registration(service.core, binding, random.Random(3))


async def test_we_register_refresh_and_leave(phone: Sipp) -> None:
    clock = Clock()
    async with serving(clock=clock) as service, phone.answer("registers") as uri:
        ours = registration(service, uri)
        ours.start()
        await until(lambda: ours.state is STATE.REGISTERED)
        assert ours.expires_at is not None
        assert ours.expires_at - clock() == pytest.approx(600, abs=5)
        assert ours.service_route == ("<sip:edge.example.com;lr>",)
        clock.skip(service, 400)
        assert service.stats.sent["REGISTER"] == 3
        clock.skip(service, 170)
        await until(lambda: service.stats.responses.get(200) == 2)
        ours.close()
        await until(lambda: ours.state is STATE.GONE)


@pytest.mark.parametrize(
    ("answer", "state"),
    [("403 Forbidden", STATE.REFUSED), ("404 Not Found", STATE.REFUSED), ("500 Broken", STATE.BACKING_OFF)],
)
async def test_we_are_refused(phone: Sipp, answer: str, state: Registration.State) -> None:
    async with serving() as service, phone.answer("registers_once", status=answer) as uri:
        ours = registration(service, uri)
        ours.start()
        await until(lambda: ours.state is state)
        assert ours.last_status == int(answer[:3])


async def test_the_next_server_takes_us(phone: Sipp) -> None:
    second = phone.another()
    async with serving() as service:
        async with phone.answer("registers_once", status="503 Out of Order") as broken:
            async with second.answer("registers_once", status="200 OK") as working:
                ours = registration(service, broken, working)
                ours.start()
                await until(lambda: ours.state is STATE.REGISTERED)
                assert service.stats.responses == {503: 1, 200: 1}
