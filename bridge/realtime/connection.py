"""One WebSocket to a provider: the library's connection, which hands a message over where it reads it."""

from __future__ import annotations

from collections.abc import Callable

from websockets.asyncio.client import ClientConnection
from websockets.frames import Frame, Opcode
from websockets.protocol import Event

TURN_MESSAGES = 16
"""Handed over from what came in one piece: a server that floods must not hold up the calls."""
_DATA = (Opcode.TEXT, Opcode.BINARY)

Take = Callable[[bytes], bool]
"""Gets a message; False: it is not taken, and waits in the queue."""


class Connection(ClientConnection):
    """A connection that needs no task to read a message, and is freed when it is gone without the collector of cycles.

    The library puts each message into a queue and wakes who waits there, which costs as much as most messages do. While
    there is an `on_message` they go to it, in their order. What it does not take, what is in fragments and what is too
    much at once goes through the queue, for `recv`.
    """

    on_message: Take | None = None
    _room = 0

    def data_received(self, data: bytes) -> None:
        self._room = TURN_MESSAGES
        super().data_received(data)

    def process_event(self, event: Event) -> None:
        if not (isinstance(event, Frame) and event.opcode in _DATA and event.fin and self._hand_over(event)):
            super().process_event(event)

    def _hand_over(self, whole: Frame) -> bool:
        if self.on_message is None or not self._room or self.recv_messages.frames:
            return False  # what waits in the queue is earlier
        self._room -= 1
        return self.on_message(bytes(whole.data))

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        self.on_message = None
        self.protocol.parser.close()  # a generator that waits for ever and knows whose it is
        for fault in (self.protocol.handshake_exc, self.protocol.parser_exc):
            if fault is not None:
                bare(fault)  # what ended the connection is kept in it, and would keep its frames, and these itself


def bare(error: Exception) -> Exception:
    """An error without the frames that it came through, nor those of its causes."""
    each: BaseException | None = error
    while each is not None:
        each.__traceback__ = None
        each = each.__cause__ or each.__context__
    return error
