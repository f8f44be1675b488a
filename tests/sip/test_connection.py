"""What a connection may cost: strangers who say nothing, half a message, too much, or never read."""

from __future__ import annotations

import asyncio
import random
from contextlib import suppress

import pytest

from bridge.sip import stream
from bridge.sip.connection import MOVES, Address, Connection, Phase, StreamLimits
from bridge.sip.framing import MAX_HEAD

from .streams import HOST, Station, deaf_socket, numbered, on_both_loops, station, stranger, until


def only(near: Station) -> Connection:
    (connection,) = near.transport._connections
    return connection


async def opened(near: Station, far: Station) -> Connection:
    """A connection that `near` opened to `far`, over which one message went each way."""
    near.send(numbered(1), far.address)
    await until(lambda: far.received)
    far.send(numbered(2), far.source)
    await until(lambda: near.received)
    return only(near)


def test_every_phase_leads_to_the_end() -> None:
    assert set(MOVES) == set(Phase)
    assert [phase for phase in Phase if not MOVES[phase]] == [Phase.CLOSED]


@on_both_loops
async def test_who_says_nothing_is_closed() -> None:
    async with station() as near, stranger(near) as peer, stranger(near) as pinging:
        pinging.say(b"\r\n\r\n")
        await pinging.hear(2)
        await until(lambda: near.transport.connections == 2)
        near.pass_time(31.9)
        await asyncio.sleep(0.01)
        assert near.stats.closed == {}
        near.pass_time(0.2)
        assert (await peer.hear_end(), await pinging.hear_end()) == (b"", b"")
        await until(lambda: near.stats.closed == {"silent": 2})


@on_both_loops
async def test_half_a_message_may_not_wait_for_ever_however_slowly_it_grows() -> None:
    async with station() as near, stranger(near) as peer:
        peer.say(numbered(1))
        await until(lambda: near.received)
        near.pass_time(500)
        for byte in range(4):
            idle = only(near)._active
            peer.say(numbered(2)[byte : byte + 1])
            await until(lambda idle=idle: only(near)._active != idle)
            near.pass_time(9)
        await peer.hear_end()
        await until(lambda: near.stats.closed == {"partial": 1})


@on_both_loops
async def test_whole_messages_start_the_time_anew() -> None:
    async with station() as near, stranger(near) as peer:
        data = b"".join(map(numbered, range(9)))
        size = len(numbered(0))
        for number in range(8):
            peer.say(data[number * size + (number > 0) : (number + 1) * size + 1])
            await until(lambda number=number: len(near.received) == number + 1)
            near.pass_time(20)
        assert near.transport.connections == 1
        near.pass_time(20)
        assert only(near).reason == "partial"


@on_both_loops
async def test_an_idle_connection_is_closed_unless_something_lives_on_it() -> None:
    async with station() as near, station() as far:
        await opened(near, far)
        far.used.add(far.source)
        far.pass_time(10_000)
        assert only(far).reason == ""
        far.used.clear()
        far.pass_time(599)
        assert only(far).reason == ""
        far.pass_time(2)
        await until(lambda: far.stats.closed == {"idle": 1})
        await until(lambda: near.lost == [far.address])


@on_both_loops
@pytest.mark.parametrize("lives", [True, False])
async def test_whether_it_is_in_use_is_not_asked_in_every_sweep(lives: bool) -> None:
    asked: list[Address] = []

    def in_use(peer: Address) -> bool:
        asked.append(peer)
        return lives

    async with station() as near, station() as far:
        await opened(near, far)
        near.transport._in_use = far.transport._in_use = in_use
        for _ in range(590):
            near.pass_time(1)
        assert len(asked) == 590 // 30
        for _ in range(650):
            far.pass_time(1)
        assert len(asked) == 590 // 30 + 1


@on_both_loops
async def test_a_byte_either_way_keeps_a_connection() -> None:
    async with station() as near, station() as far:
        await opened(near, far)
        for number in range(3):
            far.pass_time(599)
            (far if number % 2 else near).send(numbered(9), far.source if number % 2 else far.address)
            await until(lambda number=number: len(near.received) + len(far.received) == 3 + number)
        assert far.stats.closed == {}


@on_both_loops
async def test_what_lives_on_an_alias_keeps_the_connection() -> None:
    async with station() as near, station() as far:
        await opened(near, far)
        far.transport.alias(far.source, 5060)
        far.used.add((HOST, 5060))
        far.pass_time(10_000)
        assert only(far).reason == ""


@on_both_loops
async def test_a_connection_of_ours_is_pinged_while_something_lives_on_it() -> None:
    async with station() as near, station() as far:
        await opened(near, far)
        near.pass_time(40)
        assert near.stats.pings == 0
        near.used.add(far.address)
        near.pass_time(31)
        near.pass_time(0)
        assert near.stats.pings == 1
        await until(lambda: far.stats.keepalives == 1)
        await until(lambda: only(near)._active == near.now)
        near.pass_time(29)
        assert near.stats.pings == 1
        near.pass_time(2)
        assert near.stats.pings == 2
        far.used.add(far.source)
        far.pass_time(40)
        assert far.stats.pings == 0


@on_both_loops
async def test_the_ages_are_looked_at_without_being_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stream, "SWEEP_S", 0.01)
    async with station() as near, stranger(near) as peer:
        await until(lambda: near.transport.connections)
        near.now += 40
        await peer.hear_end()
        async with stranger(near) as second:
            await until(lambda: near.transport.connections)
            near.now += 40
            await second.hear_end()


@on_both_loops
async def test_pinging_can_be_switched_off() -> None:
    async with station(limits=StreamLimits(ping_s=None)) as near, station() as far:
        await opened(near, far)
        near.used.add(far.address)
        near.pass_time(500)
        assert near.stats.pings == 0


@on_both_loops
async def test_pings_are_answered_one_by_one() -> None:
    async with station() as near, stranger(near) as peer:
        peer.say(b"\r\n\r\n" * 3 + numbered(1) + b"\r\n\r\n")
        assert await peer.hear(8) == b"\r\n" * 4
        assert near.bodies == [numbered(1)]
        assert near.stats.keepalives == 4


@on_both_loops
@pytest.mark.parametrize("rest", [b"", b"y" * 500_000])
async def test_an_unusable_stream_is_answered_and_then_closed(rest: bytes) -> None:
    async with station() as near, stranger(near) as peer:
        peer.say(numbered(1) + b"OPTIONS sip:x@h SIP/2.0\r\n\r\n" + rest)
        assert await peer.hear_end() == b"SIP/2.0 400 Bad Request\r\n\r\n"
        assert near.bodies == [numbered(1)]
        ((head, error),) = near.broken
        assert (head, error.phrase) == (b"OPTIONS sip:x@h SIP/2.0\r\n\r\n", "Missing Content-Length")
        peer.writer.close()
        await until(lambda: near.stats.closed == {"framing": 1})


@on_both_loops
async def test_after_an_unusable_message_the_peer_is_reached_over_a_new_connection_only() -> None:
    async with station() as near, station() as far:
        far.on_message = lambda data, source: far.send(b"nonsense\n\n", source)
        near.send(numbered(1), far.address)
        await until(lambda: near.broken)
        assert near.lost == [far.address]
        far.on_message = lambda data, source: None
        near.send(numbered(2), far.address)
        await until(lambda: far.bodies[-1] == numbered(2))
        assert near.stats.opened == 2


@on_both_loops
async def test_who_does_not_end_a_broken_stream_is_cut_off() -> None:
    async with station() as near, stranger(near) as peer:
        near.pass_time(20)
        peer.say(b"x\n\n")
        await until(lambda: near.broken)
        near.pass_time(4.9)
        await asyncio.sleep(0.01)
        assert near.transport.connections == 1
        near.pass_time(0.2)
        await until(lambda: near.stats.closed == {"framing": 1})


@on_both_loops
async def test_a_head_without_end_is_bounded() -> None:
    async with station() as near, stranger(near) as peer:
        peer.say(b"x" * 500_000)
        await until(lambda: near.broken)
        assert [(len(head), error.status) for head, error in near.broken] == [(MAX_HEAD, 513)]


@on_both_loops
async def test_a_peer_that_does_not_read_is_cut_off() -> None:
    async with station() as near:
        with deaf_socket(near) as deaf:
            peer = deaf.getsockname()
            deaf.send(numbered(1))
            await until(lambda: near.received)
            with pytest.raises(OSError, match=f"{HOST} does not take what is sent to it"):
                for number in range(1000):
                    near.send(numbered(number, 60_000), peer)
                    await asyncio.sleep(0)
            assert near.lost == []
            await until(lambda: near.stats.closed == {"slow": 1})
            assert near.lost == [peer]


@on_both_loops
async def test_pings_of_a_peer_that_does_not_read_are_bounded_too() -> None:
    async with station(limits=StreamLimits(backlog=10_000)) as near:
        with deaf_socket(near) as deaf:

            def ping() -> bool:
                with suppress(OSError):
                    deaf.send(b"\r\n\r\n" * 16_000)
                return near.stats.closed == {"slow": 1}

            await until(ping)


@on_both_loops
async def test_the_queue_of_a_connection_that_does_not_stand_is_bounded() -> None:
    async with station(limits=StreamLimits(backlog=100_000)) as near, station() as far:
        near.send(numbered(1, 60_000), far.address)
        with pytest.raises(OSError, match="does not take"):
            near.send(numbered(2, 60_000), far.address)
        near.send(numbered(3), far.address)
        await until(lambda: len(far.received) == 2)
        assert far.bodies == [numbered(1, 60_000), numbered(3)]


@on_both_loops
async def test_connections_that_do_not_come_to_stand_are_given_up() -> None:
    async with station() as near, station() as far:
        near.send(numbered(1), far.address)
        near.pass_time(11)
        assert near.stats.closed == {"timeout": 1}
        assert near.lost == [far.address]


@on_both_loops
async def test_too_many_connections_of_one_host_are_refused() -> None:
    async with station(limits=StreamLimits(per_host=2)) as near:
        async with stranger(near) as one, stranger(near), stranger(near) as third:
            await third.hear_end()
            assert (near.stats.accepted, near.stats.refused) == (2, 1)
            one.say(numbered(1))
            await until(lambda: near.received)
        await until(lambda: near.transport.connections == 0)
        async with stranger(near) as again:
            again.say(numbered(2))
            await until(lambda: len(near.received) == 2)


@on_both_loops
async def test_too_many_connections_are_refused_but_we_still_get_out() -> None:
    async with station(limits=StreamLimits(connections=1)) as near, station() as far, station() as other:
        async with stranger(near), stranger(near) as second:
            await second.hear_end()
            near.send(numbered(1), far.address)
            await until(lambda: far.received)
            with pytest.raises(OSError, match="too many connections"):
                near.send(numbered(1), other.address)
            assert (near.stats.accepted, near.stats.refused, near.stats.opened) == (1, 1, 1)


@on_both_loops
async def test_strangers_leave_peers_their_places() -> None:
    async with station(limits=StreamLimits(connections=8, per_host=4)) as near:
        near.strangers.add(HOST)
        async with stranger(near), stranger(near) as second:
            await second.hear_end()
            assert (near.stats.accepted, near.stats.refused) == (1, 1)
            near.strangers.clear()
            async with stranger(near), stranger(near), stranger(near) as last:
                last.say(numbered(1))
                await until(lambda: near.received)
                assert near.stats.accepted == 4
        await until(lambda: near.transport.connections == 0)


@on_both_loops
async def test_a_stranger_who_talks_without_end_is_closed_all_the_same() -> None:
    async with station() as near:
        near.strangers.add(HOST)
        async with stranger(near) as peer:
            for number in range(8):
                peer.say(numbered(number))
                await until(lambda number=number: len(near.received) == number + 1)
                assert near.stats.closed == {}
                near.pass_time(3.99)
            near.pass_time(0.1)
            await peer.hear_end()
            await until(lambda: near.stats.closed == {"stranger": 1})


@on_both_loops
async def test_a_peer_who_said_something_stays() -> None:
    async with station() as near, stranger(near) as peer:
        peer.say(numbered(1))
        await until(lambda: near.received)
        near.pass_time(500)
        assert only(near).reason == ""


@on_both_loops
async def test_of_a_stranger_came_something() -> None:
    async with station(limits=StreamLimits(per_host=4)) as near:
        near.strangers.add(HOST)
        async with stranger(near) as peer:
            peer.say(numbered(1))
            await until(lambda: near.received)
            near.used.add(peer.address)
            near.pass_time(5)
            async with stranger(near) as another:
                another.say(numbered(2))
                await until(lambda: len(near.received) == 2)  # whose place is free again
            near.used.clear()
            near.pass_time(590)
            assert peer.address in {connection.peer for connection in near.transport._connections}
            near.pass_time(20)
            await peer.hear_end()
        await until(lambda: near.stats.closed.get("idle") == 1)


@on_both_loops
async def test_whether_something_came_of_a_stranger_is_not_asked_in_every_sweep() -> None:
    asked: list[Address] = []
    async with station() as near:
        near.strangers.add(HOST)
        near.transport._in_use = lambda peer: bool(asked.append(peer))
        async with stranger(near) as peer:
            peer.say(numbered(1))
            await until(lambda: near.received)
            for _ in range(320):
                near.pass_time(0.1)
            near.pass_time(0.1)
            await peer.hear_end()
            assert 4 <= len(asked) <= 9


@on_both_loops
async def test_any_bytes_leave_the_others_unharmed() -> None:
    dice = random.Random(5)
    async with station() as near, stranger(near) as calm:
        for number in range(60):
            async with stranger(near) as peer:
                for _ in range(dice.randrange(1, 6)):
                    peer.say(dice.choice([dice.randbytes(40), numbered(0), b"\r\n" * 9, b"l:3\r\n\r\n", b"\n\n"]))
                    await asyncio.sleep(0)
            calm.say(numbered(1000 + number))
            await until(lambda number=number: numbered(1000 + number) in near.bodies)
        calm.writer.close()
        await until(lambda: near.transport.connections == 0)
        assert set(near.stats.closed) <= {"peer", "framing"}
