"""Messages handed over where they are read: their order, and what goes through the queue all the same."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator

import pytest
from websockets.asyncio.server import ServerConnection, serve
from websockets.frames import Frame, Opcode

from bridge.realtime import events as ev
from bridge.realtime.connection import CONTROLS_PER_S, TURN_MESSAGES, Connection, Take
from bridge.realtime.dialer import Address, Dialer
from tests.realtime.test_session import connected, until


@contextlib.asynccontextmanager
async def linked() -> AsyncIterator[tuple[Connection, ServerConnection]]:
    """Both ends of a connection."""
    far: asyncio.Future[ServerConnection] = asyncio.get_running_loop().create_future()

    async def hold(connection: ServerConnection) -> None:
        far.set_result(connection)
        await connection.wait_closed()

    async with serve(hold, "127.0.0.1", 0, compression=None) as serving:
        port = serving.sockets[0].getsockname()[1]
        near = await Dialer(Address(f"ws://127.0.0.1:{port}")).connect_now()
        try:
            yield near, await far
        finally:
            await near.close()


def burst(*messages: str) -> bytes:
    """All of them in one piece, as a server writes them."""
    frames = (Frame(Opcode.TEXT, message.encode()) for message in messages)
    return b"".join(frame.serialize(mask=False) for frame in frames)


def into(taken: list[bytes]) -> Take:
    """Takes everything."""

    def take(message: bytes) -> bool:
        taken.append(message)
        return True

    return take


async def test_a_message_is_handed_over_in_the_turn_in_which_it_is_read() -> None:
    async with linked() as (near, _):
        taken: list[bytes] = []
        near.on_message = into(taken)
        near.data_received(burst("a", "b"))
        assert taken == [b"a", b"b"]


async def test_what_is_not_taken_waits_in_the_queue_and_what_comes_later_behind_it() -> None:
    async with linked() as (near, _):
        taken: list[bytes] = []

        def take(message: bytes) -> bool:
            if message == b"b":
                return False
            taken.append(message)
            return True

        near.on_message = take
        near.data_received(burst("a", "b", "c"))
        near.data_received(burst("d"))
        assert taken == [b"a"]
        assert [await near.recv(decode=False) for _ in range(3)] == [b"b", b"c", b"d"]
        near.data_received(burst("e"))
        assert taken == [b"a", b"e"]


async def test_too_much_at_once_waits_for_a_reader_who_lets_others_have_their_turn() -> None:
    async with linked() as (near, _):
        taken: list[bytes] = []
        near.on_message = into(taken)
        near.data_received(burst(*map(str, range(TURN_MESSAGES + 3))))
        assert len(taken) == TURN_MESSAGES
        rest = [await near.recv(decode=False) for _ in range(3)]
        assert [int(message) for message in (*taken, *rest)] == list(range(TURN_MESSAGES + 3))


@pytest.mark.parametrize("opcode", [Opcode.PING, Opcode.PONG])
async def test_a_server_that_does_nothing_but_ping_is_left_and_the_end_says_why(opcode: Opcode) -> None:
    async with connected(lambda event: None) as (session, server):
        reader = asyncio.create_task(session.run())
        few = Frame(opcode, b"").serialize(mask=False) * CONTROLS_PER_S
        server.socket.transport.write(few)
        await server.socket.send('{"type":"input_audio_buffer.committed","item_id":"i"}')
        await asyncio.sleep(0.05)
        assert not reader.done()
        server.socket.transport.write(few * 100)
        async with asyncio.timeout(10):
            lost = await reader
        assert (lost.code, lost.reason) == (1008, "more than 100 pings and pongs in a second")


async def test_pings_are_answered_as_long_as_they_are_few() -> None:
    async with linked() as (near, far):
        near.on_message = lambda message: True
        for _ in range(3):
            async with asyncio.timeout(10):
                await (await far.ping())


async def test_behind_a_farewell_nothing_is_a_message_any_more() -> None:
    async with linked() as (near, _):
        taken: list[bytes] = []
        near.on_message = into(taken)
        near.data_received(burst("a") + Frame(Opcode.CLOSE, b"\x03\xe8").serialize(mask=False) + burst("b"))
        assert taken == [b"a"]


async def test_what_comes_between_two_messages_keeps_its_place() -> None:
    async with linked() as (near, _):
        taken: list[bytes] = []
        near.on_message = into(taken)
        parts = [Frame(Opcode.TEXT, b"b", fin=False), Frame(Opcode.PING, b""), Frame(Opcode.CONT, b"c")]
        between = b"".join(part.serialize(mask=False) for part in parts)
        near.data_received(burst("a") + between + burst("d", "e"))
        assert await near.recv(decode=False) == b"bc"
        assert [*taken, *[await near.recv(decode=False) for _ in range(3 - len(taken))]] == [b"a", b"d", b"e"]


async def test_fragments_are_put_together_and_keep_their_place() -> None:
    async with linked() as (near, far):
        taken: list[bytes] = []
        near.on_message = into(taken)
        await far.send("a")
        await far.send(iter(("b", "c")))
        await far.send("d")
        assert await near.recv(decode=False) == b"bc"
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(5):
                while len(taken) < 2:  # `d` is handed over, or waits if it came while `bc` did
                    taken.append(await near.recv(decode=False))
        assert taken == [b"a", b"d"]


@pytest.mark.parametrize("end", ["closed", "aborted"])
async def test_after_the_end_nobody_is_told_anything(end: str) -> None:
    async with linked() as (near, far):
        near.on_message = lambda message: True
        if end == "closed":
            await far.close()
        else:
            far.transport.abort()
        await near.wait_closed()
        assert near.on_message is None


async def test_a_session_reacts_before_anything_else_runs() -> None:
    seen: list[str] = []
    async with connected(lambda event: seen.append(type(event).__name__)) as (session, _):
        reader = asyncio.create_task(session.run())
        await asyncio.sleep(0)
        assert session._socket is not None
        session._socket.data_received(
            burst('{"type":"input_audio_buffer.speech_started","audio_start_ms":0,"item_id":"i"}')
        )
        assert seen == ["SpeechStarted"]
        await session.close()
        await reader


async def test_what_a_message_leads_to_is_raised_by_the_reader_and_the_socket_lives() -> None:
    told: list[ev.Event] = []

    def fail(event: ev.Event) -> None:
        told.append(event)
        raise RuntimeError("of the call")

    async with connected(fail) as (session, server):
        reader = asyncio.create_task(session.run())
        await asyncio.sleep(0)
        await server.socket.send('{"type":"input_audio_buffer.speech_started","audio_start_ms":0,"item_id":"i"}')
        with pytest.raises(RuntimeError, match="of the call"):
            await reader
        assert len(told) == 1
        session.append(bytes(160))
        await until(lambda: bool(server.audio))


async def test_a_server_that_sends_too_much_is_read_more_slowly_in_order(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bridge.realtime.budget.FRAMES_PER_S", 200.0)
    monkeypatch.setattr("bridge.realtime.budget.FRAMES_AT_ONCE", 5.0)
    rests, wait = list[int](), asyncio.sleep

    async def sleep(seconds: float) -> None:
        if 0 < seconds < 1:  # the library waits for its next ping
            rests.append(len(seen))
        await wait(seconds)

    seen: list[str] = []
    async with connected(lambda event: seen.append(event.item_id)) as (session, server):  # type: ignore[union-attr]
        monkeypatch.setattr("bridge.realtime.session.asyncio.sleep", sleep)
        reader = asyncio.create_task(session.run())
        await wait(0)
        for number in range(40):
            text = f'{{"type":"input_audio_buffer.speech_started","audio_start_ms":0,"item_id":"{number}"}}'
            await server.socket.send(text)
        async with asyncio.timeout(10):
            while len(seen) < 40:
                await wait(0.01)
        await session.close()
        await reader
    assert seen == list(map(str, range(40)))
    assert rests[0] <= 7 and len(rests) >= 20  # five are free, and some time passes between the others
