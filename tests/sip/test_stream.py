"""TCP and TLS: which connection is used, what is lost with it, and what TLS lets through."""

from __future__ import annotations

import asyncio
import logging
import socket
import ssl
from functools import partial
from itertools import pairwise

import pytest

from bridge.sip.connection import BATCH, StreamLimits
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


@pytest.fixture
def nobody() -> tuple[str, int]:
    """An address of this host where nobody listens."""
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        return HOST, probe.getsockname()[1]


# Both ways of carrying a stream must pass these.


@on_both_loops
async def test_requests_and_answers_share_one_connection() -> None:
    await share_one_connection(None)


@on_both_loops
async def test_requests_and_answers_share_one_connection_over_tls(secret: TlsSettings) -> None:
    await share_one_connection(secret)


async def share_one_connection(tls: TlsSettings | None) -> None:
    name = "TLS" if tls else "TCP"
    async with station(name, tls=tls) as near, station(name, tls=tls) as far:
        far.on_message = far.send
        for number in range(3):
            near.send(numbered(number), far.address)
        await until(lambda: len(near.received) == 3)
        assert near.bodies == far.bodies == [numbered(number) for number in range(3)]
        assert near.source == far.address
        far.send(numbered(3), far.source)
        await until(lambda: len(near.received) == 4)
        assert (near.stats.opened, near.stats.accepted, far.stats.opened, far.stats.accepted) == (1, 0, 0, 1)
        assert near.lost == far.lost == []
        assert (near.transport.name, near.transport.reliable) == (name, True)


@on_both_loops
async def test_messages_are_cut_at_their_ends_whatever_the_segments() -> None:
    async with station() as near, stranger(near) as peer:
        data = numbered(1) + b"\r\n" + numbered(2, 3000) + numbered(3)
        for start in range(0, len(data), 700):
            peer.say(data[start : start + 700])
            await asyncio.sleep(0.001)
        await until(lambda: len(near.received) == 3)
        assert near.bodies == [numbered(1), numbered(2, 3000), numbered(3)]
        assert near.source == peer.address


@on_both_loops
async def test_a_long_batch_leaves_the_loop_its_turns() -> None:
    async with station() as near, stranger(near) as peer:
        turns: list[int] = []

        def count() -> None:
            turns.append(len(near.received))
            if len(near.received) < 1000:
                asyncio.get_running_loop().call_soon(count)

        near.on_message = lambda data, source: turns or count()
        peer.say(b"".join(map(numbered, range(1000))))
        await until(lambda: len(near.received) == 1000)
        assert near.bodies == [numbered(number) for number in range(1000)]
        assert max(after - before for before, after in pairwise(turns)) <= 2 * BATCH
        peer.say(numbered(7))
        await until(lambda: len(near.received) == 1001)


@on_both_loops
async def test_the_end_of_a_stream_comes_after_its_messages() -> None:
    async with station() as near, stranger(near) as peer:
        peer.say(b"".join(map(numbered, range(200))))
        peer.writer.write_eof()
        await until(lambda: near.stats.closed)
        assert len(near.received) == 200
        assert near.stats.closed == {"peer": 1}


@on_both_loops
async def test_after_a_loss_the_next_send_connects_anew() -> None:
    async with station() as near, station() as far:
        near.send(numbered(1), far.address)
        await until(lambda: far.received)
        far.pass_time(0)
        far.transport._flows.find(far.source, "").finish("idle")  # type: ignore[union-attr]
        await until(lambda: near.lost)
        assert near.lost == [far.address]
        near.send(numbered(2), far.address)
        await until(lambda: len(far.received) == 2)
        assert near.stats.opened == far.stats.accepted == 2
        assert near.stats.closed == {"peer": 1}


@on_both_loops
async def test_a_restarted_peer_is_reached_again() -> None:
    async with station() as near:
        async with station() as far:
            near.send(numbered(1), far.address)
            await until(lambda: far.received)
        await until(lambda: near.lost)
        async with station(port=far.address[1]) as again:
            near.send(numbered(2), far.address)
            await until(lambda: again.bodies == [numbered(2)])


@on_both_loops
async def test_what_could_not_be_connected_is_lost_but_never_inside_send(nobody: tuple[str, int]) -> None:
    async with station() as near:
        near.send(numbered(1), nobody)
        near.send(numbered(2), nobody)
        assert near.lost == []
        await until(lambda: near.lost)
        assert near.lost == [nobody]
        assert near.stats.closed == {"unreachable": 1}


@on_both_loops
async def test_nothing_is_lost_with_a_connection_that_carried_nothing_of_ours() -> None:
    async with station() as near:
        async with stranger(near) as peer:
            peer.say(numbered(1) + b"\r\n\r\n")
            assert await peer.hear(2) == b"\r\n"
        await until(lambda: near.stats.closed)
        assert near.lost == []


@on_both_loops
async def test_a_request_for_an_aliased_port_uses_the_connection_it_came_on() -> None:
    async with station() as near, stranger(near) as peer:
        peer.say(numbered(1))
        await until(lambda: near.received)
        near.transport.alias(near.source, 5060)
        near.send(numbered(2), (HOST, 5060))
        assert await peer.hear(len(numbered(2))) == numbered(2)
        assert near.stats.opened == 0
        peer.writer.close()
        await until(lambda: near.lost)
        assert sorted(near.lost) == sorted([peer.address, (HOST, 5060)])


@on_both_loops
async def test_over_tls_an_alias_needs_a_certificate(secret: TlsSettings, nobody: tuple[str, int]) -> None:
    strict = TlsSettings(secret.certificate, secret.key, secret.ca, client_certificates=True)
    for settings, opened in ((secret, 1), (strict, 0)):
        async with station("TLS", tls=settings) as near, station("TLS", tls=secret) as far:
            far.send(numbered(1), near.address)
            await until(lambda near=near: near.received)
            near.transport.alias(near.source, nobody[1])
            near.send(numbered(2), nobody)
            assert near.stats.opened == opened


@on_both_loops
async def test_several_listeners_and_ipv6() -> None:
    async with station() as four, station(host="::1") as six, station(host="::1") as far:
        assert (four.transport.family, six.transport.family) == (socket.AF_INET, socket.AF_INET6)
        six.send(numbered(1), far.address)
        await until(lambda: far.received)
        assert far.source[0] == "::1"
        far.send(numbered(2), far.source)
        await until(lambda: six.received)
        for transport, peer in ((four, six), (six, four)):
            with pytest.raises(OSError, match=r"no AF_INET6? address"):
                transport.send(numbered(3), peer.address)
        with pytest.raises(OSError, match="no AF_INET address: localhost"):
            four.send(numbered(3), ("localhost", 5060))


@on_both_loops
async def test_an_ipv6_listener_leaves_ipv4_alone() -> None:
    async with station(host="::") as six, station(host="0.0.0.0", port=six.address[1]) as four:
        assert six.address[1] == four.address[1]


@on_both_loops
async def test_connections_go_out_from_the_address_we_listen_at() -> None:
    async with station(host="127.0.0.2") as near, station() as far:
        near.send(numbered(1), far.address)
        await until(lambda: far.received)
        assert far.source[0] == "127.0.0.2"


@on_both_loops
async def test_an_address_in_use_is_an_error_that_leaves_nothing() -> None:
    async with station() as near:
        second = Station(port=near.address[1])
        with pytest.raises(OSError):
            await second.transport.start()
        second.transport.close()
        await second.transport.wait_closed()


@on_both_loops
async def test_without_listening_it_still_connects_out() -> None:
    async with station(listening=False) as near, station() as far:
        assert near.address == (HOST, 5060)
        near.send(numbered(1), far.address)
        await until(lambda: far.received)


@on_both_loops
async def test_sockets_keep_alive_and_do_not_delay() -> None:
    async with station() as near, station() as far:
        near.send(numbered(1), far.address)
        await until(lambda: far.received)
        for transport, peer in ((near, far.address), (far, far.source)):
            sock = transport.transport._flows.find(peer, "")._transport.get_extra_info("socket")  # type: ignore[union-attr]
            assert sock.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)
            assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)


@on_both_loops
async def test_close_sends_what_was_written_and_then_nothing_can_be_sent() -> None:
    async with station() as far:
        async with station() as near:
            near.send(numbered(1), far.address)
            await until(lambda: far.received)
            near.send(numbered(2, 60_000), far.address)
        await until(lambda: len(far.received) == 2)
        assert near.lost == []
        with pytest.raises(OSError, match="TCP is not open"):
            near.send(numbered(3), far.address)


@on_both_loops
async def test_close_while_connections_are_being_opened(secret: TlsSettings) -> None:
    with socket.create_server((HOST, 0)) as mute:
        async with station("TLS", tls=secret) as near, stranger(near):
            near.send(numbered(1), mute.getsockname())
            await until(lambda: near.stats.accepted)
            near.transport.close()
            await near.transport.wait_closed()
            assert near.stats.closed == {"shutdown": 2}
            assert near.lost == []


# TLS


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
