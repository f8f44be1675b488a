"""User agents over TCP and TLS on loopback: calls, connections used again and made anew, and what streams bring."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from functools import partial

import pytest

from bridge.sip.connection import StreamLimits
from bridge.sip.gate import OpenGate
from bridge.sip.listeners import ListenAddress
from bridge.sip.places import STRANGERS_SHARE
from bridge.sip.stream import StreamTransport
from bridge.sip.tls import TlsSettings
from bridge.sip.ua import UserAgent
from tests.phones.certificates import Authority

from .phone import HOST, OFFER, PATIENCE_S, Answering, agent, port_of, until
from .stack import request
from .test_ua import Caller

Agent = Callable[..., AbstractAsyncContextManager[UserAgent]]
WHOLE = b"Content-Length: 0\r\n\r\n"


@pytest.fixture(scope="module")
def settings(tmp_path_factory: pytest.TempPathFactory) -> TlsSettings:
    authority = Authority.make(tmp_path_factory.mktemp("streams"))
    ours = authority.issue("agent")
    return TlsSettings(ours.certificate, ours.key, authority.certificate)


@pytest.fixture(params=["tcp", "tls"])
def on(request: pytest.FixtureRequest, settings: TlsSettings) -> Agent:
    """Makes agents over TCP, and over TLS."""
    return partial(agent, transport=request.param, tls=settings)


def stream(made: UserAgent) -> StreamTransport:
    (transport,) = made.listeners.streams
    return transport


def connections(made: UserAgent) -> int:
    """How many there have been, whoever opened them."""
    return stream(made).stats.accepted + stream(made).stats.opened


def dial(phone: UserAgent, to: UserAgent, **options: object) -> Caller:
    name = to.local[0][0]
    return Caller(phone.invite(f"sip:600@{HOST}:{port_of(to)};transport={name}", sdp=OFFER, **options))  # type: ignore[arg-type]


async def drop_connections(made: UserAgent) -> None:
    """Close them all, as a peer or a firewall does."""
    transport = stream(made)
    for connection in list(transport._connections):
        connection.finish("idle")
    await until(lambda: transport.connections == 0)


async def test_a_call_over_one_connection_from_end_to_end(on: Agent) -> None:
    application = Answering()
    async with on(application) as service, on() as phone:
        caller = dial(phone, service)
        await until(lambda: application.confirmed)
        (call,) = application.calls
        assert call.transport == service.local[0][0].upper()
        assert call.request.via.transport == call.transport
        contact = call.request.header("Contact")
        assert contact == f"<sip:{HOST}:{port_of(phone)};transport={service.local[0][0]}>"
        call.hang_up()  # against the direction of the connection
        await until(lambda: caller.ended and application.ended)
        assert (caller.ended, application.ended) == (["bye"], ["hung_up"])
        assert (connections(service), connections(phone)) == (1, 1)
        assert service.stats.dropped == phone.stats.dropped == {}


async def test_all_calls_of_a_pair_share_a_connection(on: Agent) -> None:
    application = Answering()
    async with on(application) as service, on() as phone:
        callers = [dial(phone, service) for _ in range(10)]
        await until(lambda: application.confirmed == 10)
        for caller in callers:
            caller.call.hang_up()
        await until(lambda: all(caller.ended for caller in callers))
        results: list[int] = []
        phone.options(f"sip:{HOST}:{port_of(service)};transport={service.local[0][0]}", results.append)
        await until(lambda: results)
        assert connections(service) == 1


async def test_a_call_survives_its_connection(on: Agent) -> None:
    application = Answering()
    async with on(application) as service, on() as phone:
        caller = dial(phone, service)
        await until(lambda: application.confirmed)
        await drop_connections(phone)
        await until(lambda: stream(service).connections == 0)
        application.calls[0].hang_up()  # there is no connection to go back by: to the Contact, on a new one
        await until(lambda: caller.ended and application.ended)
        assert (caller.ended, application.ended) == (["bye"], ["hung_up"])
        assert (stream(service).stats.opened, stream(phone).stats.accepted) == (1, 1)
        again = dial(phone, service)
        await until(lambda: again.answers)


async def test_a_peer_that_was_away_is_called_again_on_a_new_connection(on: Agent) -> None:
    application = Answering()
    async with on() as phone:
        async with on(application) as service:
            port = port_of(service)
            first = dial(phone, service)
            await until(lambda: first.answers)
        await until(lambda: first.ended and stream(phone).connections == 0)
        again = Answering()
        async with on(again, port=port) as service:
            second = dial(phone, service)
            await until(lambda: second.answers)
            assert stream(phone).stats.opened == 2


async def test_nobody_listens(on: Agent) -> None:
    async with on() as phone, on() as service:
        port, name = port_of(service), service.local[0][0]
        stream(service).close()
        await stream(service).wait_closed()
        caller = Caller(phone.invite(f"sip:600@{HOST}:{port};transport={name}", sdp=OFFER))
        words: list[str] = []
        caller.call.on_failed = lambda failure: words.append(f"{failure.status} {failure.word}")
        await until(lambda: words)
        assert words == ["503 unreachable"]
        await until(lambda: phone.stats.transactions == 0)


async def test_a_server_that_nobody_vouches_for_is_not_called(settings: TlsSettings) -> None:
    stranger = TlsSettings(settings.certificate, settings.key)  # trusts the system's authorities only
    application = Answering()
    async with (
        agent(application, transport="tls", tls=settings) as service,
        agent(transport="tls", tls=stranger) as phone,
    ):
        caller = dial(phone, service)
        await until(lambda: caller.failed)
        assert (caller.failed, application.calls) == ([503], [])
        assert stream(phone).stats.handshake_failures == {"certificate": 1}


async def test_a_call_may_begin_over_udp_beside_streams(settings: TlsSettings) -> None:
    async with agent(transport="tcp") as service, agent() as phone:
        caller = dial(phone, service)  # a transport that the phone does not have
        await until(lambda: caller.failed)
        assert caller.failed == [503]


# What strangers write into a stream


class Line:
    """A bare TCP connection to an agent."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader, self.writer = reader, writer

    async def say(self, *pieces: bytes) -> None:
        for piece in pieces:
            self.writer.write(piece)
            await self.writer.drain()
            await asyncio.sleep(0.001)

    async def status(self) -> int:
        """Of the next answer."""
        head = await asyncio.wait_for(self._reader.readuntil(b"\r\n\r\n"), PATIENCE_S)
        return int(head.split()[1])

    async def end(self) -> bytes:
        """What comes until the agent closes the connection."""
        return await asyncio.wait_for(self._reader.read(), PATIENCE_S)


@asynccontextmanager
async def line(to: UserAgent) -> AsyncIterator[Line]:
    reader, writer = await asyncio.open_connection(HOST, port_of(to))
    try:
        yield Line(reader, writer)
    finally:
        writer.close()


def options(number: int) -> bytes:
    return request("OPTIONS", call_id=f"c{number}", branch=f"z9hG4bK{number}").replace("/UDP", "/TCP").encode()


async def test_several_messages_in_one_segment_and_one_in_many() -> None:
    async with agent(transport="tcp") as service, line(service) as peer:
        await peer.say(b"".join(options(number) for number in range(5)))
        assert [await peer.status() for _ in range(5)] == [200] * 5
        await peer.say(*[options(6)[index : index + 1] for index in range(len(options(6)))])
        assert await peer.status() == 200
        await peer.say(options(7)[:100], options(7)[100:] + options(8)[:50], options(8)[50:])
        assert [await peer.status() for _ in range(2)] == [200, 200]
        assert service.stats.received == {"OPTIONS": 8}


@pytest.mark.parametrize(
    ("data", "status"),
    [
        (options(1).replace(b"Content-Length: 0", b"Content-Length: x"), 400),
        (options(1).replace(b"Content-Length: 0\r\n", b""), 400),
        (options(1).replace(b"Content-Length: 0", b"Content-Length: 99999999"), 413),
        (options(1).replace(b"\r\n\r\n", b"\r\nX: " + b"x" * 100_000), 513),
    ],
)
async def test_a_stream_that_cannot_be_read_on_is_answered_and_closed(data: bytes, status: int) -> None:
    async with agent(transport="tcp") as service, line(service) as peer:
        peer.writer.write(options(0) + data + options(2))
        assert [await peer.status(), await peer.status()] == [200, status]
        assert b"SIP/2.0" not in await peer.end()  # nothing after it is believed
        peer.writer.close()
        await until(lambda: stream(service).connections == 0)
        assert stream(service).stats.closed == {"framing": 1}


async def test_noise_is_closed_without_an_answer() -> None:
    async with agent(transport="tcp") as service, line(service) as peer:
        peer.writer.write(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        assert b"SIP/2.0 200" not in await peer.end()
        assert sum(service.stats.dropped.values()) == 1


async def test_a_malformed_message_does_not_spoil_the_stream() -> None:
    async with agent(transport="tcp") as service, line(service) as peer:
        await peer.say(options(1).replace(b"CSeq: 1", b"CSeq: x") + options(2))
        assert [await peer.status(), await peer.status()] == [400, 200]


async def test_too_many_headers_are_refused_and_the_stream_goes_on() -> None:
    async with agent(transport="tcp") as service, line(service) as peer:
        await peer.say(options(1).replace(WHOLE, b"X: y\r\n" * 300 + WHOLE) + options(2))
        assert [await peer.status(), await peer.status()] == [513, 200]


class Strict(OpenGate):
    """A gate that knows nobody."""

    def answers(self, host: str) -> bool:
        return False


async def test_the_gate_says_whose_connections_are_few() -> None:
    application = Answering()
    places = StreamLimits().per_host // STRANGERS_SHARE
    for gate, accepted in ((Strict(), places), (OpenGate(), places + 1)):
        service = UserAgent(listen=[ListenAddress("tcp", HOST, 0)], on_invite=application.invited, gate=gate)
        await service.start()
        writers = [(await asyncio.open_connection(HOST, port_of(service)))[1] for _ in range(places + 1)]
        stats = stream(service).stats
        await until(lambda stats=stats: stats.accepted + stats.refused == places + 1)
        assert stats.accepted == accepted
        for writer in writers:
            writer.close()
        await service.close()


async def test_a_ping_is_answered() -> None:
    async with agent(transport="tcp") as service, line(service) as peer:
        await peer.say(b"\r\n\r\n" + options(1))
        answer = await asyncio.wait_for(peer._reader.readexactly(2), PATIENCE_S)
        assert answer == b"\r\n"
        assert await peer.status() == 200
