"""TCP and TLS on loopback: transports that remember what they were told, and bare sockets that say what they like."""

from __future__ import annotations

import asyncio
import gc
import inspect
import socket
import ssl
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import Any

import pytest

from bridge.sip.connection import Address, StreamLimits
from bridge.sip.framing import FramingError
from bridge.sip.stream import StreamTransport
from bridge.sip.tls import TlsSettings

from .phone import HOST, PATIENCE_S, until
from .stack import request

LOOPS: dict[str, Callable[[], asyncio.AbstractEventLoop]] = {"asyncio": asyncio.new_event_loop}
try:
    import uvloop
except ImportError:
    pass
else:
    LOOPS["uvloop"] = uvloop.new_event_loop


def on_both_loops(test: Callable[..., Coroutine[Any, Any, None]]) -> Callable[..., None]:
    """Run a test on asyncio's loop and on uvloop, which serves in earnest: their streams differ.

    It fails, too, when the loop's exception handler is called or a socket is left open.
    """
    parameters = inspect.signature(test).parameters.values()

    def run(loop: str, **fixtures: object) -> None:
        failures: list[dict[str, Any]] = []
        with asyncio.Runner(loop_factory=LOOPS[loop]) as runner:
            runner.get_loop().set_exception_handler(lambda _, context: failures.append(context))
            runner.run(test(**fixtures))
        gc.collect()
        assert failures == []

    run.__name__, run.__doc__, run.__module__ = test.__name__, test.__doc__, test.__module__
    first = inspect.Parameter("loop", inspect.Parameter.POSITIONAL_OR_KEYWORD)
    run.pytestmark = getattr(test, "pytestmark", [])  # type: ignore[attr-defined]
    run.__signature__ = inspect.Signature([first, *parameters])  # type: ignore[attr-defined]
    return pytest.mark.parametrize("loop", LOOPS)(run)


def numbered(number: int, filling: int = 0) -> bytes:
    """A request that is told from others by its Call-ID."""
    return request("OPTIONS", call_id=f"c{number}", extra=f"X: {'x' * filling}\r\n").encode()


class Station:
    """A transport, and everything it told. Its clock stands still unless a test moves it."""

    def __init__(
        self,
        name: str = "TCP",
        host: str = HOST,
        *,
        port: int = 0,
        tls: TlsSettings | None = None,
        limits: StreamLimits | None = None,
        listening: bool = True,
    ) -> None:
        self.now = 1000.0
        self.received: list[tuple[bytes, Address]] = []
        self.broken: list[tuple[bytes, FramingError]] = []
        self.lost: list[Address] = []
        self.used: set[Address] = set()
        self.strangers: set[str] = set()
        self.on_message: Callable[[bytes, Address], None] = lambda data, source: None
        self.transport = StreamTransport(
            name,
            host,
            port,
            receive=self._receive,
            broken=self._broken,
            lost=lambda transport, peer: self.lost.append(peer),
            in_use=self.used.__contains__,
            known=lambda host: host not in self.strangers,
            clock=lambda: self.now,
            tls=tls,
            limits=limits,
            listening=listening,
        )
        self.stats = self.transport.stats
        self.send = self.transport.send

    @property
    def address(self) -> Address:
        return self.transport.local

    @property
    def bodies(self) -> list[bytes]:
        """The messages that came, without their sources."""
        return [data for data, _ in self.received]

    @property
    def source(self) -> Address:
        """Where the last message came from."""
        return self.received[-1][1]

    def pass_time(self, seconds: float) -> None:
        self.now += seconds
        self.transport.sweep()

    def _receive(self, transport: StreamTransport, data: bytes, source: Address) -> None:
        assert transport is self.transport
        self.received.append((data, source))
        self.on_message(data, source)

    def _broken(self, transport: StreamTransport, head: bytes, error: FramingError, source: Address) -> None:
        assert transport is self.transport
        self.broken.append((head, error))
        transport.send(b"SIP/2.0 400 Bad Request\r\n\r\n", source)


@asynccontextmanager
async def station(*arguments: str, **keywords: object) -> AsyncIterator[Station]:
    """A started `Station`; at the end none of its sockets and tasks is left, and every connection counted."""
    made = Station(*arguments, **keywords)  # type: ignore[arg-type]
    await made.transport.start()
    try:
        yield made
    finally:
        made.transport.close()
        await made.transport.wait_closed()
        stats = made.stats
        assert made.transport.connections == 0
        assert not made.transport._tasks and not made.transport._places._all
        assert not made.transport._places._strangers
        assert sum(stats.closed.values()) == stats.accepted + stats.opened


class Stranger:
    """A bare connection to a station."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self.writer = writer
        self.address: Address = writer.get_extra_info("sockname")[:2]

    def say(self, data: bytes) -> None:
        self.writer.write(data)

    async def hear(self, size: int) -> bytes:
        return await asyncio.wait_for(self._reader.readexactly(size), PATIENCE_S)

    async def hear_end(self) -> bytes:
        """What comes until the station closes the connection."""
        try:
            return await asyncio.wait_for(self._reader.read(), PATIENCE_S)
        except ConnectionResetError:
            return b"reset"


@asynccontextmanager
async def stranger(to: Station, tls: ssl.SSLContext | None = None, *, host: str = HOST) -> AsyncIterator[Stranger]:
    reader, writer = await asyncio.open_connection(
        *to.address, ssl=tls, server_hostname="localhost" if tls else None, limit=2**20
    )
    try:
        yield Stranger(reader, writer)
    finally:
        writer.transport.abort()
        await asyncio.sleep(0)


@contextmanager
def deaf_socket(to: Station) -> Iterator[socket.socket]:
    """Connected, and nobody reads from it."""
    with socket.create_connection(to.address) as made:
        made.setblocking(False)
        yield made


__all__ = ["HOST", "Station", "Stranger", "deaf_socket", "numbered", "on_both_loops", "station", "stranger", "until"]
