"""TCP, and what TLS shares with it: which connection is used, and what is lost with it."""

from __future__ import annotations

import asyncio
import socket
from itertools import pairwise

import pytest

from bridge.sip.connection import BATCH
from bridge.sip.tls import TlsSettings
from tests.phones.certificates import Authority

from .streams import HOST, Station, numbered, on_both_loops, station, stranger, until


@pytest.fixture(scope="module")
def secret(tmp_path_factory: pytest.TempPathFactory) -> TlsSettings:
    authority = Authority.make(tmp_path_factory.mktemp("tls"))
    ours = authority.issue("ours")
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
async def test_the_end_of_a_stream_is_a_loss_in_the_same_turn() -> None:
    async with station() as near, stranger(near) as peer:
        peer.say(numbered(1))
        await until(lambda: near.received)
        near.send(numbered(2), peer.address)
        (connection,) = near.transport._connections
        connection.eof_received()
        assert near.lost == [peer.address]
        assert near.transport._flows.find(peer.address, "") is None


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
async def test_close_in_the_turn_that_accepted() -> None:
    async with station() as near:
        with socket.create_connection(near.address) as peer:
            near.transport._listener._accept()  # type: ignore[union-attr]
            near.transport.close()
            assert near.stats.closed == {"shutdown": 1}
            assert peer.recv(1) == b""


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
