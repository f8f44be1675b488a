"""The caller made of strings over TCP and TLS: sees which connection brings what, and cuts or splits as it likes."""

import asyncio
import re
import ssl
from typing import Self

from .certificates import Certificate
from .rawphone import Message, RawPhone
from .wire import Wire

_LENGTH = re.compile(rb"^(?:content-length|l)[ \t]*:[ \t]*(\d+)", re.IGNORECASE | re.MULTILINE)


class StreamPhone(RawPhone):
    """One caller at one connection of its own; it listens besides, at the port that its Contact names.

    `trust` makes it TLS, with `own` to show where it is asked for a certificate and to listen with.
    """

    def __init__(
        self,
        *,
        host: str = "127.0.0.1",
        user: str = "raw",
        law: str = "PCMU",
        wire: Wire | None = None,
        trust: ssl.SSLContext | None = None,
        own: Certificate | None = None,
    ) -> None:
        super().__init__(host=host, user=user, law=law, wire=wire)
        self.transport = "TLS" if trust is not None else "TCP"
        self.accepted = 0
        """Connections that the other side opened to us."""
        self.pongs = 0
        """Single CRLFs between messages."""
        self.closed = asyncio.Event()
        """Set when the other side has closed the connection."""
        self.source = ("", 0)
        """The other end of the connection, as `sources` names it."""
        self._trust = trust
        self._own = own
        self._server: asyncio.Server | None = None
        self._writer: asyncio.StreamWriter | None = None
        self._writers: dict[tuple[str, int], asyncio.StreamWriter] = {}
        self._tasks: set[asyncio.Task[None]] = set()

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._accept, self.host, 0, ssl=self._listening())
        self.port = self._server.sockets[0].getsockname()[1]
        asyncio.get_running_loop().add_reader(self.wire, self.wire.drain)
        return self

    async def __aexit__(self, *_: object) -> None:
        self.close()
        if self._server is not None:
            self._server.close()
        for writer in self._writers.values():
            writer.close()
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def _listening(self) -> ssl.SSLContext | None:
        if self._own is None:
            return None
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(self._own.certificate, self._own.key)
        return context

    async def connect(self, host: str, port: int) -> None:
        """A new connection, over which everything goes from here."""
        reader, self._writer = await asyncio.open_connection(host, port, ssl=self._trust)
        self.source = (host, port)
        self.closed.clear()
        self._attend(reader, self._writer, self.source)

    @property
    def local_port(self) -> int:
        """Our end of the connection."""
        assert self._writer is not None
        return int(self._writer.get_extra_info("sockname")[1])

    async def cut(self) -> None:
        """Close the connection without a word."""
        assert self._writer is not None
        self._writers.pop(self.source)
        self._writer.close()
        await self.closed.wait()

    def send_raw(self, datagram: bytes, to: tuple[str, int] | None = None) -> None:
        """Answers go back where the request came from, everything else over our connection."""
        writer = self._writers.get(to) if to is not None else None
        writer = writer or self._writer
        if writer is None:
            raise RuntimeError("the phone has no connection")
        writer.write(datagram)

    async def start_invite(self, host: str, port: int, *rest: object, **more: object) -> None:
        if self._writer is None:
            await self.connect(host, port)
        await super().start_invite(host, port, *rest, **more)  # type: ignore[arg-type]

    async def options(self, host: str, port: int, within: float = 5.0) -> Message:
        if self._writer is None:
            await self.connect(host, port)
        return await super().options(host, port, within)

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.accepted += 1
        source = writer.get_extra_info("peername")[:2]
        self._attend(reader, writer, (source[0], source[1]))

    def _attend(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, source: tuple[str, int]) -> None:
        self._writers[source] = writer
        task = asyncio.create_task(self._read(reader, writer, source))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _read(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, source: tuple[str, int]) -> None:
        held = b""
        try:
            while data := await reader.read(65536):
                held = self._take(held + data, source)
        except OSError:
            pass
        finally:
            writer.close()
            if writer is self._writer:
                self.closed.set()

    def _take(self, held: bytes, source: tuple[str, int]) -> bytes:
        """Hand on every whole message; what is left."""
        while held:
            if held.startswith(b"\r\n"):
                self.pongs += 1
                held = held[2:]
                continue
            head, end, rest = held.partition(b"\r\n\r\n")
            found = _LENGTH.search(head)
            length = int(found[1]) if found else 0
            if not end or len(rest) < length:
                return held
            self.received(head + end + rest[:length], source)
            held = rest[length:]
        return held
