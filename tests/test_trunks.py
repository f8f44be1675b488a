"""Trunks: the way out, and a close that waits for nobody twice."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from bridge.config import Config
from bridge.sip.ua import ListenAddress, UserAgent
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
