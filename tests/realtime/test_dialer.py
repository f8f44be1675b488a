"""The way to a provider: what is remembered of DNS and TLS, and the sockets that are open before somebody calls."""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from websockets.asyncio.server import ServerConnection, serve

from bridge.realtime.dialer import Address, Dialer, SessionFailed
from bridge.realtime.names import KEPT_S, Names
from bridge.realtime.tls import ResumingContext
from bridge.realtime.warm import MOST_AGE_S, WarmSockets
from tests.phones.certificates import Authority


async def _talk(connection: ServerConnection) -> None:
    await connection.send("hello")
    await connection.wait_closed()


@asynccontextmanager
async def server(tls: ssl.SSLContext | None = None) -> AsyncIterator[int]:
    async with serve(_talk, "127.0.0.1", 0, ssl=tls) as listening:
        yield listening.sockets[0].getsockname()[1]


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(5):
        while not condition():
            await asyncio.sleep(0.001)


async def test_a_second_connection_resumes_the_tls_session(tmp_path: Path) -> None:
    authority = Authority.make(tmp_path)
    own = authority.issue("service")
    theirs = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    theirs.load_cert_chain(own.certificate, own.key)
    ours = ResumingContext.default()
    ours.load_verify_locations(authority.certificate)
    async with server(theirs) as port:
        dialer = Dialer(Address(f"wss://localhost:{port}"), tls=ours)
        reused = []
        for _ in range(3):
            connection = await dialer.connect()
            await connection.recv()
            reused.append(connection.transport.get_extra_info("ssl_object").session_reused)
            await connection.close()
    assert reused == [False, True, True]


async def test_the_name_of_the_server_is_verified(tmp_path: Path) -> None:
    authority = Authority.make(tmp_path)
    own = authority.issue("service", ("DNS:elsewhere.example",))
    theirs = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    theirs.load_cert_chain(own.certificate, own.key)
    ours = ResumingContext.default()
    ours.load_verify_locations(authority.certificate)
    async with server(theirs) as port:
        with pytest.raises(SessionFailed, match=r"unreachable.*(mismatch|not valid)"):
            await Dialer(Address(f"wss://localhost:{port}"), tls=ours).connect()


async def test_who_is_not_signed_by_an_authority_is_refused(tmp_path: Path) -> None:
    own = Authority.make(tmp_path).issue("service")
    theirs = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    theirs.load_cert_chain(own.certificate, own.key)
    async with server(theirs) as port:
        with pytest.raises(SessionFailed, match="unreachable"):
            await Dialer(Address(f"wss://localhost:{port}")).connect()


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


async def test_a_name_is_asked_for_once_a_minute(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[Any] = []

    async def getaddrinfo(*arguments: Any, **named: Any) -> list[Any]:
        asked.append(arguments)
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("192.0.2.7", 443))]

    monkeypatch.setattr(asyncio.get_running_loop(), "getaddrinfo", getaddrinfo, raising=False)
    clock = Clock()
    names = Names(clock)
    assert [await names.address("voice.example", 443) for _ in range(3)] == ["192.0.2.7"] * 3
    assert len(asked) == 1
    clock.now = KEPT_S + 1
    await names.address("voice.example", 443)
    assert len(asked) == 2
    names.forget("voice.example", 443)
    await names.address("voice.example", 443)
    assert len(asked) == 3


async def test_an_address_where_nobody_answers_is_not_the_end() -> None:
    """The system knows more than one address of `localhost`, or the right one by now."""
    async with server() as port:
        dialer = Dialer(Address(f"ws://localhost:{port}"))
        dialer._names._known["localhost", port] = (float("inf"), "127.0.0.2")
        connection = await dialer.connect()
        assert dialer._names._known.get(("localhost", port)) is None
        await connection.close()


async def test_a_dead_network_is_noticed_by_the_system() -> None:
    async with server() as port:
        connection = await Dialer(Address(f"ws://127.0.0.1:{port}")).connect()
        raw = connection.transport.get_extra_info("socket")
        assert raw.getsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT) == 5000
        await connection.close()


async def test_a_warm_socket_is_taken_and_another_one_made() -> None:
    async with server() as port:
        dialer = Dialer(Address(f"ws://127.0.0.1:{port}"))
        warm = WarmSockets(dialer.connect_now, 2)
        dialer.warm = warm
        warm.open()
        await until(lambda: len(warm._ready) == 2)
        kept = [connection for _, connection in warm._ready]
        connection = await dialer.connect()
        assert connection is kept[1], "the freshest"
        assert await connection.recv() == "hello", "what the service said meanwhile is not lost"
        await until(lambda: len(warm._ready) == 2)
        assert (warm.taken, warm.missed) == (1, 0)
        await connection.close()
        await warm.close()


async def test_without_a_warm_one_a_socket_is_made() -> None:
    async with server() as port:
        dialer = Dialer(Address(f"ws://127.0.0.1:{port}"))
        warm = WarmSockets(dialer.connect_now, 1)
        dialer.warm = warm
        connection = await dialer.connect()
        assert await connection.recv() == "hello" and warm.missed == 1
        await connection.close()


async def test_a_socket_that_the_service_has_closed_is_not_given() -> None:
    async with server() as port:
        warm = WarmSockets(Dialer(Address(f"ws://127.0.0.1:{port}")).connect_now, 1)
        warm.open()
        await until(lambda: len(warm._ready) == 1)
        await warm._ready[0][1].close()
        assert warm.take() is None
        assert (warm.taken, warm.missed, warm.expired) == (0, 1, 1)
        await warm.close()


async def test_an_old_socket_is_replaced() -> None:
    async with server() as port:
        clock = Clock()
        warm = WarmSockets(Dialer(Address(f"ws://127.0.0.1:{port}")).connect_now, 1, clock=clock)
        warm.open()
        await until(lambda: len(warm._ready) == 1)
        first = warm._ready[0][1]
        clock.now = MOST_AGE_S + 1
        warm._wanted.set()
        await until(lambda: len(warm._ready) == 1 and warm._ready[0][1] is not first)
        assert warm.expired == 1
        await warm.close()


async def test_a_service_that_is_not_there_is_not_hammered() -> None:
    tries = 0

    async def connect() -> Any:
        nonlocal tries
        tries += 1
        raise SessionFailed("unreachable", "nobody there")

    warm = WarmSockets(connect, 3)
    warm.open()
    await until(lambda: tries == 1)
    for _ in range(50):
        assert warm.take() is None
        await asyncio.sleep(0)
    assert tries == 1
    await warm.close()


async def test_the_environment_s_proxy_is_asked_for_once_and_used(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []

    async def proxy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        asked.append((await reader.readline()).decode().split()[1])
        writer.close()

    listening = await asyncio.start_server(proxy, "127.0.0.1", 0)
    monkeypatch.setenv("no_proxy", "")
    monkeypatch.setenv("http_proxy", f"http://127.0.0.1:{listening.sockets[0].getsockname()[1]}")
    dialer = Dialer(Address("ws://model.example:8080/v1"))
    with pytest.raises(SessionFailed):
        await dialer.connect()
    monkeypatch.delenv("http_proxy")
    with pytest.raises(SessionFailed):
        await dialer.connect()
    listening.close()
    await listening.wait_closed()
    assert asked == ["model.example:8080", "model.example:8080"]
