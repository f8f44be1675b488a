"""TLS: who is spoken to, under which name, and what a failed handshake leaves."""

from __future__ import annotations

import asyncio
import logging
import ssl
from functools import partial

import pytest

from bridge.sip.connection import StreamLimits
from bridge.sip.tls import TlsSettings
from tests.phones.certificates import Authority, Certificate

from .streams import HOST, Station, numbered, on_both_loops, station, stranger, until


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority.make(tmp_path_factory.mktemp("tls"))


@pytest.fixture(scope="module")
def ours(authority: Authority) -> Certificate:
    return authority.issue("ours")


@pytest.fixture(scope="module")
def secret(authority: Authority, ours: Certificate) -> TlsSettings:
    return TlsSettings(ours.certificate, ours.key, authority.certificate)


@on_both_loops
async def test_over_tls_an_alias_needs_a_certificate(secret: TlsSettings) -> None:
    strict = TlsSettings(secret.certificate, secret.key, secret.ca, client_certificates=True)
    for settings, opened in ((secret, 1), (strict, 0)):
        async with station("TLS", tls=settings) as near, station("TLS", tls=secret) as far:
            far.send(numbered(1), near.address)
            await until(lambda near=near: near.received)
            near.transport.alias(near.source, 9)
            near.send(numbered(2), (HOST, 9))
            assert near.stats.opened == opened


@on_both_loops
async def test_a_server_with_the_wrong_name_or_ca_is_not_spoken_to(secret: TlsSettings) -> None:
    async with station("TLS", tls=secret) as far:
        for settings, name in ((secret, "elsewhere.example"), (TlsSettings(), "localhost"), (TlsSettings(), "")):
            async with station("TLS", tls=settings, listening=False) as near:
                near.send(numbered(1), far.address, name)
                await until(lambda near=near: near.lost)
                assert near.lost == [far.address]
                assert near.stats.handshake_failures == {"certificate": 1}
                assert near.stats.closed == {"handshake": 1}
        await until(lambda: far.transport.connections == 0)
        assert far.received == []


@on_both_loops
async def test_the_name_is_asked_for_and_verified(authority: Authority) -> None:
    made = authority.issue("named", ("DNS:sip.example",))
    contexts: list[str | None] = []
    settings = TlsSettings(made.certificate, made.key, authority.certificate)
    async with station("TLS", tls=settings) as far, station("TLS", tls=settings) as near:
        context = far.transport._server_tls
        assert context is not None
        context.sni_callback = lambda end, name, _: contexts.append(name)
        near.send(numbered(1), far.address, "sip.example")
        await until(lambda: far.received)
        near.send(numbered(2), far.address)
        await until(lambda: len(far.received) == 2)
        assert contexts == ["sip.example"]
        near.send(numbered(3), far.address, HOST)
        await until(lambda: near.stats.handshake_failures)
        assert contexts == ["sip.example", None]
        assert (near.stats.opened, len(far.received)) == (2, 2)


@on_both_loops
async def test_a_connection_is_not_shared_between_names(authority: Authority) -> None:
    made = authority.issue("two", ("DNS:one.example", "DNS:two.example"))
    settings = TlsSettings(made.certificate, made.key, authority.certificate)
    async with station("TLS", tls=settings) as far, station("TLS", tls=settings) as near:
        for name in ("one.example", "two.example", "one.example"):
            near.send(numbered(1), far.address, name)
        await until(lambda: len(far.received) == 3)
        assert near.stats.opened == 2


@on_both_loops
async def test_a_name_that_tls_cannot_ask_for_is_an_error(secret: TlsSettings) -> None:
    async with station("TLS", tls=secret) as near:
        for name in (".example", "a..b", "x" * 64 + ".example"):
            with pytest.raises(OSError, match="not a host name"):
                near.send(numbered(1), (HOST, 5061), name)
        assert near.transport.connections == 0


@on_both_loops
async def test_a_client_without_a_certificate_is_turned_away_when_one_is_asked_for(secret: TlsSettings) -> None:
    strict = TlsSettings(secret.certificate, secret.key, secret.ca, client_certificates=True)
    async with station("TLS", tls=strict) as far:
        async with station("TLS", tls=TlsSettings(ca=secret.ca), listening=False) as bare:
            bare.send(numbered(1), far.address)
            await until(lambda: far.stats.closed and bare.lost)
        assert far.stats.handshake_failures == {"certificate": 1}
        async with station("TLS", tls=secret) as known:
            known.send(numbered(1), far.address)
            await until(lambda: far.received)


@on_both_loops
async def test_failed_handshakes_are_counted_and_leave_no_trace(
    secret: TlsSettings, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    asyncio.get_running_loop().set_debug(False)  # a debugged loop may show its traces
    async with station("TLS", tls=secret) as near:
        async with stranger(near) as plain:
            plain.say(numbered(1))
            await plain.hear_end()
        async with stranger(near) as gone:
            gone.say(b"\x16\x03\x01")
        await until(lambda: sum(near.stats.closed.values()) == 2)
        assert near.stats.handshake_failures == {"not_tls": 1, "closed": 1}
        assert near.stats.closed == {"handshake": 2}
    assert not [record for record in caplog.records if record.exc_info or record.levelno > logging.DEBUG]


@on_both_loops
async def test_a_stalled_handshake_ends(secret: TlsSettings) -> None:
    async with station("TLS", tls=secret, limits=StreamLimits(opening_s=10)) as near, stranger(near) as peer:
        await until(lambda: near.transport.connections)
        near.pass_time(9)
        assert near.stats.closed == {}
        near.pass_time(1)
        assert near.stats.closed == {"timeout": 1}
        await peer.hear_end()


@on_both_loops
async def test_handshakes_count_against_the_limits(secret: TlsSettings) -> None:
    async with station("TLS", tls=secret, limits=StreamLimits(per_host=2)) as near:
        async with stranger(near), stranger(near), stranger(near) as third:
            await third.hear_end()
            assert (near.stats.accepted, near.stats.refused) == (2, 1)


@on_both_loops
async def test_a_large_message_goes_through_tls(secret: TlsSettings) -> None:
    client = ssl.create_default_context(cafile=str(secret.ca))
    async with station("TLS", tls=secret) as near, stranger(near, client) as peer:
        near.on_message = near.send
        peer.say(numbered(1, 60_000))
        assert await peer.hear(len(numbered(1, 60_000))) == numbered(1, 60_000)


def test_a_tls_listener_without_a_certificate_is_refused_at_once() -> None:
    make = partial(Station, "TLS")
    with pytest.raises(ValueError, match="a listener needs a certificate"):
        make()
    assert make(listening=False).address == (HOST, 5061)
