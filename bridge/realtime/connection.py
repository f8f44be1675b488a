"""One WebSocket to a provider: the library's connection, which hands a message over where it reads it."""

from __future__ import annotations

from collections.abc import Callable

from websockets.asyncio.client import ClientConnection
from websockets.frames import CloseCode, Frame, Opcode
from websockets.protocol import Event, State

from bridge.realtime.frame_ends import FrameEnds

TURN_MESSAGES = 16
"""Handed over from what came in one piece: a server that floods must not hold up the calls."""
CONTROLS_PER_S = 100
"""Pings and pongs of a server in a second; with more its connection ends. Nobody needs so many, each costs as much time
as a packet of audio, and a pong that the server does not read is memory."""
_DATA = (Opcode.TEXT, Opcode.BINARY)
_BLANK_LINE = b"\r\n\r\n"
"""Ends the answer to the handshake."""

Take = Callable[[bytes], bool]
"""Gets a message; False: it is not taken, and waits in the queue."""


class Connection(ClientConnection):
    """A connection that needs no task to read a message, and is freed when it is gone without the collector of cycles.

    The library puts each message into a queue and wakes who waits there, which costs as much as most messages do. While
    there is an `on_message` they go to it, in their order; those that lie whole in what was read pass by the library's
    parser. What is not taken, what is in fragments and what is too much at once goes through the queue, for `recv`.
    """

    on_message: Take | None = None
    _room = 0
    _answer = b""
    """The last bytes of the answer to the handshake, while that is not whole."""
    _ends: FrameEnds | None = None  # before there are frames
    _counted_at = 0.0

    def data_received(self, data: bytes) -> None:
        self._room = TURN_MESSAGES
        ends = self._ends
        if ends is None:
            self._shake_hands(data)
            return
        if (now := self.loop.time()) - self._counted_at >= 1:
            self._counted_at, ends.controls = now, 0
        self._follow(ends, ends.joined(data))

    def _follow(self, ends: FrameEnds, data: bytes) -> None:
        """Hand over the messages; what is between two of them goes to the library in one piece."""
        done = end = 0
        for start, end, message in ends.pieces(data):
            if ends.controls > CONTROLS_PER_S:
                self._give_up(f"more than {CONTROLS_PER_S} pings and pongs in a second")
                return
            if message and self._takes():
                if done < start:
                    super().data_received(data[done:start])
                is_open = self.protocol.state is State.OPEN  # what came before may have been the end
                done = end if is_open and self._hand_over(data[message:end]) else start
        if done < end:
            super().data_received(data[done:end])

    def _give_up(self, why: str) -> None:
        self.protocol.fail(CloseCode.POLICY_VIOLATION, why)
        self.send_data()
        self.transport.abort()

    def _shake_hands(self, data: bytes) -> None:
        """The answer, and what came with it."""
        whole = self._answer + data
        at = whole.find(_BLANK_LINE)
        if at < 0:
            self._answer = whole[1 - len(_BLANK_LINE) :]
            super().data_received(data)
            return
        end = at + len(_BLANK_LINE) - len(self._answer)
        super().data_received(data[:end])
        if self.protocol.state is State.OPEN:
            self._ends = FrameEnds()
        if end < len(data):
            behind = super().data_received if self._ends is None else self.data_received
            behind(data[end:])

    def process_event(self, event: Event) -> None:
        if not (
            isinstance(event, Frame) and event.opcode in _DATA and event.fin and self._hand_over(bytes(event.data))
        ):
            super().process_event(event)

    def _takes(self) -> bool:
        """Whether a message may be handed over: what waits in the queue is earlier."""
        return self.on_message is not None and self._room > 0 and not self.recv_messages.frames

    def _hand_over(self, message: bytes) -> bool:
        if self.on_message is None or not self._takes():
            return False
        self._room -= 1
        return self.on_message(message)

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
