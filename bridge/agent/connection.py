"""One connection of the agent: its socket, its clock, and the work that ears and voice do for it."""

import asyncio
import socket
import struct
import time
from collections.abc import Awaitable, Callable
from typing import Protocol

import orjson
from websockets.asyncio.server import ServerConnection
from websockets.exceptions import ConnectionClosed

from bridge.agent.events import Event
from bridge.agent.fault import Fault
from bridge.agent.items import Item
from bridge.agent.orders import Abandon, Listen, Reply, Speak, Work
from bridge.agent.outbox import Close, Drop, Filler, Outgoing, Raw, Stall
from bridge.agent.pieces import AnswerPiece, Ended
from bridge.agent.session import Session

# A client that asks faster than it reads is not read on until it has.
_MAX_WAITING = 128
_MAX_WORK = 32


class Workers(Protocol):
    """Who listens and speaks: the server, or a pipeline."""

    async def listen(self, order: Listen) -> str | None:
        """The words of some audio; empty when there are none; None when nothing was understood. Raises Fault."""

    async def speak(self, order: Speak) -> bytes | None:
        """The audio of some words; None when there is no voice."""

    async def reply(self, order: Reply, put: Callable[[AnswerPiece], Awaitable[None]]) -> None:
        """A whole answer to `put`, piece by piece; the last one is `Ended`."""


class AgentSession:
    """One connection. The lists are filled only when the server keeps a journal."""

    def __init__(self, connection: ServerConnection, core: Session, workers: Workers, journal: bool) -> None:
        # (time.time_ns() just after the message was read, event) and just before it was written.
        self.received: list[tuple[int, Event]] = []
        self.sent: list[tuple[int, Event]] = []
        # Set when the connection is over.
        self.done = asyncio.Event()
        self.core = core
        self._connection = connection
        self._workers = workers
        self._journal = journal
        self._wake = asyncio.Event()
        self._drained = asyncio.Event()
        self._work: set[asyncio.Task[None]] = set()
        # Answers of a pipeline that are being made, by the id of their response.
        self._replies: dict[str, asyncio.Task[None]] = {}
        self._read_from = 0.0
        self._over = False

    @property
    def input_audio(self) -> bytearray:
        """All audio that was appended, wire bytes."""
        return self.core.input_audio if self.core.input_audio is not None else bytearray()

    @property
    def items(self) -> list[Item]:
        """The assistant's audio items, oldest first: `number`, `sent_bytes`, `truncated_ms`."""
        return self.core.stage.spoken

    @property
    def notes(self) -> list[str]:
        """What the script noted."""
        return self.core.notes

    async def run(self) -> None:
        """From session.created to the end of the connection."""
        loop = asyncio.get_running_loop()
        self.core.open(loop.time())
        writer = asyncio.create_task(self._write(loop))
        try:
            await self._read(loop)
        except ConnectionClosed:
            pass
        finally:
            writer.cancel()
            for task in self._work:
                task.cancel()
            await asyncio.gather(writer, *self._work, return_exceptions=True)
            self.done.set()

    async def _read(self, loop: asyncio.AbstractEventLoop) -> None:
        async for message in self._connection:
            stamp = time.time_ns()
            event = self.core.receive(message, loop.time())
            # At once: it may be that an answer is not wanted any more.
            self._begin_work()
            if self._journal and event is not None:
                self.received.append((stamp, event))
            self._wake.set()
            if self._read_from > loop.time():
                await asyncio.sleep(self._read_from - loop.time())
            await self._until_read()

    async def _until_read(self) -> None:
        """Wait for a client that reads more slowly than it is sent to."""
        if len(self.core.outbox) > _MAX_WAITING and not self._over:
            self._drained.clear()
            await self._drained.wait()

    async def _write(self, loop: asyncio.AbstractEventLoop) -> None:
        """Send what waits, then rest until something is due. The only place that writes."""
        core = self.core
        try:
            while True:
                core.advance(loop.time())
                self._begin_work()
                while core.outbox:
                    await self._send(core.outbox.popleft(), loop)
                self._drained.set()
                await self._rest(core.deadline(), loop)
        except ConnectionClosed:
            pass
        finally:
            # Nothing will be sent any more: the reader must not wait for that.
            self._over = True
            self._drained.set()

    async def _rest(self, until: float, loop: asyncio.AbstractEventLoop) -> None:
        if until <= loop.time():
            # Others have their turn, also when this session always has something due.
            await asyncio.sleep(0)
            return
        alarm = loop.call_at(until, self._wake.set)
        await self._wake.wait()
        self._wake.clear()
        alarm.cancel()

    async def _send(self, outgoing: Outgoing, loop: asyncio.AbstractEventLoop) -> None:
        connection = self._connection
        if isinstance(outgoing, dict):
            if self._journal:
                self.sent.append((time.time_ns(), outgoing))
            await connection.send(orjson.dumps(outgoing), text=True)
        elif isinstance(outgoing, Raw):
            await connection.send(outgoing.payload)
        elif isinstance(outgoing, Filler):
            await connection.send(_filler(outgoing.size), text=True)
        elif isinstance(outgoing, Close):
            await connection.close(outgoing.code, outgoing.reason)
        elif isinstance(outgoing, Drop):
            _reset(connection)
        elif isinstance(outgoing, Stall) and outgoing.reading:
            self._read_from = loop.time() + outgoing.seconds
        elif isinstance(outgoing, Stall):
            await asyncio.sleep(outgoing.seconds)

    def _begin_work(self) -> None:
        """Hand the work orders to ears and voice; too many at once fail."""
        work = self.core.work
        while work:
            order = work.popleft()
            if isinstance(order, Abandon):
                reply = self._replies.pop(order.response_id, None)
                if reply is not None:
                    reply.cancel()
                continue
            task = asyncio.create_task(self._do(order, len(self._work) >= _MAX_WORK))
            self._work.add(task)
            task.add_done_callback(self._work.discard)
            if isinstance(order, Reply):
                self._replies[order.response_id] = task

    async def _do(self, order: Work, refused: bool) -> None:
        loop = asyncio.get_running_loop()
        if isinstance(order, Listen):
            await self._listen(order, refused, loop)
        elif isinstance(order, Speak):
            audio = None if refused else await self._workers.speak(order)
            self.core.voiced(order.response_id, audio, loop.time())
        elif isinstance(order, Reply):
            await self._reply(order, refused, loop)
        self._wake.set()

    async def _listen(self, order: Listen, refused: bool, loop: asyncio.AbstractEventLoop) -> None:
        try:
            text = None if refused else await self._workers.listen(order)
        except Fault as fault:
            self.core.heard(order.item_id, None, loop.time(), fault.code)
        else:
            self.core.heard(order.item_id, text, loop.time())

    async def _reply(self, order: Reply, refused: bool, loop: asyncio.AbstractEventLoop) -> None:
        async def put(piece: AnswerPiece) -> None:
            if isinstance(piece, Ended):
                # The core will say that this response is over: that must not cancel its own work.
                self._replies.pop(order.response_id, None)
            self.core.piece(order.response_id, piece, loop.time())
            self._wake.set()
            await self._until_read()

        if refused:
            await put(Ended(code="rate_limit_exceeded", message="Too many answers at the same time."))
        else:
            await self._workers.reply(order, put)


def _filler(size: int) -> bytes:
    head, tail = b'{"type":"filler","padding":"', b'"}'
    return head + b"x" * max(0, size - len(head) - len(tail)) + tail


def _reset(connection: ServerConnection) -> None:
    """End the TCP connection by a reset: no close frame, nothing flushed."""
    transport = connection.transport
    if transport.is_closing():
        return
    raw = transport.get_extra_info("socket")
    if raw is not None:
        raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    transport.abort()
