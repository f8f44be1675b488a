"""Trunks: the way out, and a close that waits for nobody twice."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import structlog

from bridge.config import Config
from bridge.signalling import listen_addresses
from bridge.sip.ua import ListenAddress, UserAgent
from bridge.sip.uri import Uri
from bridge.trunks import Trunks


def made(**register: object) -> Trunks:
    account = {"server": "sip:pbx.example;transport=tcp", "user": "600", "password": "secret"} | register
    config = Config.model_validate({"trunks": {"pbx": {"register": account}, "plain": {"proxy": "sip:out.example"}}})
    agent = UserAgent(listen=[ListenAddress("udp", "127.0.0.1", 0)], on_invite=lambda call: None)
    return Trunks(config, agent)


def test_a_proxy_is_a_loose_route_and_an_account_answers_challenges() -> None:
    trunks = made()
    assert trunks.way("plain").routes == ("<sip:out.example;lr>",)
    assert trunks.way("plain").authenticator is None
    assert trunks.way("pbx").authenticator is not None
    assert trunks.way("nobody").routes == ()


def test_an_account_that_is_not_registered_makes_us_unreachable() -> None:
    trunks = made()
    assert trunks.unreachable
    assert trunks.states() == [("pbx/600", "idle", "")]
    assert not trunks.uses(("192.0.2.1", 5060))


async def test_only_the_first_close_waits() -> None:
    trunks = made()
    asked: list[Callable[[], None]] = []

    def close(done: Callable[[], None], wait_s: float) -> None:
        asked.append(done)
        asyncio.get_running_loop().call_soon(done)

    trunks.registrations["pbx/600"].close = close  # type: ignore[method-assign]
    await trunks.close()
    await trunks.close()
    assert len(asked) == 1


def test_a_password_proves_itself_only_to_the_trunk_s_own_servers() -> None:
    trunks = made(domain="carrier.example")
    for target, proves in (
        ("sip:200@pbx.example:5070", True),
        ("sip:200@carrier.example", True),
        ("sip:200@elsewhere.example", False),
    ):
        assert (trunks.way("pbx", Uri.parse(target)).authenticator is not None) == proves


def test_a_domain_without_a_port_may_be_reached_by_any_transport() -> None:
    def wanted(server: str) -> set[str]:
        account = {"server": server, "user": "600", "password": "secret"}
        config = Config.model_validate({"trunks": {"pbx": {"register": account}}})
        return {address.transport for address in listen_addresses(config) if not address.listening}

    assert wanted("pbx.example") == {"tcp", "tls"}
    assert wanted("pbx.example:5060") == set()
    assert wanted("192.0.2.1") == set()
    assert wanted("sip:pbx.example;transport=tcp") == {"tcp"}
    assert wanted("sips:pbx.example") == {"tls"}


def test_a_lapsed_registration_is_told_once_and_so_is_its_return() -> None:
    trunks = made()
    item, told = trunks.registrations["pbx/600"], list[str]()
    trunks._core.clock = lambda: now[0]  # type: ignore[method-assign]
    now = [1000.0]
    item.state, item.expires_at = item.State.REGISTERED, 1060.0
    with structlog.testing.capture_logs() as logs:
        trunks._look("pbx", "pbx/600")
        for now[0], expires in ((1030.0, 1060.0), (1061.0, 1060.0), (1062.0, 1060.0), (1063.0, 1120.0)):
            item.expires_at = expires
            trunks._core.alarms.run(now[0] + 1)
            told.append(trunks.states()[0][1])
    assert [entry["event"] for entry in logs] == ["registration.lapsed", "registration.back"]
    assert told == ["registered", "lapsed", "lapsed", "registered"]
