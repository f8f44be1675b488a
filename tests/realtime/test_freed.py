"""Sessions and their protocols are freed by reference counts alone."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Callable, Iterator
from typing import Any
from weakref import ref

import orjson
import pytest
from websockets.asyncio.server import ServerConnection, serve
from websockets.http11 import Request, Response

from bridge.audio.g711 import Law
from bridge.realtime import events as ev
from bridge.realtime.dialer import Address, Dialer, SessionFailed
from bridge.realtime.elevenlabs.protocol import ElevenLabsProtocol
from bridge.realtime.gemini.protocol import GeminiProtocol
from bridge.realtime.lasting import LastingSession
from bridge.realtime.live.protocol import LiveProtocol
from bridge.realtime.openai.protocol import OpenAIProtocol
from bridge.realtime.options import SessionOptions
from bridge.realtime.protocol import Alarm, Provider
from bridge.realtime.relief import Relief
from bridge.realtime.renewal import Renewal
from bridge.realtime.session import Session
from bridge.realtime.steady import Steady
from tests.counted import alive, in_cycles, uncollected
from tests.realtime.test_lasting import Bench
from tests.realtime.test_session import connected, until
from tests.realtime.wire import Wire
from tests.realtime.wooden import ready

OURS = {
    "bridge.realtime.connection.Connection",
    "bridge.realtime.session.Session",
    "bridge.realtime.openai.protocol.OpenAIProtocol",
    "websockets.client.ClientProtocol",
    "websockets.exceptions.InvalidStatus",
}
OPTIONS = SessionOptions(Law.PCMU, greeting="Begin.")


@pytest.fixture(autouse=True)
def counted() -> Iterator[None]:
    with uncollected():
        yield


@pytest.mark.parametrize("make", [OpenAIProtocol, GeminiProtocol, LiveProtocol, ElevenLabsProtocol])
def test_a_protocol_object_of_each_provider(make: type[Any]) -> None:
    protocol: Provider = make(OPTIONS)
    protocol.begin()
    protocol.greet()
    messages: list[Any] = [{"type": "session.created"}, {"setupComplete": {}}, {"type": "error", "error": {}}, [], {}]
    for message in messages:
        protocol.receive(orjson.dumps(message))
    protocol.interrupted([])
    protocol.data_to_send()
    assert alive(make)
    del protocol
    assert alive(make) == []
    assert in_cycles() == {}


def test_one_that_was_configured_and_has_answered() -> None:
    wire = Wire()
    wire.created()
    audio = {"format": {"type": "audio/pcmu"}}
    wire.say("session.updated", session={"audio": {"input": audio, "output": audio}})
    wire.protocol.greet()
    wire.say("response.created", response={"id": "r"})
    wire.say("response.output_audio.delta", item_id="a", response_id="r", delta="AAAA")
    wire.say("response.done", response={"id": "r", "status": "completed"})
    assert alive(OpenAIProtocol)
    del wire
    assert alive(OpenAIProtocol) == []
    assert in_cycles() == {}


class Known:
    """What hears a session, and is heard of when it is freed."""

    def __init__(self) -> None:
        self.events: list[ev.Event] = []

    def hear(self, event: ev.Event) -> None:
        self.events.append(event)


@pytest.mark.parametrize("end", ["ours", "theirs", "lost"])
@pytest.mark.parametrize("steady", [False, True])
async def test_a_session(end: str, steady: bool) -> None:
    await _a_session(end, steady)
    await asyncio.sleep(0.05)  # the connection's own last turn
    assert alive(Session) == []
    assert not OURS & in_cycles().keys()


async def _a_session(end: str, steady: bool) -> None:
    known = Known()
    async with connected(known.hear) as (session, server):
        if steady:
            session._steady = Steady(session._append, Law.PCMU, asyncio.get_running_loop())
            session._steady.start()
        reader = asyncio.create_task(session.run())
        session._set(Alarm("retry", "", 0.0))
        session._set(Alarm("retry", "", 60.0))
        session.append(bytes(160))
        await until(lambda: bool(server.audio))
        if end == "theirs":
            await server.socket.close()
        elif end == "lost":
            server.socket.transport.abort()
        else:
            await session.close()
        await reader
        session.append(bytes(160))
        session.on_event = lambda event: None


RAW = {
    "no HTTP": b"220 mail ready\r\n\r\n",
    "no upgrade": b"",
    "redirect": b"HTTP/1.1 302 x\r\nLocation: ws://127.0.0.1:1/\r\nContent-Length: 0\r\n\r\n",
    "503 until the end": b"HTTP/1.1 503 x\r\n\r\nno",
}


@pytest.mark.parametrize("answer", ["refused", "nobody", "silence", "goodbye", *RAW])
async def test_a_session_that_cannot_be_had(answer: str) -> None:
    await _no_session(answer)
    await asyncio.sleep(0.05)
    assert alive(Session, OpenAIProtocol) == []
    assert not OURS & in_cycles().keys()


async def _no_session(answer: str) -> None:
    def process(connection: ServerConnection, _: Request) -> Response | None:
        return connection.respond(401, "no\n") if answer == "refused" else None

    async def handle(connection: ServerConnection) -> None:
        if answer == "goodbye":
            await connection.close(3000, "no")
        await connection.wait_closed()

    async def garble(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(RAW.get(answer, b""))
        if answer != "503 until the end":
            await reader.read()
        writer.close()

    async with serve(handle, "127.0.0.1", 0, process_request=process) as serving:
        mail = await asyncio.start_server(garble, "127.0.0.1", 0)
        ports = dict.fromkeys(RAW, mail.sockets[0].getsockname()[1]) | {"nobody": 9}
        port = ports.get(answer, serving.sockets[0].getsockname()[1])
        session = Session(OpenAIProtocol(OPTIONS), Dialer(Address(f"ws://127.0.0.1:{port}/")))
        with contextlib.suppress(SessionFailed):  # `pytest.raises` would keep the frames itself
            await session.open(0.2)
        assert session.ready is None
        await session.close()
        mail.close()


@pytest.mark.parametrize("change", ["none", "due", "planned", "lost", "lost and closed", "lost for good"])
async def test_a_conversation(change: str) -> None:
    heard = await _a_conversation(change)
    for _ in range(5):
        await asyncio.sleep(0)
    assert heard() is None
    assert alive(LastingSession, Relief, Renewal) == []
    assert in_cycles() == {}


async def _a_conversation(change: str) -> Callable[[], object]:
    lasts_s = {"planned": 0.2, "due": 1000}.get(change)
    fates: list[Any] = [ready() if lasts_s is None else ready(expires_at=time.time() + lasts_s)]
    failure = SessionFailed("unreachable", "nobody there")
    fates += [failure] if change == "lost for good" else [ready()]
    it = Bench(*fates, seconds=0.1, held=change == "lost and closed")
    known, lasting = Known(), it.lasting
    lasting._on_event = known.hear
    await lasting.open(5)
    running = asyncio.create_task(lasting.run())
    await asyncio.sleep(0)
    if change.startswith("lost"):
        it.now.lose()
    if change == "lost for good":
        await running
    elif change == "lost and closed":
        await it.opens()
    elif change not in ("none", "due"):
        await it.opens()
        while not any(isinstance(event, ev.Back) for event in known.events):
            await asyncio.sleep(0)
    await lasting.close()
    await running
    lasting.release()
    lasting.counts()
    it.now.say(ev.CallerIdle())
    del it.lasting, it.sessions, it.transcript  # those are the test's own
    failure.__traceback__ = None
    return ref(known)
