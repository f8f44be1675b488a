"""The WebSocket under the protocol: what a slow, silent or dying server does to it."""

from __future__ import annotations

import asyncio
import base64
import contextlib
from collections.abc import AsyncIterator, Callable

import orjson
import pytest
from websockets.asyncio.server import ServerConnection, serve

from bridge.audio.g711 import Law
from bridge.realtime import events as ev
from bridge.realtime.dialer import Address, Dialer, SessionFailed
from bridge.realtime.openai.protocol import OpenAIProtocol
from bridge.realtime.options import SessionOptions
from bridge.realtime.session import HELD_AUDIO_MS, Session

FORMAT = {"format": {"type": "audio/pcmu"}}
UPDATED = {"type": "session.updated", "session": {"model": "m", "audio": {"input": FORMAT, "output": FORMAT}}}


class Server:
    """Just enough of a Realtime server: the handshake, then whatever the test does with `socket`."""

    def __init__(self) -> None:
        self.socket: ServerConnection
        self.connected = asyncio.Event()
        self.reading = asyncio.Event()
        self.reading.set()
        self.events: list[dict[str, object]] = []
        self.headers: dict[str, str] = {}

    async def serve(self, socket: ServerConnection) -> None:
        assert socket.request is not None
        self.socket, self.headers = socket, dict(socket.request.headers.raw_items())
        await socket.send(orjson.dumps({"type": "session.created", "session": {"id": "s"}}).decode())
        self.events.append(orjson.loads(await socket.recv()))
        await socket.send(orjson.dumps(UPDATED).decode())
        self.connected.set()
        with contextlib.suppress(Exception):
            while True:
                await self.reading.wait()
                self.events.append(orjson.loads(await socket.recv()))

    @property
    def audio(self) -> bytes:
        appended = (e["audio"] for e in self.events if e["type"] == "input_audio_buffer.append")
        return b"".join(base64.b64decode(str(text)) for text in appended)


@contextlib.asynccontextmanager
async def connected(
    on_event: Callable[[ev.Event], None] = lambda event: None, *, append_ms: int = 20
) -> AsyncIterator[tuple[Session, Server]]:
    server = Server()
    # A small queue, so that a server that does not read fills the socket at once.
    async with serve(server.serve, "127.0.0.1", 0, compression=None, max_queue=1) as listening:
        port = listening.sockets[0].getsockname()[1]
        session = Session(
            OpenAIProtocol(SessionOptions(Law.PCMU)),
            Dialer(Address(f"ws://127.0.0.1:{port}/v1/realtime?model=m", {"Authorization": "Bearer sk-1"})),
            append_ms=append_ms,
            on_event=on_event,
        )
        await session.open(5)
        await server.connected.wait()
        try:
            yield session, server
        finally:
            server.reading.set()
            await session.close()


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(5):
        while not condition():
            await asyncio.sleep(0.01)


async def test_the_key_goes_in_the_header_and_no_beta_header_does() -> None:
    async with connected() as (_, server):
        assert server.headers["Authorization"] == "Bearer sk-1"
        assert "OpenAI-Beta" not in server.headers
        assert "Sec-WebSocket-Extensions" not in server.headers, "compression stays off"


async def test_audio_is_cut_into_events_and_the_rest_goes_at_the_end() -> None:
    async with connected(append_ms=40) as (session, server):
        for _ in range(5):
            session.append(b"\x01" * 160)
        await session.close()
        await until(lambda: len(server.audio) == 800)
        sizes = [len(str(e["audio"])) for e in server.events if e["type"] == "input_audio_buffer.append"]
        assert len(sizes) == 3 and sizes[0] == sizes[1] > sizes[2]
        assert session.audio_in_bytes == 800


async def test_a_server_that_stops_reading_gets_the_newest_audio_and_the_rest_is_counted() -> None:
    async with connected() as (session, server):
        server.reading.clear()
        frames = [number.to_bytes(4, "big") * 2000 for number in range(4000)]  # 32 MB, one second each
        for frame in frames:
            session.append(frame)
            await asyncio.sleep(0)
        assert session.audio_dropped_bytes > 10_000_000
        held = len(b"".join(frames)) - session.audio_in_bytes - session.audio_dropped_bytes
        assert 0 < held <= HELD_AUDIO_MS * 8
        server.reading.set()

        async def go_on() -> None:
            while b"last" not in server.audio[-8000:]:
                session.append(b"last" * 40)
                await asyncio.sleep(0.01)

        await asyncio.wait_for(go_on(), 10)
        audio = server.audio
    assert frames[-1] in audio, "the newest audio arrived"
    numbers = [int.from_bytes(audio[at : at + 4], "big") for at in range(0, audio.index(b"last"), 8000)]
    assert numbers == sorted(set(numbers)), "what arrived is in order and nothing came twice"


async def test_the_end_of_the_socket_is_what_the_reader_gives() -> None:
    async with connected() as (session, server):
        reader = asyncio.create_task(session.run())
        await server.socket.close(1001, "Your session hit the maximum duration of 60 minutes.")
        lost = await asyncio.wait_for(reader, 5)
    assert lost == ev.Lost(1001, "Your session hit the maximum duration of 60 minutes.")


async def test_a_server_that_said_goodbye_is_not_waited_for() -> None:
    """It sent its close frame and keeps the connection: the call must not go on in silence."""
    async with connected() as (session, server):
        reader = asyncio.create_task(session.run())
        server.socket.protocol.send_close(4000, "enough")
        server.socket.send_data()
        server.socket.transport.pause_reading()  # type: ignore[attr-defined]

        async def speak() -> None:
            while not reader.done():
                session.append(b"\x01" * 160)
                await asyncio.sleep(0.005)

        await asyncio.wait_for(speak(), 5)
        assert await reader == ev.Lost(4000, "enough")


async def test_a_reset_is_told_as_1006() -> None:
    async with connected() as (session, server):
        reader = asyncio.create_task(session.run())
        server.socket.transport.abort()
        assert await asyncio.wait_for(reader, 5) == ev.Lost(1006, "")


async def test_an_interruption_is_written_before_the_reaction_returns() -> None:
    """No await lies between the event and the truncate: it is in the socket's hands in the same loop turn."""
    written: list[bytes] = []

    def react(event: ev.Event) -> None:
        if isinstance(event, ev.SpeechStarted):
            session.protocol.interrupted([Item("a", 40)])
            session.flush()
            written.extend(session.protocol.data_to_send())

    async with connected(react) as (session, server):
        reader = asyncio.create_task(session.run())
        speech = {"type": "input_audio_buffer.speech_started", "audio_start_ms": 1, "item_id": "u"}
        await server.socket.send(orjson.dumps(speech).decode())
        await until(lambda: any(e["type"] == "conversation.item.truncate" for e in server.events))
        assert written == []
        await session.close()
        await reader


class Item:
    def __init__(self, item_id: str, sent_ms: int) -> None:
        self.item_id = item_id
        self.sent_ms = sent_ms


@pytest.mark.parametrize("url", ["ws://127.0.0.1:9/v1/realtime", "not a url"])
async def test_no_server_is_a_failure_with_a_reason(url: str) -> None:
    session = Session(OpenAIProtocol(SessionOptions(Law.PCMU)), Dialer(Address(url)))
    with pytest.raises(SessionFailed) as failed:
        await session.open(2)
    assert failed.value.reason == "unreachable"


async def test_an_upgrade_that_is_refused_names_the_status() -> None:
    async with serve(lambda socket: asyncio.sleep(0), "127.0.0.1", 0, process_request=unauthorized) as listening:
        port = listening.sockets[0].getsockname()[1]
        session = Session(OpenAIProtocol(SessionOptions(Law.PCMU)), Dialer(Address(f"ws://127.0.0.1:{port}")))
        with pytest.raises(SessionFailed) as failed:
            await session.open(2)
    assert failed.value.reason == "http_401"


def unauthorized(socket: ServerConnection, request: object) -> object:
    return socket.respond(401, "no")
