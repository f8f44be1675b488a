"""The asyncio face of one session: the WebSocket under a protocol object, whichever provider's it is.

Everything the call asks for is sent in the same loop turn: by `websockets.broadcast`, which writes without waiting, and
audio in frames made for the transport (`text_frame`). What the server says is taken where the socket reads it
(`connection`). So there is no task per packet or event, and an interruption is on its way before anything else runs.
What a slow server cannot take is held in a bounded queue of audio, oldest dropped and counted; the phone never waits.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque
from collections.abc import Callable

from websockets.asyncio.connection import broadcast
from websockets.exceptions import ConnectionClosed
from websockets.frames import CloseCode
from websockets.protocol import State

from bridge.realtime import events as ev
from bridge.realtime.budget import Budget
from bridge.realtime.connection import TURN_MESSAGES, Connection, bare
from bridge.realtime.dialer import Dialer, SessionFailed
from bridge.realtime.protocol import Alarm, Provider
from bridge.realtime.steady import Steady
from bridge.realtime.text_frame import TextFrames

WRITE_LIMIT_BYTES = 64 * 1024
"""With more than this unsent, audio waits in the queue: some six seconds of G.711."""
HELD_AUDIO_MS = 5000
"""Audio kept for a slow server; older audio is dropped, because late audio makes a late answer."""
MOST_ALARMS = 64
GOODBYE_S = 5.0
"""How long a service may take for its last words."""
REPLAY_MS = 1000
"""Audio of a time without a session goes in events of so much."""
STUCK_BYTES = 4 * 1024 * 1024
"""With more than this unsent the server has stopped reading for good."""
_FRAMES = TextFrames()


class Session:
    """One session. `open` it, `run` its reader until the end, `close` it; all else returns at once.

    What the call asks of the model it asks of `protocol`, and then calls `flush`, in the same loop turn.
    """

    __slots__ = (
        "_append_bytes",
        "_append_ms",
        "_budget",
        "_dialer",
        "_fault",
        "_held",
        "_held_bytes",
        "_held_limit",
        "_is_read",
        "_pending",
        "_rest_s",
        "_socket",
        "_steady",
        "_timers",
        "audio_dropped_bytes",
        "audio_in_bytes",
        "on_event",
        "protocol",
        "ready",
    )  # fmt: skip

    def __init__(
        self,
        protocol: Provider,
        dialer: Dialer,
        *,
        append_ms: int = 20,
        on_event: Callable[[ev.Event], None] = lambda event: None,
    ) -> None:
        self.protocol = protocol
        self.on_event = on_event
        self.ready: ev.Ready | None = None
        """What `open` gave; None before."""
        self.audio_in_bytes = 0
        """Bytes of the caller's audio handed to the socket."""
        self.audio_dropped_bytes = 0
        """Bytes of the caller's audio dropped because the server did not read."""
        self._dialer = dialer
        self._append_ms = append_ms
        self._append_bytes = self._held_limit = 0  # both in the session's format, known when it is ready
        self._pending = b""
        self._held: deque[bytes] = deque()
        self._held_bytes = 0
        self._socket: Connection | None = None
        self._timers: dict[object, asyncio.TimerHandle] = {}  # of the protocol's alarms, oldest first
        self._is_read = False  # somebody runs the reader
        self._budget = Budget()
        self._rest_s = 0.0  # the server has sent too much: for how long nothing is read before the next message
        self._fault: Exception | None = None  # what a message led to that was taken as it was read
        self._steady: Steady | None = None  # where the service's clock is the caller's audio

    async def open(self, timeout_s: float) -> ev.Ready:
        """Connect and configure; audio may flow afterwards. Raises SessionFailed, within `timeout_s` seconds."""
        try:
            async with asyncio.timeout(timeout_s):
                self._socket = await self._dialer.connect()
                self.protocol.begin()
                self.flush()
                ready = await self._handshake(self._socket)
        except TimeoutError as error:
            raise SessionFailed("timeout", f"no session within {timeout_s:g} s") from bare(error)
        self.ready = ready
        self._append_bytes = self._append_ms * ready.audio_in.bytes_per_ms
        if self.protocol.abilities.needs_steady_audio:
            self._steady = Steady(self._append, ready.audio_in, asyncio.get_running_loop())
            self._steady.start()
        self._held_limit = HELD_AUDIO_MS * ready.audio_in.bytes_per_ms
        return ready

    async def run(self) -> ev.Lost:
        """Take events until the socket is gone; how it went. Mostly they are taken where the socket reads them."""
        assert self._socket is not None
        socket, self._is_read = self._socket, True
        socket.on_message = self._take
        try:
            while True:
                for _ in range(TURN_MESSAGES):
                    frame = await socket.recv(decode=False)
                    await self._rest()
                    self._react(frame)
                await asyncio.sleep(0)  # `recv` does not wait while frames are there
        except ConnectionClosed as error:
            self._stop_steady()
            return _lost(error)
        finally:
            socket.on_message = None

    def _take(self, frame: bytes) -> bool:
        """A message as it is read. What goes wrong here is the call's affair, not the socket's: `run` raises it."""
        if self._rest_s or self._fault is not None:
            return False
        try:
            self._react(frame)
        except Exception as error:  # noqa: BLE001 - the guard of this socket
            self._fault = error
            return False
        return True

    async def _rest(self) -> None:
        """Before a message that has waited."""
        if self._fault is not None:
            raise self._fault
        if self._rest_s:
            await asyncio.sleep(self._rest_s)
            self._rest_s = 0.0

    def append(self, audio: bytes) -> None:
        """Send the caller's audio, in events of `append_ms` (or more, when longer frames come)."""
        if self._steady is not None:
            self._steady.append(audio)
        else:
            self._append(audio)

    def _append(self, audio: bytes) -> None:
        if self._pending:
            audio = self._pending + audio
        if len(audio) < self._append_bytes:
            self._pending = audio
            return
        self._pending = b""
        self._send_audio(audio)

    async def close(self) -> None:
        """Send what is left of the caller's audio and close with 1000; gives up after 2 s. Idempotent."""
        socket, self._socket = self._socket, None
        while self._timers:
            self._timers.popitem()[1].cancel()
        self._stop_steady()
        if socket is None:
            return
        if self._pending and socket.state is State.OPEN:
            self._write_audio(socket, self._pending)
        if socket.state is State.OPEN:
            self.protocol.finish()
            for message in self.protocol.data_to_send():
                broadcast((socket,), message, text=True)
            if self.protocol.abilities.says_goodbye and self._is_read:
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(GOODBYE_S):
                        await socket.wait_closed()
        await socket.close()

    def _stop_steady(self) -> None:
        """Audio passes as it comes from here. What filled its holes holds on to this session, and goes."""
        if self._steady is not None:
            self._steady.stop()
            self._steady = None

    def replay(self, audio: bytes) -> None:
        """Send the caller's audio of a time without a session, all at once and whatever the socket takes by now."""
        piece = REPLAY_MS * self._append_bytes // self._append_ms
        if self._socket is not None and self._socket.state is State.OPEN:
            for at in range(0, len(audio), piece):
                self._write_audio(self._socket, audio[at : at + piece])

    def flush(self) -> None:
        """Send what the protocol object wants sent, now."""
        messages = self.protocol.data_to_send()
        socket = self._socket
        if socket is None:
            return
        for alarm in self.protocol.alarms():
            self._set(alarm)
        for message in messages:
            broadcast((socket,), message, text=True)
        if messages and socket.transport.get_write_buffer_size() > STUCK_BYTES:
            socket.transport.abort()

    async def _handshake(self, socket: Connection) -> ev.Ready:
        try:
            while True:
                events = self.protocol.receive(await socket.recv(decode=False))
                self.flush()
                ready = None
                for event in events:
                    if isinstance(event, ev.Ready):
                        ready = event
                    elif isinstance(event, ev.SessionError) and event.fatal:
                        raise SessionFailed(event.code, event.message)
                    else:
                        self.on_event(event)
                if ready is not None:
                    return ready
        except ConnectionClosed as error:
            code, reason = socket.close_code or 1006, socket.close_reason or ""
            raise SessionFailed("closed", f"closed with {code} {reason}".strip(), (code, reason)) from error

    def _react(self, frame: bytes) -> None:
        self._rest_s = self._budget.spend(len(frame), asyncio.get_running_loop().time())
        for event in self.protocol.receive(frame):
            self.on_event(event)
        self.flush()

    def _set(self, alarm: Alarm) -> None:
        if len(self._timers) >= MOST_ALARMS:  # a server that floods sets no more of them
            self._timers.pop(next(iter(self._timers))).cancel()
        place = object()
        self._timers[place] = asyncio.get_running_loop().call_later(alarm.after_s, self._ring, alarm, place)

    def _ring(self, alarm: Alarm, place: object) -> None:
        self._timers.pop(place, None)
        for event in self.protocol.rang(alarm):
            self.on_event(event)
        self.flush()

    def _send_audio(self, audio: bytes) -> None:
        socket = self._socket
        if socket is None:
            return
        state = socket.protocol.state
        if state is not State.OPEN:
            if state is State.CLOSING:
                socket.transport.abort()  # the server said goodbye: do not wait in silence until it ends the connection
            return
        if self._held or socket.transport.get_write_buffer_size() > WRITE_LIMIT_BYTES:
            self._hold(audio, socket)
            return
        self._write_audio(socket, audio)

    def _write_audio(self, socket: Connection, audio: bytes) -> None:
        """To a socket that is open. No message of ours goes in fragments, so a whole frame never comes between two."""
        socket.transport.write(_FRAMES.frame(self.protocol.audio_message(audio)))
        self.audio_in_bytes += len(audio)

    def _hold(self, audio: bytes, socket: Connection) -> None:
        self._held.append(audio)
        self._held_bytes += len(audio)
        while self._held_bytes > self._held_limit:
            dropped = len(self._held.popleft())
            self._held_bytes -= dropped
            self.audio_dropped_bytes += dropped
        while self._held and socket.transport.get_write_buffer_size() <= WRITE_LIMIT_BYTES:
            waiting = self._held.popleft()
            self._held_bytes -= len(waiting)
            self._write_audio(socket, waiting)


def _lost(closed: ConnectionClosed) -> ev.Lost:
    """How a connection ended: in the server's words; in ours where it was ended for what the server sent."""
    end = closed.rcvd or closed.sent
    if end is None or (closed.rcvd is None and end.code == CloseCode.NORMAL_CLOSURE):
        return ev.Lost(CloseCode.ABNORMAL_CLOSURE, "")
    return ev.Lost(end.code, end.reason)
